"""The contract between markets and everything that plays them: `Role`, `Step` and `Game`.

A `Game` is a batch of independent markets. Its arrays are keyed by role and have the shape
``(batch, agents of the role, …)``. A market that ends resets itself within the same step; the true successor of
its last state is in `Step.final_observations`. Arrays that a game returns are valid until the step after the
next one: copy what you keep.
"""

from __future__ import annotations

import dataclasses
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol

import gymnasium
import numpy as np
from numpy.typing import NDArray

from ioa_marl.envs.checking import as_array, checked_count, rounded, usable_actions
from ioa_marl.envs.copying import made_anew
from ioa_marl.envs.requirements import Requirement
from ioa_marl.foundations.checks import all_below
from ioa_marl.foundations.errors import shown
from ioa_marl.foundations.parameters import make_preset, require
from ioa_marl.foundations.seeds import as_seeds

Arrays = dict[str, NDArray[Any]]
"""Arrays keyed by role, shape (batch, agents, …)."""


@dataclass(frozen=True)
class Role:
    """A group of interchangeable agents with the same spaces; its agents are ``<name>_0``, ``<name>_1`` and so on."""

    name: str
    """Name, a Python identifier."""
    count: int
    """Number of agents."""
    observation_space: gymnasium.spaces.Box
    """What one agent sees: a float32 vector in [0, 1]."""
    action_space: gymnasium.spaces.Space[Any]
    """What one agent may do: Discrete, MultiDiscrete or Box."""
    scripted: str
    """The scripted policy that plays the role when no agent does."""

    @property
    def agents(self) -> tuple[str, ...]:
        """Names of the agents."""
        return tuple(f"{self.name}_{i}" for i in range(self.count))


@dataclass(frozen=True)
class Step:
    """What a step of a `Game` returns.

    A game may return the same object again: it has then written into the same arrays.
    """

    observations: Arrays
    """float32 (batch, agents, features): what every agent sees next, after the reset where an episode ended."""
    rewards: Arrays
    """float32 (batch, agents)."""
    terminated: NDArray[np.bool_]
    """(batch,): the market's episode ended by its own rules."""
    truncated: NDArray[np.bool_]
    """(batch,): the episode was cut off by ``max_cycles``; its value continues beyond."""
    active: Arrays
    """bool (batch, agents): whose action the next step uses."""
    final_observations: Arrays
    """float32 (batch, agents, features): the true successor; defined only where an episode ended."""
    metrics: Mapping[str, NDArray[np.float64]]
    """(batch,) each: the market's figures of the finished episode; defined only where an episode ended."""
    final_state: NDArray[np.float32] | None = None
    """float32 (batch, features): what `Game.state` was before the reset; defined only where an episode ended. None
    unless `Game.final_states` is on."""


class StepBuffers:
    """Base of output arrays that a game keeps from step to step; final states get room when they are wanted."""

    step: Step
    """Shows the arrays."""

    def final_state(self, game: Game) -> NDArray[np.float32] | None:
        """Return where the state goes that an episode ends in, or None if nobody wants it."""
        if not game.final_states:
            return None
        if self.step.final_state is None:
            room = np.zeros(game.state().shape, np.float32)
            self.step = dataclasses.replace(self.step, final_state=room)
        return self.step.final_state


class ScriptedPolicy(Protocol):
    """A policy bound to a game, whose whole state it may look at."""

    def __call__(self) -> NDArray[Any]:
        """Return the role's next actions, shape (batch, agents) or (batch, agents, heads)."""


PolicyFactory = Callable[..., ScriptedPolicy]
"""Takes a game and the policy's settings by keyword; made with `ioa_marl.envs.policies.policy`."""


class Game(ABC):
    """A batch of markets as a multi-agent environment.

    Parameters
    ----------
    config : dataclass
        Instance of `config_class`.
    num_envs : int
        Number of markets in the batch.
    controlled_roles : sequence of str, optional
        Roles that act through `step`; the others are scripted. Default: `default_controlled_roles`.
    autoreset : bool, default True
        Whether a market that ends resets itself within the step. Without it, it must not be stepped before
        `next_episode`, and its last state can be looked at.
    """

    name: ClassVar[str]
    """Registry name."""
    version: ClassVar[int]
    """Raised whenever the same seeds no longer give the same numbers."""
    config_class: ClassVar[type[Any]]
    """Frozen dataclass of the settings."""
    presets: ClassVar[Mapping[str, Mapping[str, Any]]]
    """What each preset changes of the defaults; the first one is the default."""
    default_controlled_roles: ClassVar[tuple[str, ...]]
    """Roles that learn unless told otherwise."""
    metric_names: tuple[str, ...]
    """Keys of `Step.metrics`. A game with settings that have figures of their own says so on the instance. One that no
    score is made from may be NaN if the class's docstring says what that means, in a line with its name and the word
    NaN; none is infinite."""
    objectives: ClassVar[Mapping[str, str]]
    """For each thing that is scored, a role or a group of roles, the metric from which its score is made."""
    minimised: ClassVar[frozenset[str]] = frozenset()
    """Which keys of `objectives` have a metric of which less is better."""
    infeasible: ClassVar[frozenset[str]] = frozenset()
    """Presets that are there to be refused, with the reason: settings as printed that no market can have."""
    constant_baseline: ClassVar[Mapping[str, str]]
    """For each role that learns by default the scripted policy that is the best constant action."""
    score_floor: ClassVar[Mapping[str, tuple[str, Mapping[str, Any]]]] = {}
    """What is 0 on the scale: for each role the scripted policy that plays it, with its settings; the roles that are
    not named play at random."""
    score_floor_name: ClassVar[Mapping[str, str]] = {}
    """For each key of `objectives` what the leaderboard calls its 0, if that is not random play."""
    instanced: ClassVar[bool] = False
    """Whether part of the market stays the same over a whole run: the training seed s then trains and is evaluated
    on instance s, `reset` and `reference` take ``instances``, and `config_class` has a field ``instance``."""
    reward_settings: ClassVar[Mapping[str, Any]] = {}
    """Settings that change nothing but rewards, with the values that are cheapest: what is scored can be computed with
    these."""
    policies: ClassVar[Mapping[str, Mapping[str, PolicyFactory]]] = {}
    """For each role its scripted policies by name; for `scripted` and `scripted_policies`."""
    board_metrics: ClassVar[tuple[str, ...]]
    """Metrics shown on the leaderboard beside the score."""

    roles: Mapping[str, Role]
    """All roles, learning or not."""
    full_metrics: bool = True
    """Whether metrics that take long are computed when an episode ends; else they are NaN. Trainers, who do not look
    at them, switch it off."""
    final_states: bool = False
    """Whether `Step.final_state` is given. Trainers whose agents need the state switch it on before the first step;
    a game that leaves `Step.final_state` at None all the same cannot train such agents."""
    single_episode: bool = False
    """Whether nobody looks at a market after the end of its first episode, as in an evaluation: a game need not open
    another one when all have ended, which may take as long as the episode."""

    def __init__(
        self,
        config: Any,
        num_envs: int = 1,
        controlled_roles: Sequence[str] | None = None,
        autoreset: bool = True,
    ) -> None:
        self.config = config
        self.num_envs = checked_count(num_envs)
        self.autoreset = autoreset
        self.roles = self.make_roles(config)
        known = ", ".join(self.roles)
        listed = controlled_roles is None or (
            isinstance(controlled_roles, Iterable) and not isinstance(controlled_roles, (str, bytes))
        )
        require(listed, "controlled_roles", shown(controlled_roles), f"a list of roles: {known}")
        chosen = self.default_controlled_roles if controlled_roles is None else tuple(controlled_roles)
        for role in chosen:
            require(isinstance(role, str) and role in self.roles, "controlled_roles", shown(role), f"one of {known}")
        require(
            len(set(chosen)) == len(chosen) > 0, "controlled_roles", shown(list(chosen)), "each role once, at least one"
        )
        self.controlled_roles: tuple[str, ...] = tuple(role for role in self.roles if role in chosen)
        discrete = (gymnasium.spaces.Discrete, gymnasium.spaces.MultiDiscrete)
        self._action_limits = {
            name: self._discrete_limits(role)
            for name, role in self.roles.items()
            if isinstance(role.action_space, discrete)
        }

    @classmethod
    def make_config(cls, preset: str | None = None, **changes: Any) -> Any:
        """Return the settings of ``preset`` with ``changes`` applied."""
        return make_preset(
            cls.config_class, cls.presets, next(iter(cls.presets)) if preset is None else preset, changes
        )

    @classmethod
    def requirements(cls, config: Any) -> tuple[Requirement, ...]:
        """Return what a market with these settings asks of its agents beyond their actions.

        Runs are refused whose agents do not offer it. Those that do hand it over with `supply`.
        """
        return ()

    def supply(self, role: str, offer: Any) -> None:
        """Take what the agent of ``role`` offers, as one of `requirements` asks; called by `Agent.attach`."""
        raise ValueError(f"{self.name} asks nothing of the agent of {role}")

    @classmethod
    @abstractmethod
    def make_roles(cls, config: Any) -> dict[str, Role]:
        """Return all roles of a market with these settings, in order."""

    @abstractmethod
    def reset(self, seeds: NDArray[np.uint64], streams: NDArray[np.uint64] | None = None) -> tuple[Arrays, Arrays]:
        """Start episode 0 of every market.

        A market that is `instanced` takes a third argument ``instances``, the number of each market's instance,
        shape (batch,); by default it is the market's seed.

        Parameters
        ----------
        seeds : ndarray of uint64, shape (batch,)
            Seed of each market.
        streams : ndarray of uint64, shape (batch,), optional
            Which of a seed's random streams each market draws from; default 0, 1, 2, …

        Returns
        -------
        observations, active : dict of ndarray
            As in `Step`.
        """

    @abstractmethod
    def step(self, actions: Arrays) -> Step:
        """Play every market on until a learning role is asked again; finished markets reset themselves.

        Parameters
        ----------
        actions : dict of ndarray
            For each learning role its actions, shape (batch, agents) for Discrete, else (batch, agents, heads).
            Inactive agents' actions are ignored.
        """

    @abstractmethod
    def next_episode(self) -> tuple[Arrays, Arrays]:
        """Put every market that has been stepped at the start of its next episode; returns as `reset` does."""

    def checked_seeds(self, seeds: NDArray[Any]) -> NDArray[np.uint64]:
        """Return one seed per market as uint64; refuse another number of them, and what is no whole number from 0."""
        given = as_array(seeds, "seeds")
        if given.shape != (self.num_envs,):
            raise ValueError(f"{self.num_envs} markets need seeds of shape ({self.num_envs},), not {given.shape}")
        return as_seeds("seeds", given)

    def checked_actions(self, role: str, actions: Arrays) -> NDArray[np.int64]:
        """Return a role's discrete actions as contiguous int64 indices from 0, or refuse them.

        Kernels trust their indices, so nothing unchecked may reach them.

        Raises
        ------
        ValueError
            If the role's actions are missing, of another shape, no integers, or outside the space.
        """
        shape, limit, start = self._action_limits[role]
        given: Any = actions.get(role)
        # Nearly always they are as they should be already.
        if type(given) is not np.ndarray or given.shape != shape or given.dtype.kind not in "iu":
            given = usable_actions(role, self._given(role, actions), shape, self.roles[role].action_space)
        out: NDArray[np.int64] = np.ascontiguousarray(given, dtype=np.int64)
        if start is not None:
            out = out - start
        inside = (
            all_below(out.reshape(-1), limit) if isinstance(limit, int) else bool(np.all((out >= 0) & (out < limit)))
        )
        if not inside:
            raise ValueError(f"an action of {role} is outside its space {self.roles[role].action_space}")
        return out

    def checked_reals(self, role: str, actions: Arrays) -> NDArray[np.float64]:
        """Return a role's actions of a `Box` as contiguous float64, or refuse them.

        Raises
        ------
        ValueError
            If the role's actions are missing, of another shape, no finite numbers, or outside the space.
        """
        space = self.roles[role].action_space
        assert isinstance(space, gymnasium.spaces.Box)
        shape = (self.num_envs, self.roles[role].count, *space.shape)
        out = rounded(usable_actions(role, self._given(role, actions), shape, space))
        if not np.all((out >= space.low) & (out <= space.high)):
            raise ValueError(f"an action of {role} is outside its space {space}")
        return np.ascontiguousarray(out, dtype=np.float64)

    def _given(self, role: str, actions: Arrays) -> Any:
        if role not in actions:
            raise ValueError(f"actions of {role} are missing; roles that act are {', '.join(self.controlled_roles)}")
        return actions[role]

    def _discrete_limits(self, role: Role) -> tuple[tuple[int, ...], Any, Any]:
        """Shape, outcomes and first outcome of a role's discrete actions."""
        space = role.action_space
        if isinstance(space, gymnasium.spaces.Discrete):
            return (self.num_envs, role.count), int(space.n), int(space.start) or None
        assert isinstance(space, gymnasium.spaces.MultiDiscrete)
        return (self.num_envs, role.count, *space.nvec.shape), space.nvec, space.start

    @abstractmethod
    def state(self) -> NDArray[np.float32]:
        """Return the global state for centralised critics, shape (batch, features), in [0, 1]."""

    @abstractmethod
    def save(self) -> dict[str, NDArray[Any]]:
        """Return copies of everything the batch is; every array has the leading axis batch."""

    @abstractmethod
    def restore(self, saved: Mapping[str, NDArray[Any]]) -> tuple[Arrays, Arrays]:
        """Go on from what `save` returned; returns observations and active as `reset` does."""

    def recipe(self) -> tuple[Any, ...]:
        """Return a function and its arguments that make a game like this one, never reset."""
        made_from = (type(self), self.config, self.num_envs, self.controlled_roles, self.autoreset)
        return made_anew, (made_from, self.full_metrics, self.final_states)

    def __reduce__(self) -> tuple[Any, ...]:
        """Copy a game as its recipe and what `save` returns: compiled code and shared arrays cannot be copied.

        This holds for `copy.copy` as well: a copy that shared arrays with the original would play along with it.
        """
        return *self.recipe(), self.__getstate__()

    def __getstate__(self) -> dict[str, Any]:
        """Return what a copy needs beyond `save`, under names of its own, and ``saved``, what `save` returns."""
        return {"saved": self.save()}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.restore(state["saved"])

    @abstractmethod
    def ledger(self) -> NDArray[np.float64]:
        """Return what each account received in the last finished episode, (batch, accounts); rows sum to 0."""

    @classmethod
    def scripted_policies(cls, role: str) -> tuple[str, ...]:
        """Return the names of the scripted policies that can play ``role``."""
        return tuple(cls.policies.get(role, ()))

    def scripted(self, policy: str, role: str, **settings: Any) -> ScriptedPolicy:
        """Return a scripted policy for ``role``, bound to this game.

        Raises
        ------
        ParameterError
            If the role has no such policy, or the policy no such setting.
        """
        require(role in self.roles, "role", role, f"one of {', '.join(self.roles)}")
        known = self.scripted_policies(role)
        require(policy in known, "policy", policy, f"one of {', '.join(known)} for {role}")
        return self.policies[role][policy](self, **settings)

    @classmethod
    @abstractmethod
    def reference(
        cls, config: Any, seeds: NDArray[np.uint64], streams: NDArray[np.uint64]
    ) -> dict[str, NDArray[np.float64]]:
        """Return for each key of `objectives` the optimum or bound of its metric: 1 on the scale.

        One value for episode 0 of each market, shape (batch,). No policy can exceed it. A market that is `instanced`
        takes a fourth argument ``instances``, as `reset` does.
        """

    @abstractmethod
    def render(self, mode: str, index: int = 0) -> Any:
        """Draw market ``index``: text for ``ansi``, a uint8 array (height, width, 3) for ``rgb_array``."""
