/* The double Dutch auction in C: what ioa_marl's Numba kernels do, as one would write it by hand.
 *
 * Same arrays, same order of floating-point operations, same random numbers; results are equal bit for bit.
 * Only the auctioneer acts, the bidders are truthful. Sides are 0 (buyers, falling clock) and 1 (sellers, rising
 * clock); clocks count ticks. The constants follow ioa_marl/markets/double_dutch/kernels.py.
 * Compile with -ffp-contract=off: a fused multiply-add would round differently.
 */
#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

enum { BUYERS, SELLERS };

/* DoubleDutchRecord: what the auction is played with. */
typedef struct {
    double psi, tick, regret_weight, welfare_weight, message_weight, trade_weight;
    double level_low, level_high, log_width_low, log_width_high, value_low, value_high, cost_low, cost_high;
    double lot, buyer_penalty, compute_cost, hover_cost, delay_cost;
    int64_t min_buyers, max_buyers, min_sellers, max_sellers, buyer_start, seller_start, max_ticks;
    int64_t runs_on; /* not done here: the caller refuses it */
    int64_t pay_per_trade, scripted_step, max_cycles, auctioneer_learns, buyers_learn, sellers_learn, extended, autoreset;
} Params;

/* Metrics: totals of an episode. */
typedef struct {
    double return_, welfare, optimal_welfare, efficiency, clock_surplus, price, trades, ticks, messages,
        exchange_cost, regret;
} Metrics;

/* Arrays of a whole batch, as NumPy holds them; the leading axis is the market. */
typedef struct {
    uint64_t *seed, *stream, *episode;
    int32_t *size, *clock;
    int64_t *side, *ticks;
    uint8_t *deciding, *closed;
    int64_t *cycles;
    int32_t *winners, *recent, *order, *threshold;
    double *valuation;
    int32_t *accepted_at;
    Metrics *totals;
    uint8_t *terminated, *truncated;
    float *observation, *reward, *final_observation;
    Metrics *metrics;
    double *ledger;
    const Params *params;
    const int64_t *step_ticks;
    int64_t batch, bidders, features, accounts;
} Batch;

/* One market of a batch. */
typedef struct {
    uint64_t seed, stream, *episode;
    int64_t *side, *ticks, *cycles;
    uint8_t *deciding, *closed;
    int32_t *size, *clock, *winners, (*recent)[2], *order[2], *threshold[2], *accepted_at[2];
    double *valuation[2];
    Metrics *totals;
    const Params *params;
    int64_t bidders;
} Market;

static inline Market market_at(const Batch *batch, int64_t b)
{
    int64_t n = batch->bidders, at = 2 * b * n;
    return (Market){
        .seed = batch->seed[b], .stream = batch->stream[b], .episode = batch->episode + b,
        .size = batch->size + 2 * b, .clock = batch->clock + 2 * b, .side = batch->side + b, .ticks = batch->ticks + b,
        .deciding = batch->deciding + b, .closed = batch->closed + b, .cycles = batch->cycles + b,
        .winners = batch->winners + 2 * b, .recent = (int32_t (*)[2])(batch->recent + 4 * b),
        .order = {batch->order + at, batch->order + at + n},
        .threshold = {batch->threshold + at, batch->threshold + at + n},
        .accepted_at = {batch->accepted_at + at, batch->accepted_at + at + n},
        .valuation = {batch->valuation + at, batch->valuation + at + n},
        .totals = batch->totals + b, .params = batch->params, .bidders = n,
    };
}

/* Random numbers: Philox 4x64-10. */

static inline void philox(const Market *m, uint64_t block, uint64_t purpose, double out[4])
{
    uint64_t c0 = block, c1 = *m->episode, c2 = purpose, c3 = 0, k0 = m->seed, k1 = m->stream;
    for (int i = 0; i < 10; i++) {
        unsigned __int128 first = (unsigned __int128)0xD2E7470EE14C6C93u * c0;
        unsigned __int128 second = (unsigned __int128)0xCA5A826395121157u * c2;
        c0 = (uint64_t)(second >> 64) ^ c1 ^ k0;
        c1 = (uint64_t)second;
        c2 = (uint64_t)(first >> 64) ^ c3 ^ k1;
        c3 = (uint64_t)first;
        k0 += 0x9E3779B97F4A7C15u;
        k1 += 0xBB67AE8584CAA73Bu;
    }
    const uint64_t words[4] = {c0, c1, c2, c3};
    for (int i = 0; i < 4; i++)
        out[i] = (double)(words[i] >> 11) * (1.0 / 9007199254740992.0);
}

static inline void fill_uniform(const Market *m, uint64_t purpose, double *out)
{
    double four[4];
    for (int64_t start = 0; start < m->bidders; start += 4) {
        philox(m, (uint64_t)(start / 4 + 1), purpose, four);
        for (int64_t i = start; i < m->bidders && i < start + 4; i++)
            out[i] = four[i - start];
    }
}

static void draw_bids(const Market *m)
{
    const Params *p = m->params;
    double u[4];
    philox(m, 1, 0, u);
    int64_t buyers = p->min_buyers + (int64_t)(u[0] * (double)(p->max_buyers - p->min_buyers + 1));
    int64_t sellers = p->min_sellers + (int64_t)(u[1] * (double)(p->max_sellers - p->min_sellers + 1));
    double level = p->level_low + (p->level_high - p->level_low) * u[2];
    double width = exp(p->log_width_low + (p->log_width_high - p->log_width_low) * u[3]);
    double highest_income = 0.0, overhead = p->compute_cost + p->delay_cost;
    int32_t active = 0;

    fill_uniform(m, 1, m->valuation[BUYERS]);
    fill_uniform(m, 2, m->valuation[SELLERS]);
    for (int64_t j = 0; j < buyers; j++) {
        double *value = &m->valuation[BUYERS][j];
        double target = level + width * (p->value_low + (p->value_high - p->value_low) * *value);
        double income = (target + p->buyer_penalty) / p->lot * p->lot;
        *value = fmax(income - p->buyer_penalty, 0.0);
        highest_income = fmax(highest_income, income);
        m->order[BUYERS][j] = (int32_t)j;
    }
    for (int64_t k = 0; k < sellers; k++) {
        double *cost = &m->valuation[SELLERS][k];
        double target = level - width * (p->cost_low + (p->cost_high - p->cost_low) * *cost);
        double hover_power = fmax(target - overhead, 0.0) / p->hover_cost;
        *cost = p->compute_cost + p->hover_cost * hover_power + p->delay_cost;
        if (*cost <= highest_income)
            m->order[SELLERS][active++] = (int32_t)k;
    }
    m->size[BUYERS] = (int32_t)buyers;
    m->size[SELLERS] = active;
    /* What was drawn for bidders that are not there must not be seen. */
    for (int64_t j = buyers; j < m->bidders; j++)
        m->valuation[BUYERS][j] = 0.0;
    for (int64_t k = sellers; k < m->bidders; k++)
        m->valuation[SELLERS][k] = 0.0;
}

/* Shell sort: highest value or lowest cost first, ties by index. */
static inline void sort_by_eagerness(const Market *m, int side)
{
    int32_t *order = m->order[side], n = m->size[side];
    const double *valuation = m->valuation[side];
    int32_t gap = 1;
    while (gap < n / 3)
        gap = 3 * gap + 1;
    for (; gap > 0; gap /= 3) {
        for (int32_t i = gap; i < n; i++) {
            int32_t moved = order[i], j = i;
            double key = valuation[moved];
            for (; j >= gap; j -= gap) {
                int32_t other = order[j - gap];
                double v = valuation[other];
                if ((side == BUYERS ? v > key : v < key) || (v == key && other < moved))
                    break;
                order[j] = other;
            }
            order[j] = moved;
        }
    }
}

static void open_auction(const Market *m)
{
    for (int side = 0; side < 2; side++) {
        int32_t n = m->size[side], start = (int32_t)(side == BUYERS ? m->params->buyer_start : m->params->seller_start);
        sort_by_eagerness(m, side);
        for (int64_t i = 0; i < m->bidders; i++) {
            m->threshold[side][i] = side == BUYERS ? -1 : 1 << 30;
            m->accepted_at[side][i] = -1;
        }
        for (int32_t i = 0; i < n; i++) {
            int32_t bidder = m->order[side][i];
            double ticks = m->valuation[side][bidder] / m->params->tick;
            m->threshold[side][bidder] = (int32_t)(side == BUYERS ? floor(ticks + 1e-9) : ceil(ticks - 1e-9));
        }
        m->winners[side] = 0;
        m->clock[side] = start;
        m->recent[side][0] = start;
        m->recent[side][1] = 0;
    }
    *m->side = *m->ticks = *m->cycles = 0;
    *m->deciding = *m->closed = 0;
    memset(m->totals, 0, sizeof *m->totals);
    double optimum = 0.0;
    for (int32_t i = 0; i < m->size[BUYERS] && i < m->size[SELLERS]; i++) {
        double gain = m->valuation[BUYERS][m->order[BUYERS][i]] - m->valuation[SELLERS][m->order[SELLERS][i]];
        if (gain <= 0.0)
            break;
        optimum += gain;
    }
    m->totals->optimal_welfare = optimum;
}

/* Move this broadcast's acceptors to the front of the waiting list, by index; return how many there are. */
static inline int32_t accept(const Market *m, int side, int32_t first)
{
    int32_t *order = m->order[side], *threshold = m->threshold[side];
    int32_t n = m->size[side], clock = m->clock[side], count = 0;
    while (first + count < n) {
        int32_t limit = threshold[order[first + count]];
        if (side == BUYERS ? clock > limit : clock < limit)
            break;
        count++;
    }
    for (int32_t i = first + 1; i < first + count; i++) {
        int32_t moved = order[i], j = i;
        for (; j > first && order[j - 1] > moved; j--)
            order[j] = order[j - 1];
        order[j] = moved;
    }
    return count;
}

static inline double book_acceptances(const Market *m, int side, int32_t count)
{
    const Params *p = m->params;
    int32_t first = m->winners[side], clock = m->clock[side];
    double reward = 0.0;
    for (int32_t i = first; i < first + count; i++) {
        int32_t bidder = m->order[side][i];
        m->accepted_at[side][bidder] = clock;
        double regret = fabs(m->valuation[side][bidder] - clock * p->tick);
        m->totals->regret += regret;
        reward -= p->regret_weight * regret;
        if (i < m->winners[1 - side]) {
            int32_t buyer = m->order[BUYERS][i], seller = m->order[SELLERS][i];
            double gain = m->valuation[BUYERS][buyer] - m->valuation[SELLERS][seller];
            int32_t spread = m->accepted_at[BUYERS][buyer] - m->accepted_at[SELLERS][seller];
            m->totals->welfare += gain;
            m->totals->clock_surplus += spread * p->tick;
            m->totals->trades += 1.0;
            if (m->params->pay_per_trade)
                reward += p->welfare_weight * gain + p->trade_weight;
        }
    }
    m->winners[side] = first + count;
    m->recent[side][1] = abs(clock - m->recent[side][0]);
    m->recent[side][0] = clock;
    return reward;
}

static inline int exhausted(const Market *m)
{
    int32_t left_buyers = m->size[BUYERS] - m->winners[BUYERS];
    int32_t left_sellers = m->size[SELLERS] - m->winners[SELLERS];
    return (left_buyers == 0 && m->winners[SELLERS] >= m->winners[BUYERS])
        || (left_sellers == 0 && m->winners[BUYERS] >= m->winners[SELLERS]);
}

/* Returns 1: a market that has its price is closed. */
static inline int set_price(const Market *m, int32_t buyer_clock, int32_t seller_clock)
{
    double psi = m->params->psi;
    m->totals->price = (psi * buyer_clock + (1.0 - psi) * seller_clock) * m->params->tick;
    return 1;
}

static inline double broadcast(const Market *m, int *closed, int *accepted)
{
    int side = (int)*m->side;
    int32_t first = m->winners[side], n = m->size[side];
    double reward;
    *accepted = 0;
    if (exhausted(m)) { /* a side without bidders from the start */
        *closed = set_price(m, m->clock[BUYERS], m->clock[SELLERS]);
        return 0.0;
    }
    *closed = 0;
    ++*m->ticks;
    m->totals->messages += n - first;
    int32_t count = accept(m, side, first);
    if (count > 0) {
        *accepted = 1;
        reward = book_acceptances(m, side, count);
        if (m->winners[1 - side] < m->size[1 - side])
            *m->side = 1 - side;
        if (exhausted(m))
            *closed = set_price(m, m->clock[BUYERS], m->clock[SELLERS]);
    } else {
        double cost = m->params->message_weight * (n - first);
        m->totals->exchange_cost += cost;
        reward = -cost;
        *m->deciding = 1;
    }
    return reward;
}

static inline int move_clock(const Market *m, int64_t step)
{
    int side = (int)*m->side;
    int32_t before[2] = {m->clock[BUYERS], m->clock[SELLERS]};
    m->clock[side] += (int32_t)(side == BUYERS ? -step : step);
    *m->deciding = 0;
    if (m->clock[BUYERS] >= m->clock[SELLERS])
        return 0;
    /* The price takes the clock that moved as it was before it crossed the other one. */
    return set_price(m, before[BUYERS], before[SELLERS]);
}

static inline void complete_totals(const Market *m)
{
    m->totals->efficiency = m->totals->optimal_welfare > 0.0 ? m->totals->welfare / m->totals->optimal_welfare : 1.0;
    m->totals->ticks = *m->ticks;
}

/* A broadcast and, if nobody accepts, a clock move. */
static inline double play_tick(const Market *m, int64_t step, int *closed)
{
    int accepted;
    double reward = broadcast(m, closed, &accepted);
    if (!*closed && !accepted)
        *closed = move_clock(m, step);
    if (!*closed && *m->ticks >= m->params->max_ticks)
        *closed = set_price(m, m->clock[BUYERS], m->clock[SELLERS]);
    if (*closed) {
        if (!m->params->pay_per_trade)
            reward += m->params->welfare_weight * m->totals->welfare + m->params->trade_weight * m->totals->trades;
        complete_totals(m);
        *m->closed = 1;
    }
    m->totals->return_ += reward;
    return reward;
}

static inline int cut_off(const Market *m)
{
    if (*m->cycles < m->params->max_cycles)
        return 0;
    complete_totals(m);
    return set_price(m, m->clock[BUYERS], m->clock[SELLERS]);
}

static inline float unit(double x)
{
    return (float)(x < 0.0 ? 0.0 : x > 1.0 ? 1.0 : x);
}

static inline void observe(const Market *m, float *out)
{
    const Params *p = m->params;
    double cap = (double)p->buyer_start;
    out[0] = (float)*m->side;
    out[1] = unit((double)*m->ticks / (double)p->max_ticks);
    out[2] = unit(m->clock[BUYERS] / cap);
    out[3] = unit(m->clock[SELLERS] / cap);
    out[4] = unit((double)m->winners[BUYERS] / (double)p->max_buyers);
    out[5] = unit((double)m->winners[SELLERS] / (double)p->max_sellers);
    if (p->extended) {
        for (int side = 0; side < 2; side++) {
            out[6 + side] = unit(abs(m->clock[side] - m->recent[side][0]) / cap);
            out[8 + side] = unit(m->recent[side][1] / cap);
        }
        out[10] = unit((double)m->size[BUYERS] / (double)p->max_buyers);
        out[11] = unit((double)m->size[SELLERS] / (double)p->max_sellers);
    }
}

/* An auction that a cycle limit cuts off is not settled: nobody pays. */
static inline void write_ledger(const Market *m, int closed, double *out, int64_t accounts)
{
    double price = m->totals->price, residual = 0.0;
    int32_t trades = closed ? (int32_t)m->totals->trades : 0;
    memset(out, 0, (size_t)accounts * sizeof *out);
    for (int32_t i = 0; i < trades; i++) {
        out[m->order[BUYERS][i]] -= price;
        residual += price;
        out[m->params->max_buyers + m->order[SELLERS][i]] += price;
        residual -= price;
    }
    out[accounts - 1] = residual;
}

void open_markets(const Batch *batch)
{
    for (int64_t b = 0; b < batch->batch; b++) {
        Market m = market_at(batch, b);
        draw_bids(&m);
        open_auction(&m);
        observe(&m, batch->observation + b * batch->features);
    }
}

void step_markets(const Batch *batch, const int64_t *actions)
{
    for (int64_t b = 0; b < batch->batch; b++) {
        Market m = market_at(batch, b);
        int closed;
        double reward = play_tick(&m, batch->step_ticks[actions[b]], &closed);
        ++*m.cycles;
        int truncated = !closed && cut_off(&m);
        batch->reward[b] = (float)reward;
        batch->terminated[b] = (uint8_t)closed;
        batch->truncated[b] = (uint8_t)truncated;
        if (closed || truncated) {
            batch->metrics[b] = *m.totals;
            if (m.totals->trades == 0.0)
                batch->metrics[b].price = NAN; /* nobody pays a price */
            write_ledger(&m, closed, batch->ledger + b * batch->accounts, batch->accounts);
            observe(&m, batch->final_observation + b * batch->features);
            if (m.params->autoreset) {
                ++*m.episode;
                draw_bids(&m);
                open_auction(&m);
            }
        }
        observe(&m, batch->observation + b * batch->features);
    }
}
