"""`PhasedGame`, the common part of all markets that are played in rounds of ordered phases."""

from __future__ import annotations

import copy
import importlib
from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar

import gymnasium
import numpy as np
from numpy.typing import NDArray

from ioa_marl.envs.core import Arrays, Game, ScriptedPolicy, Step, StepBuffers
from ioa_marl.envs.policies import partner
from ioa_marl.foundations.errors import shown
from ioa_marl.foundations.parameters import check_integer, require
from ioa_marl.foundations.records import plain_view
from ioa_marl.foundations.seeds import MAX_INSTANCE


def check_common(config: Any) -> None:
    """Check the settings that every `PhasedGame` has: ``max_cycles`` and, if the market is instanced, ``instance``."""
    if config.max_cycles is not None:
        check_integer(config, "max_cycles", 1, 10**9)
    if getattr(config, "instance", None) is not None:
        check_integer(config, "instance", 0, MAX_INSTANCE)
        own = getattr(config, "data", None)
        require(own is None, "instance", config.instance, "null with data, which is the only instance")


class PhasedGame(Game):
    """A game whose episode is a sequence of rounds, each of ordered phases.

    The roles of a phase act at the same time. A phase in which a controlled role acts takes a step of its own. All
    other phases are played at the end of the step before, or of the reset. A reward is paid in the step in which it
    arises; if its agent is not active in that step, the reward belongs to the agent's last action.

    A market implements the six methods from `allocate` to `write_metrics` as short calls of its compiled drivers. A
    market whose roles do not always act in the same order has a single phase: its driver continues until a controlled
    role has to act, and `write_active` marks that role's agents.

    Attributes
    ----------
    market : NamedTuple of ndarray
        State of the batch: arrays of numbers, or of records of floats, shape (batch, …) each. It has ``seed``,
        ``stream``, ``episode`` (uint64) and ``cycles`` (int64, steps of the episode), shape (batch,) each; ``phase``
        (int64) if there are several phases; and ``instance`` (uint64) if the game is `instanced`.
    buffers : tuple of PhasedBuffers
        Output arrays of two steps, which are written alternately.
    is_controlled : dict of bool
        For each role whether it is controlled.
    openings : int
        Number of times that markets were opened, or restored from saved arrays. A scripted policy compares it, together
        with the episode, to notice that a market is new.
    """

    phases: ClassVar[tuple[tuple[str, ...], ...]]
    """Roles that act in each phase of a round; every role acts in exactly one phase."""
    native: ClassVar[frozenset[str]] = frozenset()
    """Roles whose scripted behaviour is part of the drivers: where they are not controlled and have no `partners`, the
    driver computes their actions, and no scripted policy is called."""

    takes_partners: ClassVar[frozenset[str]] = frozenset()
    """Roles of `native` that a scripted policy can play as well; see `Game.set_partners`."""

    pictures: ClassVar[str]
    """Name of the module with ``text(game, index)`` and ``figure(game, index)``, which is imported at the first
    `render`."""

    market: Any

    def __init__(
        self,
        config: Any,
        num_envs: int = 1,
        controlled_roles: Sequence[str] | None = None,
        autoreset: bool = True,
    ) -> None:
        super().__init__(config, num_envs, controlled_roles, autoreset)
        self.is_controlled = {role: role in self.controlled_roles for role in self.roles}
        self.openings = 0
        self._checks = {role: self._action_check(role) for role in self.controlled_roles}
        self._phase_of = {role: k for k, roles in enumerate(self.phases) for role in roles}
        self._phase_is_controlled = np.array([any(self.is_controlled[r] for r in roles) for roles in self.phases])
        self._scripted_policies: dict[str, ScriptedPolicy] = {}
        self.market = self.allocate()
        assert "ledger" not in self.market._fields, "the field ledger would be saved under the name of the accounts"
        self._phase = self.market.phase if len(self.phases) > 1 else np.zeros(num_envs, np.int64)
        self._ledger = np.zeros((num_envs, self.count_accounts()))
        self.buffers = (PhasedBuffers(self, self._ledger), PhasedBuffers(self, self._ledger))
        self._opening = _OpeningOutputs(self)
        self._current_buffers = 0
        self._has_ended = np.zeros(num_envs, np.bool_)

    # --- methods that a market implements

    @abstractmethod
    def allocate(self) -> Any:
        """Return the state of the batch as a named tuple of arrays of zeros; see `market`."""

    @abstractmethod
    def count_accounts(self) -> int:
        """Return the number of accounts in the ledger."""

    @abstractmethod
    def open_markets(self, mask: NDArray[np.bool_]) -> None:
        """Draw and open the current episode of some markets, whose seed and episode are set already.

        Parameters
        ----------
        mask : ndarray of bool, shape (batch,)
            Markets to open; the others must not change.
        """

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
            Markets that are in this phase; the others must not change.
        actions : dict of ndarray
            Checked actions of each role of the phase, except of `native` roles that are not controlled: int64
            (batch, agents, …), indices from 0, or for a Box float64 (batch, agents, components) in the unit of the
            space.
        rewards : dict of ndarray
            For each controlled role float32 (batch, agents), filled with zeros; this method adds the rewards of the
            phase, in the unit that the market's docstring states.
        terminated : ndarray of bool, shape (batch,)
            This method sets it where it plays the last round.
        """

    @abstractmethod
    def write_observations(self, observations: Arrays) -> None:
        """Write the observations of the current state.

        Parameters
        ----------
        observations : dict of ndarray
            For some roles float32 (batch, agents, features); this method writes features in [0, 1].
        """

    @abstractmethod
    def write_metrics(self, mask: NDArray[np.bool_], metrics: NDArray[np.float64], ledger: NDArray[np.float64]) -> None:
        """Write the metrics and the ledger of the episodes that end, whether terminated or truncated.

        Parameters
        ----------
        mask : ndarray of bool, shape (batch,)
            Markets whose episode ends.
        metrics : ndarray of float64, shape (batch, metrics)
            This method writes the metrics, in the order and the units of `metric_names`.
        ledger : ndarray of float64, shape (batch, accounts)
            This method writes the amount that each account received, in the market's unit of money.
        """

    # --- methods that a market may override

    def play_step(self, actions: Arrays, into: int) -> None:
        """Advance every market until a controlled role has to act again, and reset the markets whose episode ends.

        A market may override it to call a compiled driver that does all of this.

        Parameters
        ----------
        actions : dict of ndarray
            Checked actions of every controlled role, as in `play_phase`.
        into : int
            Index of the `buffers` that are written.
        """
        buffers = self.buffers[into]
        final_state = buffers.final_state(self)
        for rewards in buffers.rewards.values():
            rewards.fill(0.0)
        terminated, truncated = buffers.terminated, buffers.truncated
        terminated.fill(False)
        truncated.fill(False)
        self._advance(np.ones(self.num_envs, np.bool_), actions, buffers.rewards, terminated)
        cycles = self.market.cycles
        cycles += 1
        if self.endless:
            truncated |= terminated
            terminated.fill(False)
        if self.config.max_cycles is not None:
            truncated |= (cycles >= self.config.max_cycles) & ~terminated
        ended = terminated | truncated
        if ended.any():
            self.write_metrics(ended, buffers.metrics, self._ledger)
            self.write_observations(buffers.final_observations)
            if final_state is not None:
                final_state[...] = self.state()
            self._has_ended |= ended
            if self.autoreset and not (self.single_episode and self._has_ended.all()):
                self._open_next_episode(ended)
        self.write_observations(buffers.observations)
        self.write_active(buffers.active)

    def write_active(self, active: Arrays) -> None:
        """Mark the agents whose action the next step uses: all agents of the roles of the current phase.

        Parameters
        ----------
        active : dict of ndarray
            For each controlled role bool (batch, agents); this method writes it.
        """
        for role, mask in active.items():
            mask[...] = (self._phase == self._phase_of[role])[:, None]

    # --- the common part

    def set_partners(self, partners: Mapping[str, Any]) -> None:
        """Choose the scripted policies of roles that are not controlled; see `Game.set_partners`."""
        require(isinstance(partners, Mapping), "partners", shown(partners), "a mapping of roles to policies")
        playable = [r for r in self.roles if not self.is_controlled[r] and r not in self.native - self.takes_partners]
        chosen = {}
        for role, choice in partners.items():
            allowed = f"roles that a policy plays here: {', '.join(playable) or 'none'}"
            require(role in playable, "partners", shown(role), allowed)
            chosen[role] = partner(self, role, choice)
        for role in self.partners:
            self._scripted_policies.pop(role, None)  # who is not named any more plays as by default
        self._scripted_policies |= chosen
        self.partners = copy.deepcopy(dict(partners))

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
            configured = self.config.instance
            chosen = self.checked_seeds(seeds if instances is None else instances)
            market.instance[:] = chosen if configured is None else configured
        market.episode[:] = 0
        self._has_ended[:] = False
        self._open_episode(np.ones(self.num_envs, np.bool_))
        return self._show()

    def next_episode(self) -> tuple[Arrays, Arrays]:
        """Start the next episode of every market that has been stepped; see `Game.next_episode`."""
        self._open_next_episode(self.market.cycles > 0)
        return self._show()

    def step(self, actions: Arrays) -> Step:
        """Advance every market until a controlled role has to act again; see `Game.step`."""
        checked_actions = {role: check(role, actions) for role, check in self._checks.items()}
        self._current_buffers = 1 - self._current_buffers
        self.play_step(checked_actions, self._current_buffers)
        return self.buffers[self._current_buffers].step

    def _action_check(self, role: str) -> Callable[[str, Arrays], NDArray[Any]]:
        box = isinstance(self.roles[role].action_space, gymnasium.spaces.Box)
        return self.checked_reals if box else self.checked_actions

    def _advance(
        self, playing: NDArray[np.bool_], controlled_actions: Arrays, rewards: Arrays, terminated: NDArray[np.bool_]
    ) -> None:
        """Play the markets ``playing``, bool (batch,), from their current phases to the next controlled phase."""
        phase = self._phase
        while playing.any():
            k = int(phase[int(playing.argmax())])
            mask = playing & (phase == k)
            self.play_phase(k, mask, self._actions_in(k, controlled_actions), rewards, terminated)
            phase[mask] = (k + 1) % len(self.phases)
            playing = playing & ~(mask & (terminated | self._phase_is_controlled[phase]))

    def _actions_in(self, phase: int, controlled_actions: Arrays) -> Arrays:
        """Return the actions of the roles of a phase, those of scripted policies included; see `play_phase`."""
        actions = {}
        for role in self.phases[phase]:
            if self.is_controlled[role]:
                actions[role] = controlled_actions[role]
            elif role not in self.native or role in self.partners:
                if role not in self._scripted_policies:
                    self._scripted_policies[role] = self.scripted(self.roles[role].scripted, role)
                actions[role] = self._action_check(role)(role, {role: self._scripted_policies[role]()})
        return actions

    def _open_next_episode(self, mask: NDArray[np.bool_]) -> None:
        """Open the next episode of the markets ``mask``, bool (batch,)."""
        self.market.episode[mask] += np.uint64(1)
        self._open_episode(mask)

    def _open_episode(self, mask: NDArray[np.bool_]) -> None:
        """Open the current episode of the markets ``mask``, bool (batch,), and play to the first controlled phase."""
        self.openings += 1
        self._phase[mask] = 0
        self.market.cycles[mask] = 0
        self.open_markets(mask)
        opening = self._opening
        self._advance(mask & ~self._phase_is_controlled[self._phase], {}, opening.rewards, opening.terminated)

    def _show(self) -> tuple[Arrays, Arrays]:
        """Write and return the observations and the active agents of the current state."""
        buffers = self.buffers[self._current_buffers]
        self.write_observations(buffers.observations)
        self.write_active(buffers.active)
        return buffers.step.observations, buffers.step.active

    def save(self) -> dict[str, NDArray[Any]]:
        """Return copies of all arrays of the batch; see `Game.save`."""
        return {name: array.copy() for name, array in self.saved_arrays().items()}

    def saved_arrays(self) -> dict[str, NDArray[Any]]:
        """Return the arrays that `save` copies, without copying them.

        Returns
        -------
        dict of ndarray
            Views of the arrays of the batch by name, shape (batch, …) each; a record is an axis of floats at the end.
        """
        plain = {name: plain_view(array) for name, array in self.market._asdict().items()}
        return {**plain, "ledger": self._ledger}

    def restore(self, saved: Mapping[str, NDArray[Any]]) -> tuple[Arrays, Arrays]:
        """Continue from the arrays that `save` returned; see `Game.restore`."""
        for name, array in self.saved_arrays().items():
            array[...] = saved[name]
        self.openings += 1
        return self._show()

    def ledger(self) -> NDArray[np.float64]:
        """Return the amount that each account received in the last finished episode; see `Game.ledger`."""
        return self._ledger.copy()

    def render(self, mode: str, index: int = 0) -> Any:
        """Draw market ``index``; see `Game.render`."""
        require(mode in ("ansi", "rgb_array"), "mode", mode, "ansi or rgb_array")
        require(0 <= index < self.num_envs, "index", index, f"0 to {self.num_envs - 1}")
        return self.draw(mode, index)

    def draw(self, mode: str, index: int) -> Any:
        """Draw market ``index``; `render` has checked both arguments, and says what is returned."""
        pictures = importlib.import_module(self.pictures)
        if mode == "ansi":
            return pictures.text(self, index)
        from ioa_marl.envs.rendering import figure_to_array

        return figure_to_array(pictures.figure(self, index))


class _OpeningOutputs:
    """Rewards and ends of the phases that are played within a reset; they are not used."""

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
        The game's ledger, of which there is only one array.

    Attributes
    ----------
    observations, final_observations : dict of ndarray
        For each controlled role float32 (batch, agents, features); see `Step`.
    rewards : dict of ndarray
        For each controlled role float32 (batch, agents); see `Step`.
    active : dict of ndarray
        For each controlled role bool (batch, agents); see `Step`.
    terminated, truncated : ndarray of bool, shape (batch,)
        See `Step`.
    metrics : ndarray of float64, shape (batch, metrics)
        Metrics, in the order and the units of the game's `metric_names`.
    """

    def __init__(self, game: PhasedGame, ledger: NDArray[np.float64]) -> None:
        self.ledger = ledger
        n, roles = game.num_envs, {role: game.roles[role] for role in game.controlled_roles}
        shapes = {name: (n, role.count, *role.observation_space.shape) for name, role in roles.items()}
        self.observations: Arrays = {name: np.zeros(shape, np.float32) for name, shape in shapes.items()}
        self.final_observations: Arrays = {name: np.zeros(shape, np.float32) for name, shape in shapes.items()}
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
