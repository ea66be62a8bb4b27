"""Figures a and b: a market against the particle worlds of other suites."""

from __future__ import annotations

from typing import Any

import numpy as np
from actions import random_actions
from layers import shares, single_layers, step_layers
from measure import Effort, Figure, Run, SkippedError, interleave, micro, ratios

from ioa_marl.envs import double_dutch_v0
from ioa_marl.envs.double_dutch.game import DoubleDutchGame

CHOICES = 512
"""Random actions are drawn beforehand and used in turn."""
MARKETS = 1024
VMAS_WORLDS = 4096
EPISODE = 25
"""Steps after which VMAS worlds are reset, all at once; it is the episode length of the same world in mpe2."""


def parallel_run(env: Any, seed: int) -> Run:
    """Return a loop over a PettingZoo parallel environment with random actions, resets included."""
    env.reset(seed=seed)
    rng = np.random.default_rng(seed)
    spaces = {agent: env.action_space(agent) for agent in env.possible_agents}
    # A single number as an int: mpe2 is slower with anything else.
    actions = [
        {agent: drawn.item() if drawn.ndim == 0 else drawn for agent, drawn in draws.items()}
        for draws in ({a: np.asarray(random_actions(s, (), rng)) for a, s in spaces.items()} for _ in range(CHOICES))
    ]

    def run(steps: int) -> None:
        for i in range(steps):
            env.step(actions[i % CHOICES])
            if not env.agents:
                env.reset()

    return run


def simple_spread() -> Run:
    """Return the loop over mpe2's simple_spread."""
    try:
        from mpe2 import simple_spread_v3
    except ImportError as error:
        raise SkippedError(f"mpe2 cannot be imported: {error}") from error
    return parallel_run(simple_spread_v3.parallel_env(), seed=0)


def markets_run(num_envs: int) -> Run:
    """Return a loop over a batch of markets with random actions."""
    game = DoubleDutchGame(DoubleDutchGame.make_config(), num_envs)
    game.reset(np.zeros(num_envs, np.uint64))
    rng = np.random.default_rng(0)
    choices = len(game.config.steps)
    actions = [{"auctioneer": rng.integers(0, choices, (num_envs, 1))} for _ in range(64)]

    def run(steps: int) -> None:
        for i in range(steps):
            game.step(actions[i % 64])

    return run


def vmas_run() -> Run:
    """Return the loop over VMAS's simple_spread, a batch of worlds on the CPU."""
    try:
        import torch
        import vmas
        from single_thread import limit_torch
    except ImportError as error:
        raise SkippedError(f"vmas cannot be imported: {error}") from error
    limit_torch()
    env = vmas.make_env(
        "simple_spread", num_envs=VMAS_WORLDS, device="cpu", continuous_actions=False, seed=0, n_agents=3
    )
    env.reset()
    generator = torch.Generator().manual_seed(0)
    actions = [[torch.randint(0, 5, (VMAS_WORLDS, 1), generator=generator) for _ in env.agents] for _ in range(EPISODE)]

    def run(steps: int) -> None:
        for i in range(steps):
            with torch.no_grad():
                env.step(actions[i % EPISODE])
                if i % EPISODE == EPISODE - 1:
                    env.reset()

    return run


def single(effort: Effort) -> list[Figure]:
    """Figure a: one PettingZoo environment."""
    theirs, ours = interleave([simple_spread(), parallel_run(double_dutch_v0.parallel_env(), seed=0)], effort)
    figure = Figure(
        key="a1",
        title="PettingZoo double_dutch_v0, one market, against mpe2 simple_spread_v3, environment steps/s",
        unit="×",
        target=15.0,
        values=ratios(theirs, ours),
        absolute={"market step [µs]": micro(ours), "simple_spread step [µs]": micro(theirs)},
    )
    if not figure.reached:
        figure.note = shares(single_layers(effort))
    return [figure]


def batched(effort: Effort) -> list[Figure]:
    """Figures b: a batch of markets."""
    figures = []
    for key, name, target, other, worlds in (
        ("b1", "mpe2 simple_spread_v3", 1000.0, simple_spread, 1),
        ("b2", f"VMAS simple_spread on the CPU, {VMAS_WORLDS} worlds", 5.0, vmas_run, VMAS_WORLDS),
    ):
        theirs, ours = interleave([other(), markets_run(MARKETS)], effort)
        figure = Figure(
            key=key,
            title=f"{MARKETS} double_dutch markets in one batch against {name}, environment steps/s",
            unit="×",
            target=target,
            values=ratios(theirs, ours, MARKETS / worlds),
            absolute={"batch of markets [µs]": micro(ours), "peer's step [µs]": micro(theirs)},
        )
        if not figure.reached:
            figure.note = shares(step_layers(MARKETS, effort))
        figures.append(figure)
    return figures
