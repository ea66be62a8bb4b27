"""Different agents for the agents of one role: `PerAgent` hands each of them to the agent that was chosen for it.

An agent that learns sees a role of its own, of the agents that it was chosen for; the others of the role are further
roles to it, so that a centralised critic knows who is who. An agent that does not learn, such as a scripted policy, is
asked for the actions of the whole role, of which those of its own agents are taken.
"""

from __future__ import annotations

import dataclasses
import types
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from ioa_marl import registry
from ioa_marl.agents.base import Agent, AgentContext, State
from ioa_marl.agents.common.streams import Streams
from ioa_marl.envs.core import Arrays, Game, Role
from ioa_marl.envs.vector import Transition
from ioa_marl.foundations.parameters import ParameterError, require
from ioa_marl.foundations.settings import build

NAME = registry.PER_AGENT
"""Name in descriptions of runs; no agent can be registered under it."""
REST = "agent"
"""Key of the agent that plays those agents of the role for which none was chosen."""
_MOST_PARTS = 2**20
"""Most roles of a run, parts of roles included: a bound that keeps their random streams apart."""


@dataclass(frozen=True)
class PerAgentConfig:
    """The agents of one role's agents."""

    agent: dict[str, Any] = field(default_factory=dict)
    """Name and settings of the agent that plays all agents of the role that ``agents`` does not name; empty if there
    are none."""
    agents: dict[str, Any] = field(default_factory=dict)
    """Name and settings of the agent of each other agent of the role, by its number. Agents with equal choices are
    played by one agent, as if they were a role."""

    def __post_init__(self) -> None:
        """Refuse what are no choices of agents."""
        for key, choice in [*([(REST, self.agent)] if self.agent else []), *self.agents.items()]:
            number = key == REST or (isinstance(key, str) and key.isascii() and key.isdigit() and str(int(key)) == key)
            require(number, "agents", key, "numbers of agents, as in roles.ROLE.agents.0=NAME")
            named = isinstance(choice, Mapping) and isinstance(choice.get("name"), str) and choice["name"] != NAME
            require(named, key if key == REST else f"agents.{key}", choice, "a mapping with the name of an agent")


@dataclass(frozen=True)
class Player:
    """One agent and the agents of the role that it plays."""

    key: str
    """Where it is chosen: ``agent``, or ``agents.0`` for the first of its agents."""
    members: tuple[int, ...]
    """Numbers of the agents of the role."""
    name: str
    """Registry name."""
    agent_class: type[Agent]
    """Its class."""
    config: Any
    """Instance of ``agent_class.config_class``."""

    def role(self, role: Role, game_class: type[Game]) -> Role:
        """Return the role that it plays: the whole one, or if it learns the part of its agents."""
        if not self.agent_class.learns_in(game_class, [role.name]):
            return role
        return self.part(role)

    def part(self, role: Role) -> Role:
        """Return its agents as a role."""
        last = "others" if self.key == REST else "_".join(map(str, self.members))
        return dataclasses.replace(role, name=f"{role.name}_{last}", count=len(self.members))


def players(config: PerAgentConfig, role: Role) -> tuple[Player, ...]:
    """Return the agents of a role's agents, that of the rest first, then by the first number that each plays.

    Raises
    ------
    ParameterError, UserError
        If there is no such agent of the role, or an agent has other settings.
    """
    for key in config.agents:
        require(int(key) < role.count, "agents", key, f"0 to {role.count - 1}, the agents of {role.name}")
    groups: list[tuple[str, dict[str, Any], list[int]]] = []
    for number in sorted(map(int, config.agents)):
        choice = config.agents[str(number)]
        same = next((members for _, other, members in groups if other == choice), None)
        if same is None:
            groups.append((f"agents.{number}", choice, [number]))
        else:
            same.append(number)
    rest = [number for number in range(role.count) if str(number) not in config.agents]
    require(not rest or bool(config.agent), REST, "null", f"an agent for {role.name} {rest[:1]} and others")
    return tuple(_player(*group) for group in [*([(REST, config.agent, rest)] if rest else []), *groups])


def _player(key: str, choice: Mapping[str, Any], members: Sequence[int]) -> Player:
    agent_class = registry.load_agent(choice["name"])
    settings = {name: value for name, value in choice.items() if name != "name"}
    return Player(key, tuple(members), choice["name"], agent_class, build(agent_class.config_class, settings, key))


@dataclass(frozen=True)
class PartContext(AgentContext):
    """The run as the learner of some agents of a role sees it: these are a role, and so are the others of the role."""

    first_stream: int = 0
    """Number of the first random stream of its first role."""

    def stream_offset(self, role: Role) -> int:
        """Return the number of a role's first random stream, which no whole role and no part of another role has."""
        return self.first_stream + super().stream_offset(role)


class PerAgent(Agent):
    """Play the agents of one role, each by the agent that was chosen for it; `for_settings` makes the class."""

    config_class: ClassVar[type[Any]] = PerAgentConfig
    action_spaces: ClassVar[tuple[type[spaces.Space[Any]], ...]] = (spaces.Discrete, spaces.MultiDiscrete, spaces.Box)
    game_class: ClassVar[type[Game]]
    """Class of the market."""
    classes: ClassVar[tuple[type[Agent], ...]]
    """Classes of the agents."""

    def __init__(self, context: AgentContext, config: PerAgentConfig) -> None:
        super().__init__(context, config)
        (self._role,) = context.plays
        found = players(config, self._role)
        self._parts = {player.part(self._role).name: np.array(player.members) for player in found}
        own = tuple(player.part(self._role) for player in found)
        others = tuple(role for role in context.roles if role.name != self._role.name)
        place = [role.name for role in context.roles].index(self._role.name)
        given = {each.name: getattr(context, each.name) for each in dataclasses.fields(AgentContext)}
        self._learners: dict[str, Agent] = {}
        self._agents: dict[str, Agent] = {}
        for player, part in zip(found, own, strict=True):
            inner = context
            if player.role(self._role, self.game_class) is not self._role:
                first = 16 * (len(context.roles) + place * _MOST_PARTS)
                inner = PartContext(**{**given, "plays": (part,), "roles": (*others, *own)}, first_stream=first)
            agent = player.agent_class(inner, player.config)
            self._agents[part.name] = agent
            if inner is not context:
                self._learners[part.name] = agent
        self.need_not_be_finite = frozenset().union(*(agent.need_not_be_finite for agent in self._agents.values()))

    @classmethod
    def for_settings(cls, config: PerAgentConfig, game_class: type[Game], plays: Sequence[Role]) -> type[Agent]:
        """Return the class for these agents; its class attributes follow from theirs."""
        require(len(plays) == 1, "agents", "+".join(role.name for role in plays), "one role")
        found = players(config, plays[0])
        classes = tuple(player.agent_class for player in found)
        learners = [c for c in classes if c.learns_in(game_class, [plays[0].name])]
        attributes = {
            "__module__": cls.__module__,
            "__doc__": cls.__doc__,
            "game_class": game_class,
            "classes": classes,
            "learns": bool(learners),
            "devices": tuple(d for d in Agent.devices if all(d in c.devices for c in learners)),
            "centralised_critic": any(c.centralised_critic for c in learners),
            "needs_state": any(c.needs_state for c in classes),
            "privileged": any(c.privileged for c in classes),
            "stochastic": any(c.stochastic for c in classes),
        }
        made: type[Agent] = types.new_class(cls.__name__, (cls,), exec_body=lambda body: body.update(attributes))
        return made

    @classmethod
    def learns_in(cls, game_class: type[Game], roles: Sequence[str]) -> bool:
        """Return whether any of the agents learns."""
        return any(c.learns_in(game_class, roles) for c in cls.classes)

    @classmethod
    def prepared(
        cls, config: PerAgentConfig, plays: Sequence[Role], controlled_roles: Sequence[Role]
    ) -> PerAgentConfig:
        """Complete the settings of every agent."""
        (role,) = plays
        changed: dict[str, Any] = {}
        for player in players(config, role):
            try:
                settings = player.agent_class.prepared(
                    player.config, [player.role(role, cls.game_class)], controlled_roles
                )
            except ParameterError as error:
                raise ParameterError(f"{player.key}.{error.name}", error.value, error.allowed) from error
            choice = {"name": player.name, **dataclasses.asdict(settings)}
            changed |= {REST: choice} if player.key == REST else {str(number): choice for number in player.members}
        rest = changed.pop(REST, {})
        return PerAgentConfig(rest, changed)

    def attach(self, game: Game) -> None:
        """Let all agents see the game."""
        for agent in self._agents.values():
            agent.attach(game)

    def _split(self, arrays: Mapping[str, NDArray[Any]]) -> Arrays:
        """Return arrays by role with those of the role replaced by one for each part, (seeds, markets, agents, …)."""
        out = {name: array for name, array in arrays.items() if name != self._role.name}
        return out | {part: arrays[self._role.name][:, :, members] for part, members in self._parts.items()}

    def _joined(self, chosen: Mapping[str, NDArray[Any]]) -> Arrays:
        """Return the role's actions from those of the parts."""
        first = next(iter(chosen.values()))
        out = np.zeros((*first.shape[:2], self._role.count, *first.shape[3:]), first.dtype)
        for part, members in self._parts.items():
            out[:, :, members] = chosen[part]
        return {self._role.name: out}

    def act(self, observations: Arrays, *, deterministic: bool) -> Arrays:
        """Return the actions of all agents of the role, each by its own agent."""
        split = self._split(observations) if self._learners else {}
        chosen = {}
        for part, agent in self._agents.items():
            if part in self._learners:
                chosen[part] = agent.act(split, deterministic=deterministic)[part]
            else:
                actions = agent.act(observations, deterministic=deterministic)[self._role.name]
                chosen[part] = actions[:, :, self._parts[part]]
        return self._joined(chosen)

    def sample(self, observations: Arrays, streams: Mapping[str, Streams]) -> Arrays:
        """Draw the actions of the agents that can sample, one after the other from the same streams."""
        split = self._split(observations)
        chosen = {}
        for part, agent in self._agents.items():
            name = part if part in self._learners else self._role.name
            seen = split if part in self._learners else observations
            if agent.stochastic:
                actions = agent.sample(seen, {name: streams[self._role.name]})[name]
            else:
                actions = agent.act(seen, deterministic=True)[name]
            chosen[part] = actions if part in self._learners else actions[:, :, self._parts[part]]
        return self._joined(chosen)

    def observe(self, transition: Transition) -> None:
        """Show every learner the transition, with the role's parts as roles."""
        if not self._learners:
            return
        split = dataclasses.replace(
            transition,
            observations=self._split(transition.observations),
            actions=self._split(transition.actions),
            active=self._split(transition.active),
            next_active=self._split(transition.next_active),
            rewards=self._split(transition.rewards),
            next_observations=self._split(transition.next_observations),
        )
        for agent in self._learners.values():
            agent.observe(split)

    def learn(self) -> Mapping[str, NDArray[np.float64]] | None:
        """Let every learner update its networks if an update is due."""
        metrics: dict[str, NDArray[np.float64]] = {}
        several = len(self._learners) > 1
        for part, agent in self._learners.items():
            metrics |= {f"{part}_{name}" if several else name: x for name, x in (agent.learn() or {}).items()}
        return metrics or None

    def state_dict(self, seed_index: int) -> State:
        """Return the states of all agents."""
        return {part: agent.state_dict(seed_index) for part, agent in self._agents.items()}

    def load_state_dict(self, seed_index: int, state: State) -> None:
        """Continue from a state that `state_dict` returned."""
        for part, agent in self._agents.items():
            agent.load_state_dict(seed_index, state[part])

    def policy_state(self, seed_index: int) -> State:
        """Return the policies of all agents."""
        return {part: agent.policy_state(seed_index) for part, agent in self._agents.items()}

    def load_policy_state(self, seed_index: int, state: State) -> None:
        """Act with policies that `policy_state` returned."""
        for part, agent in self._agents.items():
            agent.load_policy_state(seed_index, state[part])

    def parameters_count(self) -> int:
        """Return the number of trainable parameters of one seed, of all agents."""
        return sum(agent.parameters_count() for agent in self._agents.values())
