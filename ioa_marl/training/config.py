"""The description of a run, `RunSpec`, and the checks that turn a composed configuration into one."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from ioa_marl import registry
from ioa_marl.agents.base import Agent
from ioa_marl.agents.common.per_agent import Player
from ioa_marl.agents.saved.description import Description, whole
from ioa_marl.envs.core import Game, Role
from ioa_marl.envs.requirements import check_requirements
from ioa_marl.evaluation.playing import evaluation_config
from ioa_marl.evaluation.protocol import PROTOCOL_VERSION, EvaluationConfig, check_episodes, with_final_episodes
from ioa_marl.foundations.errors import UserError, UserErrors, one_line, shown, unknown_name
from ioa_marl.foundations.parameters import ParameterError, without_unchanged, without_what_data_sets
from ioa_marl.foundations.settings import build, plain
from ioa_marl.training.agent_specs import AgentSpec, agent_names, chosen_agents
from ioa_marl.training.limits import check_limits
from ioa_marl.training.parsing import integer, parse_device, parse_runs, parse_seeds
from ioa_marl.training.sources import source_fingerprint

RUNNER_VERSION = 1
"""Raised whenever the same settings lead to other results in the runner."""

ROOT_KEYS = ("env", "agent", "budget", "seeds", "num_envs", "device", "runs", "roles", "evaluation")


@dataclass(frozen=True)
class RunSpec:
    """Market, agents and settings of a run."""

    game_class: type[Game]
    """The class of the market."""
    env_config: Any
    """Parameters of the market."""
    preset: str
    """Name of the market's preset, or ``custom``."""
    agents: tuple[AgentSpec, ...]
    """The agents, in the order of their roles."""
    budget: int
    """Environment steps per seed."""
    num_envs: int
    """Markets that are stepped together, per seed."""
    device: str
    """Device that the agents train on, as PyTorch names it."""
    evaluation: EvaluationConfig
    """Settings of the evaluation, with a number for ``final_episodes``."""
    seeds: tuple[int, ...]
    """Training seeds."""
    runs: Path
    """Folder of the run store."""

    @property
    def controlled_roles(self) -> tuple[str, ...]:
        """Roles that act, in the game's order."""
        played = {role for agent in self.agents for role in agent.roles}
        return tuple(role for role in self.game_class.make_roles(self.env_config) if role in played)

    @property
    def last_episodes(self) -> int:
        """Episodes of the last evaluation, from which the row is made."""
        assert self.evaluation.final_episodes is not None  # `resolve` and `from_resolved` fill it in
        return self.evaluation.final_episodes

    @property
    def episodes_on_the_way(self) -> int:
        """Episodes of each evaluation before the last one."""
        return min(self.evaluation.episodes, self.last_episodes)

    @property
    def env_label(self) -> str:
        """Folder name of the market with its preset."""
        return f"{self.game_class.name}-{self.preset}"

    @property
    def agent_label(self) -> str:
        """Names of the agents, each with its roles if they are not the default controlled roles."""
        usual = self.game_class.default_controlled_roles
        return ",".join(agent.label(usual) for agent in self.agents)

    def resolved(self) -> dict[str, Any]:
        """Return the complete configuration as plain values."""
        return {
            "env": {
                "name": self.game_class.name,
                "preset": self.preset,
                **plain(dataclasses.asdict(self.env_config)),
            },
            "agents": {"+".join(agent.roles): plain(agent.as_dict()) for agent in self.agents},
            "budget": self.budget,
            "num_envs": self.num_envs,
            "device": self.device,
            "evaluation": dataclasses.asdict(self.evaluation),
            "versions": {
                "env": self.game_class.version,
                "agents": {name: agent_class.version for name, agent_class in self._classes.items()},
                "protocol": PROTOCOL_VERSION,
                "runner": RUNNER_VERSION,
            },
        }

    @property
    def _classes(self) -> dict[str, type[Agent]]:
        """The class of every agent by name, also of those that play some agents of a role."""
        whole = {agent.name: agent.agent_class for agent in self.agents}
        return whole | {part.name: part.agent_class for agent in self.agents for part in agent.parts}

    @property
    def learns(self) -> bool:
        """Whether training changes any of the agents."""
        return bool(self.learners)

    @property
    def learners(self) -> tuple[str, ...]:
        """Names of the agents that training changes, also of those that play some agents of a role."""
        players = ((player, agent.roles) for agent in self.agents for player in agent.players)
        return tuple(player.name for player, roles in players if player.agent_class.learns_in(self.game_class, roles))

    @property
    def digest(self) -> str:
        """Hash of all settings that change the result."""
        return self.digest_of(self.resolved())

    def digest_of(self, described: Mapping[str, Any]) -> str:
        """Return the digest of a description of a run of the same market and agents; see `identity`."""
        text = json.dumps(self.identity(described), sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:12]

    def identity(self, described: Mapping[str, Any]) -> dict[str, Any]:
        """Return the part of a description that determines the result.

        Settings that were added after the description was written and have no effect are left out, so that a run keeps
        its digest.

        Parameters
        ----------
        described : mapping
            A description of a run of the same market and agents, as `resolved` of this or an earlier version returns.
        """
        rest = {key: value for key, value in described.items() if key != "seed"}
        if not self.learns:
            rest = {key: value for key, value in rest.items() if key not in ("budget", "num_envs", "device")}
        own = {"+".join(agent.roles): agent for agent in self.agents}
        agents = {
            roles: own[roles].identity(choice) if roles in own else choice
            for roles, choice in described["agents"].items()
        }
        env = without_unchanged(self.game_class.config_class, described["env"])
        # It was a setting of protocol 3; rows of that time keep their digest.
        evaluation = {"bidder_gain": False, **without_unchanged(EvaluationConfig, described["evaluation"])}
        return {**rest, "env": env, "agents": agents, "evaluation": evaluation}

    @property
    def code(self) -> dict[str, str | None]:
        """Fingerprints of the source files of the market and the agents, as ``{"market NAME": …, "agent NAME": …}``."""
        agents = {f"agent {name}": source_fingerprint(agent_class) for name, agent_class in self._classes.items()}
        return {f"market {self.game_class.name}": source_fingerprint(self.game_class), **agents}

    @property
    def folder(self) -> Path:
        """Folder of the run's seeds."""
        return self.runs / self.env_label / self.agent_label / self.digest

    def seed_folder(self, seed: int) -> Path:
        """Folder of one seed."""
        return self.folder / f"seed_{seed}"


def resolve(values: Mapping[str, Any]) -> RunSpec:
    """Check a composed configuration and return the run that it describes; nothing is written.

    Raises
    ------
    UserError
        With one line that names the key, the value and what is allowed.
    """
    try:
        return _resolve(values)
    except (UserError, ParameterError):
        raise
    except (Exception, SystemExit) as error:
        plugins = _plugins(values)
        if not plugins:
            raise
        reason = one_line(f"{type(error).__name__}: {error}")
        raise UserError(f"{' or '.join(plugins)} cannot be used: {reason}") from error


def _plugins(values: Mapping[str, Any]) -> list[str]:
    """Return the market and the agents that come from other packages, for messages."""
    named = [registry.entry("agent", name) for name in agent_names(values)]
    if isinstance(values.get("env"), Mapping):
        named.insert(0, registry.entry("environment", values["env"]["name"]))
    return [f"{entry.kind} {entry.name!r} of {entry.source}" for entry in named if entry.source != registry.OWN]


def _resolve(values: Mapping[str, Any]) -> RunSpec:
    _check_keys(values)
    env = values["env"]
    game_class = registry.load_env(env["name"])
    settings = {key: value for key, value in env.items() if key not in ("name", "preset")}
    try:
        of_preset = game_class.presets.get(str(env.get("preset")), {})
        settings = without_what_data_sets(game_class.config_class, of_preset, settings)
    except ParameterError as error:
        raise UserError(f"env.{error}") from error
    env_config = build(game_class.config_class, settings, "env")
    roles = game_class.make_roles(env_config)
    agents = chosen_agents(values, game_class, roles)
    _check_agents(agents, game_class, env_config, roles)
    errors = UserErrors()
    parsed: dict[str, Any] = {}
    for key, parse in _PARSERS.items():
        for value in errors.tried(partial(parse, values)):
            parsed[key] = value
    errors.throw()
    budget, num_envs, device = parsed["budget"], parsed["num_envs"], parsed["device"]
    if budget < num_envs:
        raise UserError(f"budget={budget} is not allowed: use at least num_envs={num_envs}, one step of each")
    for agent in (player for each in agents for player in each.players):
        if device.split(":")[0] not in agent.agent_class.devices:
            raise UserError(
                f"device={device} is not allowed: {agent.name} trains on {', '.join(agent.agent_class.devices)}"
            )
    with errors.collected():
        _check_something_is_learnt(agents, game_class, roles, budget, num_envs)
    preset = preset_of(game_class, env_config, str(env.get("preset")))
    evaluation = with_final_episodes(parsed["evaluation"], game_class, env.get("preset"))
    spec = RunSpec(
        game_class, env_config, preset, agents, budget, num_envs,
        device, evaluation, parsed["seeds"], parsed["runs"],
    )  # fmt: skip
    with errors.collected():
        check_limits(spec, values.get("roles") or {})
    errors.throw()
    return spec


def _evaluation(values: Mapping[str, Any]) -> EvaluationConfig:
    if "bidder_gain" in values["evaluation"]:
        raise UserError("evaluation.bidder_gain is no setting any more: ioa-marl audit finds these gains")
    config: EvaluationConfig = build(EvaluationConfig, values["evaluation"], "evaluation")
    check_episodes(config)
    return config


_PARSERS: Mapping[str, Callable[[Mapping[str, Any]], Any]] = {
    "device": lambda values: parse_device(values["device"]),
    "budget": lambda values: integer(values, "budget", 1, 10**12),
    "num_envs": lambda values: integer(values, "num_envs", 1, 1_000_000),
    "evaluation": _evaluation,
    "seeds": lambda values: parse_seeds(values["seeds"]),
    "runs": lambda values: parse_runs(values["runs"]),
}
"""Parsers of the settings that depend on no other setting; their mistakes are reported together."""


def _check_keys(values: Mapping[str, Any]) -> None:
    """Refuse settings that are unknown, missing or malformed; all of them are reported together."""
    errors = UserErrors()
    for key in values:
        if key not in ROOT_KEYS:
            errors.messages.append(str(unknown_name("key", key, ROOT_KEYS)))
    for key in _PARSERS:
        if key not in values:
            errors.messages.append(f"{key} is missing: it cannot be left out")
    env, evaluation, special = (values.get(key) for key in ("env", "evaluation", "roles"))
    if env is None:
        errors.messages.append(f"env is not set: choose one with env=NAME, of {', '.join(registry.env_names())}")
    elif not isinstance(env, Mapping) or not isinstance(env.get("name"), str):
        errors.messages.append(_no_group("env", env))
    if values.get("agent") is not None and not isinstance(values["agent"], Mapping):
        errors.messages.append(_no_group("agent", values["agent"]))
    if "evaluation" in values and not isinstance(evaluation, Mapping):
        errors.messages.append(f"evaluation={shown(evaluation)} is not allowed: use evaluation.episodes=100")
    if special is not None and not isinstance(special, Mapping):
        errors.messages.append(f"roles={shown(special)} is not allowed: use roles.ROLE.agent=NAME")
    errors.throw()


def _no_group(key: str, value: Any) -> str:
    if isinstance(value, Mapping):
        return f"{key}.name={shown(value.get('name'))} is not allowed: choose one with {key}=NAME"
    return (
        f"{key}={shown(value)} is not allowed: choose one with {key}=NAME; "
        f"a file does so in its defaults, as in - override /{key}: NAME"
    )


def _check_agents(
    agents: tuple[AgentSpec, ...], game_class: type[Game], env_config: Any, roles: Mapping[str, Role]
) -> None:
    """Refuse agents that cannot play their roles of a market."""
    try:
        check_requirements(
            game_class, env_config, {role: agent.agent_class for agent in agents for role in agent.roles}
        )
    except ParameterError as error:
        raise UserError(f"env.{error}") from error
    for agent in agents:
        agent.check(game_class, env_config, roles)


def _check_something_is_learnt(
    agents: tuple[AgentSpec, ...], game_class: type[Game], roles: Mapping[str, Role], budget: int, num_envs: int
) -> None:
    """Refuse a run that would end before the first update of one of its learners."""
    controlled_roles = [role for name, role in roles.items() if any(name in agent.roles for agent in agents)]
    for player, plays in ((player, agent.roles) for agent in agents for player in agent.players):
        if not player.agent_class.learns_in(game_class, plays):
            continue
        for name in plays:
            played = player.role(roles[name], game_class) if isinstance(player, Player) else roles[name]
            first = player.agent_class.first_update(player.config, played, controlled_roles, num_envs)
            if budget < first:
                raise UserError(
                    f"budget={budget} is not allowed: use at least {first}, "
                    f"the environment steps after which {player.name} first learns in the role {name}"
                )


def preset_of(game_class: type[Game], config: Any, claimed: str | None) -> str:
    """Return ``claimed`` if the market's evaluation parameters are those of that preset, else ``custom``."""
    if claimed not in game_class.presets:
        return "custom"
    usual = game_class.make_config(claimed)
    return str(claimed) if evaluation_config(config) == evaluation_config(usual) else "custom"


def from_resolved(saved: Any, runs: Path) -> RunSpec:
    """Return the run of a description that a checkpoint or ``config.yaml`` contains: `RunSpec.resolved` and the seed.

    Raises
    ------
    UserError
        If that run could not be started with the installed versions; the file may come from anyone.
    """
    description = Description.of(saved)
    game_class, config = description.game_class, description.config
    roles = description.roles
    try:
        agents = tuple(
            AgentSpec.of(p.name, p.config, [roles[role] for role in p.roles], game_class) for p in description.players
        )
        for agent in agents:
            agent.check(game_class, config, roles)
        num_envs = whole(saved, "num_envs", 1, 1_000_000)
        budget = whole(saved, "budget", num_envs, 10**12)
        if not isinstance(saved.get("evaluation"), Mapping):
            raise UserError("the description of the run is incomplete: evaluation is missing or wrong")
        known = {key: value for key, value in saved["evaluation"].items() if key != "bidder_gain"}  # of older rows
        evaluation = build(EvaluationConfig, known, "evaluation")
        check_episodes(evaluation)
        preset = preset_of(game_class, config, str(saved["env"].get("preset")))
        evaluation = with_final_episodes(evaluation, game_class, preset)
    except (UserError, ParameterError) as error:
        raise UserError(one_line(error)) from error
    return RunSpec(game_class, config, preset, agents, budget, num_envs, "cpu", evaluation, (description.seed,), runs)
