"""Play of the slicing market with Clarke payments in which providers report prescribed multiples of their worths."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from ioa_marl.envs.core import Arrays, Step
from ioa_marl.envs.vcg_slicing.config import VCGSlicingConfig
from ioa_marl.envs.vcg_slicing.game import VCGSlicingGame
from ioa_marl.envs.vcg_slicing.optima import GameOptima
from ioa_marl.evaluation.audits.acting import choose, draws_numbers
from ioa_marl.evaluation.audits.subject import Subject
from ioa_marl.evaluation.playing import evaluation_config
from ioa_marl.foundations.seeds import EVALUATION_SEED
from ioa_marl.markets.vcg_slicing.dual_currency import equations
from ioa_marl.markets.vcg_slicing.optimum import clarke_payments

Floats = NDArray[np.float64]

LARGEST_BATCH = 2**26
"""Largest size of the state of a batch [bytes]; more deviations are played in groups."""
MOST_TOGETHER = 25
"""Largest number of deviations that are played together, so that progress is told now and then."""


@dataclass(frozen=True)
class SlicingPlay:
    """What the play without deviations of some markets gives."""

    utilities: Floats
    """True utilities of an episode, shape (markets, providers) [utility]."""
    payments: Floats
    """Clarke payments [utility] or taxes [money] of an episode, same shape."""
    profits: Floats
    """What providers end with: utility − payment, or with a bank gross profit − tax, same shape."""
    residual: Floats
    """Receipts of the network or the bank in an episode, shape (markets,)."""
    metrics: dict[str, Floats]
    """Metrics of the market, shape (markets,) each."""
    present: NDArray[np.bool_]
    """Which providers are present, shape (markets, providers)."""
    others: Floats
    """SW*₋ᵢ of the true types, shape (markets, providers) [utility]."""
    last_profits: Floats
    """Utility − Clarke payment at the last allocation, shape (markets, providers) [utility]."""
    worth: Floats
    """β, shape (markets, providers) [utility]."""
    rate: Floats
    """ξ, shape (markets, providers, 3) [per whole resource]."""
    draws_numbers: bool
    """Whether agents draw random numbers."""


class _ReportedOptima(GameOptima):
    """Optima of reported types; markets of an instance differ in their reports."""

    def report_keys(self) -> NDArray[np.uint64]:
        """Return keys in which the reports are, too; see `GameOptima.report_keys`."""
        reports = self._game.market.multiplier.view(np.uint64)
        return np.concatenate([super().report_keys(), reports], axis=1)


class ReportedGame(VCGSlicingGame):
    """The slicing market with Clarke payments, in which providers report prescribed multiples of their worths.

    Payments are not computed: they follow from the sums of utilities, because reports stay the same.

    Parameters
    ----------
    config : VCGSlicingConfig
        Settings of the market, without a bank.
    controlled_roles : sequence of str
        Roles that agents play, not the providers.
    factors : ndarray of float64, shape (deviations, providers)
        Reported over true worths. The batch has all markets of the first deviation, then those of the second, ….
    markets : int
        Number of markets.
    """

    def __init__(
        self, config: VCGSlicingConfig, controlled_roles: Sequence[str], factors: Floats, markets: int
    ) -> None:
        super().__init__(config, len(factors) * markets, controlled_roles, autoreset=False)
        self.full_metrics = False
        self.optima = _ReportedOptima(self)
        self._factors = np.repeat(factors, markets, axis=0)

    def open_markets(self, mask: NDArray[np.bool_]) -> None:
        """Open the markets ``mask``, bool (batch,), with the prescribed reports."""
        super().open_markets(mask)
        self.market.multiplier[mask] = self._factors[mask]


class ReportReplays:
    """Plays of a subject's policies in the same markets, first without deviations and then with other reports.

    Parameters
    ----------
    subject : Subject
        The policies and the market.
    markets : int
        Number of evaluation markets.
    """

    def __init__(self, subject: Subject, markets: int) -> None:
        self.subject, self.markets = subject, markets
        settings = {} if subject.config.externality == "critic" else {"slice_reward": "utility"}
        # Rewards are not used, and those of the default take providers² operations.
        config = dataclasses.replace(evaluation_config(subject.config), **settings)
        self.config = cast(VCGSlicingConfig, config)
        self.truth = self._without_deviations()

    def _play(self, game: VCGSlicingGame, look: Callable[[Arrays], None] = lambda observations: None) -> Step:
        agents, first = self.subject.make_agents(), self.subject.first_episode
        batch = game.num_envs
        streams = np.tile(np.arange(first, first + self.markets, dtype=np.uint64), batch // self.markets)
        instances = np.full(batch, self.subject.instance, np.uint64)
        observations, _ = game.reset(np.full(batch, EVALUATION_SEED, np.uint64), streams, instances)
        for agent in agents:
            agent.attach(game)
        while True:
            look(observations)
            step = game.step(choose(agents, observations, self.markets))
            if (step.terminated | step.truncated).all():
                return step
            observations = step.observations

    def _without_deviations(self) -> SlicingPlay:
        game = VCGSlicingGame(self.config, self.markets, self.subject.controlled_roles, autoreset=False)
        probes, draws = self.subject.make_agents(), [False]

        def look(observations: Arrays) -> None:
            if game.market.cycles[0] == 0:
                for agent in probes:
                    agent.attach(game)
            draws[0] = draws[0] or draws_numbers(probes, observations, self.markets)

        # A critic of the first agents must go on serving the game, so the probes are not asked there.
        step = self._play(game) if self.config.externality == "critic" else self._play(game, look)
        market, n, ledger = game.market, self.config.providers, game.ledger()
        utilities, receipts = market.total_utility.copy(), ledger[:, :n]
        banked = self.config.banked
        if banked:
            assert game.bank is not None
            payments = equations.Flows(*np.moveaxis(game.bank.bank.flows, 1, 0)).tax
        else:
            payments = -receipts
        present = market.present[:, None] > np.arange(n)
        others = market.others.copy()
        if game.is_controlled["vsp"] and not banked:  # then those are of the reports of the last round
            others = self._others(market.worth, market.rate)
        last = market.utility.sum(axis=1, keepdims=True) - others
        return SlicingPlay(
            utilities=utilities, payments=payments, profits=receipts if banked else utilities - payments,
            residual=ledger[:, n], metrics={name: np.array(values) for name, values in step.metrics.items()},
            present=present, others=others, last_profits=last, worth=market.worth.copy(), rate=market.rate.copy(),
            draws_numbers=draws[0],
        )  # fmt: skip

    def _others(self, worth: Floats, rate: Floats) -> Floats:
        """Return SW*₋ᵢ of reported worths, shape (markets, providers); markets with the same types are solved once."""
        solved: dict[bytes, Floats] = {}
        out = np.zeros(worth.shape)
        for b in range(len(worth)):
            key = worth[b].tobytes() + rate[b].tobytes()
            if key not in solved:
                outcome = clarke_payments(worth[b], rate[b])
                if not outcome.converged:
                    raise ArithmeticError("an optimum of the slicing market is not certified")
                solved[key] = outcome.welfare_without
            out[b] = solved[key]
        return out

    def play(self, factors: Floats) -> Iterator[tuple[slice, Floats]]:
        """Play deviations in groups.

        Parameters
        ----------
        factors : ndarray of float64, shape (deviations, providers)
            Reported over true worths.

        Yields
        ------
        which : slice
            Which deviations have been played.
        utilities : ndarray of float64, shape (deviations, markets, providers)
            True utilities of an episode [utility].
        """
        one: Any = VCGSlicingGame(self.config, 1, self.subject.controlled_roles)
        row = sum(array.nbytes for array in one.saved_arrays().values())
        most = min(MOST_TOGETHER, LARGEST_BATCH // (row * self.markets))
        size = 1 if self.truth.draws_numbers else max(1, most)
        for first in range(0, len(factors), size):
            which = slice(first, min(first + size, len(factors)))
            game = ReportedGame(self.config, self.subject.controlled_roles, factors[which], self.markets)
            self._play(game)
            yield which, game.market.total_utility.reshape(-1, self.markets, self.config.providers).copy()

    def group_profits(
        self, factors: Floats, groups: Sequence[tuple[int, ...]], progress: Callable[[float], None]
    ) -> Floats:
        """Return what a group of providers ends with in every deviation.

        Parameters
        ----------
        factors : ndarray of float64, shape (deviations, providers)
            Reported over true worths; 1 outside the group.
        groups : sequence of tuple of int
            The providers whose profits are added, for each deviation.
        progress : callable
            Called with the share of the deviations that has been played.

        Returns
        -------
        ndarray of float64, shape (deviations, markets)
            Σ of true utility − Clarke payment of the reports, over an episode [utility].
        """
        out = np.zeros((len(factors), self.markets))
        truth, rounds = self.truth, self.config.rounds
        for which, utilities in self.play(factors):
            for i in range(which.start, which.stop):
                reported = factors[i] * utilities[i - which.start]
                # SW*₋ᵢ does not depend on the own report, so for one alone it is that of the truth.
                others = truth.others if len(groups[i]) == 1 else self._others(truth.worth * factors[i], truth.rate)
                payments = rounds * others - (reported.sum(axis=1, keepdims=True) - reported)
                members = list(groups[i])
                out[i] = (utilities[i - which.start] - payments)[:, members].sum(axis=1)
            progress(which.stop / len(factors))
        return out
