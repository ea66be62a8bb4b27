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

enum { BUYERS, SELLERS }; enum { BROADCAST, DECIDE };
enum { SIDE, TICKS, PHASE, STEPS, TURN_COLUMNS };
enum { RETURN, WELFARE, OPTIMUM, EFFICIENCY, CLOCK_SURPLUS, PRICE, TRADES, N_TICKS, MESSAGES, REGRET, METRICS };
enum {
    PSI, W_REGRET, W_WELFARE, W_MESSAGE, W_TRADE, TICK, LEVEL_LOW, LEVEL_HIGH, LOG_WIDTH_LOW, LOG_WIDTH_HIGH,
    VALUE_LOW, VALUE_HIGH, COST_LOW, COST_HIGH, LOT, BUYER_PENALTY, COMPUTE_COST, HOVER_COST, DELAY_COST
};
enum {
    MIN_BUYERS, MAX_BUYERS, MIN_SELLERS, MAX_SELLERS, BUYER_START, SELLER_START, MAX_TICKS, PAY_PER_TRADE,
    SCRIPTED_STEP, MAX_CYCLES, LEARN_AUCTIONEER, LEARN_BUYERS, LEARN_SELLERS, EXTENDED, AUTORESET
};

/* Arrays of a whole batch, as NumPy holds them; the leading axis is the market. */
typedef struct {
    uint64_t *seed, *stream, *episode;
    int32_t *size, *clock, *turn, *winners, *recent, *order, *threshold;
    double *valuation;
    int32_t *accepted_at;
    double *totals;
    uint8_t *terminated, *truncated;
    float *observation, *reward, *final_observation;
    double *metrics, *ledger;
    const double *numbers;
    const int64_t *counts, *step_ticks;
    int64_t batch, bidders, features, accounts;
} Batch;

/* One market of a batch. */
typedef struct {
    uint64_t seed, stream, *episode;
    int32_t *size, *clock, *turn, *winners, (*recent)[2], *order[2], *threshold[2], *accepted_at[2];
    double *valuation[2], *totals;
    const double *numbers;
    const int64_t *counts;
    int64_t bidders;
} Market;

static inline Market market_at(const Batch *batch, int64_t b)
{
    int64_t n = batch->bidders, at = 2 * b * n;
    return (Market){
        .seed = batch->seed[b], .stream = batch->stream[b], .episode = batch->episode + b,
        .size = batch->size + 2 * b, .clock = batch->clock + 2 * b, .turn = batch->turn + TURN_COLUMNS * b,
        .winners = batch->winners + 2 * b, .recent = (int32_t (*)[2])(batch->recent + 4 * b),
        .order = {batch->order + at, batch->order + at + n},
        .threshold = {batch->threshold + at, batch->threshold + at + n},
        .accepted_at = {batch->accepted_at + at, batch->accepted_at + at + n},
        .valuation = {batch->valuation + at, batch->valuation + at + n},
        .totals = batch->totals + METRICS * b, .numbers = batch->numbers, .counts = batch->counts, .bidders = n,
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
    const double *p = m->numbers;
    const int64_t *c = m->counts;
    double u[4];
    philox(m, 1, 0, u);
    int64_t buyers = c[MIN_BUYERS] + (int64_t)(u[0] * (double)(c[MAX_BUYERS] - c[MIN_BUYERS] + 1));
    int64_t sellers = c[MIN_SELLERS] + (int64_t)(u[1] * (double)(c[MAX_SELLERS] - c[MIN_SELLERS] + 1));
    double level = p[LEVEL_LOW] + (p[LEVEL_HIGH] - p[LEVEL_LOW]) * u[2];
    double width = exp(p[LOG_WIDTH_LOW] + (p[LOG_WIDTH_HIGH] - p[LOG_WIDTH_LOW]) * u[3]);
    double highest_income = 0.0, overhead = p[COMPUTE_COST] + p[DELAY_COST];
    int32_t active = 0;

    fill_uniform(m, 1, m->valuation[BUYERS]);
    fill_uniform(m, 2, m->valuation[SELLERS]);
    for (int64_t j = 0; j < buyers; j++) {
        double *value = &m->valuation[BUYERS][j];
        double target = level + width * (p[VALUE_LOW] + (p[VALUE_HIGH] - p[VALUE_LOW]) * *value);
        double income = (target + p[BUYER_PENALTY]) / p[LOT] * p[LOT];
        *value = fmax(income - p[BUYER_PENALTY], 0.0);
        highest_income = fmax(highest_income, income);
        m->order[BUYERS][j] = (int32_t)j;
    }
    for (int64_t k = 0; k < sellers; k++) {
        double *cost = &m->valuation[SELLERS][k];
        double target = level - width * (p[COST_LOW] + (p[COST_HIGH] - p[COST_LOW]) * *cost);
        double hover_power = fmax(target - overhead, 0.0) / p[HOVER_COST];
        *cost = p[COMPUTE_COST] + p[HOVER_COST] * hover_power + p[DELAY_COST];
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
        int32_t n = m->size[side], start = (int32_t)m->counts[BUYER_START + side];
        sort_by_eagerness(m, side);
        for (int64_t i = 0; i < m->bidders; i++) {
            m->threshold[side][i] = side == BUYERS ? -1 : 1 << 30;
            m->accepted_at[side][i] = -1;
        }
        for (int32_t i = 0; i < n; i++) {
            int32_t bidder = m->order[side][i];
            double ticks = m->valuation[side][bidder] / m->numbers[TICK];
            m->threshold[side][bidder] = (int32_t)(side == BUYERS ? floor(ticks + 1e-9) : ceil(ticks - 1e-9));
        }
        m->winners[side] = 0;
        m->clock[side] = start;
        m->recent[side][0] = start;
        m->recent[side][1] = 0;
    }
    memset(m->turn, 0, TURN_COLUMNS * sizeof *m->turn);
    memset(m->totals, 0, METRICS * sizeof *m->totals);
    double optimum = 0.0;
    for (int32_t i = 0; i < m->size[BUYERS] && i < m->size[SELLERS]; i++) {
        double gain = m->valuation[BUYERS][m->order[BUYERS][i]] - m->valuation[SELLERS][m->order[SELLERS][i]];
        if (gain <= 0.0)
            break;
        optimum += gain;
    }
    m->totals[OPTIMUM] = optimum;
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
    const double *p = m->numbers;
    int32_t first = m->winners[side], clock = m->clock[side];
    double reward = 0.0;
    for (int32_t i = first; i < first + count; i++) {
        int32_t bidder = m->order[side][i];
        m->accepted_at[side][bidder] = clock;
        double regret = fabs(m->valuation[side][bidder] - clock * p[TICK]);
        m->totals[REGRET] += regret;
        reward -= p[W_REGRET] * regret;
        if (i < m->winners[1 - side]) {
            int32_t buyer = m->order[BUYERS][i], seller = m->order[SELLERS][i];
            double gain = m->valuation[BUYERS][buyer] - m->valuation[SELLERS][seller];
            int32_t spread = m->accepted_at[BUYERS][buyer] - m->accepted_at[SELLERS][seller];
            m->totals[WELFARE] += gain;
            m->totals[CLOCK_SURPLUS] += spread * p[TICK];
            m->totals[TRADES] += 1.0;
            if (m->counts[PAY_PER_TRADE])
                reward += p[W_WELFARE] * gain + p[W_TRADE];
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
    double psi = m->numbers[PSI];
    m->totals[PRICE] = (psi * buyer_clock + (1.0 - psi) * seller_clock) * m->numbers[TICK];
    return 1;
}

static inline double broadcast(const Market *m, int *closed, int *accepted)
{
    int side = m->turn[SIDE];
    int32_t first = m->winners[side], n = m->size[side];
    double reward;
    *accepted = 0;
    if (exhausted(m)) { /* a side without bidders from the start */
        *closed = set_price(m, m->clock[BUYERS], m->clock[SELLERS]);
        return 0.0;
    }
    *closed = 0;
    m->turn[TICKS]++;
    m->totals[MESSAGES] += n - first;
    int32_t count = accept(m, side, first);
    if (count > 0) {
        *accepted = 1;
        reward = book_acceptances(m, side, count);
        if (m->winners[1 - side] < m->size[1 - side])
            m->turn[SIDE] = 1 - side;
        if (exhausted(m))
            *closed = set_price(m, m->clock[BUYERS], m->clock[SELLERS]);
    } else {
        reward = -m->numbers[W_MESSAGE] * (n - first);
        m->turn[PHASE] = DECIDE;
    }
    return reward;
}

static inline int move_clock(const Market *m, int64_t step)
{
    int side = m->turn[SIDE];
    int32_t before[2] = {m->clock[BUYERS], m->clock[SELLERS]};
    m->clock[side] += (int32_t)(side == BUYERS ? -step : step);
    m->turn[PHASE] = BROADCAST;
    if (m->clock[BUYERS] >= m->clock[SELLERS])
        return 0;
    /* The price takes the clock that moved as it was before it crossed the other one. */
    return set_price(m, before[BUYERS], before[SELLERS]);
}

static inline void complete_totals(const Market *m)
{
    m->totals[EFFICIENCY] = m->totals[OPTIMUM] > 0.0 ? m->totals[WELFARE] / m->totals[OPTIMUM] : 1.0;
    m->totals[N_TICKS] = m->turn[TICKS];
}

/* A broadcast and, if nobody accepts, a clock move. */
static inline double play_tick(const Market *m, int64_t step, int *closed)
{
    int accepted;
    double reward = broadcast(m, closed, &accepted);
    if (!*closed && !accepted)
        *closed = move_clock(m, step);
    if (!*closed && m->turn[TICKS] >= m->counts[MAX_TICKS])
        *closed = set_price(m, m->clock[BUYERS], m->clock[SELLERS]);
    if (*closed) {
        if (!m->counts[PAY_PER_TRADE])
            reward += m->numbers[W_WELFARE] * m->totals[WELFARE] + m->numbers[W_TRADE] * m->totals[TRADES];
        complete_totals(m);
    }
    m->totals[RETURN] += reward;
    return reward;
}

static inline int cut_off(const Market *m)
{
    if (m->turn[STEPS] < m->counts[MAX_CYCLES])
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
    const int64_t *c = m->counts;
    double cap = (double)c[BUYER_START];
    out[0] = (float)m->turn[SIDE];
    out[1] = unit((double)m->turn[TICKS] / (double)c[MAX_TICKS]);
    out[2] = unit(m->clock[BUYERS] / cap);
    out[3] = unit(m->clock[SELLERS] / cap);
    out[4] = unit((double)m->winners[BUYERS] / (double)c[MAX_BUYERS]);
    out[5] = unit((double)m->winners[SELLERS] / (double)c[MAX_SELLERS]);
    if (c[EXTENDED]) {
        for (int side = 0; side < 2; side++) {
            out[6 + side] = unit(abs(m->clock[side] - m->recent[side][0]) / cap);
            out[8 + side] = unit(m->recent[side][1] / cap);
        }
        out[10] = unit((double)m->size[BUYERS] / (double)c[MAX_BUYERS]);
        out[11] = unit((double)m->size[SELLERS] / (double)c[MAX_SELLERS]);
    }
}

/* An auction that a cycle limit cuts off is not settled: nobody pays. */
static inline void write_ledger(const Market *m, int closed, double *out, int64_t accounts)
{
    double price = m->totals[PRICE], residual = 0.0;
    int32_t trades = closed ? (int32_t)m->totals[TRADES] : 0;
    memset(out, 0, (size_t)accounts * sizeof *out);
    for (int32_t i = 0; i < trades; i++) {
        out[m->order[BUYERS][i]] -= price;
        residual += price;
        out[m->counts[MAX_BUYERS] + m->order[SELLERS][i]] += price;
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
        m.turn[STEPS]++;
        int truncated = !closed && cut_off(&m);
        batch->reward[b] = (float)reward;
        batch->terminated[b] = (uint8_t)closed;
        batch->truncated[b] = (uint8_t)truncated;
        if (closed || truncated) {
            memcpy(batch->metrics + METRICS * b, m.totals, METRICS * sizeof *m.totals);
            write_ledger(&m, closed, batch->ledger + b * batch->accounts, batch->accounts);
            observe(&m, batch->final_observation + b * batch->features);
            if (m.counts[AUTORESET]) {
                ++*m.episode;
                draw_bids(&m);
                open_auction(&m);
            }
        }
        observe(&m, batch->observation + b * batch->features);
    }
}
