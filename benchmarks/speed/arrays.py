"""What all engines of the auction share: a configuration, output arrays, and the interface they are driven by."""

from __future__ import annotations

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from ioa_marl.envs.double_dutch.game import DoubleDutchConfig, DoubleDutchGame
from ioa_marl.foundations.compile import machine_code
from ioa_marl.foundations.records import plain_view
from ioa_marl.markets.double_dutch import drivers
from ioa_marl.markets.double_dutch.drivers import StepOutputs
from ioa_marl.markets.double_dutch.observations import AUCTIONEER_FEATURES, AUCTIONEER_FEATURES_EXTENDED
from ioa_marl.markets.double_dutch.state import Metrics


class Engine(Protocol):
    """A batch of auctions in which the auctioneer acts."""

    outputs: StepOutputs
    """Written by every step."""

    def reset(self, seeds: NDArray[np.uint64]) -> None:
        """Start episode 0 of every market; market e draws from stream e of its seed."""

    def step(self, actions: NDArray[np.int64]) -> None:
        """Play one tick of every market, actions (batch, 1); finished markets start their next episode."""


def allocate_outputs(config: DoubleDutchConfig, num_envs: int) -> StepOutputs:
    """Return zeroed output arrays."""
    features = AUCTIONEER_FEATURES_EXTENDED if config.observation == "extended" else AUCTIONEER_FEATURES
    return StepOutputs(
        terminated=np.zeros(num_envs, np.bool_),
        truncated=np.zeros(num_envs, np.bool_),
        observation=np.zeros((num_envs, 1, features), np.float32),
        reward=np.zeros((num_envs, 1), np.float32),
        final_observation=np.zeros((num_envs, 1, features), np.float32),
        metrics=Metrics.zeros(num_envs),
        ledger=np.zeros((num_envs, config.buyers + config.sellers + 1)),
    )


class KernelAuction:
    """The library's kernel, called as its game calls it but without the game's check of the actions."""

    def __init__(self, config: DoubleDutchConfig, num_envs: int) -> None:
        self.outputs = allocate_outputs(config, num_envs)
        self._game = DoubleDutchGame(config, num_envs)
        self._params = config.record(max_cycles=config.max_cycles, extended=config.observation == "extended")
        self._steps = config.step_ticks()
        actions = np.zeros((num_envs, 1), np.int64)
        self._step = machine_code(
            drivers.step_auctioneer, self._game.market, self._params, self._steps, actions, self.outputs
        )

    def reset(self, seeds: NDArray[np.uint64]) -> None:
        """Start episode 0 of every market."""
        observations, _ = self._game.reset(seeds)
        self.outputs.observation[:] = observations["auctioneer"]

    def step(self, actions: NDArray[np.int64]) -> None:
        """Play one tick of every market."""
        self._step(self._game.market, self._params, self._steps, actions, self.outputs)


def assert_agreement(engine: Engine, config: DoubleDutchConfig, num_envs: int, steps: int, seed: int = 0) -> int:
    """Play an engine beside `DoubleDutchGame` with the same random actions; everything must be equal bit for bit.

    Returns
    -------
    int
        Episodes that ended on the way.
    """
    game = DoubleDutchGame(config, num_envs)
    seeds = np.arange(num_envs, dtype=np.uint64) + np.uint64(seed)
    rng = np.random.default_rng(seed)
    observations, _ = game.reset(seeds)
    engine.reset(seeds)
    out = engine.outputs
    np.testing.assert_array_equal(observations["auctioneer"], out.observation)
    episodes = 0
    for _ in range(steps):
        actions = rng.integers(0, len(config.steps), (num_envs, 1))
        step = game.step({"auctioneer": actions})
        engine.step(actions)
        np.testing.assert_array_equal(step.terminated, out.terminated)
        np.testing.assert_array_equal(step.truncated, out.truncated)
        np.testing.assert_array_equal(step.rewards["auctioneer"], out.reward)
        np.testing.assert_array_equal(step.observations["auctioneer"], out.observation)
        ended = step.terminated | step.truncated
        final = step.final_observations["auctioneer"]
        np.testing.assert_array_equal(final[ended], out.final_observation[ended])
        np.testing.assert_array_equal(game.ledger()[ended], out.ledger[ended])
        metrics = plain_view(out.metrics)
        for column, name in enumerate(game.metric_names):
            np.testing.assert_array_equal(step.metrics[name][ended], metrics[ended, column], name)
        episodes += int(ended.sum())
    return episodes
