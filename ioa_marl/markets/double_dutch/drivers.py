"""Batched drivers of the double Dutch auction: step many markets, encode what agents see, reset finished ones.

`step_auctioneer` is the short path for the usual case (only the auctioneer learns); `step_roles` serves every other
choice of learning roles. Both play a whole step in one call, resets included. `play_markets` plays what comes before
an end, and `end_episodes` follows it, where somebody looks at the state between end and reset. All run the same scalar
kernels. Outputs go into preallocated arrays.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from ioa_marl.foundations.compile import kernel
from ioa_marl.foundations.scaling import unit
from ioa_marl.markets.double_dutch.kernels import (
    BUYERS,
    SELLERS,
    broadcast,
    complete_totals,
    draw_bids,
    finish,
    move_clock,
    open_auction,
    play_tick,
    price_at_clocks,
)
from ioa_marl.markets.double_dutch.state import Array, AuctionState, DoubleDutchRecord

AUCTIONEER_FEATURES = 6
AUCTIONEER_FEATURES_EXTENDED = 12
BIDDER_EXTRAS = 2


class StepOutputs(NamedTuple):
    """What a step writes; ``final_*`` and ``metrics`` and ``ledger`` only where an episode ended."""

    terminated: Array
    """bool (batch,)."""
    truncated: Array
    """bool (batch,)."""
    observation: Array
    """float32 (batch, 1, features) of the auctioneer."""
    reward: Array
    """float32 (batch, 1) of the auctioneer."""
    final_observation: Array
    """float32 (batch, 1, features) of the auctioneer."""
    metrics: Array
    """`Metrics` (batch,)."""
    ledger: Array
    """float64 (batch, buyers + sellers + 1): what each account received; the auctioneer's is last."""


class BidderOutputs(NamedTuple):
    """What a step writes for the bidders of a side, without agents if they do not learn."""

    observation: Array
    """float32 (batch, bidders, features)."""
    reward: Array
    """float32 (batch, bidders)."""
    final_observation: Array
    """float32 (batch, bidders, features)."""
    active: Array
    """bool (batch, bidders): who is asked in the next step."""


@kernel
def observe_auctioneer(b: int, state: AuctionState, params: Array, out: Array) -> None:
    """Write {Ψ, t, C_b, C_s, |J_b|, |K_s|} scaled to [0, 1], and the extended features if they are on."""
    p: DoubleDutchRecord = params[0]
    cap = float(p.buyer_start)
    out[b, 0, 0] = np.float32(state.side[b])
    out[b, 0, 1] = unit(state.ticks[b] / p.max_ticks)
    out[b, 0, 2] = unit(state.clock[b, 0] / cap)
    out[b, 0, 3] = unit(state.clock[b, 1] / cap)
    out[b, 0, 4] = unit(state.winners[b, 0] / p.max_buyers)
    out[b, 0, 5] = unit(state.winners[b, 1] / p.max_sellers)
    if p.extended:
        for side in range(2):
            out[b, 0, 6 + side] = unit(abs(state.clock[b, side] - state.recent[b, side, 0]) / cap)
            out[b, 0, 8 + side] = unit(state.recent[b, side, 1] / cap)
        out[b, 0, 10] = unit(state.size[b, 0] / p.max_buyers)
        out[b, 0, 11] = unit(state.size[b, 1] / p.max_sellers)


@kernel
def observe_bidders(b: int, state: AuctionState, params: Array, side: int, seen: Array, out: Array) -> None:
    """Write for each bidder what the auctioneer has ``seen``, its valuation over the cap, and if it accepted."""
    p: DoubleDutchRecord = params[0]
    cap = p.buyer_start * p.tick
    base = seen.shape[2]
    for i in range(out.shape[1]):
        for feature in range(base):
            out[b, i, feature] = seen[b, 0, feature]
        out[b, i, base] = unit(state.valuation[b, side, i] / cap)
        out[b, i, base + 1] = np.float32(state.accepted_at[b, side, i] >= 0)


@kernel
def write_metrics(b: int, state: AuctionState, out: Array) -> None:
    """Copy the totals of market ``b``."""
    out[b] = state.totals[b]


@kernel
def write_ledger(b: int, state: AuctionState, params: Array, out: Array) -> None:
    """Receipts of every account: traders pay or get the clearing price, the auctioneer keeps the residual.

    An auction that a cycle limit cuts off is not settled: nobody pays.
    """
    p: DoubleDutchRecord = params[0]
    for account in range(out.shape[1]):
        out[b, account] = 0.0
    price, residual = state.totals[b].price, 0.0
    for m in range(int(state.totals[b].trades) if state.closed[b] else 0):
        out[b, state.order[b, 0, m]] -= price
        residual += price
        out[b, p.max_buyers + state.order[b, 1, m]] += price
        residual -= price
    out[b, out.shape[1] - 1] = residual


@kernel
def pay_bidders(b: int, state: AuctionState, side: int, out: Array) -> None:
    """Write the rewards of a side: at the end utilities v_j − r* or r* − v_k of the traders, zero for all else."""
    for i in range(out.shape[1]):
        out[b, i] = np.float32(0.0)
    if state.closed[b] and out.shape[1] > 0:
        price = state.totals[b].price
        for m in range(int(state.totals[b].trades)):
            i = state.order[b, side, m]
            utility = state.valuation[b, side, i] - price if side == BUYERS else price - state.valuation[b, side, i]
            out[b, i] = np.float32(utility)


@kernel
def side_learns(side: int, params: Array) -> bool:
    """Whether the bidders of a side act in steps of the environment."""
    p: DoubleDutchRecord = params[0]
    return bool(p.buyers_learn if side == 0 else p.sellers_learn)


@kernel
def is_asked(b: int, state: AuctionState, params: Array, side: int) -> bool:
    """Whether the waiting bidders of a side, which learns, are asked in the next step."""
    return bool(not state.deciding[b] and state.side[b] == side and side_learns(side, params))


@kernel
def write_asked(b: int, state: AuctionState, params: Array, side: int, active: Array) -> None:
    """Write which bidders of a side are asked next, bool (batch, bidders of the side)."""
    for i in range(active.shape[1]):
        active[b, i] = False
    if is_asked(b, state, params, side):
        for m in range(state.winners[b, side], state.size[b, side]):
            active[b, state.order[b, side, m]] = True


@kernel
def next_episode(b: int, state: AuctionState, params: Array) -> None:
    """Draw and open the next auction of market ``b``."""
    state.episode[b] += np.uint64(1)
    draw_bids(b, state, params)
    open_auction(b, state, params)


@kernel
def play_roles(b: int, state: AuctionState, params: Array, step: int, choices: Array) -> tuple[float, bool]:
    """Play market ``b`` until a learning role is asked again. Returns (auctioneer's reward, closed).

    ``choices`` are the bidders' (2, bidders); an action is used at most once a step.
    """
    p: DoubleDutchRecord = params[0]
    total = 0.0
    closed = False
    bidders_fresh = not state.deciding[b] and side_learns(state.side[b], params)
    auctioneer_fresh = not bidders_fresh
    while not closed:
        if not state.deciding[b]:
            bidders_learn = side_learns(state.side[b], params)
            if bidders_learn and not bidders_fresh:
                break
            if p.auctioneer_learns and not bidders_learn and not auctioneer_fresh:
                break
            reward, closed, accepted = broadcast(b, state, params, bidders_learn, choices)
            total += reward
            bidders_fresh = False
            if accepted:
                auctioneer_fresh = False  # one tick a step
        if not closed and state.deciding[b]:
            if p.auctioneer_learns and not auctioneer_fresh:
                break  # it decides in a step of its own, knowing that nobody accepted
            closed = move_clock(b, state, params, step if p.auctioneer_learns else p.scripted_step)
            auctioneer_fresh = False
        if not closed and not state.deciding[b] and state.ticks[b] >= p.max_ticks:
            closed = True
            price_at_clocks(b, state, params)
    if closed:
        return finish(b, state, params, total), True
    state.totals[b].return_ += total
    return total, False


@kernel
def open_markets(state: AuctionState, params: Array, draw: bool, mask: Array) -> None:
    """Open an auction in the markets ``mask``; ``draw`` the bids, or keep those that the state holds."""
    for b in range(state.clock.shape[0]):
        if mask[b]:
            if draw:
                draw_bids(b, state, params)
            open_auction(b, state, params)


@kernel
def observe_all(b: int, state: AuctionState, params: Array, auctioneer: Array, buyers: Array, sellers: Array) -> None:
    """Write what everybody in market ``b`` sees; bidders see what the auctioneer does, and more."""
    observe_auctioneer(b, state, params, auctioneer)
    observe_bidders(b, state, params, BUYERS, auctioneer, buyers)
    observe_bidders(b, state, params, SELLERS, auctioneer, sellers)


@kernel
def write_all_asked(
    b: int, state: AuctionState, params: Array, auctioneer: Array, buyers: Array, sellers: Array
) -> None:
    """Write who is asked next: the waiting bidders of a learning side at a broadcast, else the auctioneer."""
    auctioneer[b, 0] = not (is_asked(b, state, params, BUYERS) or is_asked(b, state, params, SELLERS))
    write_asked(b, state, params, BUYERS, buyers)
    write_asked(b, state, params, SELLERS, sellers)


@kernel
def observe_markets(state: AuctionState, params: Array, auctioneer: Array, buyers: Array, sellers: Array) -> None:
    """Write what the agents of all markets see, float32 (batch, agents, features) each.

    A side that does not learn has arrays without agents; the auctioneer's is needed for the bidders'.
    """
    for b in range(auctioneer.shape[0]):
        observe_all(b, state, params, auctioneer, buyers, sellers)


@kernel
def write_active(state: AuctionState, params: Array, auctioneer: Array, buyers: Array, sellers: Array) -> None:
    """Write who is asked next in all markets, bool (batch, agents) each."""
    for b in range(auctioneer.shape[0]):
        write_all_asked(b, state, params, auctioneer, buyers, sellers)


@kernel
def price_cut_off(b: int, state: AuctionState, params: Array) -> None:
    """Complete the totals of an episode that a limit of steps ends: those of the clocks as they stand."""
    price_at_clocks(b, state, params)
    complete_totals(b, state)


@kernel
def cut_off(b: int, state: AuctionState, params: Array) -> bool:
    """Whether the limit of steps ends the episode now; its totals are then complete."""
    p: DoubleDutchRecord = params[0]
    if state.cycles[b] < p.max_cycles:
        return False
    price_cut_off(b, state, params)
    return True


@kernel
def step_auctioneer(state: AuctionState, params: Array, step_ticks: Array, actions: Array, out: StepOutputs) -> None:
    """One tick of every market with truthful bidders; ``actions`` (batch, 1) index ``step_ticks``."""
    p: DoubleDutchRecord = params[0]
    for b in range(actions.shape[0]):
        reward, closed = play_tick(b, state, params, step_ticks[actions[b, 0]], state.order)
        state.cycles[b] += 1
        truncated = not closed and cut_off(b, state, params)
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
    asked: Array,
    buyers: BidderOutputs,
    sellers: BidderOutputs,
) -> None:
    """One step of every market for any learning roles, a whole step in one call; ``asked`` is the auctioneer's.

    ``actions`` (batch, 1) index ``step_ticks``; ``choices`` (batch, 2, bidders) are the bidders', 1 to accept.
    """
    p: DoubleDutchRecord = params[0]
    for b in range(actions.shape[0]):
        reward, closed = play_roles(b, state, params, step_ticks[actions[b, 0]], choices)
        state.cycles[b] += 1
        truncated = not closed and cut_off(b, state, params)
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
        write_all_asked(b, state, params, asked, buyers.active, sellers.active)


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
    """Play the markets ``mask`` until a learning role is asked again.

    Parameters
    ----------
    step_ticks : ndarray of int64, shape (steps,)
        The auctioneer's steps [ticks].
    mask : ndarray of bool, shape (batch,)
        Markets to play.
    actions : ndarray of int64, shape (batch, 1)
        Indices of the auctioneers' steps.
    choices : ndarray of int64, shape (batch, 2, bidders)
        1 where a bidder accepts; read where its side learns.
    reward : ndarray of float32, shape (batch, 1)
        Where the auctioneers' rewards go.
    buyer_rewards, seller_rewards : ndarray of float32, shape (batch, agents)
        Where the bidders' rewards go, without agents where they do not learn.
    terminated : ndarray of bool, shape (batch,)
        Where it goes whether an auction closed.
    """
    for b in range(mask.shape[0]):
        if mask[b]:
            gained, closed = play_roles(b, state, params, step_ticks[actions[b, 0]], choices)
            reward[b, 0] = np.float32(gained)
            terminated[b] = closed
            pay_bidders(b, state, BUYERS, buyer_rewards)
            pay_bidders(b, state, SELLERS, seller_rewards)


@kernel
def end_episodes(state: AuctionState, params: Array, mask: Array, metrics: Array, ledger: Array) -> None:
    """Write `Metrics` (batch,) and the ledger (batch, accounts) of episodes that end: closed auctions or cut off."""
    for b in range(mask.shape[0]):
        if mask[b]:
            if not state.closed[b]:
                price_cut_off(b, state, params)
            write_metrics(b, state, metrics)
            write_ledger(b, state, params, ledger)
