"""One learner on one market: the loop of a trainer, without evaluation and without files."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from measure import busy
from single_thread import limit_torch

from ioa_marl import registry
from ioa_marl.agents.base import AgentContext
from ioa_marl.envs.vector import VectorGame

limit_torch()

PARTS = ("acting", "market", "remembering", "learning")
"""What a training step is made of."""
MARKETS = 64
"""Markets per seed, as many as a run has if nothing is said."""
BUDGET = 100_000
"""Environment steps that a learner is told of, as many as a run has if nothing is said."""


class Training:
    """A learner that plays every controlled role of a market.

    Parameters
    ----------
    learner, market : str
        Registry names.
    seeds : sequence of int
        Training seeds, stacked.
    num_envs : int
        Markets per seed.
    preset : str, optional
        Settings of the market.
    roles : sequence of str, optional
        Roles that learn.
    changes
        Hyper-parameters that are not the default.
    """

    def __init__(
        self,
        learner: str,
        market: str,
        seeds: Sequence[int] = (0,),
        num_envs: int = MARKETS,
        preset: str | None = None,
        controlled_roles: Sequence[str] | None = None,
        **changes: Any,
    ) -> None:
        game_class, agent_class = registry.load_env(market), registry.load_agent(learner)
        config = game_class.make_config(next(iter(game_class.presets)) if preset is None else preset)
        self.game = VectorGame(
            game_class, config, seeds, num_envs, controlled_roles, with_state=agent_class.needs_state
        )
        self.game.game.full_metrics = False  # as in training
        self.game.reset()
        state = 0 if self.game.state is None else self.game.state.shape[-1]
        self.roles = tuple(self.game.game.roles[name] for name in self.game.game.controlled_roles)
        self.context = AgentContext(self.roles, self.roles, tuple(seeds), num_envs, BUDGET, torch.device("cpu"), state)
        settings = dataclasses.replace(agent_class.config_class(), **changes)
        self.agent = agent_class(self.context, settings)
        self.spent = np.zeros(len(PARTS))

    @property
    def env_steps(self) -> int:
        """Environment steps of all seeds in one step of the loop."""
        return len(self.context.seeds) * self.context.num_envs

    def step(self) -> set[str]:
        """Play, remember and learn once; returns which roles have learnt. Adds to ``spent``."""
        start = busy()
        actions = self.agent.act(self.game.observations, deterministic=False)
        acted = busy()
        transition = self.game.step(actions)
        stepped = busy()
        self.agent.observe(transition)
        remembered = busy()
        figures = self.agent.learn() or {}
        self.spent += acted - start, stepped - acted, remembered - stepped, busy() - remembered
        return {name.partition("/")[0] for name in figures}

    def warm(self, longest: int = 5000) -> int:
        """Train until every role has learnt twice; returns after how many steps everything repeats itself."""
        updates: dict[str, list[int]] = {role.name: [] for role in self.roles}
        for i in range(longest):
            for role in self.step():
                updates[role].append(i)
            if all(len(times) >= 2 for times in updates.values()):
                return math.lcm(*(times[1] - times[0] for times in updates.values()))
        raise RuntimeError(f"it has not learnt anything in {longest} steps")

    def run(self, steps: int) -> None:
        """Train for so many steps of the loop."""
        for _ in range(steps):
            self.step()
