"""What a market asks of the agents that play it, beyond actions: `Requirement`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ioa_marl.foundations.parameters import require

if TYPE_CHECKING:
    from ioa_marl.envs.core import Game


@dataclass(frozen=True)
class Requirement:
    """What a market with certain settings asks of the agent of a role; see `Game.requirements`."""

    role: str
    """Role whose agent is asked."""
    protocol: type[Any]
    """Runtime-checkable protocol, of methods only, that the agent's class has to satisfy."""
    setting: str
    """Setting of the market that asks for it."""
    instead: str
    """What else the setting may be, and which agents can: the end of the message that refuses all others."""


def check_requirements(game_class: type[Game], config: Any, players: Mapping[str, type[Any]]) -> None:
    """Refuse a market whose agents do not offer what it asks of them.

    Parameters
    ----------
    game_class : type of Game
        The market.
    config : dataclass
        Its settings.
    players : mapping of str to type
        Class of the agent of each role that acts.

    Raises
    ------
    ParameterError
        Naming the setting that asks for more than the agents offer.
    """
    for asked in game_class.requirements(config):
        able = asked.role in players and issubclass(players[asked.role], asked.protocol)
        require(able, asked.setting, getattr(config, asked.setting), asked.instead)
