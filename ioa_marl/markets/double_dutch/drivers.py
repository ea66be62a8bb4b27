"""Batched drivers of the double Dutch auction: step many markets, encode what agents see, reset finished ones.

`step_auctioneer` is the short path for the usual case (only the auctioneer learns); `step_roles` serves every
other choice of learning roles. Both run the same scalar kernels. Outputs go into preallocated arrays.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from ioa_marl.foundations.compile import kernel
from ioa_marl.foundations.scaling import unit
from ioa_marl.markets.double_dutch.kernels import (
    AUTORESET,
    BROADCAST,
    BUYER_START,
    DECIDE,
    EXTENDED,
    LEARN_AUCTIONEER,
    LEARN_BUYERS,
    MAX_BUYERS,
    MAX_CYCLES,
    MAX_SELLERS,
    MAX_TICKS,
    PHASE,
    PRICE,
    RETURN,
    SCRIPTED_STEP,
    SIDE,
    STEPS,
    TICK,
    TICKS,
    TRADES,
    Array,
    AuctionState,
    broadcast,
    complete_totals,
    draw_bids,
    finish,
    move_clock,
    open_auction,
    play_tick,
    price_at_clocks,
)

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
    """float64 (batch, metrics)."""
    ledger: Array
    """float64 (batch, buyers + sellers + 1): what each account received; the auctioneer's is last."""


class BidderOutputs(NamedTuple):
    """What a step writes for the bidders of both sides, padded to the larger one."""

    observation: Array
    """float32 (batch, 2, bidders, features)."""
    reward: Array
    """float32 (batch, 2, bidders)."""
    final_observation: Array
    """float32 (batch, 2, bidders, features)."""
    active: Array
    """bool (batch, 2, bidders): who is asked in the next step."""
    auctioneer_active: Array
    """bool (batch, 1)."""


@kernel
def observe_auctioneer(b: int, state: AuctionState, counts: Array, out: Array, row: int, agent: int) -> None:
    """Write {Ψ, t, C_b, C_s, |J_b|, |K_s|} scaled to [0, 1], and the extended features if they are on."""
    cap = float(counts[BUYER_START])
    out[row, agent, 0] = np.float32(state.turn[b, SIDE])
    out[row, agent, 1] = unit(state.turn[b, TICKS] / counts[MAX_TICKS])
    out[row, agent, 2] = unit(state.clock[b, 0] / cap)
    out[row, agent, 3] = unit(state.clock[b, 1] / cap)
    out[row, agent, 4] = unit(state.winners[b, 0] / counts[MAX_BUYERS])
    out[row, agent, 5] = unit(state.winners[b, 1] / counts[MAX_SELLERS])
    if counts[EXTENDED] == 1:
        for side in range(2):
            out[row, agent, 6 + side] = unit(abs(state.clock[b, side] - state.recent[b, side, 0]) / cap)
            out[row, agent, 8 + side] = unit(state.recent[b, side, 1] / cap)
        out[row, agent, 10] = unit(state.size[b, 0] / counts[MAX_BUYERS])
        out[row, agent, 11] = unit(state.size[b, 1] / counts[MAX_SELLERS])


@kernel
def observe_bidders(b: int, state: AuctionState, numbers: Array, counts: Array, seen: Array, out: Array) -> None:
    """Write for each bidder what the auctioneer has ``seen``, its valuation over the cap, and if it accepted."""
    cap = counts[BUYER_START] * numbers[TICK]
    base = seen.shape[2]
    for side in range(2):
        n = counts[MAX_BUYERS] if side == 0 else counts[MAX_SELLERS]
        for i in range(n):
            for feature in range(base):
                out[b, side, i, feature] = seen[b, 0, feature]
            out[b, side, i, base] = unit(state.valuation[b, side, i] / cap)
            out[b, side, i, base + 1] = np.float32(state.accepted_at[b, side, i] >= 0)


@kernel
def write_metrics(b: int, state: AuctionState, out: Array) -> None:
    """Copy the totals of market ``b``."""
    for column in range(out.shape[1]):
        out[b, column] = state.totals[b, column]


@kernel
def write_ledger(b: int, state: AuctionState, counts: Array, closed: bool, out: Array) -> None:
    """Receipts of every account: traders pay or get the clearing price, the auctioneer keeps the residual.

    An auction that a cycle limit cuts off is not settled: nobody pays.
    """
    for account in range(out.shape[1]):
        out[b, account] = 0.0
    price, residual = state.totals[b, PRICE], 0.0
    for m in range(int(state.totals[b, TRADES]) if closed else 0):
        out[b, state.order[b, 0, m]] -= price
        residual += price
        out[b, counts[MAX_BUYERS] + state.order[b, 1, m]] += price
        residual -= price
    out[b, out.shape[1] - 1] = residual


@kernel
def write_utilities(b: int, state: AuctionState, out: Array) -> None:
    """Utilities v_j − r* and r* − v_k of the traders, zero for everybody else."""
    price = state.totals[b, PRICE]
    for m in range(int(state.totals[b, TRADES])):
        buyer, seller = state.order[b, 0, m], state.order[b, 1, m]
        out[b, 0, buyer] = np.float32(state.valuation[b, 0, buyer] - price)
        out[b, 1, seller] = np.float32(price - state.valuation[b, 1, seller])


@kernel
def write_active(b: int, state: AuctionState, counts: Array, active: Array, auctioneer_active: Array) -> None:
    """Who is asked next: the waiting bidders of a learning side at a broadcast, else the auctioneer."""
    side = state.turn[b, SIDE]
    asked = state.turn[b, PHASE] == BROADCAST and counts[LEARN_BUYERS + side] == 1
    auctioneer_active[b, 0] = counts[LEARN_AUCTIONEER] == 1 and not asked
    for i in range(active.shape[2]):
        active[b, 0, i] = False
        active[b, 1, i] = False
    if asked:
        for m in range(state.winners[b, side], state.size[b, side]):
            active[b, side, state.order[b, side, m]] = True


@kernel
def next_episode(b: int, state: AuctionState, numbers: Array, counts: Array) -> None:
    """Draw and open the next auction of market ``b``."""
    state.episode[b] += np.uint64(1)
    draw_bids(b, state, numbers, counts)
    open_auction(b, state, numbers, counts)


@kernel
def play_roles(
    b: int, state: AuctionState, numbers: Array, counts: Array, step: int, choices: Array
) -> tuple[float, bool]:
    """Play market ``b`` until a learning role is asked again. Returns (auctioneer's reward, closed).

    ``choices`` are the bidders' (2, bidders); an action is used at most once a step.
    """
    total = 0.0
    closed = False
    learns = counts[LEARN_AUCTIONEER] == 1
    bidders_fresh = state.turn[b, PHASE] == BROADCAST and counts[LEARN_BUYERS + state.turn[b, SIDE]] == 1
    auctioneer_fresh = not bidders_fresh
    while not closed:
        if state.turn[b, PHASE] == BROADCAST:
            side = state.turn[b, SIDE]
            bidders_learn = counts[LEARN_BUYERS + side] == 1
            if (bidders_learn and not bidders_fresh) or (learns and not bidders_learn and not auctioneer_fresh):
                break
            reward, closed, accepted = broadcast(b, state, numbers, counts, bidders_learn, choices)
            total += reward
            bidders_fresh = False
            if accepted:
                auctioneer_fresh = False  # one tick a step
        if not closed and state.turn[b, PHASE] == DECIDE:
            if learns and not auctioneer_fresh:
                break  # it decides in a step of its own, knowing that nobody accepted
            closed = move_clock(b, state, numbers, counts, step if learns else counts[SCRIPTED_STEP])
            auctioneer_fresh = False
        if not closed and state.turn[b, PHASE] == BROADCAST and state.turn[b, TICKS] >= counts[MAX_TICKS]:
            closed = True
            price_at_clocks(b, state, numbers)
    if closed:
        return finish(b, state, numbers, counts, total), True
    state.totals[b, RETURN] += total
    return total, False


@kernel
def open_markets(state: AuctionState, numbers: Array, counts: Array, draw: bool, mask: Array) -> None:
    """Open an auction in the markets ``mask``; ``draw`` the bids, or keep those that the state holds."""
    for b in range(state.clock.shape[0]):
        if mask[b]:
            if draw:
                draw_bids(b, state, numbers, counts)
            open_auction(b, state, numbers, counts)


@kernel
def observe_markets(state: AuctionState, counts: Array, observation: Array) -> None:
    """Write the auctioneer's observation of every market."""
    for b in range(state.clock.shape[0]):
        observe_auctioneer(b, state, counts, observation, b, 0)


@kernel
def observe_all_bidders(
    state: AuctionState, numbers: Array, counts: Array, seen: Array, bidders: BidderOutputs
) -> None:
    """Write observations and activity of all bidders of all markets."""
    for b in range(state.clock.shape[0]):
        observe_bidders(b, state, numbers, counts, seen, bidders.observation)
        write_active(b, state, counts, bidders.active, bidders.auctioneer_active)


@kernel
def cut_off(b: int, state: AuctionState, numbers: Array, counts: Array) -> bool:
    """Whether the cycle limit ends the episode now; its totals are then those of the clocks as they stand."""
    if state.turn[b, STEPS] < counts[MAX_CYCLES]:
        return False
    price_at_clocks(b, state, numbers)
    complete_totals(b, state)
    return True


@kernel
def step_auctioneer(
    state: AuctionState, numbers: Array, counts: Array, step_ticks: Array, actions: Array, out: StepOutputs
) -> None:
    """One tick of every market with truthful bidders; ``actions`` (batch, 1) index ``step_ticks``."""
    for b in range(actions.shape[0]):
        reward, closed = play_tick(b, state, numbers, counts, step_ticks[actions[b, 0]], state.order)
        state.turn[b, STEPS] += 1
        truncated = not closed and cut_off(b, state, numbers, counts)
        out.reward[b, 0] = np.float32(reward)
        out.terminated[b] = closed
        out.truncated[b] = truncated
        if closed or truncated:
            write_metrics(b, state, out.metrics)
            write_ledger(b, state, counts, closed, out.ledger)
            observe_auctioneer(b, state, counts, out.final_observation, b, 0)
            if counts[AUTORESET] == 1:
                next_episode(b, state, numbers, counts)
        observe_auctioneer(b, state, counts, out.observation, b, 0)


@kernel
def step_roles(
    state: AuctionState,
    numbers: Array,
    counts: Array,
    step_ticks: Array,
    actions: Array,
    choices: Array,
    out: StepOutputs,
    bidders: BidderOutputs,
) -> None:
    """One step of every market for any learning roles; ``choices`` (batch, 2, bidders) are the bidders'."""
    for b in range(actions.shape[0]):
        step = step_ticks[actions[b, 0]]
        reward, closed = play_roles(b, state, numbers, counts, step, choices)
        state.turn[b, STEPS] += 1
        truncated = not closed and cut_off(b, state, numbers, counts)
        out.reward[b, 0] = np.float32(reward)
        out.terminated[b] = closed
        out.truncated[b] = truncated
        for side in range(2):
            for i in range(bidders.reward.shape[2]):
                bidders.reward[b, side, i] = np.float32(0.0)
        if closed or truncated:
            write_metrics(b, state, out.metrics)
            write_ledger(b, state, counts, closed, out.ledger)
            if closed:
                write_utilities(b, state, bidders.reward)
            observe_auctioneer(b, state, counts, out.final_observation, b, 0)
            observe_bidders(b, state, numbers, counts, out.final_observation, bidders.final_observation)
            if counts[AUTORESET] == 1:
                next_episode(b, state, numbers, counts)
        observe_auctioneer(b, state, counts, out.observation, b, 0)
        observe_bidders(b, state, numbers, counts, out.observation, bidders.observation)
        write_active(b, state, counts, bidders.active, bidders.auctioneer_active)
