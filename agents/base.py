"""The interface of an agent: what the runner calls on everything that plays a role."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import gymnasium
import numpy as np
import torch
from numpy.typing import NDArray

from ioa_marl.envs.core import Arrays, Game, Role
from ioa_marl.envs.vector import Transition
from ioa_marl.foundations.errors import CannotPlayError, UserError

if TYPE_CHECKING:
    from ioa_marl.agents.common.streams import Streams

State = dict[str, Any]
"""The saved state of an agent: nested dicts of tensors, NumPy arrays and JSON values."""


class NotFiniteError(UserError):
    """A number that an agent needs for acting or learning is not finite: the seed has diverged.

    Parameters
    ----------
    reason : str
        Names the number that is not finite.
    seed_indices : sequence of int
        Indices of the seeds that have diverged; the other seeds are healthy.
    """

    def __init__(self, reason: str, seed_indices: Sequence[int]) -> None:
        super().__init__(reason)
        self.seed_indices = tuple(seed_indices)


@dataclass(frozen=True)
class AgentContext:
    """The run that an agent is built for."""

    plays: tuple[Role, ...]
    """Roles whose actions the agent chooses."""
    roles: tuple[Role, ...]
    """Every role that acts in the run, for centralised critics; `Transition` is keyed by all of them."""
    seeds: tuple[int, ...]
    """Training seeds; they train side by side and never influence each other."""
    num_envs: int
    """Markets per seed."""
    budget: int
    """Environment steps of the whole training, per seed."""
    device: torch.device
    """Device on which the networks are stored."""
    state_features: int = 0
    """Length of the market's global state; 0 if no agent of the run needs it."""

    def stream_offset(self, role: Role) -> int:
        """Return the number of a role's first random stream, so that two roles never draw the same numbers."""
        return 16 * (1 + [other.name for other in self.roles].index(role.name))


class Agent(ABC):
    """Base class of learners and baselines.

    An agent plays one or more roles for one or more training seeds. Its arrays have the shape
    ``(seeds, num_envs, agents, …)``. The results of one seed must not depend on the other seeds.
    """

    config_class: ClassVar[type[Any]]
    """Dataclass of the hyper-parameters."""
    action_spaces: ClassVar[tuple[type[gymnasium.spaces.Space[Any]], ...]]
    """Classes of action spaces that the agent can play."""
    single_agent: ClassVar[bool] = False
    """Whether the agent can play only roles that consist of a single agent."""
    tuned: ClassVar[Mapping[str, Mapping[str, Any]]] = {}
    """Settings found for single markets, by ``MARKET`` or ``MARKET_PRESET``: what ``agent=NAME/tuned`` chooses. For
    agents of other packages; those of this package have files."""
    learns: ClassVar[bool] = True
    """Whether training changes the agent. An agent that does not learn is only evaluated."""
    devices: ClassVar[tuple[str, ...]] = ("cpu", "cuda")
    """Types of device on which the agent can train."""
    centralised_critic: ClassVar[bool] = False
    """Whether training uses the observations and actions of all roles, not only of its own."""
    needs_state: ClassVar[bool] = False
    """Whether training uses the market's global state, which transitions then contain."""
    stochastic: ClassVar[bool] = False
    """Whether the policy is a distribution over actions from which `sample` draws. The deterministic mode then takes
    the likeliest action, which may score differently, and the last evaluation reports both."""
    privileged: ClassVar[bool] = False
    """Whether the agent looks at the game, whose whole batch it then plays, and not only at observations."""
    version: ClassVar[int] = 0
    """Version number. It is raised whenever the same seed no longer gives the same result."""
    incidental: ClassVar[frozenset[str]] = frozenset()
    """Settings that change no result, such as a file's path. Two runs that differ only in these are the same run."""
    need_not_be_finite: frozenset[str] = frozenset()
    """Keys of the state, at any depth, whose values may be infinite or NaN, such as a running minimum before its first
    value. If any other number in the state of a seed is infinite or NaN, the seed has diverged."""

    def __init__(self, context: AgentContext, config: Any) -> None:
        self.context, self.config = context, config
        for role in context.plays:
            check_playable(type(self), role)

    @classmethod
    def for_settings(cls, config: Any, game_class: type[Game], plays: Sequence[Role]) -> type[Agent]:
        """Return the class of an agent with these settings.

        An agent whose class attributes depend on its settings, its market or its roles returns a subclass.

        Parameters
        ----------
        config : dataclass
            Instance of `config_class`.
        game_class : type of Game
            The market.
        plays : sequence of Role
            Roles that the agent plays.
        """
        return cls

    @classmethod
    def learns_in(cls, game_class: type[Game], roles: Sequence[str]) -> bool:
        """Return whether training changes the agent when it plays these roles of a market."""
        return cls.learns

    @classmethod
    def prepared(cls, config: Any, plays: Sequence[Role], controlled_roles: Sequence[Role]) -> Any:
        """Complete the settings of a run that is about to begin.

        An agent that depends on something outside the run, such as a file, looks it up here and records in the settings
        which version of it is used.

        Parameters
        ----------
        config : dataclass
            Instance of `config_class`.
        plays, controlled_roles : sequence of Role
            Roles that the agent plays, and all roles that act in the run.

        Returns
        -------
        dataclass
            Instance of `config_class`, with which the run is built.

        Raises
        ------
        ParameterError
            If the agent cannot play these roles with these settings.
        """
        return config

    @classmethod
    def first_update(cls, config: Any, role: Role, controlled_roles: Sequence[Role], num_envs: int) -> int:
        """Return the number of environment steps per seed before the first update of a role; 0 if it is not known.

        A run with a smaller budget is refused.

        Parameters
        ----------
        config : dataclass
            Instance of `config_class`.
        role : Role
            A role that the agent plays.
        controlled_roles : sequence of Role
            All roles that act in the run.
        num_envs : int
            Markets per seed. Every step of the batch makes this many environment steps.
        """
        return 0

    @classmethod
    def check_context(cls, config: Any, context: AgentContext) -> None:
        """Refuse settings that contradict each other in a run, such as more minibatches than a rollout has rows.

        Raises
        ------
        ParameterError
            Names the setting and its allowed values.
        """
        return

    @classmethod
    def memory(cls, config: Any, context: AgentContext) -> Mapping[str, int]:
        """Return a lower bound of the size [bytes] of the agent's large arrays, by the setting that they grow with.

        A run whose arrays are larger than the computer's memory is refused before anything is built.
        """
        return {}

    def attach(self, game: Game) -> None:
        """Receive the game that is played from now on.

        Privileged scripted policies look at its state. An agent that offers what the market asks for beyond actions
        (`Game.requirements`) hands it over with `Game.supply`.
        """
        return

    @abstractmethod
    def act(self, observations: Arrays, *, deterministic: bool) -> Arrays:
        """Choose actions.

        Parameters
        ----------
        observations : dict of ndarray
            For each role that acts, also those that the agent does not play, float32 (seeds, markets, agents,
            features). In evaluation the number of markets differs from ``num_envs``.
        deterministic : bool
            True in evaluation: the agent does not explore, and must not change the random state of training.

        Returns
        -------
        dict of ndarray
            For each role that the agent plays, (seeds, markets, agents), or (seeds, markets, agents, heads) for a
            MultiDiscrete space.

        Raises
        ------
        NotFiniteError
            If a network returns numbers from which no action can be chosen.
        """

    def sample(self, observations: Arrays, streams: Mapping[str, Streams]) -> Arrays:
        """Draw actions from the policy in evaluation, without what is added for exploration in training.

        Only called where `stochastic` is true. The actions must depend on nothing but the policy, the observations and
        the streams, so that a saved policy gives the same ones, and must not change the state of training.

        Parameters
        ----------
        observations : dict of ndarray
            As in `act`.
        streams : dict of Streams
            For each role that the agent plays the random numbers to use, one stream per seed.

        Returns
        -------
        dict of ndarray
            As `act` returns them.
        """
        raise NotImplementedError(f"{type(self).__name__} says that it is stochastic, and has no sample")

    def observe(self, transition: Transition) -> None:
        """Receive the transition that the last actions led to; called after every training step."""
        return

    def learn(self) -> Mapping[str, NDArray[np.float64]] | None:
        """Update the networks if an update is due.

        Returns
        -------
        dict of ndarray, optional
            Training metrics by name, float64 (seeds,); None if no update was made. An infinite or NaN value means that
            the seed has diverged. The value of a seed that has no such metric in this update is masked (`numpy.ma`).
        """
        return None

    def state_dict(self, seed_index: int) -> State:
        """Return everything that is needed to continue the training of one seed exactly."""
        return {}

    def load_state_dict(self, seed_index: int, state: State) -> None:
        """Continue from a state that `state_dict` returned."""
        return

    def policy_state(self, seed_index: int) -> State:
        """Return the part of one seed's state that is needed for acting, without what only training needs."""
        return self.state_dict(seed_index)

    def load_policy_state(self, seed_index: int, state: State) -> None:
        """Act with a policy that `policy_state` returned."""
        self.load_state_dict(seed_index, state)

    def parameters_count(self) -> int:
        """Return the number of trainable parameters of one seed."""
        return 0


def check_playable(agent: type[Agent], role: Role) -> None:
    """Refuse a role that an agent cannot play.

    Raises
    ------
    CannotPlayError
        Says in one sentence what the agent can play and what the role has.
    """
    if not isinstance(role.action_space, agent.action_spaces):
        can = ", ".join(space.__name__ for space in agent.action_spaces)
        raise CannotPlayError(
            f"{agent.__name__} cannot play {role.name}: it plays {can} actions, "
            f"and {role.name} has {type(role.action_space).__name__}"
        )
    if agent.single_agent and role.count > 1:
        raise CannotPlayError(
            f"{agent.__name__} cannot play {role.name}: it plays roles of one agent, and {role.name} has {role.count}"
        )


def action_heads(space: gymnasium.spaces.Space[Any]) -> list[int]:
    """Return the number of outcomes of each head of a discrete action space.

    A Discrete space has one head; a MultiDiscrete space has one for each of its components.
    """
    if isinstance(space, gymnasium.spaces.Discrete):
        return [int(space.n)]
    if isinstance(space, gymnasium.spaces.MultiDiscrete):
        return [int(n) for n in space.nvec]
    raise TypeError(f"{space} has no discrete heads")
