"""Numba kernels of the double Dutch auction: the equations and rules of one market, as scalar functions.

Sides are 0 (buyers, falling clock) and 1 (sellers, rising clock). Clocks are integers, multiples of the tick.
``order[side]`` lists the bidders of one side. The first ``winners[side]`` of them have accepted, in the order of their
acceptance; within a tick, lower indices come first. The others follow, the most eager one first.

Common arguments of the kernels:

- ``b``: index of the market in the batch;
- ``state``: the `AuctionState` of the batch, whose fields have the shapes and units;
- ``params``: the parameters, `DoubleDutchRecord` (1,);
- ``side``: 0 buyers, 1 sellers;
- ``order``, ``threshold``, ``valuation``: the fields of the state, (batch, 2, bidders);
- ``choices``: int64 (batch, 2, bidders), 1 where a controlled bidder accepts. Truthful bidders do not read it.

Source: Section IV-D of "Hybrid Stackelberg Game and Diffusion-based Auction for Two-tier Agentic AI Task
Offloading in Internet of Agents", Eqs. 33-39.
"""

from __future__ import annotations

import math

from ioa_marl.foundations.compile import kernel
from ioa_marl.markets.double_dutch.state import Array, AuctionState, DoubleDutchRecord

BUYERS, SELLERS = 0, 1
MAX_CLOCK = 2**30
"""Bound of the clocks [ticks], with which a clock after a step still fits into int32."""


@kernel
def fixed_valuation(price: float, lot: float, penalty: float) -> float:
    """Return a buyer's value of one lot by Eq. 33: its income less the delay penalty [units].

    Parameters
    ----------
    price : float
        Unit price of the fixed agent [units/Mbit].
    lot : float
        Size of the lot [Mbit].
    penalty : float
        Logarithmic delay penalty [units].
    """
    return max(price * lot - penalty, 0.0)


@kernel
def aerial_cost(hover_power: float, compute_cost: float, hover_cost: float, delay_cost: float) -> float:
    """Return a seller's cost of one lot by Eq. 34, with λ restored and t_k_up for t_up [units].

    Parameters
    ----------
    hover_power : float
        Hover power of the aerial agent [W].
    compute_cost, delay_cost : float
        Costs of the computing energy and of the squared delay [units].
    hover_cost : float
        Cost of hovering per watt of hover power [units/W].
    """
    return compute_cost + hover_cost * hover_power + delay_cost


@kernel
def exchange_cost(listeners: int, weight: float) -> float:
    """Return the cost of a broadcast that nobody accepts by Eq. 39, co(X) = d·X [units].

    Parameters
    ----------
    listeners : int
        Number X of bidders that listen to the broadcast.
    weight : float
        Weight d of a message [units per message].
    """
    return weight * listeners


@kernel
def sort_by_eagerness(order: Array, valuation: Array, b: int, side: int, n: int) -> None:
    """Sort ``order[b, side, :n]`` in place: highest value (buyers) or lowest cost (sellers) first, ties by index.

    This is Shell sort, which allocates nothing and is fast for both 10 and 1 000 bidders.
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
                before = (v > key if side == BUYERS else v < key) or (v == key and other < moved)
                if before:
                    break
                order[b, side, j] = other
                j -= gap
            order[b, side, j] = moved
        gap //= 3


@kernel
def truthful_threshold(valuation: float, tick: float, side: int) -> int:
    """Return the last clock that a truthful bidder accepts [ticks].

    A valuation within 1e-9 ticks of a clock counts as equal to it, since quotients of floating-point numbers round.
    """
    ratio = min(valuation / tick, float(MAX_CLOCK))  # no clock exceeds this bound
    if side == BUYERS:
        return math.floor(ratio + 1e-9)
    return math.ceil(ratio - 1e-9)


@kernel
def clear_totals(b: int, state: AuctionState) -> None:
    """Set the totals of the episode to zero."""
    totals = state.totals[b]
    totals.return_ = 0.0
    totals.welfare = 0.0
    totals.optimal_welfare = 0.0
    totals.efficiency = 0.0
    totals.clock_surplus = 0.0
    totals.price = 0.0
    totals.trades = 0.0
    totals.ticks = 0.0
    totals.messages = 0.0
    totals.exchange_cost = 0.0
    totals.regret = 0.0


@kernel
def open_auction(b: int, state: AuctionState, params: Array) -> None:
    """Start an auction over the valuations, the numbers of bidders and the participants that the state has."""
    p: DoubleDutchRecord = params[0]
    for side in range(2):
        n = state.size[b, side]
        sort_by_eagerness(state.order, state.valuation, b, side, n)
        for i in range(state.threshold.shape[2]):
            state.threshold[b, side, i] = -1 if side == BUYERS else 1 << 30
            state.accepted_at[b, side, i] = -1
        for m in range(n):
            i = state.order[b, side, m]
            state.threshold[b, side, i] = truthful_threshold(state.valuation[b, side, i], p.tick, side)
        state.winners[b, side] = 0
        state.clock[b, side] = p.buyer_start if side == BUYERS else p.seller_start
        state.recent[b, side, 0] = state.clock[b, side]
        state.recent[b, side, 1] = 0
    state.side[b] = BUYERS
    state.ticks[b] = 0
    state.deciding[b] = False
    state.closed[b] = False
    state.cycles[b] = 0
    clear_totals(b, state)
    optimum = 0.0
    for m in range(min(state.size[b, BUYERS], state.size[b, SELLERS])):
        buyer, seller = state.order[b, BUYERS, m], state.order[b, SELLERS, m]
        gain = state.valuation[b, BUYERS, buyer] - state.valuation[b, SELLERS, seller]
        if gain <= 0.0:
            break
        optimum += gain
    state.totals[b].optimal_welfare = optimum


@kernel
def accept_truthfully(order: Array, threshold: Array, b: int, side: int, first: int, n: int, clock: int) -> int:
    """Move the truthful acceptors of a broadcast to the front of the waiting bidders, and return their number.

    The waiting bidders are ``order[b, side, first:n]``, by eagerness, and ``clock`` is that of the broadcast [ticks].
    """
    count = 0
    while first + count < n:
        limit = threshold[b, side, order[b, side, first + count]]
        if (clock > limit) if side == BUYERS else (clock < limit):
            break
        count += 1
    gap = 1
    while gap < count // 3:
        gap = 3 * gap + 1
    while gap > 0:  # This is Shell sort by index, since tens of thousands of bidders may accept at once.
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
    """Move the bidders that chose to accept to the front of the waiting ones, and return their number.

    See `accept_truthfully` for the arguments.
    """
    count = 0
    for i in range(first, n):
        moved = order[b, side, i]
        if choices[b, side, moved] == 1:
            # The acceptors are sorted by index, and the others keep their order behind them.
            j = i
            while j > first + count or (j > first and order[b, side, j - 1] > moved):
                order[b, side, j] = order[b, side, j - 1]
                j -= 1
            order[b, side, j] = moved
            count += 1
    return count


@kernel
def book_acceptances(b: int, state: AuctionState, params: Array, side: int, count: int) -> float:
    """Record the acceptances of the next ``count`` bidders of ``order``, and return the auctioneer's reward [units].

    The totals get their regrets |v − c|, and the pairs that they complete.
    """
    p: DoubleDutchRecord = params[0]
    first = state.winners[b, side]
    clock = state.clock[b, side]
    reward = 0.0
    totals = state.totals[b]
    for m in range(first, first + count):
        i = state.order[b, side, m]
        state.accepted_at[b, side, i] = clock
        regret = abs(state.valuation[b, side, i] - clock * p.tick)
        totals.regret += regret
        reward -= p.regret_weight * regret
        if m < state.winners[b, 1 - side]:
            buyer, seller = state.order[b, BUYERS, m], state.order[b, SELLERS, m]
            gain = state.valuation[b, BUYERS, buyer] - state.valuation[b, SELLERS, seller]
            totals.welfare += gain
            spread = state.accepted_at[b, BUYERS, buyer] - state.accepted_at[b, SELLERS, seller]
            totals.clock_surplus += spread * p.tick
            totals.trades += 1.0
            if p.pay_per_trade:
                reward += p.welfare_weight * gain + p.trade_weight
    state.winners[b, side] = first + count
    state.recent[b, side, 1] = abs(clock - state.recent[b, side, 0])
    state.recent[b, side, 0] = clock
    return reward


@kernel
def is_exhausted(b: int, state: AuctionState) -> bool:
    """Return whether no bidder of one side waits, and the other side has at least as many winners."""
    waiting_buyers = state.size[b, BUYERS] - state.winners[b, BUYERS]
    waiting_sellers = state.size[b, SELLERS] - state.winners[b, SELLERS]
    buyers_matched = waiting_buyers == 0 and state.winners[b, SELLERS] >= state.winners[b, BUYERS]
    sellers_matched = waiting_sellers == 0 and state.winners[b, BUYERS] >= state.winners[b, SELLERS]
    return bool(buyers_matched or sellers_matched)


@kernel
def is_over(b: int, state: AuctionState, params: Array) -> bool:
    """Return whether the acceptances end the auction: one side is exhausted and no loser is waited for.

    With ``p.runs_on`` the auction waits for the acceptance of a loser, unless there are no trades or everybody trades.
    """
    p: DoubleDutchRecord = params[0]
    if not is_exhausted(b, state):
        return False
    buyers, sellers = state.winners[b, BUYERS], state.winners[b, SELLERS]
    everybody_trades = state.size[b, BUYERS] == state.size[b, SELLERS]
    return bool(not p.runs_on or buyers != sellers or buyers == 0 or everybody_trades)


@kernel
def is_running_on(b: int, state: AuctionState, params: Array) -> bool:
    """Return whether one side is exhausted and the clock of the active side runs on to the next loser."""
    p: DoubleDutchRecord = params[0]
    return bool(p.runs_on and is_exhausted(b, state) and not is_over(b, state, params))


@kernel
def clearing_price(b: int, state: AuctionState, params: Array, previous: int, side: int) -> float:
    """Return r* = ψ C_b + (1 − ψ) C_s [units per lot], in which ``previous`` is the clock of ``side`` [ticks].

    After a move by which the clocks cross, that is the clock before the move.
    """
    p: DoubleDutchRecord = params[0]
    buyer_clock = previous if side == BUYERS else state.clock[b, BUYERS]
    seller_clock = previous if side == SELLERS else state.clock[b, SELLERS]
    return float((p.psi * buyer_clock + (1.0 - p.psi) * seller_clock) * p.tick)


@kernel
def broadcast(b: int, state: AuctionState, params: Array, by_choice: bool, choices: Array) -> tuple[float, bool, bool]:
    """Broadcast the active side's clock to its waiting bidders, who accept truthfully or, ``by_choice``, as chosen.

    Returns
    -------
    reward : float
        Reward of the auctioneer [units].
    closed : bool
        Whether the auction is over.
    accepted : bool
        Whether any bidder accepted.
    """
    p: DoubleDutchRecord = params[0]
    side = state.side[b]
    first, n = state.winners[b, side], state.size[b, side]
    if is_over(b, state, params):  # A side may have no bidders from the start.
        price_at_clocks(b, state, params)
        return 0.0, True, False
    ran_on = is_running_on(b, state, params)
    state.ticks[b] += 1
    state.totals[b].messages += n - first
    if by_choice:
        count = accept_by_choice(state.order, b, side, first, n, choices)
    else:
        count = accept_truthfully(state.order, state.threshold, b, side, first, n, state.clock[b, side])
    closed = False
    if count > 0:
        reward = book_acceptances(b, state, params, side, count)
        closed = is_over(b, state, params)
        other = 1 - side
        if state.winners[b, other] < state.size[b, other]:
            state.side[b] = other
    else:
        cost = exchange_cost(n - first, p.message_weight)
        state.totals[b].exchange_cost += cost
        reward = -cost
        state.deciding[b] = True
    if not closed and is_running_on(b, state, params):
        # Those who wait have refused this clock, now or when the last of their side accepted at it.
        state.totals[b].price = state.clock[b, state.side[b]] * p.tick
    elif closed and not ran_on:
        price_at_clocks(b, state, params)
    return reward, closed, count > 0


@kernel
def move_clock(b: int, state: AuctionState, params: Array, step: int) -> bool:
    """Move the clock of the active side by ``step`` ticks, and return whether the clocks have crossed.

    If they have, the clearing price is set from the clocks before the move. If the clock runs on to the next loser, it
    is the last one that the loser refused, which the broadcast has set.
    """
    side = state.side[b]
    previous = state.clock[b, side]
    state.clock[b, side] = previous - step if side == BUYERS else previous + step
    state.deciding[b] = False
    crossed = bool(state.clock[b, BUYERS] < state.clock[b, SELLERS])
    if crossed and not is_running_on(b, state, params):
        state.totals[b].price = clearing_price(b, state, params, previous, side)
    return crossed


@kernel
def price_at_clocks(b: int, state: AuctionState, params: Array) -> None:
    """Set the clearing price from the current clocks.

    With ``p.runs_on`` it is the clock of the side that has a loser, if one side is exhausted: the last clock that the
    loser refused, or the one at which it accepted if that was before the exhaustion.
    """
    p: DoubleDutchRecord = params[0]
    if is_running_on(b, state, params):
        return
    buyers, sellers = state.winners[b, BUYERS], state.winners[b, SELLERS]
    if p.runs_on and buyers != sellers and is_exhausted(b, state):
        state.totals[b].price = state.clock[b, BUYERS if buyers > sellers else SELLERS] * p.tick
    else:
        state.totals[b].price = clearing_price(b, state, params, state.clock[b, BUYERS], BUYERS)


@kernel
def price_of_trades(b: int, state: AuctionState) -> float:
    """Return the clearing price r* of an auction that has ended [units per lot], or NaN if nobody trades.

    The clocks define a price without a trade too, but nobody pays it.
    """
    totals = state.totals[b]
    return float(totals.price) if totals.trades > 0.0 else math.nan


@kernel
def complete_totals(b: int, state: AuctionState) -> None:
    """Write the totals that are known only when an auction ends or is truncated: efficiency and ticks."""
    totals = state.totals[b]
    totals.efficiency = totals.welfare / totals.optimal_welfare if totals.optimal_welfare > 0.0 else 1.0
    totals.ticks = state.ticks[b]


@kernel
def finish(b: int, state: AuctionState, params: Array, reward: float) -> float:
    """Close the auction, complete its totals, and return ``reward`` plus the reward that is paid at the end [units]."""
    p: DoubleDutchRecord = params[0]
    totals = state.totals[b]
    if not p.pay_per_trade:
        reward += p.welfare_weight * totals.welfare + p.trade_weight * totals.trades
    complete_totals(b, state)
    totals.return_ += reward
    state.closed[b] = True
    return reward


@kernel
def play_tick(b: int, state: AuctionState, params: Array, step: int, choices: Array) -> tuple[float, bool]:
    """Play one broadcast to truthful bidders and, if nobody accepts, one clock move by ``step`` ticks.

    Returns
    -------
    reward : float
        Reward of the auctioneer [units].
    closed : bool
        Whether the auction is over.
    """
    p: DoubleDutchRecord = params[0]
    reward, closed, accepted = broadcast(b, state, params, False, choices)
    if not closed and not accepted:
        closed = move_clock(b, state, params, step)
    if not closed and state.ticks[b] >= p.max_ticks:
        closed = True
        price_at_clocks(b, state, params)
    if closed:
        return finish(b, state, params, reward), True
    state.totals[b].return_ += reward
    return reward, False


@kernel
def run_auction(state: AuctionState, params: Array, plan: Array, choices: Array) -> int:
    """Play market 0 to its end with the steps ``plan``, and return the number of clock moves.

    ``plan``, int64 (moves,), has the step of every clock move [ticks]; the last one is repeated.
    """
    moves = 0
    closed = False
    while not closed:
        gap = state.clock[0, BUYERS] - state.clock[0, SELLERS]
        _, closed = play_tick(0, state, params, plan[min(moves, plan.shape[0] - 1)], choices)
        moves += gap != state.clock[0, BUYERS] - state.clock[0, SELLERS]
    return moves
