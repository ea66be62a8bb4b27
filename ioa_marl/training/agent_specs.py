"""The agents of a run: `AgentSpec`, and how ``agent`` and ``roles`` of a configuration choose them."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ioa_marl import registry
from ioa_marl.agents.base import Agent, check_playable
from ioa_marl.agents.baselines.scripted import ScriptedConfig, given_settings, without_later_settings
from ioa_marl.agents.common.per_agent import NAME, PerAgent, PerAgentConfig, Player, players
from ioa_marl.envs.core import Game, Role
from ioa_marl.foundations.errors import CannotPlayError, UserError, shown, unknown_name
from ioa_marl.foundations.parameters import ParameterError, without_unchanged
from ioa_marl.foundations.settings import build, plain


@dataclass(frozen=True)
class AgentSpec:
    """One agent of a run."""

    name: str
    """Registry name."""
    agent_class: type[Agent]
    """The class of the agent."""
    config: Any
    """Instance of ``agent_class.config_class``."""
    roles: tuple[str, ...]
    """Roles that the agent plays."""
    parts: tuple[Player, ...] = ()
    """The agents of the role's agents, if these differ."""

    @classmethod
    def of(cls, name: str, config: Any, played: Sequence[Role], game_class: type[Game]) -> AgentSpec:
        """Return the agent of some roles; ``name`` and ``config`` are its name and its settings."""
        agent_class = registry.load_agent(name).for_settings(config, game_class, played)
        parts = players(config, played[0]) if issubclass(agent_class, PerAgent) else ()
        return cls(name, agent_class, config, tuple(role.name for role in played), parts)

    @property
    def players(self) -> tuple[AgentSpec | Player, ...]:
        """The agents that decide: itself, or the agents of the role's agents."""
        return self.parts or (self,)

    def as_dict(self) -> dict[str, Any]:
        """Return the name and the settings in one dictionary."""
        return {"name": self.name, **dataclasses.asdict(self.config)}

    def label(self, usual: tuple[str, ...]) -> str:
        """Return the name, with the roles if they are not the default controlled roles ``usual``."""
        roles = "+".join(self.roles)
        if not self.parts:
            return self.name if self.roles == usual else f"{roles}={self.name}"
        return ",".join(f"{roles}{_numbers(part)}={part.name}" for part in self.parts)

    def prepared(self, game_class: type[Game], controlled_roles: Mapping[str, Role], prefix: str) -> AgentSpec:
        """Return the agent with settings adapted to its roles; a mistake becomes one line that names ``prefix.key``."""
        plays = [controlled_roles[name] for name in self.roles]
        try:
            config = self.agent_class.prepared(self.config, plays, list(controlled_roles.values()))
        except ParameterError as error:
            # A pattern leaves out agents that cannot play with their default settings.
            kind = CannotPlayError if self.config == self.agent_class.config_class() else UserError
            raise kind(f"{prefix}.{error}") from error
        return AgentSpec.of(self.name, config, plays, game_class)

    def check(self, game_class: type[Game], env_config: Any, roles: Mapping[str, Role]) -> None:
        """Refuse an agent that cannot play its roles of a market, or that is a policy that the market does not have."""
        for name in self.roles:
            for player in self.players:
                played = player.role(roles[name], game_class) if isinstance(player, Player) else roles[name]
                check_playable(player.agent_class, played)
                _check_policy(player, game_class, env_config, name)

    def identity(self, choice: Mapping[str, Any]) -> dict[str, Any]:
        """Return the part of a description of the agent that determines the result; see `RunSpec.identity`."""
        if self.parts and choice.get("name") == NAME:
            own = {number: _identity(inner) for number, inner in choice["agents"].items()}
            return {"name": NAME, "agent": _identity(choice["agent"]), "agents": own}
        return _identity(choice, self.agent_class)


def _numbers(part: Player) -> str:
    """Return the agents of a role that a choice names, as ``.0-2+5``; empty for the rest of the role."""
    if part.key == "agent":
        return ""
    runs: list[list[int]] = []
    for number in part.members:
        if runs and number == runs[-1][-1] + 1:
            runs[-1].append(number)
        else:
            runs.append([number])
    return "." + "+".join(str(run[0]) if len(run) == 1 else f"{run[0]}-{run[-1]}" for run in runs)


def _identity(choice: Mapping[str, Any], agent_class: type[Agent] | None = None) -> dict[str, Any]:
    if not choice:
        return {}
    agent_class = registry.load_agent(choice["name"]) if agent_class is None else agent_class
    kept = without_unchanged(agent_class.config_class, choice)
    kept = {key: value for key, value in kept.items() if key not in agent_class.incidental}
    return without_later_settings(kept) if issubclass(agent_class.config_class, ScriptedConfig) else kept


def as_choice(described: Mapping[str, Any]) -> dict[str, Any]:
    """Return the value of ``roles.ROLE`` that chooses an agent of this description; see `AgentSpec.as_dict`."""
    if described.get("name") != NAME:
        return {"agent": described}
    return {key: described[key] for key in ("agent", "agents") if described[key]}


def agent_names(values: Mapping[str, Any]) -> list[Any]:
    """Return the names of all agents of a composed configuration, for messages about their packages."""
    special = [choice for choice in (values.get("roles") or {}).values() if isinstance(choice, Mapping)]
    chosen = [values.get("agent"), *(choice.get("agent") for choice in special)]
    for choice in special:
        own = choice.get("agents")
        chosen += own.values() if isinstance(own, Mapping) else []
    return [choice["name"] for choice in chosen if isinstance(choice, Mapping) and choice.get("name")]


def chosen_agents(
    values: Mapping[str, Any], game_class: type[Game], roles: Mapping[str, Role]
) -> tuple[AgentSpec, ...]:
    """Return the agents that a composed configuration chooses, in the order of their roles.

    Raises
    ------
    UserError
        If a role or an agent does not exist, a setting is wrong, or nobody plays.
    """
    special = values.get("roles") or {}
    chosen: list[tuple[str, AgentSpec]] = []
    for role, choice in special.items():
        if role not in roles:
            raise unknown_name("role", role, roles)
        if not isinstance(choice, Mapping) or not choice or not set(choice) <= {"agent", "agents"}:
            raise _no_choice(role, choice)
        prefix = f"roles.{role}"
        if "agents" in choice:
            chosen.append((prefix, _per_agent(values, choice, game_class, roles[role])))
        elif not isinstance(choice["agent"], Mapping):
            raise _no_choice(role, choice)
        else:
            spec = _agent_spec(choice["agent"], [roles[role]], game_class, f"{prefix}.agent")
            chosen.append((f"{prefix}.agent", spec))
    usual = tuple(role for role in game_class.default_controlled_roles if role not in special)
    agent = values.get("agent")
    if isinstance(agent, Mapping):
        rests = [role for role, choice in special.items() if _is_rest(role, choice, game_class)]
        if not usual and not rests:
            raise UserError("agent is set, but every role it would play is given to another one in roles")
        if usual:
            chosen.append(("agent", _agent_spec(agent, [roles[role] for role in usual], game_class, "agent")))
    elif not chosen:
        names = ", ".join(registry.agent_names())
        raise UserError(f"agent is not set: choose one with agent=NAME, of {names}")
    order = list(roles)
    chosen.sort(key=lambda choice: [order.index(role) for role in choice[1].roles])
    played = {role for _, spec in chosen for role in spec.roles}
    controlled_roles = {name: role for name, role in roles.items() if name in played}
    return tuple(spec.prepared(game_class, controlled_roles, prefix) for prefix, spec in chosen)


def _no_choice(role: str, choice: Any) -> UserError:
    return UserError(
        f"roles.{role}={shown(choice)} is not allowed: use roles.{role}.agent=NAME, or roles.{role}.agents.0=NAME for "
        f"its agent 0; a file does so in its defaults, as in - /agent@roles.{role}.agent: NAME"
    )


def _is_rest(role: str, choice: Mapping[str, Any], game_class: type[Game]) -> bool:
    """Whether ``agent`` plays those agents of a role for which none was chosen."""
    return "agents" in choice and "agent" not in choice and role in game_class.default_controlled_roles


def _per_agent(values: Mapping[str, Any], choice: Mapping[str, Any], game_class: type[Game], role: Role) -> AgentSpec:
    """Return the agents of a role's agents; who is not named plays as if none of the others was."""
    prefix, own = f"roles.{role.name}", choice["agents"]
    if not isinstance(own, Mapping) or not own or not all(isinstance(inner, Mapping) for inner in own.values()):
        raise _no_choice(role.name, choice)
    for number in map(str, own):
        if not (number.isascii() and number.isdigit() and int(number) < role.count):
            last = role.count - 1
            raise UserError(
                f"{prefix}.agents.{shown(number)} is not allowed: the agents of {role.name} are 0 to {last}"
            )
    numbered = {
        str(int(number)): _agent_spec(inner, [role], game_class, f"{prefix}.agents.{number}")
        for number, inner in own.items()
    }
    rest, place = choice.get("agent"), f"{prefix}.agent"
    if rest is None and role.name in game_class.default_controlled_roles:
        rest, place = values.get("agent"), "agent"
    elif rest is None:
        rest = {"name": "scripted", "policy": role.scripted}
    remaining: dict[str, Any] = {}
    if len(numbered) < role.count:
        if not isinstance(rest, Mapping):
            raise UserError(f"agent is not set: who plays the other agents of {role.name}? use {prefix}.agent=NAME")
        remaining = plain(_agent_spec(rest, [role], game_class, place).as_dict())
    config = PerAgentConfig(remaining, {number: plain(spec.as_dict()) for number, spec in numbered.items()})
    return AgentSpec.of(NAME, config, [role], game_class)


def _agent_spec(values: Mapping[str, Any], played: Sequence[Role], game_class: type[Game], prefix: str) -> AgentSpec:
    name = values.get("name")
    if not isinstance(name, str) or name == NAME:
        raise UserError(f"{prefix}.name={name} is not allowed: use the name of an agent")
    agent_class = registry.load_agent(name)
    settings = {key: value for key, value in values.items() if key != "name"}
    return AgentSpec.of(name, build(agent_class.config_class, settings, prefix), played, game_class)


def _check_policy(agent: AgentSpec | Player, game_class: type[Game], env_config: Any, role: str) -> None:
    """Refuse a scripted policy that the market does not have, or a setting that the policy does not have."""
    if not isinstance(agent.config, ScriptedConfig):
        return
    policy, known = agent.config.policy, game_class.scripted_policies(role)
    if policy not in known:
        has = ", ".join(known) or "none"
        raise CannotPlayError(
            f"{agent.name} cannot play {role}: {game_class.name} has no policy {policy!r} for it (it has: {has})"
        )
    settings = given_settings(agent.config)
    if settings:
        try:
            game_class(env_config, 1, [role]).scripted(policy, role, **settings)
        except ParameterError as error:
            place = f"roles.{role}.{agent.key}" if isinstance(agent, Player) else "agent"
            raise UserError(f"{place}.settings.{error}") from error
