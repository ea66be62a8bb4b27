"""A seed whose numbers are no longer finite: noticed where it shows, told with its step, and harmful to itself only.

Weights, actions, losses and other figures, rewards, observations and scores have to be finite. Nothing that depends
on what is not is saved, so that a seed's last good checkpoint stays.
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
    """When a seed was found to have diverged, and by what."""

    step: int
    """Environment steps of the seed."""
    reason: str
    """What is not finite."""

    def __str__(self) -> str:
        """Say it as ``result.json`` does."""
        return f"diverged at step {self.step}: {self.reason}"


class DivergedError(SeedsFailedError):
    """Some seeds of a run have diverged; the others have not, and can go on without them.

    Parameters
    ----------
    run : str
        What is trained, for the message.
    seeds : mapping
        What is known of each seed that has diverged, by its number.
    """

    def __init__(self, run: str, seeds: Mapping[int, Divergence]) -> None:
        self.run, self.seeds = run, dict(sorted(seeds.items()))
        alike: dict[str, list[int]] = {}
        for seed, found in self.seeds.items():
            alike.setdefault(str(found), []).append(seed)
        told = (f"seed{'s' * (len(who) > 1)} {', '.join(map(str, who))} {what}" for what, who in alike.items())
        message = f"{run}: {'; '.join(told)}"
        records = {seed: {"error": str(found), "step": found.step} for seed, found in self.seeds.items()}
        super().__init__(dict.fromkeys(self.seeds, message), records)

    def and_also(self, other: SeedsFailedError) -> SeedsFailedError:
        """Return the error for the seeds of both."""
        if isinstance(other, DivergedError):
            return DivergedError(self.run, {**self.seeds, **other.seeds})
        return super().and_also(other)


class Watch:
    """Looks at everything that training of some seeds produces.

    Parameters
    ----------
    run : str
        What is trained, for messages.
    seeds : sequence of int
        The seeds, in the order of arrays.
    agents : sequence of (str, Agent)
        Their names, and who they are.
    """

    def __init__(self, run: str, seeds: Sequence[int], agents: Sequence[tuple[str, Agent]]) -> None:
        self._run, self._seeds, self._agents = run, tuple(seeds), tuple(agents)
        self._steps = 0
        self._found: dict[int, Divergence] = {}

    @contextmanager
    def at(self, steps: int) -> Iterator[None]:
        """Say that everything until the end of the block happens at a step of the environment.

        An error of whatever kind is the consequence if an agent's state is not finite, and is told as that.

        Raises
        ------
        DivergedError
            If anything was found in the block.
        """
        self._steps = steps
        try:
            # NumPy's warnings would say the same once more, and not in which seed.
            with np.errstate(over="ignore", invalid="ignore"):
                yield
        except NotFiniteError as error:
            for i in error.seed_indices:
                self._note(i, str(error))
            self.tell(error)
        except UserError:
            raise
        except Exception as error:
            with suppress(Exception):  # the error that is under way says what is wrong
                self.states()
            self.tell(error)
            raise
        self.tell()

    def tell(self, cause: Exception | None = None) -> None:
        """Raise `DivergedError` if anything was found."""
        if self._found:
            raise DivergedError(self._run, {self._seeds[i]: found for i, found in self._found.items()}) from cause

    def _note(self, i: int, reason: str) -> None:
        self._found.setdefault(i, Divergence(self._steps, reason))

    def _note_all(self, finite: NDArray[np.bool_], reason: str) -> None:
        """Note the seeds that have something that is not finite, (seeds, …)."""
        for i in np.flatnonzero(~finite.reshape(len(self._seeds), -1).all(axis=1)):
            self._note(int(i), reason)

    def step(self, game: VectorGame, actions: Arrays) -> Transition:
        """Step the markets; actions that they refuse are noted, and so is what is not finite in what they return.

        Raises
        ------
        DivergedError
            If actions cannot be played.
        """
        for role, chosen in actions.items():
            if chosen.dtype.kind == "f" and not np.isfinite(chosen).all():
                self._note_all(np.isfinite(chosen), f"an action of {role} is not finite")
        self.tell()
        try:
            transition = game.step(actions)
        except ValueError as error:
            for role, chosen in actions.items():
                self._note_all(_playable(game, role, chosen), f"an action of {role} is outside its space")
            self.tell(error)
            raise
        for role, rewards in transition.rewards.items():
            if not np.isfinite(rewards).all():
                self._note_all(np.isfinite(rewards), f"a reward of {role} is not finite")
        for role, seen in game.observations.items():
            if not np.isfinite(seen).all():
                self._note_all(np.isfinite(seen), f"an observation of {role} is not finite")
        if game.state is not None and not np.isfinite(game.state).all():
            self._note_all(np.isfinite(game.state), "the global state is not finite")
        self.tell()
        return transition

    def figures(self, agent: Agent, figures: Mapping[str, NDArray[np.float64]]) -> Mapping[str, NDArray[np.float64]]:
        """Note figures (seeds,) that are not finite; a masked one is one that its seed has not got. Returns them."""
        for name, values in figures.items():
            finite = np.isfinite(values)
            if not finite.all():
                for i in np.flatnonzero(~np.ma.filled(finite, True)):
                    self._note(int(i), f"{name} of {self._name(agent)} is {float(values[i])}")
        return figures

    def _name(self, agent: Agent) -> str:
        return next(name for name, known in self._agents if known is agent)

    def policies(self) -> None:
        """Note the seeds with a policy that is not finite."""
        for i in range(len(self._seeds)):
            self.accepts(i, [agent.policy_state(i) for _, agent in self._agents])

    def states(self) -> None:
        """Note the seeds with anything in their agents' state that is not finite."""
        for i in range(len(self._seeds)):
            self.accepts(i, [agent.state_dict(i) for _, agent in self._agents])

    def accepts(self, i: int, states: Sequence[Any]) -> bool:
        """Whether the agents' states of a seed can be saved; where they are not finite, this is noted."""
        for (name, agent), state in zip(self._agents, states, strict=True):
            place = first_not_finite(state, agent.need_not_be_finite)
            if place is not None:
                self._note(i, f"{place} of {name} is not finite")
        return i not in self._found

    def evaluation(
        self,
        episodes: Mapping[str, NDArray[np.float64]],
        scores: Mapping[str, NDArray[np.float64]],
        scored: Collection[str],
    ) -> None:
        """Note returns, metrics and scores that are not finite; a metric that is not ``scored`` may be NaN.

        Arrays have the shapes (seeds, episodes) and (seeds,).
        """
        for name, values in episodes.items():
            needed = name in scored or name.startswith("reward_")
            self._note_all(np.isfinite(values) if needed else ~np.isinf(values), f"{name} of evaluation is not finite")
        for name, values in scores.items():
            self._note_all(np.isfinite(values), f"the score of {name} is not finite")


def _playable(game: VectorGame, role: str, chosen: NDArray[Any]) -> NDArray[np.bool_]:
    """Return which actions are in a role's space, in the shape of the actions."""
    space = game.game.roles[role].action_space
    if isinstance(space, spaces.Box):
        low, high = space.low, space.high
    else:
        assert isinstance(space, (spaces.Discrete, spaces.MultiDiscrete))
        low = np.asarray(space.start)
        high = low + (space.n if isinstance(space, spaces.Discrete) else space.nvec) - 1
    try:
        return np.asarray((chosen >= low) & (chosen <= high))
    except ValueError:  # of a shape that no space explains: the game has said so
        return np.ones(chosen.shape, np.bool_)


def first_not_finite(tree: Any, passed_over: frozenset[str], place: str = "") -> str | None:
    """Return where in nested values the first number is that is not finite, or None.

    Parameters
    ----------
    tree : mapping, sequence, tensor, array or number
        What is looked through.
    passed_over : frozenset of str
        Keys whose values are not looked at, at any depth.
    """
    if isinstance(tree, Mapping):
        parts = [(str(key), inner) for key, inner in tree.items() if str(key) not in passed_over]
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
        found = first_not_finite(inner, passed_over, f"{place}/{key}" if place else key)
        if found is not None:
            return found
    return None
