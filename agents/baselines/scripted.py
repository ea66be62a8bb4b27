"""The market's scripted policies as agents: baselines such as ``two_phase``, and the exact ``oracle``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

from gymnasium import spaces

from ioa_marl.agents.base import Agent, AgentContext
from ioa_marl.envs.core import Arrays, Game, ScriptedPolicy


@dataclass(frozen=True)
class ScriptedConfig:
    """Choice of one of the market's scripted policies."""

    policy: str = "oracle"
    """Name of the policy in the market."""
    settings: dict[str, Any] = field(default_factory=dict)
    """Settings of the policy; a setting that is null keeps its default."""


def given_settings(config: ScriptedConfig) -> dict[str, Any]:
    """Return the settings of the policy that are not null."""
    return {key: value for key, value in config.settings.items() if value is not None}


LATER_SETTINGS = {"myopic_msb": ("u0",), "ratio_rule": ("u0",)}
"""Settings by policy that were added after rows of the policy existed; null leaves their results as they were."""


def without_later_settings(choice: Mapping[str, Any]) -> dict[str, Any]:
    """Return the description of a `ScriptedConfig` without later settings that are null, so that rows keep digests."""
    later = LATER_SETTINGS.get(choice["policy"], ())
    settings = {key: value for key, value in choice["settings"].items() if value is not None or key not in later}
    return {**choice, "settings": settings}


class ScriptedAgent(Agent):
    """Play a scripted policy of the market, which may use the market's complete state."""

    config_class: ClassVar[type[Any]] = ScriptedConfig
    action_spaces: ClassVar[tuple[type[spaces.Space[Any]], ...]] = (
        spaces.Discrete,
        spaces.MultiDiscrete,
        spaces.Box,
    )
    learns: ClassVar[bool] = False
    privileged: ClassVar[bool] = True

    def __init__(self, context: AgentContext, config: ScriptedConfig) -> None:
        super().__init__(context, config)
        self._policies: dict[str, ScriptedPolicy] = {}

    def attach(self, game: Game) -> None:
        """Create the policies for a game."""
        settings = given_settings(self.config)
        self._policies = {
            role.name: game.scripted(self.config.policy, role.name, **settings) for role in self.context.plays
        }

    def act(self, observations: Arrays, *, deterministic: bool) -> Arrays:
        """Return the actions of the policies, which depend on the game and not on the observations."""
        out = {}
        for role in self.context.plays:
            actions = self._policies[role.name]()
            seeds, markets = observations[role.name].shape[:2]
            out[role.name] = actions.reshape(seeds, markets, *actions.shape[1:])
        return out
