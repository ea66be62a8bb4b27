"""Batched drivers of the double Dutch auction: open, play and end many markets. Arrays are written in place.

`step_auctioneer` is the fast driver of the usual case, in which only the auctioneer is controlled, and `step_roles`
serves every other choice of controlled roles. Both play a whole step in one call, resets included. `play_markets` and
`end_episodes` play the same step in two parts, for callers that need the state between the end of an episode and the
reset. All of them run the same scalar kernels.

The common arguments ``b``, ``state``, ``params``, ``side`` and ``choices`` are those of
`ioa_marl.markets.double_dutch.kernels`. Further arguments that the drivers share:

- ``mask``: bool (batch,), the markets that are played; the rows of the others are not touched;
- ``step_ticks``: int64 (steps,), the steps of the auctioneer [ticks];
- ``actions``: int64 (batch, 1), the indices of the steps that the auctioneers choose.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from ioa_marl.foundations.compile import kernel
from ioa_marl.markets.double_dutch.draws import draw_bids
from ioa_marl.markets.double_dutch.kernels import (
    BUYERS,
    SELLERS,
    broadcast,
    complete_totals,
    finish,
    move_clock,
    open_auction,
    play_tick,
    price_at_clocks,
    price_of_trades,
)
from ioa_marl.markets.double_dutch.observations import observe_all, observe_auctioneer
from ioa_marl.markets.double_dutch.state import Array, AuctionState, DoubleDutchRecord


class StepOutputs(NamedTuple):
    """Outputs of a step of the batch, without those of the bidders.

    The final observations, the metrics and the ledger are written only where an episode ends.
    """

    terminated: Array
    """bool (batch,): whether the auction closed."""
    truncated: Array
    """bool (batch,): whether the limit of steps ended the episode."""
    observation: Array
    """float32 (batch, 1, features): observation of the auctioneer, after a reset if there was one."""
    reward: Array
    """float32 (batch, 1): reward of the auctioneer [units]."""
    final_observation: Array
    """float32 (batch, 1, features): observation of the auctioneer at the end of an episode."""
    metrics: Array
    """`Metrics` (batch,): metrics of the episode."""
    ledger: Array
    """float64 (batch, buyers + sellers + 1): receipts of every account, the auctioneer's last [units]."""


class BidderOutputs(NamedTuple):
    """Outputs of a step for the bidders of one side; the arrays have no agents if the side is not controlled."""

    observation: Array
    """float32 (batch, bidders, features): observations, after a reset if there was one."""
    reward: Array
    """float32 (batch, bidders): rewards [units]."""
    final_observation: Array
    """float32 (batch, bidders, features): observations at the end of an episode."""
    active: Array
    """bool (batch, bidders): whether the next step uses a bidder's action."""


@kernel
def write_metrics(b: int, state: AuctionState, out: Array) -> None:
    """Copy the totals of market ``b`` into ``out``, `Metrics` (batch,), with the price of its trades."""
    out[b] = state.totals[b]
    out[b].price = price_of_trades(b, state)


@kernel
def write_ledger(b: int, state: AuctionState, params: Array, out: Array) -> None:
    """Write the receipts of every account of market ``b`` into ``out``, float64 (batch, accounts) [units].

    The buyers who trade pay the clearing price, the sellers who trade receive it, and the auctioneer keeps the rest,
    which is 0. A truncated auction is not settled, so that nobody pays.
    """
    p: DoubleDutchRecord = params[0]
    for account in range(out.shape[1]):
        out[b, account] = 0.0
    price, residual = state.totals[b].price, 0.0
    for m in range(int(state.totals[b].trades) if state.closed[b] else 0):
        out[b, state.order[b, BUYERS, m]] -= price
        residual += price
        out[b, p.max_buyers + state.order[b, SELLERS, m]] += price
        residual -= price
    out[b, out.shape[1] - 1] = residual


@kernel
def pay_bidders(b: int, state: AuctionState, side: int, out: Array) -> None:
    """Write the rewards of the bidders of a side into ``out``, float32 (batch, bidders) [units].

    When the auction has closed, they are the utilities v_j − r* or r* − v_k of the traders; all others are 0.
    """
    for i in range(out.shape[1]):
        out[b, i] = np.float32(0.0)
    if state.closed[b] and out.shape[1] > 0:
        price = state.totals[b].price
        for m in range(int(state.totals[b].trades)):
            i = state.order[b, side, m]
            utility = state.valuation[b, side, i] - price if side == BUYERS else price - state.valuation[b, side, i]
            out[b, i] = np.float32(utility)


@kernel
def is_controlled(side: int, params: Array) -> bool:
    """Return whether the bidders of a side act in steps of the environment."""
    p: DoubleDutchRecord = params[0]
    return bool(p.buyers_controlled if side == BUYERS else p.sellers_controlled)


@kernel
def is_side_active(b: int, state: AuctionState, params: Array, side: int) -> bool:
    """Return whether the side is controlled and the next step uses the actions of its waiting bidders."""
    return bool(not state.deciding[b] and state.side[b] == side and is_controlled(side, params))


@kernel
def write_active_bidders(b: int, state: AuctionState, params: Array, side: int, active: Array) -> None:
    """Write whether the next step uses the action of each bidder of a side into ``active``, bool (batch, bidders)."""
    for i in range(active.shape[1]):
        active[b, i] = False
    if is_side_active(b, state, params, side):
        for m in range(state.winners[b, side], state.size[b, side]):
            active[b, state.order[b, side, m]] = True


@kernel
def next_episode(b: int, state: AuctionState, params: Array) -> None:
    """Draw and open the auction of the next episode."""
    state.episode[b] += np.uint64(1)
    draw_bids(b, state, params)
    open_auction(b, state, params)


@kernel
def play_roles(b: int, state: AuctionState, params: Array, step: int, choices: Array) -> tuple[float, bool]:
    """Play market ``b`` until the action of a controlled role is needed again.

    Every action is used at most once in a step of the environment.

    Parameters
    ----------
    step : int
        Step of the auctioneer [ticks], if it is controlled.

    Returns
    -------
    reward : float
        Reward of the auctioneer [units].
    closed : bool
        Whether the auction is over.
    """
    p: DoubleDutchRecord = params[0]
    total = 0.0
    closed = False
    # Actions that this step has not used yet: those of the active side's bidders, or the one of the auctioneer.
    bidders_unused = not state.deciding[b] and is_controlled(state.side[b], params)
    auctioneer_unused = not bidders_unused
    while not closed:
        if not state.deciding[b]:
            by_choice = is_controlled(state.side[b], params)
            if by_choice and not bidders_unused:
                break
            if p.auctioneer_controlled and not by_choice and not auctioneer_unused:
                break
            reward, closed, accepted = broadcast(b, state, params, by_choice, choices)
            total += reward
            bidders_unused = False
            if accepted:
                auctioneer_unused = False  # A step of a controlled auctioneer has one broadcast.
        if not closed and state.deciding[b]:
            if p.auctioneer_controlled and not auctioneer_unused:
                break  # It chooses in a step of its own, after it has observed that nobody accepted.
            closed = move_clock(b, state, params, step if p.auctioneer_controlled else p.scripted_step)
            auctioneer_unused = False
        if not closed and not state.deciding[b] and state.ticks[b] >= p.max_ticks:
            closed = True
            price_at_clocks(b, state, params)
    if closed:
        return finish(b, state, params, total), True
    state.totals[b].return_ += total
    return total, False


@kernel
def open_markets(state: AuctionState, params: Array, mask: Array) -> None:
    """Open an auction over the bids of the state in the markets ``mask``."""
    for b in range(state.clock.shape[0]):
        if mask[b]:
            open_auction(b, state, params)


@kernel
def write_active_agents(
    b: int, state: AuctionState, params: Array, auctioneer: Array, buyers: Array, sellers: Array
) -> None:
    """Write whose actions the next step of market ``b`` uses, bool (batch, agents) for each role.

    At a broadcast to a controlled side they are its waiting bidders, otherwise the auctioneer.
    """
    bidders_active = is_side_active(b, state, params, BUYERS) or is_side_active(b, state, params, SELLERS)
    auctioneer[b, 0] = not bidders_active
    write_active_bidders(b, state, params, BUYERS, buyers)
    write_active_bidders(b, state, params, SELLERS, sellers)


@kernel
def write_active(state: AuctionState, params: Array, auctioneer: Array, buyers: Array, sellers: Array) -> None:
    """Write whose actions the next step uses in all markets, bool (batch, agents) for each role."""
    for b in range(auctioneer.shape[0]):
        write_active_agents(b, state, params, auctioneer, buyers, sellers)


@kernel
def complete_truncated(b: int, state: AuctionState, params: Array) -> None:
    """Complete the totals of a truncated episode, with the clearing price of its current clocks."""
    price_at_clocks(b, state, params)
    complete_totals(b, state)


@kernel
def truncate_at_limit(b: int, state: AuctionState, params: Array) -> bool:
    """Return whether the episode has reached the limit of steps, and complete its totals if it has."""
    p: DoubleDutchRecord = params[0]
    if state.cycles[b] < p.max_cycles:
        return False
    complete_truncated(b, state, params)
    return True


@kernel
def step_auctioneer(state: AuctionState, params: Array, step_ticks: Array, actions: Array, out: StepOutputs) -> None:
    """Play one step of every market, a broadcast to truthful bidders, and reset the markets whose episodes end."""
    p: DoubleDutchRecord = params[0]
    for b in range(actions.shape[0]):
        reward, closed = play_tick(b, state, params, step_ticks[actions[b, 0]], state.order)
        state.cycles[b] += 1
        truncated = not closed and truncate_at_limit(b, state, params)
        out.reward[b, 0] = np.float32(reward)
        out.terminated[b] = closed
        out.truncated[b] = truncated
        if closed or truncated:
            write_metrics(b, state, out.metrics)
            write_ledger(b, state, params, out.ledger)
            observe_auctioneer(b, state, params, out.final_observation)
            if p.autoreset:
                next_episode(b, state, params)
        observe_auctioneer(b, state, params, out.observation)


@kernel
def step_roles(
    state: AuctionState,
    params: Array,
    step_ticks: Array,
    actions: Array,
    choices: Array,
    out: StepOutputs,
    auctioneer_active: Array,
    buyers: BidderOutputs,
    sellers: BidderOutputs,
) -> None:
    """Play one step of every market for any controlled roles, and reset the markets whose episodes end.

    Whether the next step uses the auctioneer's action is written into ``auctioneer_active``, bool (batch, 1).
    """
    p: DoubleDutchRecord = params[0]
    for b in range(actions.shape[0]):
        reward, closed = play_roles(b, state, params, step_ticks[actions[b, 0]], choices)
        state.cycles[b] += 1
        truncated = not closed and truncate_at_limit(b, state, params)
        out.reward[b, 0] = np.float32(reward)
        out.terminated[b] = closed
        out.truncated[b] = truncated
        pay_bidders(b, state, BUYERS, buyers.reward)
        pay_bidders(b, state, SELLERS, sellers.reward)
        if closed or truncated:
            write_metrics(b, state, out.metrics)
            write_ledger(b, state, params, out.ledger)
            observe_all(b, state, params, out.final_observation, buyers.final_observation, sellers.final_observation)
            if p.autoreset:
                next_episode(b, state, params)
        observe_all(b, state, params, out.observation, buyers.observation, sellers.observation)
        write_active_agents(b, state, params, auctioneer_active, buyers.active, sellers.active)


@kernel
def play_markets(
    state: AuctionState,
    params: Array,
    step_ticks: Array,
    mask: Array,
    actions: Array,
    choices: Array,
    reward: Array,
    buyer_rewards: Array,
    seller_rewards: Array,
    terminated: Array,
) -> None:
    """Play the markets ``mask`` until the action of a controlled role is needed again.

    Parameters
    ----------
    reward : ndarray of float32, shape (batch, 1)
        Output: rewards of the auctioneers [units].
    buyer_rewards, seller_rewards : ndarray of float32, shape (batch, agents)
        Output: rewards of the bidders [units]; no agents if the side is not controlled.
    terminated : ndarray of bool, shape (batch,)
        Output: whether the auction closed.
    """
    for b in range(mask.shape[0]):
        if mask[b]:
            auctioneer_reward, closed = play_roles(b, state, params, step_ticks[actions[b, 0]], choices)
            reward[b, 0] = np.float32(auctioneer_reward)
            terminated[b] = closed
            pay_bidders(b, state, BUYERS, buyer_rewards)
            pay_bidders(b, state, SELLERS, seller_rewards)


@kernel
def end_episodes(state: AuctionState, params: Array, mask: Array, metrics: Array, ledger: Array) -> None:
    """Write metrics and ledger of the episodes ``mask``, which end because the auction closed or was truncated.

    ``metrics`` is `Metrics` (batch,), and ``ledger`` has the receipts, float64 (batch, accounts) [units].
    """
    for b in range(mask.shape[0]):
        if mask[b]:
            if not state.closed[b]:
                complete_truncated(b, state, params)
            write_metrics(b, state, metrics)
            write_ledger(b, state, params, ledger)
