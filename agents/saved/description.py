"""The description of a run in a checkpoint. It may come from an untrusted source, and is checked before it is used."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ioa_marl import registry
from ioa_marl.agents.base import Agent, check_playable
from ioa_marl.envs.core import Game, Role
from ioa_marl.envs.requirements import check_requirements
from ioa_marl.foundations.errors import UserError, one_line
from ioa_marl.foundations.parameters import ParameterError
from ioa_marl.foundations.seeds import MAX_TRAINING_SEED
from ioa_marl.foundations.settings import build
from ioa_marl.foundations.trees import kind_of, printable

MOST_SETTINGS = 10_000
"""Largest number of values in the description of a run, and of characters in one of them."""


@dataclass(frozen=True)
class Player:
    """An agent of a run, and the roles that it plays."""

    roles: tuple[str, ...]
    """Names of the roles."""
    name: str
    """Registry name of the agent."""
    agent_class: type[Agent]
    """Class of the agent."""
    config: Any
    """Settings of the agent."""


@dataclass(frozen=True)
class Description:
    """The market and the agents of a run, from its checked description."""

    game_class: type[Game]
    """Class of the market."""
    config: Any
    """Settings of the market."""
    roles: Mapping[str, Role]
    """All roles of the market."""
    players: tuple[Player, ...]
    """The agents, in the order of their policies in the checkpoint."""
    seed: int
    """The training seed."""

    @classmethod
    def of(cls, spec: Any) -> Description:
        """Check a description; neither the market nor an agent is built.

        Parameters
        ----------
        spec : dict
            Description that `RunSpec.resolved` returned, with the seed.

        Raises
        ------
        UserError
            If no such run is possible with the installed markets and agents. The message is one line.
        """
        try:
            return cls._of(spec)
        except (UserError, ParameterError) as error:
            raise UserError(one_line(error)) from error
        except Exception as error:  # the settings of a plug-in may raise anything
            raise UserError(
                one_line(f"the description of the run is wrong: {type(error).__name__}: {error}")
            ) from error

    @classmethod
    def _of(cls, spec: Any) -> Description:
        check_plain(spec)
        env, agents = (_mapping(spec, key) for key in ("env", "agents"))
        game_class = registry.load_env(_text(env, "name", "env."))
        settings = {key: value for key, value in env.items() if key not in ("name", "preset")}
        config = build(game_class.config_class, settings, "env")
        roles = game_class.make_roles(config)
        players = tuple(_player(names, choice, game_class, roles) for names, choice in agents.items())
        played = [role for player in players for role in player.roles]
        if not played or len(set(played)) < len(played):
            raise UserError("agents is not allowed: use one agent for each role that acts")
        check_requirements(
            game_class, config, {role: player.agent_class for player in players for role in player.roles}
        )
        seed = whole(spec, "seed", 0, MAX_TRAINING_SEED)
        _check_versions(_mapping(spec, "versions"))
        return cls(game_class, config, roles, players, seed)


def whole(values: Mapping[str, Any], key: str, low: int, high: int) -> int:
    """Return an integer of a description, or raise `UserError` if it is not between ``low`` and ``high``."""
    value = values.get(key)
    if type(value) is not int or not low <= value <= high:
        raise UserError(f"{key}={printable(value)} is not allowed: use a whole number from {low} to {high}")
    return value


def check_plain(spec: Any) -> None:
    """Refuse a description that is too long, or that contains keys other than text, tensors or arrays."""
    waiting, count = [("the description of the run", spec)], 0
    while waiting:
        place, value = waiting.pop()
        count += 1
        if count > MOST_SETTINGS or (type(value) is str and len(value) > MOST_SETTINGS):
            raise UserError(f"the description of the run is too long: at most {MOST_SETTINGS} values are read")
        if type(value) is dict:
            odd = [key for key in value if type(key) is not str]
            if odd:
                raise UserError(f"{place} has the key {printable(odd[0])}, which is no text")
            waiting += [(f"{place}, {key}", inner) for key, inner in value.items()]
        elif type(value) in (list, tuple):
            waiting += [(place, inner) for inner in value]
        elif value is not None and type(value) not in (bool, int, float, str):
            raise UserError(f"{place} is {kind_of(value)}, and neither text nor a number")


def _mapping(values: Any, key: str) -> Mapping[str, Any]:
    value = values.get(key) if isinstance(values, dict) else None
    if not isinstance(value, dict):
        raise UserError(f"the description of the run is incomplete: {key} is {'missing' if value is None else 'wrong'}")
    return value


def _text(values: Mapping[str, Any], key: str, prefix: str) -> str:
    value = values.get(key)
    if not isinstance(value, str):
        raise UserError(f"{prefix}{key}={printable(value)} is not allowed: use a name")
    return value


def _player(names: str, choice: Any, game_class: type[Game], roles: Mapping[str, Role]) -> Player:
    if not isinstance(choice, dict):
        raise UserError(f"agents.{names} is {kind_of(choice)}: use a mapping with the name of an agent")
    name = _text(choice, "name", f"agents.{names}.")
    agent_class = registry.load_agent(name)
    config = build(agent_class.config_class, {key: value for key, value in choice.items() if key != "name"}, "agent")
    played = tuple(names.split("+"))
    for role in played:
        if role not in roles:
            raise UserError(f"agents.{names} is not allowed: the roles are {', '.join(roles)}")
        check_playable(agent_class, roles[role])
    agent_class = agent_class.for_settings(config, game_class, [roles[role] for role in played])
    return Player(played, name, agent_class, config)


def _check_versions(versions: Mapping[str, Any]) -> None:
    agents = versions.get("agents")
    numbers = [versions.get("env"), *(agents.values() if isinstance(agents, dict) else [None])]
    if not all(type(number) is int for number in numbers):
        raise UserError("the description of the run is incomplete: versions is wrong")
