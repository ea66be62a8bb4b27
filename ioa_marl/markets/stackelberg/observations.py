"""What the agents of a Stackelberg market see, scaled to [0, 1] by upper bounds of each quantity."""

from __future__ import annotations

from ioa_marl.foundations.compile import kernel
from ioa_marl.foundations.scaling import unit
from ioa_marl.markets.stackelberg import follower as f
from ioa_marl.markets.stackelberg import kernels as k
from ioa_marl.markets.stackelberg.kernels import Array, MarketState

LEADER_FEATURES = 5
LEADER_FEATURES_EXTENDED = 11
WIRELESS_FEATURES = 10


@kernel
def observe_leaders(state: MarketState, numbers: Array, counts: Array, side: int, extended: bool, out: Array) -> None:
    """Write what every leader of a side sees: float32 (batch, leaders, features).

    Own unit cost, own last price, share of its members' load that it sold, mean last price of the leaders that its
    members can turn to, round; extended: members, their load, own λ/μ, their mean QoE weight and link energies.
    """
    cap, wireless = numbers[k.PRICE_CAP], counts[k.WIRELESS]
    for b in range(out.shape[0]):
        for leader in range(counts[k.MOBILES + side]):
            first, end = state.start[b, side, leader], state.start[b, side, leader + 1]
            load, rival, qoe, own_energy, other_energy = 0.0, 0.0, 0.0, 0.0, 0.0
            for q in range(first, end):
                n = state.member[b, side, q]
                load += state.traits[b, n, f.LOAD]
                rival += state.price[b, 1 - side, state.reach[b, 1 - side, n]]
                if extended:
                    qoe += state.traits[b, n, f.QOE]
                    own_energy += state.traits[b, n, f.MOBILE_ENERGY + side]
                    other_energy += state.traits[b, n, f.FIXED_ENERGY - side]
            members = max(end - first, 1)
            reachable = load if counts[k.DYNAMICS] == 0 else members * numbers[k.MOST_LOAD]
            out[b, leader, 0] = unit(state.cost[b, side, leader] / cap)
            out[b, leader, 1] = unit(state.price[b, side, leader] / cap)
            out[b, leader, 2] = unit(state.sold[b, side, leader] / reachable if reachable > 0.0 else 0.0)
            out[b, leader, 3] = unit(rival / members / cap)
            out[b, leader, 4] = unit(state.round[b] / counts[k.ROUNDS])
            if extended:
                out[b, leader, 5] = unit((end - first) / wireless)
                out[b, leader, 6] = unit(load / members / numbers[k.MOST_LOAD])
                out[b, leader, 7] = unit(state.pace[b, side, leader] / numbers[k.MOST_PACE + side])
                out[b, leader, 8] = unit(qoe / members / numbers[k.MOST_QOE])
                most = max(numbers[k.MOST_ENERGY], 1e-300)
                out[b, leader, 9] = unit(own_energy / members / most)
                out[b, leader, 10] = unit(other_energy / members / most)


@kernel
def observe_wireless(state: MarketState, numbers: Array, counts: Array, out: Array) -> None:
    """Write what every wireless agent sees: float32 (batch, wireless, 10).

    Both prices, W, 1 + ε − t_up, W λ/μ of all three (over its bound), α, both link energies.
    """
    cap, most = numbers[k.PRICE_CAP], max(numbers[k.MOST_ENERGY], 1e-300)
    for b in range(out.shape[0]):
        for n in range(counts[k.WIRELESS]):
            i, j = state.reach[b, k.MOBILE, n], state.reach[b, k.FIXED, n]
            load = state.traits[b, n, f.LOAD] / numbers[k.MOST_LOAD]
            out[b, n, 0] = unit(state.price[b, k.MOBILE, i] / cap)
            out[b, n, 1] = unit(state.price[b, k.FIXED, j] / cap)
            out[b, n, 2] = unit(load)
            out[b, n, 3] = unit(state.traits[b, n, f.SLACK] / numbers[k.MOST_SLACK])
            out[b, n, 4] = unit(load * state.pace[b, k.MOBILE, i] / numbers[k.MOST_PACE])
            out[b, n, 5] = unit(load * state.pace[b, k.FIXED, j] / numbers[k.MOST_PACE + 1])
            out[b, n, 6] = unit(load * state.aerial_pace[b, j] / numbers[k.MOST_PACE + 2])
            out[b, n, 7] = unit(state.passed_share[b, j])
            out[b, n, 8] = unit(state.traits[b, n, f.MOBILE_ENERGY] / most)
            out[b, n, 9] = unit(state.traits[b, n, f.FIXED_ENERGY] / most)
