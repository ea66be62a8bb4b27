"""Detection of seeds whose numbers are no longer finite; the other seeds of the run go on.

Weights, actions, losses and other training metrics, rewards, observations and scores have to be finite. Nothing is
saved of a seed that has diverged, so that its last good checkpoint stays.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from gymnasium import spaces
from numpy.typing import NDArray

from ioa_marl.agents.base import Agent, NotFiniteError
from ioa_marl.envs.core import Arrays
from ioa_marl.envs.vector import Transition, VectorGame
from ioa_marl.foundations.errors import UserError
from ioa_marl.training.failures import SeedsFailedError


@dataclass(frozen=True)
class Divergence:
    """When the divergence of a seed was detected, and what it was."""

    step: int
    """Environment steps of the seed at that moment."""
    reason: str
    """The quantity that is not finite."""

    def __str__(self) -> str:
        """Return the text for ``result.json``."""
        return f"diverged at step {self.step}: {self.reason}"


class DivergedError(SeedsFailedError):
    """Some seeds of a run have diverged; the others can go on.

    Parameters
    ----------
    run : str
        The run, for the message.
    seeds : mapping
        The divergence of each such seed, by the seed's number.
    """

    def __init__(self, run: str, seeds: Mapping[int, Divergence]) -> None:
        self.run, self.seeds = run, dict(sorted(seeds.items()))
        seeds_of: dict[str, list[int]] = {}
        for seed, divergence in self.seeds.items():
            seeds_of.setdefault(str(divergence), []).append(seed)
        messages = (
            f"seed{'s' * (len(numbers) > 1)} {', '.join(map(str, numbers))} {text}"
            for text, numbers in seeds_of.items()
        )
        message = f"{run}: {'; '.join(messages)}"
        records = {seed: {"error": str(divergence), "step": divergence.step} for seed, divergence in self.seeds.items()}
        super().__init__(dict.fromkeys(self.seeds, message), records)

    def and_also(self, other: SeedsFailedError) -> SeedsFailedError:
        """Return one error for the seeds of both errors."""
        if isinstance(other, DivergedError):
            return DivergedError(self.run, {**self.seeds, **other.seeds})
        return super().and_also(other)


class DivergenceMonitor:
    """Checks that everything that the training of some seeds produces is finite.

    Parameters
    ----------
    run : str
        The run, for messages.
    seeds : sequence of int
        The seeds, in the order of the first axis of arrays.
    agents : sequence of (str, Agent)
        The agents with their names.
    """

    def __init__(self, run: str, seeds: Sequence[int], agents: Sequence[tuple[str, Agent]]) -> None:
        self._run, self._seeds, self._agents = run, tuple(seeds), tuple(agents)
        self._steps = 0
        self._divergences: dict[int, Divergence] = {}

    @contextmanager
    def at(self, steps: int) -> Iterator[None]:
        """Attribute everything in the block to ``steps`` environment steps.

        If the block raises an error and an agent's state is not finite, the error is taken as a consequence of that.

        Raises
        ------
        DivergedError
            If a divergence was detected in the block.
        """
        self._steps = steps
        try:
            # NumPy's warnings would repeat the message without the seed.
            with np.errstate(over="ignore", invalid="ignore"):
                yield
        except NotFiniteError as error:
            for i in error.seed_indices:
                self._note(i, str(error))
            self.throw(error)
        except UserError:
            raise
        except Exception as error:
            with suppress(Exception):  # the original error is raised below
                self.states()
            self.throw(error)
            raise
        self.throw()

    def throw(self, cause: Exception | None = None) -> None:
        """Raise `DivergedError` if any divergence has been noted."""
        if self._divergences:
            raise DivergedError(self._run, {self._seeds[i]: noted for i, noted in self._divergences.items()}) from cause

    def _note(self, i: int, reason: str) -> None:
        self._divergences.setdefault(i, Divergence(self._steps, reason))

    def _note_all(self, finite: NDArray[np.bool_], reason: str) -> None:
        """Note the seeds for which any entry of ``finite``, (seeds, …), is False."""
        for i in np.flatnonzero(~finite.reshape(len(self._seeds), -1).all(axis=1)):
            self._note(int(i), reason)

    def step(self, game: VectorGame, actions: Arrays) -> Transition:
        """Step the markets; note refused actions, and rewards, observations and states that are not finite.

        Parameters
        ----------
        game : VectorGame
            The markets.
        actions : dict of str to ndarray
            Actions per role, (seeds, num_envs, agents, …).

        Raises
        ------
        DivergedError
            If actions cannot be played.
        """
        for role, chosen in actions.items():
            if chosen.dtype.kind == "f" and not np.isfinite(chosen).all():
                self._note_all(np.isfinite(chosen), f"an action of {role} is not finite")
        self.throw()
        try:
            transition = game.step(actions)
        except ValueError as error:
            for role, chosen in actions.items():
                self._note_all(_playable(game, role, chosen), f"an action of {role} is outside its space")
            self.throw(error)
            raise
        for role, rewards in transition.rewards.items():
            if not np.isfinite(rewards).all():
                self._note_all(np.isfinite(rewards), f"a reward of {role} is not finite")
        for role, observations in game.observations.items():
            if not np.isfinite(observations).all():
                self._note_all(np.isfinite(observations), f"an observation of {role} is not finite")
        if game.state is not None and not np.isfinite(game.state).all():
            self._note_all(np.isfinite(game.state), "the global state is not finite")
        self.throw()
        return transition

    def metrics(self, agent: Agent, metrics: Mapping[str, NDArray[np.float64]]) -> Mapping[str, NDArray[np.float64]]:
        """Return training metrics, (seeds,), after noting those that are not finite; masked entries are missing."""
        for name, values in metrics.items():
            finite = np.isfinite(values)
            if not finite.all():
                for i in np.flatnonzero(~np.ma.filled(finite, True)):
                    self._note(int(i), f"{name} of {self._name(agent)} is {float(values[i])}")
        return metrics

    def _name(self, agent: Agent) -> str:
        return next(name for name, known in self._agents if known is agent)

    def policies(self) -> None:
        """Note the seeds with a policy that is not finite."""
        for i in range(len(self._seeds)):
            self.can_save(i, [agent.policy_state(i) for _, agent in self._agents])

    def states(self) -> None:
        """Note the seeds with an agent whose state is not finite."""
        for i in range(len(self._seeds)):
            self.can_save(i, [agent.state_dict(i) for _, agent in self._agents])

    def can_save(self, i: int, states: Sequence[Any]) -> bool:
        """Whether the agents' states of seed number ``i`` can be saved; a state that is not finite is noted."""
        for (name, agent), state in zip(self._agents, states, strict=True):
            place = first_not_finite(state, agent.need_not_be_finite)
            if place is not None:
                self._note(i, f"{place} of {name} is not finite")
        return i not in self._divergences

    def evaluation(
        self,
        episodes: Mapping[str, NDArray[np.float64]],
        scores: Mapping[str, NDArray[np.float64]],
        scored: Collection[str],
    ) -> None:
        """Note returns, metrics and scores that are not finite; a metric that is not scored may be NaN.

        Parameters
        ----------
        episodes : mapping of str to ndarray of float64, shape (seeds, episodes)
            Metrics of each episode.
        scores : mapping of str to ndarray of float64, shape (seeds,)
            Score per objective.
        scored : collection of str
            Metrics from which scores are computed.
        """
        for name, values in episodes.items():
            needed = name in scored or name.startswith("reward_")
            self._note_all(np.isfinite(values) if needed else ~np.isinf(values), f"{name} of evaluation is not finite")
        for name, values in scores.items():
            self._note_all(np.isfinite(values), f"the score of {name} is not finite")


def _playable(game: VectorGame, role: str, chosen: NDArray[Any]) -> NDArray[np.bool_]:
    """Return whether each entry of ``chosen``, (seeds, num_envs, agents, …), is in the role's action space."""
    space = game.game.roles[role].action_space
    if isinstance(space, spaces.Box):
        low, high = space.low, space.high
    else:
        assert isinstance(space, (spaces.Discrete, spaces.MultiDiscrete))
        low = np.asarray(space.start)
        high = low + (space.n if isinstance(space, spaces.Discrete) else space.nvec) - 1
    try:
        return np.asarray((chosen >= low) & (chosen <= high))
    except ValueError:  # the shapes do not fit, which the game reports
        return np.ones(chosen.shape, np.bool_)


def first_not_finite(tree: Any, skipped: frozenset[str], place: str = "") -> str | None:
    """Return the place in nested values of the first number that is not finite, or None.

    Parameters
    ----------
    tree : mapping, sequence, tensor, array or number
        The nested values; tensors and arrays may have any shape.
    skipped : frozenset of str
        Keys whose values are not checked, at any depth.
    place : str
        Where ``tree`` is in a larger tree, as keys joined by ``/``.
    """
    if isinstance(tree, Mapping):
        parts = [(str(key), inner) for key, inner in tree.items() if str(key) not in skipped]
    elif isinstance(tree, (list, tuple)):
        parts = [(str(i), inner) for i, inner in enumerate(tree)]
    elif isinstance(tree, torch.Tensor):
        return None if not tree.is_floating_point() or bool(torch.isfinite(tree).all()) else place
    elif isinstance(tree, (np.ndarray, np.floating, float)):
        array = np.asarray(tree)
        return None if array.dtype.kind not in "fc" or bool(np.isfinite(array).all()) else place
    else:
        return None
    for key, inner in parts:
        first = first_not_finite(inner, skipped, f"{place}/{key}" if place else key)
        if first is not None:
            return first
    return None
