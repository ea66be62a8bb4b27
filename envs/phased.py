"""`PhasedGame`, the common part of markets that are played in rounds of ordered phases."""

from __future__ import annotations

import importlib
from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar

import gymnasium
import numpy as np
from numpy.typing import NDArray

from ioa_marl.envs.core import Arrays, Game, ScriptedPolicy, Step, StepBuffers
from ioa_marl.foundations.parameters import check_integer, require
from ioa_marl.foundations.records import plain_view
from ioa_marl.foundations.seeds import MAX_INSTANCE


def check_common(config: Any) -> None:
    """Check the settings that every `PhasedGame` has: ``max_cycles`` and, where there is one, ``instance``."""
    if config.max_cycles is not None:
        check_integer(config, "max_cycles", 1, 10**9)
    if getattr(config, "instance", None) is not None:
        check_integer(config, "instance", 0, MAX_INSTANCE)


class PhasedGame(Game):
    """A game whose episode is a sequence of rounds, each of ordered phases.

    In a phase its roles act at the same time. A phase in which a learning role acts takes a step of its own; the
    others run inside the step before, at the opening inside the reset. A reward is paid in the step in which it
    arises; where its agent is not active in that step, it belongs to the agent's last action.

    A market supplies the six methods from `allocate` to `write_metrics`, as thin calls of its compiled drivers. Where
    roles do not always act one after the other, it has a single phase: its driver plays on until a controlled role has
    to act, and `write_active` says which.

    Attributes
    ----------
    market : NamedTuple of ndarray
        Everything that the batch is: arrays of numbers, or of records of floats, with the leading axis batch; among
        them ``seed``, ``stream``, ``episode`` (uint64) and ``cycles`` (int64), shape (batch,) each; ``phase`` (int64)
        where there are several phases, and ``instance`` (uint64) where the game is `instanced`.
    buffers : tuple of PhasedBuffers
        Output arrays of two steps, which are written in turn.
    learns : dict of bool
        For each role whether it acts through `step`.
    openings : int
        Times that markets were opened or replaced from outside; with the episode it tells a scripted policy when a
        market is new.
    """

    phases: ClassVar[tuple[tuple[str, ...], ...]]
    """Roles that act in each phase of a round; every role acts in exactly one."""
    native: ClassVar[frozenset[str]] = frozenset()
    """Roles whose scripted behaviour is part of the drivers: when they do not learn, nobody is asked for actions."""

    pictures: ClassVar[str]
    """Module with ``text(game, index)`` and ``figure(game, index)``; imported when something is drawn, not before."""

    market: Any

    def __init__(
        self,
        config: Any,
        num_envs: int = 1,
        controlled_roles: Sequence[str] | None = None,
        autoreset: bool = True,
    ) -> None:
        super().__init__(config, num_envs, controlled_roles, autoreset)
        self.learns = {role: role in self.controlled_roles for role in self.roles}
        self.openings = 0
        self._checks = {role: self._check_of(role) for role in self.controlled_roles}
        self._phase_of = {role: k for k, roles in enumerate(self.phases) for role in roles}
        self._asked = np.array([any(self.learns[role] for role in roles) for roles in self.phases])
        self._players: dict[str, ScriptedPolicy] = {}
        self.market = self.allocate()
        assert "ledger" not in self.market._fields, "the field ledger would be saved under the name of the accounts"
        self._phase = self.market.phase if len(self.phases) > 1 else np.zeros(num_envs, np.int64)
        self._ledger = np.zeros((num_envs, self.count_accounts()))
        self.buffers = (PhasedBuffers(self, self._ledger), PhasedBuffers(self, self._ledger))
        self._opening = _Opening(self)
        self._turn = 0
        self._over = np.zeros(num_envs, np.bool_)

    # --- what a market supplies

    @abstractmethod
    def allocate(self) -> Any:
        """Return the zeroed arrays of the batch as a named tuple; see `market`."""

    @abstractmethod
    def count_accounts(self) -> int:
        """Return the number of accounts in the ledger."""

    @abstractmethod
    def open_markets(self, mask: NDArray[np.bool_]) -> None:
        """Draw and open the present episode of the markets ``mask``, bool (batch,); seed and episode are set."""

    @abstractmethod
    def play_phase(
        self,
        phase: int,
        mask: NDArray[np.bool_],
        actions: Arrays,
        rewards: Arrays,
        terminated: NDArray[np.bool_],
    ) -> None:
        """Play one phase of the markets ``mask``.

        Parameters
        ----------
        phase : int
            Index of the phase.
        mask : ndarray of bool, shape (batch,)
            Markets that are in this phase; no other one may change.
        actions : dict of ndarray
            For each role of the phase, but for `native` ones that do not learn, its checked actions, shape
            (batch, agents, …): int64 indices from 0, or float64 for a Box.
        rewards : dict of ndarray
            For each learning role float32 (batch, agents), zero so far; to be written.
        terminated : ndarray of bool, shape (batch,)
            False so far; set where the last round has been played.
        """

    @abstractmethod
    def write_observations(self, observations: Arrays) -> None:
        """Write what the agents of each role in ``observations`` see, float32 (batch, agents, features)."""

    @abstractmethod
    def write_metrics(self, mask: NDArray[np.bool_], metrics: NDArray[np.float64], ledger: NDArray[np.float64]) -> None:
        """Write the figures of the episodes that end in the markets ``mask``, by their own rules or cut off.

        Parameters
        ----------
        mask : ndarray of bool, shape (batch,)
            Markets whose episode ends.
        metrics : ndarray of float64, shape (batch, metrics)
            In the order of `metric_names`.
        ledger : ndarray of float64, shape (batch, accounts)
            What each account received.
        """

    # --- what a market may replace

    def play_step(self, actions: Arrays, into: int) -> None:
        """Play every market on until a learning role is asked again, and reset those that end.

        A market with a compiled driver that does all of this may call that instead.

        Parameters
        ----------
        actions : dict of ndarray
            The checked actions of every learning role, as in `play_phase`.
        into : int
            Index of the `buffers` to write into.
        """
        buffers = self.buffers[into]
        final_state = buffers.final_state(self)
        for rewards in buffers.rewards.values():
            rewards.fill(0.0)
        terminated, truncated = buffers.terminated, buffers.truncated
        terminated.fill(False)
        self._advance(np.ones(self.num_envs, np.bool_), actions, buffers.rewards, terminated)
        cycles = self.market.cycles
        cycles += 1
        if self.config.max_cycles is not None:
            np.logical_and(cycles >= self.config.max_cycles, ~terminated, out=truncated)
        ended = terminated | truncated
        if ended.any():
            self.write_metrics(ended, buffers.metrics, self._ledger)
            self.write_observations(buffers.final_observations)
            if final_state is not None:
                final_state[...] = self.state()
            self._over |= ended
            if self.autoreset and not (self.single_episode and self._over.all()):
                self._go_on(ended)
        self.write_observations(buffers.observations)
        self.write_active(buffers.active)

    def write_active(self, active: Arrays) -> None:
        """Write whose action the next step uses, bool (batch, agents): everybody in the roles of the present phase."""
        for role, mask in active.items():
            mask[...] = (self._phase == self._phase_of[role])[:, None]

    # --- the rest is common

    def reset(
        self,
        seeds: NDArray[np.uint64],
        streams: NDArray[np.uint64] | None = None,
        instances: NDArray[np.uint64] | None = None,
    ) -> tuple[Arrays, Arrays]:
        """Start episode 0 of every market; see `Game.reset`."""
        market = self.market
        market.seed[:] = self.checked_seeds(seeds)
        market.stream[:] = self.checked_seeds(np.arange(self.num_envs) if streams is None else streams)
        if self.instanced:
            fixed = self.config.instance
            given = self.checked_seeds(seeds if instances is None else instances)
            market.instance[:] = given if fixed is None else fixed
        market.episode[:] = 0
        self._over[:] = False
        self._restart(np.ones(self.num_envs, np.bool_))
        return self._show()

    def next_episode(self) -> tuple[Arrays, Arrays]:
        """Put every market that has been stepped at the start of its next episode."""
        self._go_on(self.market.cycles > 0)
        return self._show()

    def step(self, actions: Arrays) -> Step:
        """Play every market on until a learning role is asked again; see `Game.step`."""
        given = {role: check(role, actions) for role, check in self._checks.items()}
        self._turn = 1 - self._turn
        self.play_step(given, self._turn)
        return self.buffers[self._turn].step

    def _check_of(self, role: str) -> Callable[[str, Arrays], NDArray[Any]]:
        box = isinstance(self.roles[role].action_space, gymnasium.spaces.Box)
        return self.checked_reals if box else self.checked_actions

    def _advance(
        self, playing: NDArray[np.bool_], given: Arrays, rewards: Arrays, terminated: NDArray[np.bool_]
    ) -> None:
        """Play the markets ``playing`` from the phases they are in to the next one that asks a learning role."""
        phase = self._phase
        while playing.any():
            k = int(phase[int(playing.argmax())])
            mask = playing & (phase == k)
            self.play_phase(k, mask, self._actions_in(k, given), rewards, terminated)
            phase[mask] = (k + 1) % len(self.phases)
            playing = playing & ~(mask & (terminated | self._asked[phase]))

    def _actions_in(self, phase: int, given: Arrays) -> Arrays:
        actions = {}
        for role in self.phases[phase]:
            if self.learns[role]:
                actions[role] = given[role]
            elif role not in self.native:
                if role not in self._players:
                    self._players[role] = self.scripted(self.roles[role].scripted, role)
                actions[role] = self._check_of(role)(role, {role: self._players[role]()})
        return actions

    def _go_on(self, mask: NDArray[np.bool_]) -> None:
        """Open the next episode of the markets ``mask``."""
        self.market.episode[mask] += np.uint64(1)
        self._restart(mask)

    def _restart(self, mask: NDArray[np.bool_]) -> None:
        self.openings += 1
        self._phase[mask] = 0
        self.market.cycles[mask] = 0
        self.open_markets(mask)
        opening = self._opening
        self._advance(mask & ~self._asked[self._phase], {}, opening.rewards, opening.terminated)

    def _show(self) -> tuple[Arrays, Arrays]:
        buffers = self.buffers[self._turn]
        self.write_observations(buffers.observations)
        self.write_active(buffers.active)
        return buffers.step.observations, buffers.step.active

    def save(self) -> dict[str, NDArray[Any]]:
        """Return copies of the arrays that the markets are made of."""
        return {name: array.copy() for name, array in self._arrays().items()}

    def _arrays(self) -> dict[str, NDArray[Any]]:
        """Return the arrays that `save` copies: records as plain numbers, with a last axis for their fields."""
        plain = {name: plain_view(array) for name, array in self.market._asdict().items()}
        return {**plain, "ledger": self._ledger}

    def restore(self, saved: Mapping[str, NDArray[Any]]) -> tuple[Arrays, Arrays]:
        """Go on from what `save` returned."""
        for name, array in self._arrays().items():
            array[...] = saved[name]
        self.openings += 1
        return self._show()

    def ledger(self) -> NDArray[np.float64]:
        """Return what each account received in the last finished episode, (batch, accounts); rows sum to 0."""
        return self._ledger.copy()

    def render(self, mode: str, index: int = 0) -> Any:
        """Draw market ``index``; see `Game.render`."""
        require(mode in ("ansi", "rgb_array"), "mode", mode, "ansi or rgb_array")
        require(0 <= index < self.num_envs, "index", index, f"0 to {self.num_envs - 1}")
        return self.draw(mode, index)

    def draw(self, mode: str, index: int) -> Any:
        """Draw market ``index`` in a checked mode."""
        pictures = importlib.import_module(self.pictures)
        if mode == "ansi":
            return pictures.text(self, index)
        from ioa_marl.envs.rendering import figure_to_array

        return figure_to_array(pictures.figure(self, index))


class _Opening:
    """What phases write that are played before anybody is asked; nobody reads it."""

    def __init__(self, game: PhasedGame) -> None:
        counts = {role: game.roles[role].count for role in game.controlled_roles}
        self.rewards: Arrays = {role: np.zeros((game.num_envs, count), np.float32) for role, count in counts.items()}
        self.terminated = np.zeros(game.num_envs, np.bool_)


class PhasedBuffers(StepBuffers):
    """Output arrays of one step and the `Step` that shows them, made once.

    Parameters
    ----------
    game : PhasedGame
        The game that writes into them.
    ledger : ndarray of float64, shape (batch, accounts)
        The game's accounts, of which there is one array.

    Attributes
    ----------
    observations, final_observations, rewards, active : dict of ndarray
        By learning role, as in `Step`.
    terminated, truncated : ndarray of bool, shape (batch,)
        As in `Step`.
    metrics : ndarray of float64, shape (batch, metrics)
        In the order of the game's `metric_names`.
    """

    def __init__(self, game: PhasedGame, ledger: NDArray[np.float64]) -> None:
        self.ledger = ledger
        n, roles = game.num_envs, {role: game.roles[role] for role in game.controlled_roles}
        seen = {name: (n, role.count, *role.observation_space.shape) for name, role in roles.items()}
        self.observations: Arrays = {name: np.zeros(shape, np.float32) for name, shape in seen.items()}
        self.final_observations: Arrays = {name: np.zeros(shape, np.float32) for name, shape in seen.items()}
        self.rewards: Arrays = {name: np.zeros((n, role.count), np.float32) for name, role in roles.items()}
        self.active: Arrays = {name: np.zeros((n, role.count), np.bool_) for name, role in roles.items()}
        self.terminated, self.truncated = np.zeros(n, np.bool_), np.zeros(n, np.bool_)
        self.metrics = np.zeros((n, len(game.metric_names)))
        self.step = Step(
            observations=self.observations,
            rewards=self.rewards,
            terminated=self.terminated,
            truncated=self.truncated,
            active=self.active,
            final_observations=self.final_observations,
            metrics={name: self.metrics[:, column] for column, name in enumerate(game.metric_names)},
        )
