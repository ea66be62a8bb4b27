"""Fingerprints of the plain functions: mechanisms, exact solutions, audits and statistics, on seeded inputs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fingerprinting.doors import door
from fingerprinting.values import Entry, tokens_of

Results = Iterator[tuple[str, Any]]
"""Names, and what functions returned."""
Item = tuple[str, Callable[[], Entry]]


def items() -> Iterator[Item]:
    """Yield the groups of functions."""
    for group in GROUPS:
        yield f"functions/{group.__name__}", partial(_entry, group)


def _entry(group: Callable[[], Results]) -> Entry:
    return {name: tokens_of(result) for name, result in group()}


def double_auctions() -> Results:
    """Run the double Dutch auction and its rivals over given bids, and find what lying is worth."""
    rng = np.random.default_rng(1)
    simulate = door("simulate")
    yield "simulate, a textbook case", simulate([10, 8, 6, 3], [1, 2, 5, 7], 0.1)
    mechanisms: dict[str, Callable[..., Any]] = {
        "trade_reduction": door("trade_reduction"),
        "mcafee": door("mcafee"),
        "k_double_auction": lambda bids, asks: door("k_double_auction")(bids, asks, 0.3),
        "sbba": lambda bids, asks: door("sbba")(bids, asks, np.random.default_rng(3)),
        "double_dutch_mechanism": door("double_dutch_mechanism")(0.5, 0.25, 0.4),
    }
    for case, (buyers, sellers) in enumerate([(10, 10), (3, 12), (40, 25), (1, 1)]):
        bids, asks = rng.uniform(5, 50, buyers).round(2), rng.uniform(0, 40, sellers).round(2)
        yield f"simulate {case}", simulate(bids, asks, 0.25)
        yield f"simulate {case}, several steps", simulate(bids, asks, [2.0, 1.0, 0.5], psi=0.25)
        yield f"sorted_matching {case}", door("sorted_matching")(bids, asks)
        for name, mechanism in mechanisms.items():
            outcome = mechanism(bids, asks)
            yield f"{name} {case}", [outcome, outcome.welfare(bids, asks), outcome.utilities(bids, asks)]
            if buyers == sellers:
                yield f"incentive_regret of {name} {case}", door("incentive_regret")(mechanism, bids, asks)
    bids, asks = rng.uniform(5, 50, 8), rng.uniform(0, 40, 8)
    reports = np.linspace(0, 50, 41)
    yield (
        "utility_curve",
        [
            door("utility_curve")(mechanisms["double_dutch_mechanism"], bids, asks, role, 2, reports)
            for role in ("buyer", "seller")
        ],
    )


def double_dutch() -> Results:
    """Find what constant steps achieve."""
    for name in ("paper", "calm", "mixed", "thin"):
        params = door("double_dutch_preset")(name)
        yield f"fixed_step_frontier {name}", door("fixed_step_frontier")(params, markets=50)
        yield f"best_fixed_step {name}", door("best_fixed_step")(params)


def second_bid() -> Results:
    """Run single auctions and audits, and draw tasks with the best rules for them."""
    rng = np.random.default_rng(2)
    allocate, reports = door("allocate"), []
    for case in range(12):
        bids, rho = rng.uniform(1, 20, 2 + case % 6), 10 ** rng.uniform(0, 1)
        result = allocate(bids, rho, (0.0, 8.0)[case % 2])
        reports.append([result, result.utilities(bids * 1.1)])
    yield "allocate", reports
    for name in ("paper", "persistent", "pareto", "three", "nine"):
        params = door("second_bid_preset")(name)
        tasks = door("draw_tasks")(params, [1, 2, 3], [0, 0, 4], 2)
        yield f"draw_tasks {name}", tasks
        yield f"surplus {name}", [tasks.surplus(rho, 0.8) for rho in (1.0, 1.5, 4.0)]
        yield f"full_information {name}", door("full_information")(tasks, params)
        yield f"best_threshold {name}", door("best_threshold")(tasks, params)
        yield f"calibration {name}", door("calibration")(params)
        yield f"adverse_selection {name}", door("adverse_selection")(tasks, 1.3)
    yield "pareto_optimum", door("pareto_optimum")(door("second_bid_preset")("pareto"))
    values = rng.uniform(1, 20, 5)
    for title, rule in (("fixed", door("fixed_rule")(1.4)), ("maximising", door("surplus_maximising")(12.0))):
        yield f"station_regret {title}", door("station_regret")(values, rule)
    config = door("load_env")("second_bid").make_config("paper", tasks=10)
    for policy in ("second_price", "threshold", "last_winner"):
        auctioneer = door("scripted_auctioneer")(policy)
        yield f"episode_regret {policy}", door("episode_regret")(config, auctioneer, markets=20)


def stackelberg() -> Results:
    """Solve drawn markets: answers, best responses and equilibria."""
    rng = np.random.default_rng(3)
    for name in ("paper", "city", "dynamic", "kinked", "scarce"):
        params = door("stackelberg_preset")(name)
        market = door("draw_markets")(params, [0, 5, 9])
        mobile, fixed = rng.uniform(0.5, 9, params.mobile), rng.uniform(1, 9, params.fixed)
        shares = rng.uniform(0, 1, params.wireless)
        given = (params, market, mobile, fixed)
        yield f"answer_to {name}", [door("answer_to")(*given, index) for index in range(3)]
        yield f"follower_utilities {name}", door("follower_utilities")(*given, shares, 1)
        yield f"latencies {name}", door("latencies")(params, market, shares, 2)
        yield f"nash_conv {name}", door("nash_conv")(*given, 1)
        yield (
            f"best_response_price {name}",
            [door("best_response_price")(params, market, side, 0, mobile, fixed, 1) for side in ("mobile", "fixed")],
        )
        yield f"solve_equilibrium {name}", [door("solve_equilibrium")(params, market, None, index) for index in (0, 2)]
        chosen = np.array([True, False, True])
        prices, settled, result = door("solve_batch")(params, market, chosen)
        yield f"solve_batch {name}", [prices[chosen], settled[chosen], result[chosen]]
        yield f"side_profits {name}", door("side_profits")(params, market, chosen, prices)[chosen]
        yield f"equilibrium_on_grid {name}", door("equilibrium_on_grid")(params, market, chosen, prices, 51)[chosen]
        if name != "dynamic":
            yield f"posted_pair {name}", door("stackelberg_posted_pair")(params, 21, 1)


def two_tier() -> Results:
    """Find the best constant choices, on markets kept for that purpose."""
    params = door("two_tier_preset")("paper", rounds=4)
    yield "best_fixed_pair", door("best_fixed_pair")(params, 51, 1.1, 0.5, 2)
    yield "two_tier_posted_pair", door("two_tier_posted_pair")(params, 21, 2)


def slicing() -> Results:
    """Divide resources, exactly and in whole units, and find what the shares cost."""
    rng = np.random.default_rng(4)
    for case, providers in enumerate((1, 2, 10, 40, 200)):
        worth, rates = rng.uniform(100, 200, providers), rng.uniform(0, 10, (providers, 3))
        yield f"plain {case}", list(_slicing_of(worth, rates))
    for case in range(6):  # degenerate and badly scaled ones
        providers = int(rng.integers(2, 12))
        worth = 10 ** rng.uniform(-6, 6, providers)
        rates = 10 ** rng.uniform(-3, 3, (providers, 3)) * (rng.random((providers, 3)) < 0.5 + 0.1 * case)
        yield f"hard {case}", list(_slicing_of(worth, rates))
    worth, rates = rng.uniform(100, 200, 5), rng.uniform(0, 10, (5, 3))
    near = door("welfare_optimum")(worth * 1.01, rates)
    yield "from near prices", door("clarke_payments")(worth, rates, prices=near.prices)
    for quanta in (4, 20):
        yield f"quantised_payments {quanta}", door("quantised_payments")(worth, rates, quanta)
        yield f"quantised_optimum {quanta}, mixed", door("quantised_optimum")(worth, rates, quanta, False)
    yield "quantised_optimum in full", door("quantised_optimum")(worth, rates, 4, True, "full")
    yield "quantised_bids", door("quantised_bids")(worth, rates, 4)
    counts = door("full_variables"), door("full_bytes"), door("information_volume")
    yield "counts", [count(providers, 20) for count in counts for providers in (10, 50)]
    yield "misreport_regret", door("misreport_regret")(worth, rates, tries=10)
    yield "collusion_gain", door("collusion_gain")(worth, rates, factors=(0.5, 1.0, 1.5))
    quantised = door("quantised_vcg")(4)
    yield "collusion_gain, quantised", door("collusion_gain")(worth, rates, quantised, factors=(0.6, 1.0, 1.4))


def _slicing_of(worth: NDArray[np.float64], rates: NDArray[np.float64]) -> Iterator[Any]:
    for split in ("equal_split", "kelly_split", "greedy_split"):
        shares = door(split)(worth, rates)
        yield shares
        yield door("utilities")(worth, rates, shares)
        if len(worth) > 1:
            yield door("individual_rationality")(worth, rates, shares)
    yield door("welfare_optimum")(worth, rates)
    yield door("clarke_payments")(worth, rates)


def dual_currency() -> Results:
    """Evaluate the equations of the bank, fit utilities, and run audits by counterfactual play."""
    rng = np.random.default_rng(5)
    best, bids = rng.uniform(50, 150, (3, 6)), rng.uniform(20, 200, (3, 6))
    pool, shares = best.sum(axis=1), rng.dirichlet(np.ones(6), (3, 3)).swapaxes(1, 2)
    loan, scale = door("loans")(pool, bids), door("noise_scale")(bids, pool, 6)
    yield "loans and noise", [loan, scale, door("noise_scale")(bids, pool, 6, True)]
    yield "disturbed", door("disturbed")(shares, scale * 50, rng.standard_normal((3, 6, 3)))
    without, utility = rng.uniform(400, 700, (3, 6)), rng.uniform(20, 140, (3, 6))
    rate, gross = rng.uniform(0.5, 1.5, (3, 6)), rng.uniform(20, 200, (3, 6))
    yield "externalities", door("externalities")(without, utility)
    for interest in (True, False):
        flows = door("settle")(rate, without, utility, best, loan, gross, interest)
        yield f"settle {interest}", [flows, flows.tax, flows.profit]
    pairs = rng.uniform(20, 140, (3, 20, 6)), rng.uniform(20, 200, (3, 20, 6))
    moments = door("add_to_moments")(door("moments_of")(*pairs), utility, gross)
    yield "rates", [moments, door("estimated_rate")(moments), door("rate_as_printed")(*pairs)]
    yield "moving_average", door("moving_average")(best, utility, 0.9)
    for group in (1, 2, 5):
        system = door("interest_system")(best[0], bids[0, group:])
        yield f"balanced_bids {group}", [door("balanced_bids")(best[0], bids[0, group:]), system]
    center = door("prior_center")((100.0, 200.0), (0.0, 10.0))
    known = rng.random((4, 9)) < 0.8
    start = np.tile(center, (4, 1)), np.full(4, 0.1)
    unknowns, damping = door("fit")(*start, rng.random((4, 9, 3)), rng.uniform(10, 150, (4, 9)), known, center, 8)
    yield "fit", [center, unknowns, damping, door("fitted_types")(unknowns)]
    yield "theory", [
        door("scale_fixture")(best[0], [0.5, 1.0, 1.3]), door("rank_deficiency")(best[0]),
        door("dual_currency_volume")(10, 500),
    ]  # fmt: skip
    yield from _dual_currency_audits()


def _dual_currency_audits() -> Results:
    settings = {"mechanism": "dual_currency", "providers": 4, "rounds": 8, "multipliers": (0.5, 0.9, 1.0, 1.1, 1.5)}
    config = door("load_env")("vcg_slicing").make_config(**settings)
    rng = np.random.default_rng(6)
    factors = rng.choice([0.5, 0.9, 1.0, 1.1, 1.5], (3, 8, 4))
    for allocator in ("oracle", "greedy"):
        yield f"play_bids {allocator}", door("play_bids")(config, factors, allocator, [0, 5], 2)
    yield "group_deviation", door("group_deviation")(config, [1], first=2, instances=[0, 3], episodes=2)
    yield "joint_deviation", door("joint_deviation")(config, (0, 2), first=2, episodes=1)
    yield "deviation_curve", door("deviation_curve")(config, 1, first=3, second=5)
    yield "scale_in_play", door("scale_in_play")(config, first=2)


def physics() -> Results:
    """Evaluate the equations of links and computing, and draw the random numbers of the markets."""
    rng = np.random.default_rng(7)
    one_to_four = {
        1: ("db_to_ratio", "dbm_to_watt"),
        2: ("transfer_time",),
        3: ("computing_time",),
        4: ("shannon_rate", "processing_time", "transmission_energy", "computing_energy", "mobility_factor"),
    }
    for count, names in one_to_four.items():
        inputs = rng.uniform(0.5, 30, (5, count))
        for name in names:
            yield name, [door(name)(*map(float, row)) for row in inputs]
    key = [np.uint64(value) for value in (3, 2**40 + 1, 0, 5, 7)]
    yield "philox_block", [int(word) for word in door("philox_block")(*key)]
    out = np.zeros((2, 5, 1001))
    door("fill_uniform")(*key[:2], *key[3:], out, 1, 4)
    yield "fill_uniform", out


def statistics() -> Results:
    """Summarise several seeds as leaderboards do."""
    scores = np.random.default_rng(8).normal(0.5, 0.2, (2, 9))
    yield "interquartile_mean", door("interquartile_mean")(scores)
    yield "estimate", door("estimate")(scores[0], 3)
    yield "probability_of_improvement", door("probability_of_improvement")(*scores)


GROUPS = (double_auctions, double_dutch, second_bid, stackelberg, two_tier, slicing, dual_currency, physics, statistics)
