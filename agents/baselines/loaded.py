"""A policy that another run has trained, as an agent of its own: it plays, and does not learn."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar

import numpy as np
import torch
from gymnasium import spaces
from numpy.typing import NDArray

from ioa_marl.agents.base import Agent, AgentContext, State
from ioa_marl.agents.saved.policy import SavedPolicy, found_path
from ioa_marl.agents.saved.restoring import built, take_over
from ioa_marl.envs.core import Arrays, Game, Role
from ioa_marl.foundations import checkpoint
from ioa_marl.foundations.errors import UserError
from ioa_marl.foundations.parameters import ParameterError, check_integer, require

FIRST_SEED = 2**41
"""First seed of what these agents draw: no learner may draw the same, and training seeds are below."""
LARGEST_VIEW = 2**24
"""Numbers that a policy is shown at a time, where one of its agents plays for many."""


@dataclass(frozen=True)
class LoadedConfig:
    """Which policy is played, and how."""

    path: str = ""
    """Folder of a seed, of which the latest checkpoint is read, or a checkpoint file; ``*`` may stand for anything
    where only one path matches."""
    role: str | None = None
    """Whose policy of that run is played. null: that of the role of the same name."""
    member: int | None = None
    """Which of that role's agents, from 0, plays for all. null: each one plays as the one of its own number."""
    sample: bool = False
    """Whether actions are drawn from the policy, also in evaluation; otherwise the most likely ones are taken."""
    content: str | None = None
    """Fingerprint of the policy. null: it is filled in; otherwise any other policy is refused."""

    def __post_init__(self) -> None:
        """Refuse what is no number of an agent."""
        if self.member is not None:
            check_integer(self, "member", 0, 10**9)


class LoadedAgent(Agent):
    """Play what a checkpoint of another run holds, the same policy for every training seed.

    The policy itself is part of this agent's state: a checkpoint of a run can be evaluated, and a run that has begun
    goes on, without the file. The agent behind it sees observations only; it is not told which game is played.
    """

    config_class: ClassVar[type[Any]] = LoadedConfig
    action_spaces: ClassVar[tuple[type[spaces.Space[Any]], ...]] = (
        spaces.Discrete,
        spaces.MultiDiscrete,
        spaces.Box,
    )
    learns: ClassVar[bool] = False
    incidental: ClassVar[frozenset[str]] = frozenset({"path"})

    config: LoadedConfig

    def __init__(self, context: AgentContext, config: LoadedConfig) -> None:
        super().__init__(context, config)
        self._saved: dict[str, SavedPolicy] = {}
        self._players: dict[str, _Player] = {}
        self._evaluated: dict[str, _Player] = {}
        """Players of the present evaluation, where actions are drawn: training's random numbers are left alone."""

    @classmethod
    def prepared(cls, config: LoadedConfig, plays: Sequence[Role], controlled_roles: Sequence[Role]) -> LoadedConfig:
        """Read the policies, refuse what cannot be played with them, and fill in where they lie and what they are."""
        saved = _read(config, plays)
        for role in plays:
            _check(saved[role.name], role, config, controlled_roles)
        content = _content(saved)
        if config.content not in (None, content):
            raise ParameterError("content", config.content, f"null, or {content}: it is what {config.path} holds")
        return dataclasses.replace(config, path=found_path(config.path), content=content)

    def attach(self, game: Game) -> None:
        """Read the policies, unless a state has brought them, and begin what is drawn in evaluation anew."""
        if not self._saved:
            self.prepared(self.config, self.context.plays, self.context.roles)
            self._set(_read(self.config, self.context.plays))
        self._evaluated = {}

    def act(self, observations: Arrays, *, deterministic: bool) -> Arrays:
        """Play the policies."""
        players = self._players
        if self.config.sample and deterministic:
            if not self._evaluated:
                self._evaluated = self._make(evaluation=True)
            players = self._evaluated
        return {name: player.act(name, observations, self.config.sample) for name, player in players.items()}

    def state_dict(self, seed_index: int) -> State:
        """Return the policies and, where actions are drawn, where the random streams are."""
        state = self.policy_state(seed_index)
        if self.config.sample:
            state["players"] = {name: player.agent.state_dict(seed_index) for name, player in self._players.items()}
        return state

    def load_state_dict(self, seed_index: int, state: State) -> None:
        """Go on from what `state_dict` returned."""
        self.load_policy_state(seed_index, state)
        for name, inner in state.get("players", {}).items():
            self._players[name].agent.load_state_dict(seed_index, inner)

    def policy_state(self, seed_index: int) -> State:
        """Return the policies with the description of the runs that they are from."""
        return {"policies": {name: policy.as_state() for name, policy in self._saved.items()}}

    def load_policy_state(self, seed_index: int, state: State) -> None:
        """Play what `policy_state` returned; all seeds play the same."""
        if self._saved:
            return
        held = state.get("policies") if isinstance(state, dict) else None
        if not isinstance(held, dict) or set(held) != {role.name for role in self.context.plays}:
            raise UserError("the state of loaded is not allowed: use one policy for each role that it plays")
        saved = {name: SavedPolicy.from_state(inner) for name, inner in held.items()}
        if self.config.content not in (None, _content(saved)):
            raise UserError(f"the state of loaded is not what its settings name: content={self.config.content}")
        for role in self.context.plays:
            _check(saved[role.name], role, self.config, self.context.roles)
        self._set(saved)

    def _set(self, saved: dict[str, SavedPolicy]) -> None:
        self._saved = saved
        self.need_not_be_finite = frozenset().union(*(p.agent_class.need_not_be_finite for p in saved.values()))
        self._players = self._make(evaluation=False)

    def _make(self, evaluation: bool) -> dict[str, _Player]:
        return {
            role.name: _Player(self._saved[role.name], role, self.config.member, self._drawing(role, evaluation)).load()
            for role in self.context.plays
        }

    def _drawing(self, role: Role, evaluation: bool) -> AgentContext:
        """Return the setting with seeds of its own for a role, and for evaluation."""
        first = FIRST_SEED * (1 + 2 * self.context.stream_offset(role) + evaluation)
        return dataclasses.replace(self.context, seeds=tuple(first + seed for seed in self.context.seeds))


class _Player:
    """The agent that has learnt a policy, playing one role for some seeds.

    Parameters
    ----------
    saved : SavedPolicy
        The policy.
    role : Role
        The role that is played.
    member : int or None
        As in `LoadedConfig`.
    context : AgentContext
        Of the run in which it plays.
    """

    def __init__(self, saved: SavedPolicy, role: Role, member: int | None, context: AgentContext) -> None:
        self.saved, self.member, self.seeds = saved, member, len(context.seeds)
        roles = saved.controlled_roles()
        own = roles[saved.role]
        self.count = own.count if member is not None else role.count
        here = {other.name: other for other in context.roles if other.name not in (saved.role, role.name)}
        self.others = [name for name, other in roles.items() if name in here and _alike(other, here[name])]
        known = {**{name: here[name] for name in self.others}, saved.role: dataclasses.replace(own, count=self.count)}
        agent_class = saved.agent_class
        device = context.device if context.device.type in agent_class.devices else torch.device("cpu")
        inner = dataclasses.replace(
            context, plays=tuple(known[name] for name in saved.plays if name in known),
            roles=tuple(known[name] for name in roles if name in known), budget=1, device=device,
            state_features=saved.state_features,
        )  # fmt: skip
        make = partial(agent_class, inner, saved.agent_config)
        self.agent = built(make, saved.policy, saved.agent_name, self.seeds)

    def load(self) -> _Player:
        """Take the policy over for every seed."""
        for seed_index in range(self.seeds):
            take_over(self.agent, seed_index, self.saved.policy, self.saved.agent_name, part=True)
        return self

    def fits(self) -> bool:
        """Whether the policy has the parameters that are asked for by the agents there are, and what they look at."""
        return _within(_shapes(self.agent.policy_state(0)), _shapes(self.saved.policy))

    def act(self, role: str, observations: Arrays, sample: bool) -> NDArray[Any]:
        """Return a role's actions (seeds, markets, agents, …) for the observations of all roles that act."""
        own = observations[role]
        if self.member is None:
            return self._ask(own, observations, sample)
        agents = own.shape[2]
        places = _places(agents, self.count, self.member)
        at_once = max(1, LARGEST_VIEW // (own[:, :, 0].size * self.count))
        parts = []
        for start in range(0, agents, at_once):
            seen = own[:, :, places[start : start + at_once]]
            others = {name: np.repeat(observations[name], seen.shape[2], axis=1) for name in self.others}
            asked = self._ask(seen.reshape(seen.shape[0], -1, *seen.shape[3:]), others, sample)[:, :, self.member]
            parts.append(asked.reshape(*seen.shape[:3], *asked.shape[2:]))
        return np.concatenate(parts, axis=2)

    def _ask(self, own: NDArray[np.float32], others: Arrays, sample: bool) -> NDArray[Any]:
        # The other roles that it has learnt are asked as well, and what it would do there is not looked at.
        seen = {**{name: others[name] for name in self.others}, self.saved.role: own}
        actions: NDArray[Any] = self.agent.act(seen, deterministic=not sample)[self.saved.role]
        return actions


def _places(agents: int, count: int, member: int) -> NDArray[np.int64]:
    """Return whose observation stands where, when one agent of ``count`` plays for each of ``agents`` others in turn.

    Shape (agents, count). The one that is played for stands in the place ``member``; in the other places its fellows
    do, over and over if there are fewer of them, so that a policy that looks at their mean meets it.
    """
    own = np.arange(agents)[:, None]
    fellows = (own + 1 + np.arange(count - 1) % max(1, agents - 1)) % agents
    return np.insert(fellows, member, own[:, 0], axis=1)


def _read(config: LoadedConfig, plays: Sequence[Role]) -> dict[str, SavedPolicy]:
    return {role.name: SavedPolicy.read(config.path, config.role or role.name) for role in plays}


def _check(saved: SavedPolicy, role: Role, config: LoadedConfig, controlled_roles: Sequence[Role]) -> None:
    """Refuse a policy that cannot play a role of a run in which the roles ``controlled_roles`` act."""
    there = saved.controlled_roles()
    own = there[saved.role]
    for what in ("observation_space", "action_space"):
        has, needs = getattr(own, what), getattr(role, what)
        require(
            has == needs, "path", config.path,
            f"a policy for the {what.replace('_', ' ')} {needs} of {role.name}: there {saved.role} has {has}",
        )  # fmt: skip
    if config.member is not None:
        require(config.member < own.count, "member", config.member, f"0 to {own.count - 1}")
    probe = AgentContext((role,), tuple(controlled_roles), (0,), 1, 1, torch.device("cpu"))
    try:
        player = _Player(saved, role, config.member, probe)
        if player.fits():
            player.load()
            return
    except UserError as error:
        raise ParameterError("path", config.path, f"another checkpoint: {error}") from error
    absent = [name for name in there if name not in (saved.role, *player.others)]
    require(
        player.count != own.count or not absent, "path", config.path,
        f"a policy that looks at nobody else: {saved.agent_name} has learnt it from what {' and '.join(absent)} see, "
        "and that is not seen here",
    )  # fmt: skip
    raise ParameterError(
        "member", "null",
        f"0 to {own.count - 1}: there {saved.role} has {own.count} agents, and what they have learnt is not for any "
        f"number of them; here {role.name} has {role.count}",
    )  # fmt: skip


def _content(saved: Mapping[str, SavedPolicy]) -> str:
    """Return the fingerprint of some policies; a word, lest digits are taken for a number where it is given."""
    return f"policy-{checkpoint.digest({name: policy.identity() for name, policy in saved.items()})}"


def _alike(one: Role, other: Role) -> bool:
    """Whether two roles see and do the same, whatever their number."""
    return bool(one.observation_space == other.observation_space and one.action_space == other.action_space)


def _shapes(tree: Any) -> Any:
    """Return nested values with the shapes in place of tensors and arrays."""
    if isinstance(tree, Mapping):
        return {str(key): _shapes(inner) for key, inner in tree.items()}
    if isinstance(tree, (list, tuple)):
        return [_shapes(inner) for inner in tree]
    return tuple(tree.shape) if isinstance(tree, (torch.Tensor, np.ndarray)) else None


def _within(part: Any, whole: Any) -> bool:
    """Whether nested values are part of others."""
    if isinstance(part, dict):
        return isinstance(whole, dict) and all(key in whole and _within(part[key], whole[key]) for key in part)
    return bool(part == whole)
