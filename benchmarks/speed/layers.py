"""Where the time of a step goes, layer by layer; the notes beside missed targets come from here."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from arrays import KernelAuction
from measure import Effort, Run, interleave, micro
from numpy.typing import NDArray

from ioa_marl.envs import double_dutch_v0
from ioa_marl.envs.double_dutch.game import DoubleDutchGame
from ioa_marl.envs.vector import VectorGame


def differences(names: Sequence[str], runs: Sequence[Run], effort: Effort) -> dict[str, float]:
    """Return each layer's own microseconds; a run does everything that the next one does, and its own part."""
    for settle in runs:
        settle(200)
    taken = interleave(runs, effort)
    inside = [*taken[1:], [0.0] * effort.rounds]
    return {
        name: max(0.0, micro([outer - inner for outer, inner in zip(whole, part, strict=True)]))
        for name, whole, part in zip(names, taken, inside, strict=True)
    }


def random_actions(num_envs: int) -> list[NDArray[np.int64]]:
    """Return 64 steps' actions."""
    rng = np.random.default_rng(0)
    return [rng.integers(0, 10, (num_envs, 1)) for _ in range(64)]


def step_layers(num_envs: int, effort: Effort) -> dict[str, float]:
    """Return the microseconds of each layer of ``VectorGame.step``, from the outside in."""
    config = DoubleDutchGame.make_config()
    actions = random_actions(num_envs)
    by_role = [{"auctioneer": a} for a in actions]
    by_seed = [{"auctioneer": a[None]} for a in actions]
    no_market = np.zeros((0, 1), np.int64)
    vector = VectorGame(DoubleDutchGame, config, [0], num_envs)
    vector.reset()
    game = DoubleDutchGame(config, num_envs)
    kernel = KernelAuction(config, num_envs)
    for each in (game, kernel):
        each.reset(np.zeros(num_envs, np.uint64))

    def run_vector(steps: int) -> None:
        for i in range(steps):
            vector.step(by_seed[i % 64])

    def run_game(steps: int) -> None:
        for i in range(steps):
            game.step(by_role[i % 64])

    def run_kernel(steps: int) -> None:
        for i in range(steps):
            kernel.step(actions[i % 64])

    def run_call(steps: int) -> None:
        for _ in range(steps):
            kernel.step(no_market)

    names = ("VectorGame", "check of the actions", "markets", "call of the kernel")
    return differences(names, (run_vector, run_game, run_kernel, run_call), effort)


def single_layers(effort: Effort) -> dict[str, float]:
    """Return the microseconds of each layer of a PettingZoo step."""
    env = double_dutch_v0.parallel_env()
    env.reset(seed=0)
    game = DoubleDutchGame(DoubleDutchGame.make_config())
    game.reset(np.zeros(1, np.uint64))
    actions = random_actions(1)
    by_agent = [{"auctioneer_0": int(a[0, 0])} for a in actions]
    by_role = [{"auctioneer": a} for a in actions]

    def run_env(steps: int) -> None:
        for i in range(steps):
            env.step(by_agent[i % 64])
            if not env.agents:
                env.reset()

    def run_game(steps: int) -> None:
        for i in range(steps):
            game.step(by_role[i % 64])

    return differences(("dicts and resets", "game"), (run_env, run_game), effort)


def shares(layers: dict[str, float]) -> str:
    """Return the layers as text: microseconds and per cent."""
    total = sum(layers.values())
    return ", ".join(f"{name} {value:.1f} µs ({value / total:.0%})" for name, value in layers.items())


def kernel_note(num_envs: int, effort: Effort) -> str:
    """Return what a kernel step is made of."""
    layers = step_layers(num_envs, effort)
    return shares({name: layers[name] for name in ("call of the kernel", "markets")})
