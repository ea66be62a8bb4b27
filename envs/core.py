"""The contract between markets and everything that plays them: `Role`, `Step` and `Game`.

A `Game` is a batch of independent markets. Its arrays are keyed by role and have the shape
``(batch, agents of the role, …)``. A market whose episode ends is reset within the same step; the observations before
the reset are in `Step.final_observations`. Arrays that a game returns are valid until the step after the next one, so
a caller that keeps them longer has to copy them.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, ClassVar, Protocol

import gymnasium
import numpy as np
from numpy.typing import NDArray

from ioa_marl.envs.checking import as_array, checked_count, to_float32, usable_actions
from ioa_marl.envs.copying import build_game
from ioa_marl.envs.marks import BestKnown
from ioa_marl.envs.requirements import Requirement
from ioa_marl.envs.steps import Arrays, Role, Step, StepBuffers
from ioa_marl.foundations.checks import all_below
from ioa_marl.foundations.errors import shown
from ioa_marl.foundations.parameters import make_preset, require
from ioa_marl.foundations.seeds import as_seeds

__all__ = ["Arrays", "Game", "PolicyFactory", "Role", "ScriptedPolicy", "Step", "StepBuffers"]


class ScriptedPolicy(Protocol):
    """A policy of a role, which is bound to a game and may use its whole state."""

    def __call__(self) -> NDArray[Any]:
        """Return the role's next actions, shape (batch, agents) for Discrete, else (batch, agents, components)."""


PolicyFactory = Callable[..., ScriptedPolicy]
"""Function of a game, with the policy's settings as keywords; see `ioa_marl.envs.policies.policy`."""


class Game(ABC):
    """A batch of markets as a multi-agent environment.

    Parameters
    ----------
    config : dataclass
        Instance of `config_class`.
    num_envs : int
        Number of markets in the batch.
    controlled_roles : sequence of str, optional
        Roles whose actions the caller of `step` chooses; scripted policies play the others. Default:
        `default_controlled_roles`.
    autoreset : bool, default True
        Whether a market is reset within the step that ends its episode. Without it, a market keeps its last state, and
        `next_episode` has to be called before the next step.
    """

    name: ClassVar[str]
    """Registry name."""
    version: ClassVar[int]
    """Version number, which rises with every change after which the same seeds give other numbers."""
    config_class: ClassVar[type[Any]]
    """Frozen dataclass of the settings."""
    tuned: ClassVar[Mapping[str, Mapping[str, Any]]] = {}
    """Settings of agents found for this market, by name of the agent: what ``agent=NAME/tuned`` chooses. For markets of
    other packages; those of this package have files."""
    presets: ClassVar[Mapping[str, Mapping[str, Any]]]
    """Changes of the defaults that each preset makes; the first preset is the default."""
    default_controlled_roles: ClassVar[tuple[str, ...]]
    """Roles that are controlled if the caller names none."""
    metric_names: tuple[str, ...]
    """Keys of `Step.metrics`. Where they depend on the settings, the instance has its own. A metric that is not the
    objective of any score may be NaN if a line of the class's docstring has its name and the word NaN and says what NaN
    means. No metric is infinite."""
    objectives: ClassVar[Mapping[str, str]]
    """Metric from which each score is computed. The keys are roles or names of groups of roles."""
    minimised: ClassVar[frozenset[str]] = frozenset()
    """Keys of `objectives` whose metric is better the smaller it is."""
    infeasible: ClassVar[frozenset[str]] = frozenset()
    """Presets with settings as printed in the paper that no market can have; making one raises an error that says
    why."""
    constant_baseline: ClassVar[Mapping[str, str]]
    """For each role that is controlled by default, the scripted policy that plays the best constant action."""
    final_episodes: ClassVar[Mapping[str, int]] = {}
    """Episodes of the last evaluation, for the presets where 1000 would take more than a minute on one core. They are
    constants of a board; nothing measures them when a run is made."""
    objective_roles: ClassVar[Mapping[str, tuple[str, ...]]] = {}
    """Roles of each key of `objectives` that is not a role itself but a group; needed with `reference_partners`."""
    reference_partners: ClassVar[Mapping[str, tuple[str, Mapping[str, Any]]]] = {}
    """For each role that is controlled by default the scripted policy, with its settings, that plays it while another
    role is scored. The zero, the best constant action and what `reference` returns then hold among these partners as
    well. If it is empty, all roles are scored in the play of all."""
    score_floor: ClassVar[Mapping[str, tuple[str, Mapping[str, Any]]]] = {}
    """Scripted policies, each with its settings, whose score is 0 by definition, by role. Roles without an entry play
    at random in the episodes that define the 0."""
    score_floor_name: ClassVar[Mapping[str, str]] = {}
    """Name that the leaderboard gives to the score of 0, by key of `objectives`, where it is not random play."""
    endless: ClassVar[bool] = False
    """Whether the market itself goes on for ever. The end of an episode after its last round is then a cut, after which
    learners bootstrap: the step is truncated. Otherwise it is part of the model, and terminated: every agent then has
    to be able to see the end coming."""
    instanced: ClassVar[bool] = False
    """Whether part of the market stays the same over a whole run. The agents of training seed s are then trained and
    evaluated on instance s, `reset` and `reference` take ``instances``, and `config_class` has a field ``instance``."""
    reward_settings: ClassVar[Mapping[str, Any]] = {}
    """Settings that change only rewards, each with the value that is computed fastest, for evaluations that use only
    metrics."""
    best_known: ClassVar[Mapping[str, Mapping[str, BestKnown]]] = {}
    """For presets whose optimum is perhaps out of reach: the largest objective that is known, by key of `objectives`.
    A board of exactly this preset and version shows it as a mark."""
    audit: ClassVar[str | None] = None
    """Import string ``module:function`` of the market's audit; see `ioa_marl.evaluation.audits`. A market of this
    package has it in that package under its own name, and leaves this at None."""
    policies: ClassVar[Mapping[str, Mapping[str, PolicyFactory]]] = {}
    """Scripted policies of each role by name; see `scripted` and `scripted_policies`."""
    board_metrics: ClassVar[tuple[str, ...]]
    """Metrics that the leaderboard shows beside the score."""

    roles: Mapping[str, Role]
    """All roles by name, controlled or not."""
    full_metrics: bool = True
    """Whether metrics that take long are computed when an episode ends; otherwise they are NaN. Trainers switch it off,
    because they do not use these metrics."""
    only_metrics: frozenset[str] | None = None
    """Metrics that the caller uses, or None if it may use all. A game may leave the others at NaN if they take long."""
    final_states: bool = False
    """Whether `Step.final_state` is set. Trainers whose agents need the state switch it on before the first step. A
    game that does not support it leaves `Step.final_state` at None and cannot train such agents."""
    partners: Mapping[str, Any]
    """Scripted policies of roles that are not controlled, where they are not the usual ones; see `set_partners`."""
    single_episode: bool = False
    """Whether only the first episode of each market is used, as in an evaluation. When all of them have ended, the game
    may then leave out the next reset, which can take as long as an episode."""

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
        self.partners = {}
        self.roles = self.make_roles(config)
        role_names = ", ".join(self.roles)
        is_list = controlled_roles is None or (
            isinstance(controlled_roles, Iterable) and not isinstance(controlled_roles, (str, bytes))
        )
        require(is_list, "controlled_roles", shown(controlled_roles), f"a list of roles: {role_names}")
        chosen = self.default_controlled_roles if controlled_roles is None else tuple(controlled_roles)
        for role in chosen:
            is_role = isinstance(role, str) and role in self.roles
            require(is_role, "controlled_roles", shown(role), f"one of {role_names}")
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
        """Return the settings of ``preset``, by default the first one, with ``changes`` applied."""
        return make_preset(
            cls.config_class, cls.presets, next(iter(cls.presets)) if preset is None else preset, changes
        )

    @classmethod
    def requirements(cls, config: Any) -> tuple[Requirement, ...]:
        """Return what a market with these settings needs from its agents besides their actions.

        A run whose agents do not provide it is refused. Agents that provide it hand it to the game with `supply`.
        """
        return ()

    @classmethod
    def uses_instances(cls, config: Any) -> bool:
        """Return whether instances of a market with these settings differ; only if it is `instanced` can they."""
        return cls.instanced

    def supply(self, role: str, provider: Any) -> None:
        """Accept the object with which the agent of ``role`` meets a requirement; `Agent.attach` calls this."""
        raise ValueError(f"{self.name} asks nothing of the agent of {role}")

    @classmethod
    @abstractmethod
    def make_roles(cls, config: Any) -> dict[str, Role]:
        """Return all roles of a market with these settings, in order."""

    def set_partners(self, partners: Mapping[str, Any]) -> None:
        """Choose the scripted policies of roles that are not controlled, before the first reset.

        Parameters
        ----------
        partners : mapping of str to (str or mapping)
            For each role the name of its policy, or a mapping with ``name`` and the policy's settings. Under ``agents``
            some agents of the role have policies of their own: ``{"agents": {0: {"name": "shaded"}}}``.

        Raises
        ------
        ParameterError
            If a role is controlled, or the market itself plays it; or there is no such policy, setting or agent.
        """
        require(not partners, "partners", shown(dict(partners)), f"none: {self.name} plays its other roles itself")

    @abstractmethod
    def reset(self, seeds: NDArray[np.uint64], streams: NDArray[np.uint64] | None = None) -> tuple[Arrays, Arrays]:
        """Start episode 0 of every market.

        A market that is `instanced` takes a third argument ``instances``: the number of each market's instance, uint64
        (batch,), by default the market's seed.

        Parameters
        ----------
        seeds : ndarray of uint64, shape (batch,)
            Seed of each market.
        streams : ndarray of uint64, shape (batch,), optional
            Number of the random stream of its seed from which each market draws; default 0, 1, 2, …

        Returns
        -------
        observations : dict of ndarray
            For each controlled role float32 (batch, agents, features), in [0, 1].
        active : dict of ndarray
            For each controlled role bool (batch, agents): whether the next step uses the agent's action.
        """

    @abstractmethod
    def step(self, actions: Arrays) -> Step:
        """Advance every market until a controlled role has to act again, and reset the markets whose episode ends.

        Parameters
        ----------
        actions : dict of ndarray
            For each controlled role its actions, shape (batch, agents) for Discrete, else (batch, agents, components).
            Actions of inactive agents are ignored.
        """

    @abstractmethod
    def next_episode(self) -> tuple[Arrays, Arrays]:
        """Start the next episode of every market that has been stepped; return observations and active as `reset`."""

    def checked_seeds(self, seeds: NDArray[Any]) -> NDArray[np.uint64]:
        """Return the seeds as uint64, or refuse them.

        Parameters
        ----------
        seeds : array_like of int, shape (batch,)
            One seed for each market.

        Returns
        -------
        ndarray of uint64, shape (batch,)

        Raises
        ------
        ValueError
            If there are more or fewer seeds than markets, or one of them is not a whole number from 0 to 2**64 − 1.
        """
        array = as_array(seeds, "seeds")
        if array.shape != (self.num_envs,):
            raise ValueError(f"{self.num_envs} markets need seeds of shape ({self.num_envs},), not {array.shape}")
        return as_seeds("seeds", array)

    def checked_actions(self, role: str, actions: Arrays) -> NDArray[np.int64]:
        """Return a role's discrete actions as indices from 0, or refuse them.

        Kernels do not check their indices, so only checked actions may reach them.

        Parameters
        ----------
        role : str
            A controlled role whose action space is Discrete or MultiDiscrete.
        actions : dict of ndarray
            As in `step`.

        Returns
        -------
        ndarray of int64, shape (batch, agents) for Discrete, else (batch, agents, components)
            Contiguous.

        Raises
        ------
        ValueError
            If the role's actions are missing, have another shape, are not integers, or are outside the space.
        """
        shape, limit, start = self._action_limits[role]
        array: Any = actions.get(role)
        # Nearly always the actions have the right shape and type already, so this is tested first.
        if type(array) is not np.ndarray or array.shape != shape or array.dtype.kind not in "iu":
            array = usable_actions(role, self._actions_of(role, actions), shape, self.roles[role].action_space)
        indices: NDArray[np.int64] = np.ascontiguousarray(array, dtype=np.int64)
        if start is not None:
            indices = indices - start
        if isinstance(limit, int):
            inside = all_below(indices.reshape(-1), limit)
        else:
            inside = bool(np.all((indices >= 0) & (indices < limit)))
        if not inside:
            raise ValueError(f"an action of {role} is outside its space {self.roles[role].action_space}")
        return indices

    def checked_reals(self, role: str, actions: Arrays) -> NDArray[np.float64]:
        """Return a role's real-valued actions, or refuse them.

        Parameters
        ----------
        role : str
            A controlled role whose action space is a Box.
        actions : dict of ndarray
            As in `step`.

        Returns
        -------
        ndarray of float64, shape (batch, agents, components)
            Contiguous, in the unit of the action space.

        Raises
        ------
        ValueError
            If the role's actions are missing, have another shape, are not finite numbers, or are outside the space.
        """
        space = self.roles[role].action_space
        assert isinstance(space, gymnasium.spaces.Box)
        shape = (self.num_envs, self.roles[role].count, *space.shape)
        reals = to_float32(usable_actions(role, self._actions_of(role, actions), shape, space))
        if not np.all((reals >= space.low) & (reals <= space.high)):
            raise ValueError(f"an action of {role} is outside its space {space}")
        return np.ascontiguousarray(reals, dtype=np.float64)

    def _actions_of(self, role: str, actions: Arrays) -> Any:
        if role not in actions:
            raise ValueError(f"actions of {role} are missing; roles that act are {', '.join(self.controlled_roles)}")
        return actions[role]

    def _discrete_limits(self, role: Role) -> tuple[tuple[int, ...], Any, Any]:
        """Return the shape of a role's discrete actions, the number of actions and the first action if it is not 0."""
        space = role.action_space
        if isinstance(space, gymnasium.spaces.Discrete):
            return (self.num_envs, role.count), int(space.n), int(space.start) or None
        assert isinstance(space, gymnasium.spaces.MultiDiscrete)
        return (self.num_envs, role.count, *space.nvec.shape), space.nvec, space.start

    @abstractmethod
    def state(self) -> NDArray[np.float32]:
        """Return the global state for centralised critics: float32 (batch, features), in [0, 1]."""

    @abstractmethod
    def save(self) -> dict[str, NDArray[Any]]:
        """Return copies of all arrays of the batch by name, shape (batch, …) each."""

    @abstractmethod
    def restore(self, saved: Mapping[str, NDArray[Any]]) -> tuple[Arrays, Arrays]:
        """Continue from the arrays that `save` returned; return observations and active as `reset` does."""

    def recipe(self) -> tuple[Any, ...]:
        """Return a function and its arguments, which build a game like this one that has not been reset."""
        constructor_call = (type(self), self.config, self.num_envs, self.controlled_roles, self.autoreset)
        return build_game, (constructor_call, self.full_metrics, self.final_states, self.partners)

    def __reduce__(self) -> tuple[Any, ...]:
        """Copy a game as its recipe and its saved arrays, because compiled code and shared arrays cannot be copied.

        `copy.copy` does the same, because a copy that shared arrays with the original would change with it.
        """
        return *self.recipe(), self.__getstate__()

    def __getstate__(self) -> dict[str, Any]:
        """Return the state of a copy: under ``saved`` the arrays of `save`; subclasses may add other names."""
        return {"saved": self.save()}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.restore(state["saved"])

    @abstractmethod
    def ledger(self) -> NDArray[np.float64]:
        """Return the amount that each account received in the last finished episode.

        Returns
        -------
        ndarray of float64, shape (batch, accounts)
            Amounts in the market's unit of money; each row sums to 0.
        """

    @classmethod
    def scripted_policies(cls, role: str) -> tuple[str, ...]:
        """Return the names of the scripted policies that can play ``role``."""
        return tuple(cls.policies.get(role, ()))

    def scripted(self, policy: str, role: str, **settings: Any) -> ScriptedPolicy:
        """Return a scripted policy for ``role``, bound to this game.

        Parameters
        ----------
        policy : str
            Name of the policy; see `scripted_policies`.
        role : str
            The role.
        **settings
            Settings of the policy.

        Raises
        ------
        ParameterError
            If the role has no policy of this name, or the policy has no setting of this name.
        """
        require(role in self.roles, "role", role, f"one of {', '.join(self.roles)}")
        names = self.scripted_policies(role)
        require(policy in names, "policy", policy, f"one of {', '.join(names)} for {role}")
        return self.policies[role][policy](self, **settings)

    @classmethod
    @abstractmethod
    def reference(
        cls, config: Any, seeds: NDArray[np.uint64], streams: NDArray[np.uint64]
    ) -> dict[str, NDArray[np.float64]]:
        """Return the optimum or a bound of the metric of each objective, whose score is 1 by definition.

        No policy can be better; in a market with `reference_partners`, no policy beside these. A market that is
        `instanced` takes a fourth argument ``instances``, as `reset` does.

        Parameters
        ----------
        config : dataclass
            Instance of `config_class`.
        seeds, streams : ndarray of uint64, shape (batch,)
            Seed and random stream of each market.

        Returns
        -------
        dict of ndarray
            For each key of `objectives` float64 (batch,): the value for episode 0 of each market, in the unit of the
            metric.
        """

    @abstractmethod
    def render(self, mode: str, index: int = 0) -> Any:
        """Draw market ``index``.

        Parameters
        ----------
        mode : {"ansi", "rgb_array"}
            Kind of picture.
        index : int, default 0
            Index of the market in the batch.

        Returns
        -------
        str or ndarray of uint8, shape (height, width, 3)
            A text for ``ansi``; for ``rgb_array`` red, green and blue of each pixel, from 0 to 255.
        """
