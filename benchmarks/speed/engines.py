"""Figures c and d: the kernel against the same step in C and in vectorised NumPy."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from arrays import Engine, KernelAuction, assert_agreement
from c_auction import CAuction, compiler
from layers import kernel_note
from measure import Effort, Figure, Run, SkippedError, interleave, micro, ratios
from numpy_auction import NumpyAuction

from ioa_marl.envs.double_dutch.game import DoubleDutchConfig, DoubleDutchGame

MakeEngine = Callable[[DoubleDutchConfig, int], Engine]
SETTLE = 200
"""Steps before timing, so that the markets are at all stages of their episodes."""


def engine_run(make: MakeEngine, num_envs: int) -> Run:
    """Return a loop over an engine with random actions."""
    config = DoubleDutchGame.make_config()
    engine = make(config, num_envs)
    engine.reset(np.zeros(num_envs, np.uint64))
    rng = np.random.default_rng(0)
    actions = [rng.integers(0, len(config.steps), (num_envs, 1)) for _ in range(64)]

    def run(steps: int) -> None:
        for i in range(steps):
            engine.step(actions[i % 64])

    run(SETTLE)
    return run


def verify(make: MakeEngine, steps: int) -> None:
    """Refuse to time an engine that does something else."""
    for preset, changes in (("paper", {}), ("mixed", {"observation": "extended", "max_cycles": 20})):
        config = DoubleDutchGame.make_config(preset, **changes)
        assert_agreement(make(config, 32), config, 32, steps)


def against(make: MakeEngine, group: str, name: str, targets: dict[int, float], effort: Effort) -> list[Figure]:
    """Return the figures of one rival engine, by batch size."""
    verify(make, steps=2000 if effort.rounds > 5 else 200)
    figures = []
    for number, (num_envs, target) in enumerate(targets.items(), 1):
        theirs, ours = interleave([engine_run(make, num_envs), engine_run(KernelAuction, num_envs)], effort)
        figure = Figure(
            key=f"{group}{number}",
            title=f"kernel against {name}, {num_envs} market{'s' if num_envs > 1 else ''}, steps/s",
            unit="×",
            target=target,
            values=ratios(theirs, ours),
            absolute={"kernel [µs]": micro(ours), f"{name} [µs]": micro(theirs)},
        )
        if not figure.reached:
            figure.note = kernel_note(num_envs, effort)
        figures.append(figure)
    return figures


def c_engine(effort: Effort) -> list[Figure]:
    """Figures c: C compiled with -O3 for this processor."""
    if compiler() is None:
        raise SkippedError("there is no C compiler called cc")
    return against(CAuction, "c", "C -O3", {1: 0.8, 64: 0.8, 1024: 0.8, 16384: 0.8}, effort)


def numpy_engine(effort: Effort) -> list[Figure]:
    """Figures d: NumPy with masks over the batch."""
    return against(NumpyAuction, "d", "NumPy", {1: 20.0, 1024: 5.0}, effort)
