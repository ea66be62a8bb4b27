"""Numba kernels of the double Dutch auction: what happens in one market, as scalar functions, and batched drivers.

Sides are 0 (buyers, falling clock) and 1 (sellers, rising clock). Clocks are integers, multiples of the tick.
``order[side]`` lists the bidders of one side: the first ``winners[side]`` have accepted, in the order in which
they did (ties within a tick: lower index first); the others follow, the most eager one first.
Source: Section IV-D of "Hybrid Stackelberg Game and Diffusion-based Auction for Two-tier Agentic AI Task
Offloading in Internet of Agents", Eqs. 33-39.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

from numpy.typing import NDArray

from ioa_marl.foundations.compile import kernel
from ioa_marl.foundations.philox import fill_uniform, philox_block, to_unit

Array = NDArray[Any]

BUYERS, SELLERS = 0, 1
MAX_CLOCK = 2**30
"""Clocks stay below this many ticks, so that a step never leaves int32."""
BROADCAST, DECIDE = 0, 1
SIDE, TICKS, PHASE, STEPS = 0, 1, 2, 3
"""Columns of ``AuctionState.turn``."""

METRICS = (
    "return",
    "welfare",
    "optimal_welfare",
    "efficiency",
    "clock_surplus",
    "price",
    "trades",
    "ticks",
    "messages",
    "regret",
)
RETURN, WELFARE, OPTIMUM, EFFICIENCY, CLOCK_SURPLUS, PRICE, TRADES, N_TICKS, MESSAGES, REGRET = range(10)

PSI, W_REGRET, W_WELFARE, W_MESSAGE, W_TRADE, TICK = range(6)
LEVEL_LOW, LEVEL_HIGH, LOG_WIDTH_LOW, LOG_WIDTH_HIGH = range(6, 10)
VALUE_LOW, VALUE_HIGH, COST_LOW, COST_HIGH = range(10, 14)
LOT, BUYER_PENALTY, COMPUTE_COST, HOVER_COST, DELAY_COST = range(14, 19)
N_NUMBERS = 19
"""Entries of the float parameter vector."""

MIN_BUYERS, MAX_BUYERS, MIN_SELLERS, MAX_SELLERS = range(4)
BUYER_START, SELLER_START, MAX_TICKS, PAY_PER_TRADE, SCRIPTED_STEP, MAX_CYCLES = range(4, 10)
LEARN_AUCTIONEER, LEARN_BUYERS, LEARN_SELLERS, EXTENDED, AUTORESET = range(10, 15)
N_COUNTS = 15
"""Entries of the integer parameter vector; ``SCRIPTED_STEP`` is in ticks."""


class AuctionState(NamedTuple):
    """Everything that a batch of auctions is, as arrays that can be saved and restored."""

    seed: Array
    """uint64 (batch,): first key word of the market's random stream."""
    stream: Array
    """uint64 (batch,): second key word (environment index)."""
    episode: Array
    """uint64 (batch,): episodes begun so far, counted from 0."""
    size: Array
    """int32 (batch, 2): bidders taking part on each side."""
    clock: Array
    """int32 (batch, 2): buyer and seller clock in ticks."""
    turn: Array
    """int32 (batch, 4): side, broadcasts so far, phase, environment steps so far."""
    winners: Array
    """int32 (batch, 2): bidders that have accepted."""
    recent: Array
    """int32 (batch, 2, 2): per side the clock at the last acceptance and the gap to the one before."""
    order: Array
    """int32 (batch, 2, bidders): acceptance order, then eagerness."""
    threshold: Array
    """int32 (batch, 2, bidders): the last clock, in ticks, at which a truthful bidder accepts."""
    valuation: Array
    """float64 (batch, 2, bidders): value of a buyer, cost of a seller."""
    accepted_at: Array
    """int32 (batch, 2, bidders): the clock, in ticks, at which a bidder accepted; -1 before."""
    totals: Array
    """float64 (batch, metrics): running totals of the episode, see ``METRICS``."""


@kernel
def fixed_valuation(price: float, lot: float, penalty: float) -> float:
    """Eq. 33, a buyer's value of one lot: what it earns at its unit price, less the delay penalty."""
    return max(price * lot - penalty, 0.0)


@kernel
def aerial_cost(hover_power: float, compute_cost: float, hover_cost: float, delay_cost: float) -> float:
    """Eq. 34 (λ restored, t_k_up for t_up), a seller's cost of one lot: computing, hovering and delay."""
    return compute_cost + hover_cost * hover_power + delay_cost


@kernel
def sort_by_eagerness(order: Array, valuation: Array, b: int, side: int, n: int) -> None:
    """Sort ``order[b, side, :n]`` in place: highest value (buyers) or lowest cost (sellers) first, ties by index.

    Shell sort: no allocation, and short for both 10 and 1 000 bidders.
    """
    gap = 1
    while gap < n // 3:
        gap = 3 * gap + 1
    while gap > 0:
        for i in range(gap, n):
            moved = order[b, side, i]
            key = valuation[b, side, moved]
            j = i
            while j >= gap:
                other = order[b, side, j - gap]
                v = valuation[b, side, other]
                before = (v > key if side == 0 else v < key) or (v == key and other < moved)
                if before:
                    break
                order[b, side, j] = other
                j -= gap
            order[b, side, j] = moved
        gap //= 3


@kernel
def truthful_threshold(valuation: float, tick: float, side: int) -> int:
    """Last clock in ticks that a truthful bidder accepts; values within 1e-9 of a tick count as on it."""
    ratio = min(valuation / tick, float(MAX_CLOCK))  # beyond any clock
    if side == 0:
        return math.floor(ratio + 1e-9)
    return math.ceil(ratio - 1e-9)


@kernel
def draw_bids(b: int, state: AuctionState, numbers: Array, counts: Array) -> None:
    """Draw sizes and valuations of market ``b`` for its current episode."""
    seed, stream, episode = state.seed[b], state.stream[b], state.episode[b]
    w0, w1, w2, w3 = philox_block(seed, stream, 1, episode, 0)
    spread_buyers = counts[MAX_BUYERS] - counts[MIN_BUYERS] + 1
    spread_sellers = counts[MAX_SELLERS] - counts[MIN_SELLERS] + 1
    n_buyers = counts[MIN_BUYERS] + int(to_unit(w0) * spread_buyers)
    n_sellers = counts[MIN_SELLERS] + int(to_unit(w1) * spread_sellers)
    level = numbers[LEVEL_LOW] + (numbers[LEVEL_HIGH] - numbers[LEVEL_LOW]) * to_unit(w2)
    log_width = numbers[LOG_WIDTH_LOW] + (numbers[LOG_WIDTH_HIGH] - numbers[LOG_WIDTH_LOW]) * to_unit(w3)
    width = math.exp(log_width)

    values = state.valuation
    fill_uniform(seed, stream, episode, 1, values, b, BUYERS)
    fill_uniform(seed, stream, episode, 2, values, b, SELLERS)
    highest_income = 0.0
    for j in range(n_buyers):
        target = level + width * (numbers[VALUE_LOW] + (numbers[VALUE_HIGH] - numbers[VALUE_LOW]) * values[b, 0, j])
        price = (target + numbers[BUYER_PENALTY]) / numbers[LOT]
        values[b, 0, j] = fixed_valuation(price, numbers[LOT], numbers[BUYER_PENALTY])
        highest_income = max(highest_income, price * numbers[LOT])
        state.order[b, BUYERS, j] = j
    active = 0
    overhead = numbers[COMPUTE_COST] + numbers[DELAY_COST]
    for k in range(n_sellers):
        target = level - width * (numbers[COST_LOW] + (numbers[COST_HIGH] - numbers[COST_LOW]) * values[b, 1, k])
        hover_power = max(target - overhead, 0.0) / numbers[HOVER_COST]
        cost = aerial_cost(hover_power, numbers[COMPUTE_COST], numbers[HOVER_COST], numbers[DELAY_COST])
        values[b, 1, k] = cost
        # Clipping such a cost down, as printed, would make the seller trade at a loss: it stays away.
        if cost <= highest_income:
            state.order[b, SELLERS, active] = k
            active += 1
    state.size[b, BUYERS] = n_buyers
    state.size[b, SELLERS] = active
    for i in range(values.shape[2]):
        # What was drawn for bidders that are not there must not be seen.
        if i >= n_buyers:
            values[b, BUYERS, i] = 0.0
        if i >= n_sellers:
            values[b, SELLERS, i] = 0.0


@kernel
def open_auction(b: int, state: AuctionState, numbers: Array, counts: Array) -> None:
    """Start an auction over the valuations, sizes and participants that market ``b`` holds."""
    for side in range(2):
        n = state.size[b, side]
        sort_by_eagerness(state.order, state.valuation, b, side, n)
        for i in range(state.threshold.shape[2]):
            state.threshold[b, side, i] = -1 if side == 0 else 1 << 30
            state.accepted_at[b, side, i] = -1
        for m in range(n):
            i = state.order[b, side, m]
            state.threshold[b, side, i] = truthful_threshold(state.valuation[b, side, i], numbers[TICK], side)
        state.winners[b, side] = 0
        state.clock[b, side] = counts[BUYER_START + side]
        state.recent[b, side, 0] = counts[BUYER_START + side]
        state.recent[b, side, 1] = 0
    for column in range(4):
        state.turn[b, column] = 0
    for column in range(len(METRICS)):
        state.totals[b, column] = 0.0
    optimum = 0.0
    for m in range(min(state.size[b, 0], state.size[b, 1])):
        gain = state.valuation[b, 0, state.order[b, 0, m]] - state.valuation[b, 1, state.order[b, 1, m]]
        if gain <= 0.0:
            break
        optimum += gain
    state.totals[b, OPTIMUM] = optimum


@kernel
def accept_truthfully(order: Array, threshold: Array, b: int, side: int, first: int, n: int, clock: int) -> int:
    """Move the truthful acceptors of this broadcast to the front of the waiting list; return how many."""
    count = 0
    while first + count < n:
        limit = threshold[b, side, order[b, side, first + count]]
        if (clock > limit) if side == 0 else (clock < limit):
            break
        count += 1
    gap = 1
    while gap < count // 3:
        gap = 3 * gap + 1
    while gap > 0:  # Shell sort by index: tens of thousands may accept at once
        for i in range(first + gap, first + count):
            moved = order[b, side, i]
            j = i
            while j >= first + gap and order[b, side, j - gap] > moved:
                order[b, side, j] = order[b, side, j - gap]
                j -= gap
            order[b, side, j] = moved
        gap //= 3
    return count


@kernel
def accept_by_choice(order: Array, b: int, side: int, first: int, n: int, choices: Array) -> int:
    """As `accept_truthfully`, for bidders that chose: ``choices[b, side, i]`` is 1 where bidder ``i`` accepts."""
    count = 0
    for i in range(first, n):
        moved = order[b, side, i]
        if choices[b, side, moved] == 1:
            # Acceptors go by index; the others keep their order behind them.
            j = i
            while j > first + count or (j > first and order[b, side, j - 1] > moved):
                order[b, side, j] = order[b, side, j - 1]
                j -= 1
            order[b, side, j] = moved
            count += 1
    return count


@kernel
def book_acceptances(b: int, state: AuctionState, numbers: Array, counts: Array, side: int, count: int) -> float:
    """Regrets and completed pairs of the ``count`` bidders that have just accepted; returns the reward."""
    first = state.winners[b, side]
    clock = state.clock[b, side]
    reward = 0.0
    for m in range(first, first + count):
        i = state.order[b, side, m]
        state.accepted_at[b, side, i] = clock
        regret = abs(state.valuation[b, side, i] - clock * numbers[TICK])
        state.totals[b, REGRET] += regret
        reward -= numbers[W_REGRET] * regret
        if m < state.winners[b, 1 - side]:
            buyer, seller = state.order[b, 0, m], state.order[b, 1, m]
            gain = state.valuation[b, 0, buyer] - state.valuation[b, 1, seller]
            state.totals[b, WELFARE] += gain
            spread = state.accepted_at[b, 0, buyer] - state.accepted_at[b, 1, seller]
            state.totals[b, CLOCK_SURPLUS] += spread * numbers[TICK]
            state.totals[b, TRADES] += 1.0
            if counts[PAY_PER_TRADE] == 1:
                reward += numbers[W_WELFARE] * gain + numbers[W_TRADE]
    state.winners[b, side] = first + count
    state.recent[b, side, 1] = abs(clock - state.recent[b, side, 0])
    state.recent[b, side, 0] = clock
    return reward


@kernel
def close_if_exhausted(b: int, state: AuctionState) -> bool:
    """Whether a side has nobody left to ask while the other has at least as many winners."""
    left_buyers = state.size[b, 0] - state.winners[b, 0]
    left_sellers = state.size[b, 1] - state.winners[b, 1]
    buyers_done = left_buyers == 0 and state.winners[b, 1] >= state.winners[b, 0]
    sellers_done = left_sellers == 0 and state.winners[b, 0] >= state.winners[b, 1]
    return bool(buyers_done or sellers_done)


@kernel
def clearing_price(b: int, state: AuctionState, numbers: Array, previous: int, side: int) -> float:
    """ψ C_b + (1 − ψ) C_s with the clock of ``side`` as it was before the crossing move."""
    buyer_clock = previous if side == 0 else state.clock[b, 0]
    seller_clock = previous if side == 1 else state.clock[b, 1]
    psi = numbers[PSI]
    return float((psi * buyer_clock + (1.0 - psi) * seller_clock) * numbers[TICK])


@kernel
def broadcast(
    b: int, state: AuctionState, numbers: Array, counts: Array, by_choice: bool, choices: Array
) -> tuple[float, bool, bool]:
    """Ask the active side at its clock. Returns (reward, auction closed, somebody accepted)."""
    side = state.turn[b, SIDE]
    first, n = state.winners[b, side], state.size[b, side]
    if close_if_exhausted(b, state):  # a side without bidders from the start
        price_at_clocks(b, state, numbers)
        return 0.0, True, False
    state.turn[b, TICKS] += 1
    state.totals[b, MESSAGES] += n - first
    if by_choice:
        count = accept_by_choice(state.order, b, side, first, n, choices)
    else:
        count = accept_truthfully(state.order, state.threshold, b, side, first, n, state.clock[b, side])
    closed = False
    if count > 0:
        reward = book_acceptances(b, state, numbers, counts, side, count)
        closed = close_if_exhausted(b, state)
        other = 1 - side
        if state.winners[b, other] < state.size[b, other]:
            state.turn[b, SIDE] = other
    else:
        reward = -numbers[W_MESSAGE] * (n - first)
        state.turn[b, PHASE] = DECIDE
    if closed:
        price_at_clocks(b, state, numbers)
    return reward, closed, count > 0


@kernel
def move_clock(b: int, state: AuctionState, numbers: Array, counts: Array, step: int) -> bool:
    """Move the active clock by ``step`` ticks; True when the clocks crossed or time is up."""
    side = state.turn[b, SIDE]
    previous = state.clock[b, side]
    state.clock[b, side] = previous - step if side == 0 else previous + step
    state.turn[b, PHASE] = BROADCAST
    crossed = bool(state.clock[b, 0] < state.clock[b, 1])
    if crossed:
        state.totals[b, PRICE] = clearing_price(b, state, numbers, previous, side)
    return crossed


@kernel
def price_at_clocks(b: int, state: AuctionState, numbers: Array) -> None:
    """Set the clearing price from the clocks as they stand."""
    state.totals[b, PRICE] = clearing_price(b, state, numbers, state.clock[b, 0], 0)


@kernel
def complete_totals(b: int, state: AuctionState) -> None:
    """Fill in the totals that are known when an auction ends or is cut off."""
    totals = state.totals
    totals[b, EFFICIENCY] = totals[b, WELFARE] / totals[b, OPTIMUM] if totals[b, OPTIMUM] > 0.0 else 1.0
    totals[b, N_TICKS] = state.turn[b, TICKS]


@kernel
def finish(b: int, state: AuctionState, numbers: Array, counts: Array, reward: float) -> float:
    """Complete the totals of a closed auction; returns the reward with what is paid at the end."""
    totals = state.totals
    if counts[PAY_PER_TRADE] == 0:
        reward += numbers[W_WELFARE] * totals[b, WELFARE] + numbers[W_TRADE] * totals[b, TRADES]
    complete_totals(b, state)
    totals[b, RETURN] += reward
    return reward


@kernel
def play_tick(
    b: int, state: AuctionState, numbers: Array, counts: Array, step: int, choices: Array
) -> tuple[float, bool]:
    """One broadcast to truthful bidders and, if nobody accepts, one clock move. Returns (reward, closed)."""
    reward, closed, accepted = broadcast(b, state, numbers, counts, False, choices)
    if not closed and not accepted:
        closed = move_clock(b, state, numbers, counts, step)
    if not closed and state.turn[b, TICKS] >= counts[MAX_TICKS]:
        closed = True
        price_at_clocks(b, state, numbers)
    if closed:
        return finish(b, state, numbers, counts, reward), True
    state.totals[b, RETURN] += reward
    return reward, False


@kernel
def run_auction(state: AuctionState, numbers: Array, counts: Array, plan: Array, choices: Array) -> int:
    """Play market 0 to its end: move ``i`` uses ``plan[min(i, last)]`` ticks. Returns the clock moves made."""
    moves = 0
    closed = False
    while not closed:
        before = state.clock[0, 0] - state.clock[0, 1]
        _, closed = play_tick(0, state, numbers, counts, plan[min(moves, plan.shape[0] - 1)], choices)
        moves += before != state.clock[0, 0] - state.clock[0, 1]
    return moves
