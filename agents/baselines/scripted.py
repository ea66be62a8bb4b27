"""The market's own policies as agents: baselines such as ``two_phase``, and the exact ``oracle``."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, ClassVar

from gymnasium import spaces

from ioa_marl.agents.base import Agent, AgentContext
from ioa_marl.envs.core import Arrays, Game, ScriptedPolicy


@dataclass(frozen=True)
class ScriptedConfig:
    """Which of the market's scripted policies to play."""

    policy: str = "oracle"
    """Name of the policy, as the market knows it."""
    settings: dict[str, Any] = field(default_factory=dict)
    """Settings of the policy; those that are null are left at their defaults."""


def given_settings(config: ScriptedConfig) -> dict[str, Any]:
    """Return the settings that are not null."""
    return {key: value for key, value in config.settings.items() if value is not None}


class ScriptedAgent(Agent):
    """Play a scripted policy of the market; such policies may look at the market's whole state."""

    config_class: ClassVar[type[Any]] = ScriptedConfig
    action_spaces: ClassVar[tuple[type[spaces.Space[Any]], ...]] = (
        spaces.Discrete,
        spaces.MultiDiscrete,
        spaces.Box,
    )
    learns: ClassVar[bool] = False

    def __init__(self, context: AgentContext, config: ScriptedConfig) -> None:
        super().__init__(context, config)
        self._policies: dict[str, ScriptedPolicy] = {}

    def attach(self, game: Game) -> None:
        """Ask the game for its policies."""
        settings = given_settings(self.config)
        self._policies = {
            role.name: game.scripted(self.config.policy, role.name, **settings) for role in self.context.plays
        }

    def act(self, observations: Arrays, *, deterministic: bool) -> Arrays:
        """Return what the policies choose; they know the market, not the observations."""
        out = {}
        for role in self.context.plays:
            chosen = self._policies[role.name]()
            seeds, markets = observations[role.name].shape[:2]
            out[role.name] = chosen.reshape(seeds, markets, *chosen.shape[1:])
        return out
