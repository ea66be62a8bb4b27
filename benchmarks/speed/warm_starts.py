"""Figures m: the slicing market with exact payments, by warm starts against solving every problem from scratch."""

from __future__ import annotations

import statistics
from collections.abc import Callable
from typing import Any

import numpy as np
from measure import Effort, Figure, Run, interleave, micro, ratios

from ioa_marl.foundations.compile import machine_code
from ioa_marl.markets.vcg_slicing.solver import (
    TOLERANCE,
    Optima,
    allocate_optima,
    resolve_market,
    solve_market,
    solve_separately,
)
from ioa_marl.markets.vcg_slicing.workspace import workspace

MARKETS = 16
"""Markets in turn; each is the one before with every number changed a little."""
CHANGE = 0.01
"""Standard deviation of the logarithm of that change."""
AGREEMENT = 1e-9
"""Largest difference between optima, relative to the welfare."""
SIZES = {10: (3.0, 4.0), 50: (8.0, 12.0), 1000: (10.0, 15.0)}
"""Providers, and the targets: those without a provider started warm, and the whole market too."""


def markets(providers: int) -> tuple[Any, Any]:
    """Return worths (MARKETS, providers) and rates (MARKETS, providers, 3), at first drawn as the presets draw them."""
    rng = np.random.default_rng(providers)
    worth = rng.uniform(100.0, 200.0, providers) * np.ones((MARKETS, 1))
    rates = rng.uniform(0.0, 10.0, (providers, 3)) * np.ones((MARKETS, 1, 1))
    for drift, values in ((rng.normal(0.0, CHANGE, worth.shape), worth), (rng.normal(0.0, CHANGE, rates.shape), rates)):
        # There and back again: the market after the last is the first.
        there = np.concatenate([drift[: MARKETS // 2], -drift[: MARKETS // 2][::-1]])
        values *= np.exp(np.cumsum(there, axis=0))
    return worth, rates


def solver_run(solver: Callable[..., None], providers: int, out: Optima) -> Run:
    """Return a loop in which a step solves the next market with and without each provider."""
    worth, rates = markets(providers)
    space = workspace(providers)
    call = machine_code(solver, worth, rates, 0, 0, True, TOLERANCE, space, out)
    turn = 0

    def run(steps: int) -> None:
        nonlocal turn
        for _ in range(steps):
            call(worth, rates, turn % MARKETS, 0, True, TOLERANCE, space, out)
            turn += 1

    return run


def verify(runs: list[Run], outs: list[Optima]) -> float:
    """Refuse to time solvers that find different optima; returns the share of problems that no warm start solved."""
    cold = 0
    for _ in range(MARKETS):
        for run in runs:
            run(1)
        scratch, *others = outs
        for out in others:
            np.testing.assert_allclose(out.welfare, scratch.welfare, rtol=AGREEMENT)
            np.testing.assert_allclose(out.others, scratch.others, rtol=AGREEMENT)
            cold += int(out.cold[0])
    return cold / (MARKETS * (len(runs) - 1) * (1 + outs[0].others.shape[1]))


def warm_starts(effort: Effort) -> list[Figure]:
    """Figures m: N + 1 problems from scratch, over the same by warm starts; by number of providers N."""
    figures = []
    for number, (providers, targets) in enumerate(SIZES.items()):
        outs = [allocate_optima(1, providers) for _ in range(3)]
        solvers = (solve_separately, solve_market, resolve_market)
        runs = [solver_run(solver, providers, out) for solver, out in zip(solvers, outs, strict=True)]
        cold = verify(runs, outs)
        scratch, *warm = interleave(runs, effort)
        starts = ("those without a provider started warm", "all started warm, from the prices of the round before")
        for way, (name, times, target) in enumerate(zip(starts, warm, targets, strict=True)):
            figures.append(
                Figure(
                    key=f"m{2 * number + way + 1}",
                    title=f"`vcg_slicing`, exact payments of {providers} providers: {name}, against from scratch",
                    unit="×",
                    target=target,
                    values=ratios(scratch, times),
                    absolute={
                        "from scratch [µs a round]": micro(scratch),
                        "warm [µs a round]": micro(times),
                        "warm [µs a problem]": statistics.median(times) / (providers + 1) * 1e6,
                        "not reached by a warm start [%]": 100.0 * cold,
                    },
                )
            )
    return figures
