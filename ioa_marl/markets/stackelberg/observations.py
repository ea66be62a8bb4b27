"""Observations of the agents of a Stackelberg market, scaled to [0, 1] by an upper bound of each quantity."""

from __future__ import annotations

from typing import Any

from ioa_marl.foundations.compile import kernel
from ioa_marl.foundations.scaling import unit
from ioa_marl.markets.stackelberg.kernels import FIXED, MOBILE, Array, MarketState, leader_count
from ioa_marl.markets.stackelberg.records import StackelbergRecord, Traits

LEADER_FEATURES = 5
LEADER_FEATURES_EXTENDED = 11
WIRELESS_FEATURES = 10
CUSTOMER_FEATURES = 6
"""Features of each wireless agent in a leader's reach."""


def leader_features_customers(most_in_reach: int) -> int:
    """Return the number of features of a leader that observes its customers, of whom it has at most so many."""
    return LEADER_FEATURES + 1 + CUSTOMER_FEATURES * most_in_reach


@kernel
def observe_leaders(state: MarketState, params: Array, side: int, extended: bool, out: Array) -> None:
    """Write the observations of the leaders of a side.

    The features are the own unit cost, the own last price, the sold share of the members' load, the mean last price of
    the leaders on the other side whom the members have in reach, and the round. Extended observations add the number of
    members, their mean load, the own λ/μ, their mean QoE weight and the mean energies of their links.

    Parameters
    ----------
    state : MarketState
        Batch of markets.
    params : ndarray of StackelbergRecord, shape (1,)
        Parameters.
    side : int
        0 mobile, 1 fixed.
    extended : bool
        Whether observations are extended.
    out : ndarray of float32, shape (batch, leaders of the side, features)
        Where the observations go, in [0, 1].
    """
    p: StackelbergRecord = params[0]
    most_time = p.most_mobile_time if side == MOBILE else p.most_fixed_time
    for b in range(out.shape[0]):
        for leader in range(leader_count(side, params)):
            first, end = state.start[b, side, leader], state.start[b, side, leader + 1]
            load, rival, qoe, mobile_energy, fixed_energy = 0.0, 0.0, 0.0, 0.0, 0.0
            for q in range(first, end):
                n = state.member[b, side, q]
                t: Traits = state.traits[b, n]
                load += t.load
                rival += state.price[b, 1 - side, state.reach[b, 1 - side, n]]
                if extended:
                    qoe += t.qoe_weight
                    mobile_energy += t.mobile_energy
                    fixed_energy += t.fixed_energy
            members = max(end - first, 1)
            reachable = members * p.most_load if p.dynamics else load
            out[b, leader, 0] = unit(state.cost[b, side, leader] / p.price_cap)
            out[b, leader, 1] = unit(state.price[b, side, leader] / p.price_cap)
            out[b, leader, 2] = unit(state.sales[b, side, leader] / reachable if reachable > 0.0 else 0.0)
            out[b, leader, 3] = unit(rival / members / p.price_cap)
            out[b, leader, 4] = unit(state.round[b] / p.rounds)
            if extended:
                out[b, leader, 5] = unit((end - first) / p.wireless)
                out[b, leader, 6] = unit(load / members / p.most_load)
                out[b, leader, 7] = unit(state.time_per_mbit[b, side, leader] / most_time)
                out[b, leader, 8] = unit(qoe / members / p.most_qoe_weight)
                most = max(p.most_energy, 1e-300)
                own, other = (mobile_energy, fixed_energy) if side == MOBILE else (fixed_energy, mobile_energy)
                out[b, leader, 9] = unit(own / members / most)
                out[b, leader, 10] = unit(other / members / most)


@kernel
def _between(x: float, low: float, high: float) -> Any:
    """Return where ``x`` is between two bounds, as float32 from 0 to 1; 0 if they are equal."""
    return unit((x - low) / (high - low)) if high > low else unit(0.0)


@kernel
def observe_customers(state: MarketState, params: Array, side: int, out: Array) -> None:
    """Write what the leaders of a side know of each wireless agent in their reach, behind the features of `paper`.

    The first 5 features of ``out`` stay as they are. Then come the own unit cost, and for each wireless agent in reach,
    by its number: whether it has one task, two, three or more, its load, the energy of the link to the leader per task,
    and the mobility factor of the pair. What varies within bounds is scaled by both of them, because a tenth of the
    range of a unit cost is a two-hundredth of the price cap. The number of tasks is a category: the best price jumps
    with it. If wireless agents come and go on this side, every one of them has a place of its own, so that the others
    stay where they are.

    Parameters
    ----------
    state : MarketState
        Batch of markets.
    params : ndarray of StackelbergRecord, shape (1,)
        Parameters.
    side : int
        0 mobile, 1 fixed.
    out : ndarray of float32, shape (batch, leaders of the side, features)
        Where the observations go, in [0, 1]; see `leader_features_customers`. Places of missing agents get 0.
    """
    p: StackelbergRecord = params[0]
    low, high = p.least_mobile_cost, p.most_mobile_cost
    least, most = p.least_mobile_energy, p.most_mobile_energy
    if side == FIXED:
        low, high = p.least_fixed_cost, p.most_fixed_cost
        least, most = p.least_fixed_energy, p.most_fixed_energy
    comes_and_goes = (p.mobile_departure if side == MOBILE else p.fixed_departure) > 0.0
    for b in range(out.shape[0]):
        for leader in range(leader_count(side, params)):
            out[b, leader, LEADER_FEATURES] = _between(state.cost[b, side, leader], low, high)
            first = state.start[b, side, leader]
            for feature in range(LEADER_FEATURES + 1, out.shape[2]):
                out[b, leader, feature] = 0.0
            for q in range(first, state.start[b, side, leader + 1]):
                n = state.member[b, side, q]
                place = LEADER_FEATURES + 1 + CUSTOMER_FEATURES * (n if comes_and_goes else q - first)
                t: Traits = state.traits[b, n]
                tasks = round(t.load / state.nominal[b, n].load)
                if tasks > 0:
                    out[b, leader, place + min(tasks, 3) - 1] = 1.0
                    energy = t.mobile_energy if side == MOBILE else t.fixed_energy
                    out[b, leader, place + 3] = unit(t.load / p.most_load)
                    out[b, leader, place + 4] = _between(energy / tasks, least, most)
                factor = t.mobility_factor
                out[b, leader, place + 5] = _between(factor, p.least_factor, p.most_factor)


@kernel
def observe_wireless(state: MarketState, params: Array, out: Array) -> None:
    """Write the observations of the wireless agents into ``out``, float32 (batch, wireless, 10), in [0, 1].

    The features are both prices, W, 1 + ε − t_up, W λ/μ of the mobile, fixed and aerial agent, α, and the energies of
    both links. ``params`` is a `StackelbergRecord` (1,).
    """
    p: StackelbergRecord = params[0]
    most = max(p.most_energy, 1e-300)
    for b in range(out.shape[0]):
        for n in range(p.wireless):
            t: Traits = state.traits[b, n]
            i, j = state.reach[b, MOBILE, n], state.reach[b, FIXED, n]
            load = t.load / p.most_load
            out[b, n, 0] = unit(state.price[b, MOBILE, i] / p.price_cap)
            out[b, n, 1] = unit(state.price[b, FIXED, j] / p.price_cap)
            out[b, n, 2] = unit(load)
            out[b, n, 3] = unit(t.slack / p.most_slack)
            out[b, n, 4] = unit(load * state.time_per_mbit[b, MOBILE, i] / p.most_mobile_time)
            out[b, n, 5] = unit(load * state.time_per_mbit[b, FIXED, j] / p.most_fixed_time)
            out[b, n, 6] = unit(load * state.aerial_time_per_mbit[b, j] / p.most_aerial_time)
            out[b, n, 7] = unit(state.offloading_ratio[b, j])
            out[b, n, 8] = unit(t.mobile_energy / most)
            out[b, n, 9] = unit(t.fixed_energy / most)
