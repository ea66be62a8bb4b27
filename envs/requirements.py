"""Requirements: what a market needs from the agents that play it, besides their actions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ioa_marl.foundations.parameters import require

if TYPE_CHECKING:
    from ioa_marl.envs.core import Game


@dataclass(frozen=True)
class Requirement:
    """An interface that a market with certain settings needs from the agent of a role; see `Game.requirements`."""

    role: str
    """Role whose agent has to provide the interface."""
    protocol: type[Any]
    """Runtime-checkable protocol, of methods only, that the agent's class has to satisfy."""
    setting: str
    """Setting of the market that makes the interface necessary."""
    alternatives: str
    """Other values of the setting, and agents that have the interface: the end of the error message."""


def check_requirements(game_class: type[Game], config: Any, players: Mapping[str, type[Any]]) -> None:
    """Refuse a market whose requirements the agents do not meet.

    Parameters
    ----------
    game_class : type of Game
        The market.
    config : dataclass
        Its settings.
    players : mapping of str to type
        Class of the agent of each controlled role.

    Raises
    ------
    ParameterError
        If an agent does not meet a requirement; the message names the setting that has it.
    """
    for requirement in game_class.requirements(config):
        is_met = requirement.role in players and issubclass(players[requirement.role], requirement.protocol)
        value = getattr(config, requirement.setting)
        require(is_met, requirement.setting, value, requirement.alternatives)
