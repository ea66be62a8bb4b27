"""Figures e and f: what the environment costs while a policy collects experience."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from layers import differences, random_actions, shares, step_layers
from measure import (
    Effort,
    Figure,
    Run,
    busy,
    calibrate,
    cost_of_looking,
    interleave,
    micro,
    quiet_collector,
    ratios,
    timed,
)
from single_thread import limit_torch
from stable_baselines3 import PPO
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.policies import ActorCriticPolicy
from stable_baselines3.common.vec_env import DummyVecEnv, VecEnv

from ioa_marl.agents.sb3_vec_env import MarketVecEnv
from ioa_marl.envs import double_dutch_v0
from ioa_marl.envs.double_dutch.game import DoubleDutchGame
from ioa_marl.envs.vector import VectorGame

limit_torch()

SB3_MARKETS = 256
SB3_STEPS = 16
"""Steps per rollout; long enough that what is done once per rollout does not count."""


class Rollout:
    """A policy that plays a batch of markets; the two parts of a step are timed separately."""

    def __init__(self, num_envs: int) -> None:
        self._vector = VectorGame(DoubleDutchGame, DoubleDutchGame.make_config(), [0], num_envs)
        self._vector.reset()
        role = self._vector.game.roles["auctioneer"]
        torch.manual_seed(0)
        self._policy = ActorCriticPolicy(role.observation_space, role.action_space, lambda _: 3e-4, net_arch=[64, 64])
        self._policy.set_training_mode(False)
        self.spent = np.zeros(2)

    def run(self, steps: int) -> None:
        """Do ``steps`` steps and add to ``spent`` the seconds of policy and environment."""
        vector, policy, clock = self._vector, self._policy, busy
        acting = stepping = 0.0
        for _ in range(steps):
            start = clock()
            with torch.no_grad():
                actions, _, _ = policy(torch.as_tensor(vector.observations["auctioneer"][0, :, 0]))
            chosen = {"auctioneer": actions.numpy()[None, :, None]}
            acted = clock()
            vector.step(chosen)
            stepping += clock() - acted
            acting += acted - start
        self.spent += acting, stepping


def environment_share(effort: Effort) -> list[Figure]:
    """Figures e: share of the environment in a rollout step with a 64 x 64 policy."""
    figures = []
    for number, num_envs in enumerate((64, 256, 1024), 1):
        rollout = Rollout(num_envs)
        values, parts = [], []
        with quiet_collector():
            steps = calibrate(timed(rollout.run), 2 * effort.seconds)
            for _ in range(effort.rounds):
                rollout.spent[:] = -steps * cost_of_looking()
                rollout.run(steps)
                values.append(100.0 * rollout.spent[1] / rollout.spent.sum())
                parts.append(rollout.spent / steps)
        acting, stepping = np.median(parts, axis=0) * 1e6
        figure = Figure(
            key=f"e{number}",
            title=f"share of the environment in a rollout step with a 64×64 policy, {num_envs} markets",
            unit="%",
            target=5.0,
            values=[float(value) for value in values],
            at_most=True,
            absolute={"policy [µs]": float(acting), "environment [µs]": float(stepping)},
        )
        if not figure.reached:
            figure.note = "the environment's step: " + shares(step_layers(num_envs, effort))
        figures.append(figure)
    return figures


def rollout_run(env: VecEnv) -> Run:
    """Return a loop over Stable-Baselines3's own collection of rollouts."""
    model = PPO("MlpPolicy", env, n_steps=SB3_STEPS, batch_size=SB3_STEPS * SB3_MARKETS, seed=0, device="cpu")
    _, callback = model._setup_learn(10**9)
    collected: Any = model.rollout_buffer

    def run(steps: int) -> None:
        for _ in range(steps):
            model.collect_rollouts(env, callback, collected, SB3_STEPS)

    return run


def adapter_layers(effort: Effort) -> dict[str, float]:
    """Return the microseconds of each layer of a step of the batched adapter."""
    env = MarketVecEnv("double_dutch", num_envs=SB3_MARKETS)
    env.reset()
    actions = [a[:, 0] for a in random_actions(SB3_MARKETS)]
    by_role = [{"auctioneer": a[:, None]} for a in actions]

    def run_env(steps: int) -> None:
        for i in range(steps):
            env.step(actions[i % 64])

    def run_game(steps: int) -> None:
        for i in range(steps):
            env.game.step(by_role[i % 64])

    return differences(("copies and infos", "game"), (run_env, run_game), effort)


def sb3_rollouts(effort: Effort) -> list[Figure]:
    """Figure f: Stable-Baselines3's PPO on the batched adapter and on single environments."""
    singles = make_vec_env(double_dutch_v0.gym_env, n_envs=SB3_MARKETS, seed=0, vec_env_cls=DummyVecEnv)
    batch = MarketVecEnv("double_dutch", num_envs=SB3_MARKETS)
    theirs, ours = interleave([rollout_run(singles), rollout_run(batch)], effort)
    figure = Figure(
        key="f1",
        title=f"PPO rollouts of Stable-Baselines3: MarketVecEnv({SB3_MARKETS}) against DummyVecEnv of "
        f"{SB3_MARKETS} Gymnasium environments",
        unit="×",
        target=4.0,
        values=ratios(theirs, ours),
        absolute={
            "MarketVecEnv, step of all [µs]": micro(ours) / SB3_STEPS,
            "DummyVecEnv, step of all [µs]": micro(theirs) / SB3_STEPS,
        },
    )
    if not figure.reached:
        figure.note = "the step of MarketVecEnv: " + shares(adapter_layers(effort))
    return [figure]
