"""The contract of an agent: what the runner asks of everything that plays a role."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import gymnasium
import numpy as np
import torch
from numpy.typing import NDArray

from ioa_marl.envs.core import Arrays, Game, Role
from ioa_marl.envs.vector import Transition
from ioa_marl.foundations.errors import CannotPlayError, UserError

State = dict[str, Any]
"""What an agent is: nested dicts of tensors, NumPy arrays and JSON values."""


class NotFiniteError(UserError):
    """What an agent would have to act or learn with is not finite: the seed has diverged.

    Parameters
    ----------
    reason : str
        What is not finite.
    seed_indices : sequence of int
        Of which seeds; the others are as they should be.
    """

    def __init__(self, reason: str, seed_indices: Sequence[int]) -> None:
        super().__init__(reason)
        self.seed_indices = tuple(seed_indices)


@dataclass(frozen=True)
class AgentContext:
    """What an agent is built for."""

    plays: tuple[Role, ...]
    """Roles whose actions it chooses."""
    roles: tuple[Role, ...]
    """Every role that acts in the run, for centralised critics; `Transition` is keyed by all of them."""
    seeds: tuple[int, ...]
    """Training seeds; they train side by side and never influence each other."""
    num_envs: int
    """Markets per seed."""
    budget: int
    """Environment steps of the whole training, per seed."""
    device: torch.device
    """Where networks live."""
    state_features: int = 0
    """Length of the market's global state; 0 where no agent of the run needs it."""

    def stream_offset(self, role: Role) -> int:
        """Return where a role's random streams begin: agents of one kind on two roles must not draw the same."""
        return 16 * (1 + [other.name for other in self.roles].index(role.name))


class Agent(ABC):
    """Base class of learners and baselines.

    An agent plays one or more roles for one or more training seeds; arrays have the shape
    ``(seeds, num_envs, agents, …)``. What it does for one seed must not depend on the seeds beside it.
    """

    config_class: ClassVar[type[Any]]
    """Dataclass of the hyper-parameters."""
    action_spaces: ClassVar[tuple[type[gymnasium.spaces.Space[Any]], ...]]
    """Action spaces it can play."""
    single_agent: ClassVar[bool] = False
    """Whether it plays only roles of a single agent."""
    learns: ClassVar[bool] = True
    """Whether training changes it; the others are only evaluated."""
    devices: ClassVar[tuple[str, ...]] = ("cpu", "cuda")
    """Kinds of device it can train on."""
    on_policy: ClassVar[bool] = False
    """Whether it learns only from what its present policy did."""
    centralised_critic: ClassVar[bool] = False
    """Whether it looks at other roles' observations and actions while training."""
    needs_state: ClassVar[bool] = False
    """Whether it learns from the market's global state: transitions then have it, and `AgentContext` its length."""
    version: ClassVar[int] = 0
    """Raised whenever the same seed no longer gives the same result."""
    incidental: ClassVar[frozenset[str]] = frozenset()
    """Settings that change no result, such as where a file lies; runs that differ in nothing else are the same run."""
    need_not_be_finite: frozenset[str] = frozenset()
    """Keys of its state, at any depth, of what need not be finite, such as a running minimum that has seen nothing yet.
    A seed with any other number in its state that is infinite or NaN has diverged, and its run has failed."""

    def __init__(self, context: AgentContext, config: Any) -> None:
        self.context, self.config = context, config
        for role in context.plays:
            check_playable(type(self), role)

    @classmethod
    def learns_in(cls, game_class: type[Game], roles: Sequence[str]) -> bool:
        """Whether training changes it when it plays these roles of a market."""
        return cls.learns

    @classmethod
    def prepared(cls, config: Any, plays: Sequence[Role], controlled_roles: Sequence[Role]) -> Any:
        """Return the settings of a run that is about to begin; what lies outside it is looked up and recorded in them.

        Parameters
        ----------
        config : dataclass
            Instance of `config_class`.
        plays, controlled_roles : sequence of Role
            Roles that the agent plays, and all roles that act in the run.

        Raises
        ------
        ParameterError
            If the agent cannot play these roles with these settings.
        """
        return config

    @classmethod
    def first_update(cls, config: Any, role: Role, controlled_roles: Sequence[Role], num_envs: int) -> int:
        """Return how many environment steps per seed it takes until a role is first learnt; 0 where nobody knows.

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
            Markets per seed: so many environment steps are made at a time.
        """
        return 0

    @classmethod
    def check_context(cls, config: Any, context: AgentContext) -> None:
        """Refuse settings that do not go together in a run, such as more minibatches than a rollout has rows.

        Raises
        ------
        ParameterError
            Naming the setting, and what it may be.
        """
        return

    @classmethod
    def memory(cls, config: Any, context: AgentContext) -> Mapping[str, int]:
        """Return how many bytes its large arrays take at least, by the setting that they grow with.

        A run whose arrays are larger than the memory is refused; nothing is built for it.
        """
        return {}

    def attach(self, game: Game) -> None:
        """Be told which game is played from now on.

        Privileged scripted policies look at it; who offers what the market asks for beyond actions
        (`Game.requirements`) hands it over with `Game.supply`.
        """
        return

    @abstractmethod
    def act(self, observations: Arrays, *, deterministic: bool) -> Arrays:
        """Choose actions.

        Whoever cannot tell an action because its networks return no numbers any more raises `NotFiniteError`.

        Parameters
        ----------
        observations : dict of ndarray
            For each role that acts, played or not, float32 (seeds, markets, agents, features). In evaluation the
            number of markets differs from ``num_envs``.
        deterministic : bool
            True in evaluation: no exploration, and no random state of training may be touched.

        Returns
        -------
        dict of ndarray
            For each role played, (seeds, markets, agents) or (seeds, markets, agents, heads).
        """

    def observe(self, transition: Transition) -> None:
        """Take in what the last actions led to; called after every training step."""
        return

    def learn(self) -> Mapping[str, NDArray[np.float64]] | None:
        """Update if it is time to; returns named figures, shape (seeds,) each, when there are any.

        A figure that is infinite or NaN means that the seed has diverged. One that a seed does not have this time is
        masked (`numpy.ma`).
        """
        return None

    def state_dict(self, seed_index: int) -> State:
        """Return everything one seed needs to go on exactly where it is."""
        return {}

    def load_state_dict(self, seed_index: int, state: State) -> None:
        """Go on from what `state_dict` returned."""
        return

    def policy_state(self, seed_index: int) -> State:
        """Return what one seed needs to act, without what only training needs."""
        return self.state_dict(seed_index)

    def load_policy_state(self, seed_index: int, state: State) -> None:
        """Act as the policy that `policy_state` returned."""
        self.load_state_dict(seed_index, state)

    def parameters_count(self) -> int:
        """Return the number of trained parameters of one seed."""
        return 0


def check_playable(agent: type[Agent], role: Role) -> None:
    """Refuse a pairing of agent and role that cannot work, in one sentence."""
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
    """Return the number of outcomes of each head; a Discrete space has one head."""
    if isinstance(space, gymnasium.spaces.Discrete):
        return [int(space.n)]
    if isinstance(space, gymnasium.spaces.MultiDiscrete):
        return [int(n) for n in space.nvec]
    raise TypeError(f"{space} has no discrete heads")
