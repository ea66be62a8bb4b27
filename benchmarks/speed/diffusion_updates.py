"""Figures i: an update of diffusion SAC, fast against Mish, and against the published D2SAC."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from gymnasium import spaces
from measure import Effort, Figure, Run, SkippedError, Turn, interleave_turns, micro, ratios, timed
from peer_process import Peer, PeerError
from single_thread import limit_torch

from ioa_marl.agents.base import AgentContext
from ioa_marl.agents.learners.diffusion_sac import DiffusionSACConfig, DiffusionSACLearner, check_compiler
from ioa_marl.envs.core import Role
from ioa_marl.foundations.errors import UserError

limit_torch()

WIDTH, STEPS, BATCH = 256, 5, 256
FEATURES, ACTIONS = 42, 20
"""Of the environment in the published code."""
PUBLISHED_BATCH = 512
N_STEP = 3
TRANSITIONS = 5000
"""Remembered on both sides."""
TEMPERATURE = 0.05

LONE = "narrow layers compute a lone seed as two, which gives it the bits that it has among others; i3 counts both"
"""What one seed alone costs more."""


def make_learner(batch: int, seeds: int = 1, **changes: Any) -> DiffusionSACLearner:
    """Return a learner of one role with random transitions in its memory."""
    role = Role(
        "provider", 1, spaces.Box(0.0, 1.0, (FEATURES,), np.float32), spaces.Discrete(ACTIONS), scripted="random"
    )
    context = AgentContext((role,), (role,), tuple(range(seeds)), 1, 10**6, torch.device("cpu"))
    config = DiffusionSACConfig(
        width=WIDTH, denoising_steps=STEPS, batch_size=batch, n_step=N_STEP, buffer_size=TRANSITIONS, **changes
    )
    learner = DiffusionSACLearner(context, config, role)
    rng = np.random.default_rng(0)
    for member in range(seeds):
        learner.buffer.add(
            np.full(TRANSITIONS, member),
            {
                "observations": rng.random((TRANSITIONS, FEATURES), np.float32),
                "actions": rng.integers(0, ACTIONS, (TRANSITIONS, 1)),
                "returns": rng.random(TRANSITIONS),
                "next_observations": rng.random((TRANSITIONS, FEATURES), np.float32),
                "discounts": np.full(TRANSITIONS, 0.95**N_STEP),
            },
        )
    return learner


def updates(learner: DiffusionSACLearner) -> Run:
    """Return a loop over updates."""

    def run(steps: int) -> None:
        for _ in range(steps):
            learner.update(TEMPERATURE)

    return run


def can_compile() -> bool:
    """Return whether there is a C++ compiler; says so if there is none."""
    try:
        check_compiler(torch.device("cpu"))
    except UserError as reason:
        print(f"i: nothing is compiled, {reason}", flush=True)
        return False
    return True


def activations(effort: Effort) -> Figure:
    """Figure i1: ReLU, compiled if possible, against Mish that is not."""
    variants = {name: {"activation": name} for name in ("mish", "relu", "silu")}
    fast = "relu"
    if can_compile():
        fast = "relu, compiled"
        variants[fast] = {"activation": "relu", "compile": True}
    turns = [timed(updates(make_learner(BATCH, **changes))) for changes in variants.values()]
    taken = dict(zip(variants, interleave_turns(turns, effort), strict=True))
    return Figure(
        key="i1",
        title=f"update of diffusion_sac, width {WIDTH}, batch {BATCH}, H={STEPS}: {fast} against mish, not compiled, "
        "updates/s",
        unit="×",
        target=1.8,
        values=ratios(taken["mish"], taken[fast]),
        absolute={f"{name} [µs]": micro(seconds) for name, seconds in taken.items()},
    )


def published(effort: Effort, checkout: Path, python: str) -> list[Figure]:
    """Figures i2 and i3: against the published code at its own sizes, for one seed and for each of two."""
    settings = {
        "folders": [str(checkout.resolve())], "features": FEATURES, "actions": ACTIONS, "width": WIDTH,
        "denoising_steps": STEPS, "n_step": N_STEP, "transitions": TRANSITIONS, "batch_size": PUBLISHED_BATCH,
    }  # fmt: skip
    if not (checkout / "policy" / "diffusion_sac.py").is_file():
        raise SkippedError(f"{checkout} is no checkout of D2SAC's code")
    try:
        with Peer(python, "peer_d2sac.py", settings) as peer:
            return _against(peer.turn, effort)
    except PeerError as error:
        raise SkippedError(f"D2SAC's code cannot be run: {error}") from error


def _against(theirs: Turn, effort: Effort) -> list[Figure]:
    fast = {"activation": "relu", "compile": can_compile()}
    how = "relu, compiled" if fast["compile"] else "relu"
    sides = {
        "published": theirs,
        "mish": timed(updates(make_learner(PUBLISHED_BATCH, activation="mish"))),
        how: timed(updates(make_learner(PUBLISHED_BATCH, **fast))),
        f"{how}, two seeds at once": timed(updates(make_learner(PUBLISHED_BATCH, 2, **fast))),
    }
    taken = dict(zip(sides, interleave_turns(list(sides.values()), effort), strict=True))
    return [
        Figure(
            key=key,
            title=f"update of diffusion_sac ({side}) against the published D2SAC at its own sizes, width {WIDTH}, "
            f"batch {PUBLISHED_BATCH}, H={STEPS}, updates of a seed/s",
            unit="×",
            target=1.8,
            values=ratios(taken["published"], taken[side], seeds),
            absolute={f"{name} [µs]": micro(seconds) for name, seconds in taken.items()},
            note=LONE if seeds == 1 else "",
        )
        for key, side, seeds in (("i2", how, 1), ("i3", f"{how}, two seeds at once", 2))
    ]
