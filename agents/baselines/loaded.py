"""A policy that was trained in another run, as an agent that plays and does not learn."""

from __future__ import annotations

import dataclasses
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar

import numpy as np
import torch
from gymnasium import spaces
from numpy.typing import NDArray

from ioa_marl.agents.base import Agent, AgentContext, State
from ioa_marl.agents.saved.by_seed import Policies, PoliciesBySeed, content_of, fingerprint
from ioa_marl.agents.saved.policy import SavedPolicy, resolve_path
from ioa_marl.agents.saved.restoring import build_agent, load_exactly
from ioa_marl.envs.core import Arrays, Game, Role
from ioa_marl.foundations.errors import UserError
from ioa_marl.foundations.parameters import ParameterError, check_integer, require

FIRST_SEED = 2**41
"""First seed of these agents' random numbers. Training seeds are smaller, so that no learner draws the same numbers."""
MOST_NUMBERS = 2**24
"""Largest number of values in the policy's input if one of its agents plays for many; more are split into parts."""
LONGEST_NAME = 80
"""Longest name of a row, in characters."""


@dataclass(frozen=True)
class LoadedConfig:
    """Choice of a policy, and how it is played."""

    path: str = ""
    """Checkpoint file, or folder of a seed, whose latest checkpoint is read, and which all seeds play; or folder of a
    run, whose seeds are then played by the seeds of the same numbers. The path may be a pattern with ``*`` that matches
    exactly one path."""
    role: str | None = None
    """Role of that run whose policy is played. null: the role of the same name."""
    member: int | None = None
    """Index, from 0, of the agent of that role that plays for all agents. null: each plays for that of its index."""
    sample: bool = False
    """Whether actions are sampled from the policy, also in evaluation; otherwise the most likely ones are taken."""
    content: str | None = None
    """Fingerprint of the policy, with which any other policy is refused. null: the fingerprint is filled in."""
    shown_as: str | None = None
    """Name of the row on leaderboards. null: learner, training market and environment steps are filled in."""

    def __post_init__(self) -> None:
        """Refuse a value that is not the index of an agent, and a name that is too long or empty."""
        usable = self.shown_as is None or 1 <= len(self.shown_as) <= LONGEST_NAME
        require(usable, "shown_as", self.shown_as, f"null, or a name of 1 to {LONGEST_NAME} characters")
        if self.member is not None:
            check_integer(self, "member", 0, 10**9)


class LoadedAgent(Agent):
    """Play the policy in a checkpoint of another run, or of each seed of that run by the seed of the same number.

    The policy is part of this agent's state. Once a run has begun, neither continuing it nor evaluating its checkpoints
    needs the file. The agent that learnt the policy receives observations only, and not the game.
    """

    config_class: ClassVar[type[Any]] = LoadedConfig
    action_spaces: ClassVar[tuple[type[spaces.Space[Any]], ...]] = (
        spaces.Discrete,
        spaces.MultiDiscrete,
        spaces.Box,
    )
    learns: ClassVar[bool] = False
    incidental: ClassVar[frozenset[str]] = frozenset({"path", "shown_as"})

    config: LoadedConfig

    def __init__(self, context: AgentContext, config: LoadedConfig) -> None:
        super().__init__(context, config)
        self._saved: dict[int, Policies] = {}
        """Policies by role, of each seed of this run by its index."""
        self._fingerprints: dict[str, str] = {}
        """Fingerprints of the policies of all seeds in the folder of a run; empty if all seeds play the same ones."""
        self._players: dict[str, _Player] = {}
        self._evaluated: dict[str, _Player] = {}
        """Players of the present evaluation if actions are sampled; they have random streams of their own."""

    @classmethod
    def prepared(cls, config: LoadedConfig, plays: Sequence[Role], controlled_roles: Sequence[Role]) -> LoadedConfig:
        """Read the policies, refuse roles that they cannot play, and fill in their path, fingerprint and name."""
        found = _read(config, plays)
        for policies in found.by_seed.values():
            for role in plays:
                _check(policies[role.name], role, config, controlled_roles)
        content = found.content()
        if config.content not in (None, content):
            raise ParameterError("content", config.content, f"null, or {content}: it is what {config.path} holds")
        name = config.shown_as or found.description()[:LONGEST_NAME]
        return dataclasses.replace(config, path=resolve_path(config.path), content=content, shown_as=name)

    @classmethod
    def check_context(cls, config: LoadedConfig, context: AgentContext) -> None:
        """Refuse training seeds that the run, whose folder is played, does not have."""
        found = _read(config, context.plays)
        for seed in context.seeds:
            _of_seed(found, seed, config)

    def attach(self, game: Game) -> None:
        """Read the policies, unless a loaded state contains them, and restart the random streams of evaluation."""
        if not self._saved:
            self.prepared(self.config, self.context.plays, self.context.roles)
            found = _read(self.config, self.context.plays)
            self._fingerprints = found.fingerprints()
            self._saved = {i: _of_seed(found, seed, self.config) for i, seed in enumerate(self.context.seeds)}
            self._players = self._make(evaluation=False)
        self._evaluated = {}

    def act(self, observations: Arrays, *, deterministic: bool) -> Arrays:
        """Return the actions of the policies."""
        players = self._players
        if self.config.sample and deterministic:
            if not self._evaluated:
                self._evaluated = self._make(evaluation=True)
            players = self._evaluated
        return {name: player.act(name, observations, self.config.sample) for name, player in players.items()}

    def state_dict(self, seed_index: int) -> State:
        """Return the policies and, if actions are sampled, the states of the agents that play them."""
        state = self.policy_state(seed_index)
        if self.config.sample:
            state["players"] = {name: player.agent.state_dict(seed_index) for name, player in self._players.items()}
        return state

    def load_state_dict(self, seed_index: int, state: State) -> None:
        """Continue from a state that `state_dict` returned."""
        self.load_policy_state(seed_index, state)
        for name, inner in state.get("players", {}).items():
            self._players[name].agent.load_state_dict(seed_index, inner)

    def policy_state(self, seed_index: int) -> State:
        """Return the policies, with the descriptions of the runs in which they were trained."""
        state: State = {"policies": {name: policy.as_state() for name, policy in self._saved[seed_index].items()}}
        return {**state, "seeds": dict(self._fingerprints)} if self._fingerprints else state

    def load_policy_state(self, seed_index: int, state: State) -> None:
        """Play the policies that `policy_state` returned; all seeds play the same ones, or each its own."""
        if seed_index in self._saved:
            return
        policies = state.get("policies") if isinstance(state, dict) else None
        if not isinstance(policies, dict) or set(policies) != {role.name for role in self.context.plays}:
            raise UserError("the state of loaded is not allowed: use one policy for each role that it plays")
        saved = {name: SavedPolicy.from_state(inner) for name, inner in policies.items()}
        fingerprints = _fingerprints(state, saved)
        content = content_of(fingerprints) if fingerprints else fingerprint(saved)
        if self.config.content not in (None, content):
            raise UserError(f"the state of loaded is not what its settings name: content={self.config.content}")
        for role in self.context.plays:
            _check(saved[role.name], role, self.config, self.context.roles)
        self._fingerprints = fingerprints
        self._saved |= {seed_index: saved} if fingerprints else dict.fromkeys(range(len(self.context.seeds)), saved)
        if not self._players:
            self._players = self._make(evaluation=False)
        for name, player in self._players.items():
            player.load(saved[name], seed_index)

    def _make(self, evaluation: bool) -> dict[str, _Player]:
        """Build the players; a seed whose policies are not known yet has those of another one."""
        one = next(iter(self._saved.values()))
        self.need_not_be_finite = frozenset().union(*(p.agent_class.need_not_be_finite for p in one.values()))
        players = {}
        for role in self.context.plays:
            context = self._context_for(role, evaluation)
            players[role.name] = player = _Player(one[role.name], role, self.config.member, context)
            for seed_index in range(len(self.context.seeds)):
                player.load(self._saved.get(seed_index, one)[role.name], seed_index)
        return players

    def _context_for(self, role: Role, evaluation: bool) -> AgentContext:
        """Return the context with other seeds: each role has its own random numbers, in training and in evaluation."""
        first = FIRST_SEED * (1 + 2 * self.context.stream_offset(role) + evaluation)
        seeds = tuple(first + seed for seed in self.context.seeds)
        # Rollouts, which are never filled, grow with the markets; they are part of the state if actions are sampled.
        num_envs = self.context.num_envs if self.config.sample else 1
        return dataclasses.replace(self.context, seeds=seeds, num_envs=num_envs)


class _Player:
    """The agent that has learnt a policy, which plays one role for all seeds of a run.

    Parameters
    ----------
    saved : SavedPolicy
        The policy; of several seeds, that of any of them.
    role : Role
        The role that it plays.
    member : int or None
        As in `LoadedConfig`.
    context : AgentContext
        The run in which it plays.
    """

    def __init__(self, saved: SavedPolicy, role: Role, member: int | None, context: AgentContext) -> None:
        self.saved, self.member, self.seeds = saved, member, len(context.seeds)
        roles = saved.controlled_roles()
        own = roles[saved.role]
        self.count = own.count if member is not None else role.count
        here = {other.name: other for other in context.roles if other.name not in (saved.role, role.name)}
        self.others = [name for name, other in roles.items() if name in here and _same_spaces(other, here[name])]
        known = {**{name: here[name] for name in self.others}, saved.role: dataclasses.replace(own, count=self.count)}
        agent_class = saved.agent_class
        device = context.device if context.device.type in agent_class.devices else torch.device("cpu")
        inner = dataclasses.replace(
            context, plays=tuple(known[name] for name in saved.plays if name in known),
            roles=tuple(known[name] for name in roles if name in known), budget=1, device=device,
            state_features=saved.state_features,
        )  # fmt: skip
        make = partial(agent_class, inner, saved.agent_config)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # of critics of many agents, which are never used here
            self.agent = build_agent(make, saved.policy, saved.agent_name, self.seeds)

    def load(self, saved: SavedPolicy, seed_index: int) -> None:
        """Load the policy of a seed, which has the settings of the first one."""
        if saved.identity() | {"policy": None} != self.saved.identity() | {"policy": None}:
            raise UserError(f"the seeds play policies of {saved.role} that were learnt with different settings")
        load_exactly(self.agent, seed_index, saved.policy, saved.agent_name, part=True)

    def fits(self) -> bool:
        """Return whether the policy contains all parameters that its agent has in this run."""
        return _is_part_of(_shapes(self.agent.policy_state(0)), _shapes(self.saved.policy))

    def act(self, role: str, observations: Arrays, sample: bool) -> NDArray[Any]:
        """Return the actions of a role.

        Parameters
        ----------
        role : str
            Name of the role in this run.
        observations : dict of ndarray
            For each role that acts, float32 (seeds, markets, agents, features).
        sample : bool
            Whether actions are sampled; otherwise the most likely ones are taken.

        Returns
        -------
        ndarray
            (seeds, markets, agents, …).
        """
        own = observations[role]
        if self.member is None:
            return self._act_as_trained(own, observations, sample)
        agents = own.shape[2]
        shown = _agents_shown(agents, self.count, self.member)
        at_once = max(1, MOST_NUMBERS // (own[:, :, 0].size * self.count))
        parts = []
        for start in range(0, agents, at_once):
            inputs = own[:, :, shown[start : start + at_once]]  # (seeds, markets, agents played for, count, features)
            others = {name: np.repeat(observations[name], inputs.shape[2], axis=1) for name in self.others}
            actions = self._act_as_trained(inputs.reshape(inputs.shape[0], -1, *inputs.shape[3:]), others, sample)
            actions = actions[:, :, self.member]
            parts.append(actions.reshape(*inputs.shape[:3], *actions.shape[2:]))
        return np.concatenate(parts, axis=2)

    def _act_as_trained(self, own: NDArray[np.float32], others: Arrays, sample: bool) -> NDArray[Any]:
        # The agent also chooses actions for the other roles that it has learnt, which are ignored.
        inputs = {**{name: others[name] for name in self.others}, self.saved.role: own}
        actions: NDArray[Any] = self.agent.act(inputs, deterministic=not sample)[self.saved.role]
        return actions


def _agents_shown(agents: int, count: int, member: int) -> NDArray[np.int64]:
    """Return whose observations a policy of ``count`` agents gets if its agent ``member`` plays for ``agents`` agents.

    Row i belongs to agent i of the run, whose observation has the index ``member``. The other places have the
    observations of the other agents of the run, repeated if there are fewer of them than places. A policy that uses
    the mean of the others therefore gets approximately their true mean.

    Returns
    -------
    ndarray of int64
        (agents, count): indices of agents of the run.
    """
    own = np.arange(agents)[:, None]
    others = (own + 1 + np.arange(count - 1) % max(1, agents - 1)) % agents
    return np.insert(others, member, own[:, 0], axis=1)


def _read(config: LoadedConfig, plays: Sequence[Role]) -> PoliciesBySeed:
    return PoliciesBySeed.read(config.path, {role.name: config.role or role.name for role in plays})


def _of_seed(found: PoliciesBySeed, seed: int, config: LoadedConfig) -> Policies:
    """Return the policies of a training seed, or raise `ParameterError` if the run that is played lacks it."""
    policies = found.of(seed)
    if policies is None:
        what = f"a run that has seed {seed}, or seeds=[{found.seeds()}]: these are all that it has"
        raise ParameterError("path", config.path, what)
    return policies


def _fingerprints(state: State, saved: Policies) -> dict[str, str]:
    """Return the fingerprints of the policies of all seeds that a state contains; empty if all play the same ones."""
    given = state.get("seeds")
    if given is None:
        return {}
    seeds = {str(policy.seed) for policy in saved.values()}
    if type(given) is not dict or any(given.get(seed) != fingerprint(saved) for seed in seeds):
        raise UserError("the state of loaded is not allowed: its fingerprints are not those of its policies")
    return dict(given)


def _check(saved: SavedPolicy, role: Role, config: LoadedConfig, controlled_roles: Sequence[Role]) -> None:
    """Raise `ParameterError` if a policy cannot play a role of a run in which ``controlled_roles`` act."""
    trained_roles = saved.controlled_roles()
    own = trained_roles[saved.role]
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
            player.load(saved, 0)
            return
    except UserError as error:
        raise ParameterError("path", config.path, f"another checkpoint: {error}") from error
    absent = [name for name in trained_roles if name not in (saved.role, *player.others)]
    require(
        player.count != own.count or not absent, "path", config.path,
        f"a policy that looks at nobody else: {saved.agent_name} has learnt it from what {' and '.join(absent)} see, "
        "and that is not seen here",
    )  # fmt: skip
    raise ParameterError(
        "member", "null",
        f"0 to {own.count - 1}: there {saved.role} has {own.count} agents, and what they have learnt is not for any "
        f"number of them; here {role.name} has {role.count}{_remedy(saved)}",
    )  # fmt: skip


def _remedy(saved: SavedPolicy) -> str:
    """Return how agents learn a policy for any number of them, for messages; nothing if their learner cannot."""
    settings = saved.agent_config
    parts = ["share_above=1"] if getattr(settings, "share_above", 1) > 1 else []
    parts += ["agent_index=false"] if getattr(settings, "agent_index", False) else []
    return f" (one for any number is trained with {' and '.join(parts)})" if parts else ""


def _same_spaces(one: Role, other: Role) -> bool:
    """Return whether two roles have the same observation and action spaces."""
    return bool(one.observation_space == other.observation_space and one.action_space == other.action_space)


def _shapes(tree: Any) -> Any:
    """Return nested values in which tensors and arrays are replaced by their shapes."""
    if isinstance(tree, Mapping):
        return {str(key): _shapes(inner) for key, inner in tree.items()}
    if isinstance(tree, (list, tuple)):
        return [_shapes(inner) for inner in tree]
    return tuple(tree.shape) if isinstance(tree, (torch.Tensor, np.ndarray)) else None


def _is_part_of(part: Any, whole: Any) -> bool:
    """Return whether all keys of nested values exist in others, with equal values."""
    if isinstance(part, dict):
        return isinstance(whole, dict) and all(key in whole and _is_part_of(part[key], whole[key]) for key in part)
    return bool(part == whole)
