"""The second-bid auction played again on the same tasks with other bids of some stations: counterfactual play.

Valuations do not depend on what anybody does, so the tasks are drawn once, in the play without deviations, and all
deviations are played on these, in one batch. An agent that draws random numbers draws others for other places in a
batch; each deviation is then played in a batch of its own, by agents whose random streams begin anew.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from ioa_marl.envs.core import Arrays
from ioa_marl.envs.second_bid.game import SecondBidConfig, SecondBidGame
from ioa_marl.evaluation.audits.acting import choose, draws_numbers
from ioa_marl.evaluation.audits.subject import Subject
from ioa_marl.evaluation.playing import evaluation_config
from ioa_marl.foundations.seeds import EVALUATION_SEED
from ioa_marl.markets.second_bid.references import calibration

Floats = NDArray[np.float64]
Whole = NDArray[np.int64]

LARGEST_BATCH = 2**25
"""Largest size of the records of tasks in a batch [bytes]; more deviations are played in groups."""
BYTES_A_TASK = 40
"""Size of the records of one task of one market [bytes]."""
DRAWN = ("accuracy", "common", "value", "delay")
"""Fields of the state that the draw of a task writes."""


@dataclass(frozen=True)
class Deviations:
    """Bids of the stations in some deviations, as multiples of their valuations.

    A false name is one more column after those of the stations: a bidder with the valuation of its owner.
    """

    factors: Floats
    """Bid over valuation, shape (deviations, bidders); NaN: as without a deviation."""
    lower: Floats
    """The same for a station whose valuation is below that of its partner, shape (deviations, bidders)."""
    partners: Whole
    """The partner of each station; its own number if it has none, shape (deviations, bidders)."""
    owners: Whole
    """The station that bids under a false name as well, or −1, shape (deviations,)."""

    def __len__(self) -> int:
        """Return the number of deviations."""
        return len(self.factors)

    def __getitem__(self, which: slice) -> Deviations:
        """Return some of the deviations."""
        return Deviations(self.factors[which], self.lower[which], self.partners[which], self.owners[which])


def joined(parts: Sequence[Deviations]) -> Deviations:
    """Return all deviations of several sets, which have equally many bidders."""
    fields = [field.name for field in dataclasses.fields(Deviations)]
    return Deviations(**{name: np.concatenate([getattr(part, name) for part in parts]) for name in fields})


def _none(deviations: int, bidders: int) -> Deviations:
    nothing = np.full((deviations, bidders), np.nan)
    partners = np.tile(np.arange(bidders), (deviations, 1))
    return Deviations(nothing, nothing.copy(), partners, np.full(deviations, -1))


def alone(stations: int, station: int, factors: Sequence[float]) -> Deviations:
    """Return deviations in which one station bids a constant multiple of its valuations."""
    out = _none(len(factors), stations)
    out.factors[:, station] = factors
    return out


def ring(stations: int, pair: tuple[int, int], cells: Sequence[tuple[float, float]]) -> Deviations:
    """Return deviations in which two stations tell each other their valuations before they bid.

    In each of the ``cells``, the station with the lower valuation bids the first factor times its valuation, and the
    other one the second.
    """
    out = _none(len(cells), stations)
    low, high = np.array(cells, np.float64).T
    for station, partner in (pair, pair[::-1]):
        out.lower[:, station], out.factors[:, station], out.partners[:, station] = low, high, partner
    return out


def two_names(stations: int, station: int, cells: Sequence[tuple[float, float]]) -> Deviations:
    """Return deviations in which one station bids twice, under its own and under a false name.

    In each of the ``cells``, the first factor is that of its own bid and the second that of the false name; 0 is no
    second bid.
    """
    out = _none(len(cells), stations + 1)
    out.factors[:, station], out.factors[:, stations] = np.array(cells, np.float64).T
    out.owners[:] = station
    return out


@dataclass(frozen=True)
class Draws:
    """Valuations of all tasks of some markets, shape (tasks, markets, providers) each; the UAV is provider 0."""

    accuracy: Floats
    """Accuracy R of each provider."""
    common: Floats
    """Common value c [units]."""
    value: Floats
    """Valuation v [units]."""
    delay: Floats
    """Mean latency [s]."""


@dataclass(frozen=True)
class Outcomes:
    """What happened to every task, shape (deviations, markets, tasks) each."""

    winners: Whole
    """Number of the station that serves the task, or −1 for the UAV."""
    payments: Floats
    """Payment of the winner [units]."""
    rhos: Floats
    """Price scaling factor ρ."""


class ReplayedGame(SecondBidGame):
    """The second-bid auction in which some stations deviate, on tasks that were drawn before.

    Parameters
    ----------
    config : SecondBidConfig
        Settings of the market.
    controlled_roles : sequence of str
        Roles that agents play.
    markets : int
        Number of markets. The batch has all markets of the first deviation, then those of the second, and so on.
    deviations : Deviations, optional
        How stations bid; default: as without deviations, once.
    draws : Draws, optional
        The tasks; default: they are drawn, and can be read from `drawn`.
    """

    def __init__(
        self,
        config: SecondBidConfig,
        controlled_roles: Sequence[str],
        markets: int,
        deviations: Deviations | None = None,
        draws: Draws | None = None,
    ) -> None:
        false_names = deviations is not None and deviations.factors.shape[1] > config.stations
        count = 1 if deviations is None else len(deviations)
        bidders = dataclasses.replace(config, stations=config.stations + 1, data=None) if false_names else config
        super().__init__(bidders, count * markets, controlled_roles, autoreset=False)
        self._deviations, self._draws, self._markets = deviations, draws, markets
        self._recorded: list[list[Floats]] = []
        if false_names:
            # The auctioneer knows the market as it is without the false name.
            constants = calibration(config)
            for name in ("contract_price", "log_low", "log_high", "log_ratio"):
                self.params[name] = getattr(constants, name)
            self.config = config
        if deviations is not None:
            by_row = (np.repeat(getattr(deviations, name), markets, axis=0) for name in vars(deviations))
            self._of_rows = Deviations(*by_row)

    def draw_next_tasks(self, mask: NDArray[np.bool_]) -> None:
        """Draw the next task and record it, or copy it from the draws; all markets are at the same task."""
        state = self.market
        if not mask.any():
            return
        if self._draws is None:
            super().draw_next_tasks(mask)
            self._recorded.append([getattr(state, name).copy() for name in DRAWN])
            return
        task, which = int(state.task[0]), np.arange(self.num_envs) % self._draws.value.shape[1]
        for name in DRAWN:
            drawn, into = getattr(self._draws, name)[task][which], getattr(state, name)
            into[:, : drawn.shape[1]] = drawn
            if into.shape[1] > drawn.shape[1]:
                owner = np.maximum(self._of_rows.owners, 0)[:, None] + 1
                into[:, -1:] = np.take_along_axis(drawn, owner, axis=1)
        state.bid[...], state.rank[...] = 0.0, np.arange(state.rank.shape[1])

    def drawn(self) -> Draws:
        """Return the tasks that were drawn in the episode."""
        return Draws(*(np.stack(arrays) for arrays in zip(*self._recorded, strict=True)))

    def play_phase(
        self,
        phase: int,
        mask: NDArray[np.bool_],
        actions: Arrays,
        rewards: Arrays,
        terminated: NDArray[np.bool_],
    ) -> None:
        """Play one phase; bids of stations that deviate are replaced."""
        super().play_phase(phase, mask, actions, rewards, terminated)
        if phase == 0 and self._deviations is not None:
            market, rows = self.market, self._of_rows
            value = market.value[:, 1:]
            is_lower = value < np.take_along_axis(value, rows.partners, axis=1)
            factors = np.where(is_lower, rows.lower, rows.factors)
            bids = np.where(np.isnan(factors), market.bid, value * factors)
            market.bid[...], market.rank[...] = bids, ranks(bids)

    def outcomes(self) -> Outcomes:
        """Return what happened in the episode."""
        shape = (-1, self._markets, self.config.tasks)
        settled = self.market.settled
        parts = (self.market.winners, settled["payment"], settled["rho"])
        return Outcomes(*(np.array(part).reshape(shape) for part in parts))


def ranks(bids: Floats) -> Whole:
    """Return the numbers of the stations by bid, the highest first, ties by number, shape of ``bids``."""
    return np.argsort(-bids, axis=1, kind="stable")


class Replays:
    """Plays of a subject's policies on the same tasks, first without deviations and then with any of them.

    Parameters
    ----------
    subject : Subject
        The policies and the market.
    markets : int
        Number of evaluation markets.
    moments : sequence of int
        Tasks before whose auction the state of the play without deviations is copied.
    """

    def __init__(self, subject: Subject, markets: int, moments: Sequence[int] = ()) -> None:
        self.subject, self.markets = subject, markets
        self.config = cast(SecondBidConfig, evaluation_config(subject.config))
        self.saved: list[dict[str, NDArray[Any]]] = []
        """States of the market, as of `Game.save`, at the moments, before the auctioneer acts."""
        self.together = True
        """Whether deviations can be played as one batch: no agent draws random numbers."""
        game = ReplayedGame(self.config, subject.controlled_roles, markets)
        wanted = set(moments)

        probes = subject.make_agents()

        def look(observations: Arrays) -> None:
            if game.market.cycles[0] == 0:
                for agent in probes:
                    agent.attach(game)
            self.together = self.together and not draws_numbers(probes, observations, markets)
            if game.market.phase[0] == 1 and int(game.market.task[0]) in wanted:
                self.saved.append(game.save())

        self._play(game, look)
        self.draws, self.truth, self.receipts = game.drawn(), game.outcomes(), game.market.receipts.copy()

    def _play(self, game: ReplayedGame, look: Callable[[Arrays], None] = lambda observations: None) -> None:
        agents = self.subject.make_agents()
        first = self.subject.first_episode
        streams = np.tile(np.arange(first, first + self.markets, dtype=np.uint64), game.num_envs // self.markets)
        instances = np.full(game.num_envs, self.subject.instance, np.uint64)
        observations, _ = game.reset(np.full(game.num_envs, EVALUATION_SEED, np.uint64), streams, instances)
        for agent in agents:
            agent.attach(game)
        ended = False
        while not ended:
            look(observations)
            step = game.step(choose(agents, observations, self.markets))
            observations = step.observations
            ended = bool((step.terminated | step.truncated).all())

    def _outcomes(self, deviations: Deviations) -> Outcomes:
        game = ReplayedGame(self.config, self.subject.controlled_roles, self.markets, deviations, self.draws)
        self._play(game)
        return game.outcomes()

    def play(self, deviations: Deviations) -> Iterator[tuple[slice, Outcomes]]:
        """Play deviations in groups; yields which deviations have been played, and their outcomes."""
        size = max(1, LARGEST_BATCH // (self.markets * self.config.tasks * BYTES_A_TASK)) if self.together else 1
        for first in range(0, len(deviations), size):
            group = slice(first, min(first + size, len(deviations)))
            yield group, self._outcomes(deviations[group])

    def utilities(
        self, deviations: Deviations, groups: Sequence[tuple[int, ...]], progress: Callable[[float], None]
    ) -> Floats:
        """Return the utility of a group of stations in every deviation, over a whole episode.

        Parameters
        ----------
        deviations : Deviations
            The deviations.
        groups : sequence of tuple of int
            The stations whose utilities are added, for each deviation.
        progress : callable
            Called with the share of the deviations that has been played.

        Returns
        -------
        ndarray of float64, shape (deviations, markets)
            Value − payment of all tasks that the group wins, also under a false name [units per episode].
        """
        out = np.zeros((len(deviations), self.markets))
        for which, outcomes in self.play(deviations):
            for i in range(which.start, which.stop):
                owner = int(deviations.owners[i])
                names = {station: station for station in groups[i]}
                if owner in names:
                    names[self.config.stations] = owner
                out[i] = sum(self.won(outcomes, i - which.start, name, station) for name, station in names.items())
            progress(which.stop / len(deviations))
        return out

    def won(self, outcomes: Outcomes, deviation: int, name: int, station: int) -> Floats:
        """Return value − payment over the tasks that the bidder ``name`` wins for a station, shape (markets,)."""
        value = self.draws.value[:, :, station + 1].T
        gain = value - outcomes.payments[deviation]
        return np.asarray(np.where(outcomes.winners[deviation] == name, gain, 0.0).sum(axis=1))

    def truthful(self, station: int) -> Floats:
        """Return the utility of a station without deviations, shape (markets,) [units per episode]."""
        return self.won(self.truth, 0, station, station)
