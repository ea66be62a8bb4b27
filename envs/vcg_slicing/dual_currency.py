"""The dual-currency auction in the slicing market's game: bids, loans, noise, taxes and the bank's books.

See `VCGSlicingGame`. ``mask`` is bool (batch,), ``rows`` are the indices of markets, and n is the number of providers.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ioa_marl.envs.core import Arrays
from ioa_marl.envs.vcg_slicing.estimators import CRITIC, ExternalityEstimator, VoIEstimator, make_voi_estimator
from ioa_marl.foundations.ledger import balance_ledgers
from ioa_marl.foundations.parameters import ParameterError
from ioa_marl.markets.vcg_slicing.baselines import utilities
from ioa_marl.markets.vcg_slicing.draws import draw_fluctuations
from ioa_marl.markets.vcg_slicing.dual_currency import bank as books
from ioa_marl.markets.vcg_slicing.dual_currency import equations, utility_fit
from ioa_marl.markets.vcg_slicing.records import SOLVED
from ioa_marl.markets.vcg_slicing.solver import allocate_optima
from ioa_marl.markets.vcg_slicing.workspace import RESOURCES

if TYPE_CHECKING:
    from ioa_marl.envs.vcg_slicing.game import VCGSlicingGame

Floats = NDArray[np.float64]

BANK_VSP_FEATURES = 8
"""Number of features of a provider's observation with a bank."""
FIRST_STEPS, STEPS = 200, 4
"""Numbers of regression steps of the networks at the start of an episode and in every round."""


class DualCurrency:
    """The bank and the providers' beliefs in a batch of markets, with the steps of a round.

    Parameters
    ----------
    game : VCGSlicingGame
        The game whose rounds are settled.

    Attributes
    ----------
    bank : Bank
        The books.
    critic : ExternalityEstimator or None
        Estimator of SW*₋ᵢ for ``externality="critic"``, supplied by the agent of the slices.
    share_noise, profit_noise : ndarray of float64, shape (batch, n, 3) and (batch, n)
        Standard normal numbers of the round.
    """

    def __init__(self, game: VCGSlicingGame) -> None:
        self._game, self._config = game, game.config
        batch, n = game.num_envs, game.config.providers
        self.bank = books.allocate_bank(batch, game.config)
        self.critic: ExternalityEstimator | None = None
        self.share_noise, self.profit_noise = np.zeros((batch, n, 3)), np.zeros((batch, n))
        self._multipliers = np.array(game.config.multipliers)
        self._changes = np.array(game.config.changes)
        self._hold = np.full(RESOURCES, game.config.hold, np.int64)
        self._center = utility_fit.prior_center(game.config.worth, game.config.rate)
        self._solution = allocate_optima(1, n)
        self._voi_estimator: VoIEstimator | None = None
        if game.config.voi == "network":
            self._voi_estimator = make_voi_estimator(batch, n)
        critic = game.config.externality == "critic"
        self._before, self._after = (self._allocate_observations() if critic else {} for _ in range(2))

    def _allocate_observations(self) -> Arrays:
        """Return arrays for the observations of the controlled roles, float32 (batch, agents, features) each."""
        roles = {name: self._game.roles[name] for name in self._game.controlled_roles}
        return {
            name: np.zeros((self._game.num_envs, role.count, *(role.observation_space.shape or ())), np.float32)
            for name, role in roles.items()
        }

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Return all arrays that are saved by name, shape (batch, …) each."""
        networks = {} if self._voi_estimator is None else self._voi_estimator.arrays()
        return {f"bank_{name}": array for name, array in self.bank._asdict().items()} | {
            f"voi_{name}": array for name, array in networks.items()
        }

    @property
    def _present(self) -> NDArray[np.bool_]:
        """Which providers are present, (batch, n)."""
        return self._game.market.present[:, None] > np.arange(self._config.providers)

    def open(self, mask: NDArray[np.bool_]) -> None:
        """Start the books of the markets ``mask``, bool (batch,), after their episode has been opened."""
        market, config, bank = self._game.market, self._config, self.bank
        rows = np.flatnonzero(mask)
        per_episode = config.redraw == "episode"
        for b in rows.tolist():
            count, episode = int(market.present[b]), int(market.episode[b])
            key = (int(market.seed[b]), int(market.stream[b]))
            rates = (key, episode) if per_episode else ((int(market.instance[b]), 0), 0)
            bank.profit_rate[b] = books.draw_profit_rates(config, *rates)
            past = books.draw_past(config, count, key, episode)
            utility = utilities(market.worth[b, :count], market.rate[b, :count], past.share)
            books.open_books(bank, b, config, count, past, utility, market.utility[b, :count])
        books.infer_rates(bank, rows)
        if config.externality == "exact" or config.voi == "exact":
            self._game.optima.solve(mask)
        if config.externality == "exact":
            bank.best[rows], bank.without[rows] = market.ideal[rows], market.others[rows]
        elif config.externality == "estimated":
            bank.fit[rows], bank.damping[rows] = self._center, 1e-2
            books.infer_utilities(bank, rows, self._center, self._present[rows], books.FIRST_ITERATIONS)
            self._infer_optima(rows)
        if self._voi_estimator is not None:
            self._voi_estimator.open(rows, np.stack([market.seed, market.stream, market.episode], axis=1)[rows])
            self._regress(rows, FIRST_STEPS)

    def _infer_optima(self, rows: NDArray[np.intp]) -> None:
        """Solve the markets ``rows`` of the fitted utilities, and write the bank's beliefs of U* and SW*₋ᵢ."""
        bank, solution, present = self.bank, self._solution, self._present
        worth, rate = utility_fit.fitted_types(bank.fit)
        rate = np.where(present[..., None], rate, 0.0)
        for b in rows:
            solution.price[0] = bank.price[b]
            self._game.optima.resolve(worth, rate, int(b), solution)
            bank.price[b] = solution.price[0]
            bank.best[b], bank.without[b] = solution.utility[0], solution.others[0]

    def _regress(self, rows: NDArray[np.intp], steps: int) -> None:
        """Train the estimator of the value of information on all stored bills of the markets ``rows``."""
        bank, config = self.bank, self._config
        assert self._voi_estimator is not None
        count = self._game.market.present[rows, None, None, None]
        self._voi_estimator.learn(
            rows, bank.bill_before[rows] * count, bank.bill_change[rows], bank.bill_utility[rows] / config.worth[1],
            books.known_bills(bank, rows), steps,
        )  # fmt: skip

    def take_bids(self, mask: NDArray[np.bool_], actions: NDArray[np.int64] | None) -> None:
        """Set the value of information, the bids, the loans and the scale of the noise of the round.

        ``actions`` are the indices of multipliers, int64 (batch, n); with None all bids are truthful.
        """
        market, config, bank = self._game.market, self._config, self.bank
        rows = np.flatnonzero(mask)
        if self._voi_estimator is None:
            bank.voi[rows] = market.ideal[rows]
        else:
            before = market.previous_share[rows] * market.present[rows, None, None]
            estimate = self._voi_estimator.estimate(rows, before, bank.change[rows]) * config.worth[1]
            bank.voi[rows] = np.maximum(estimate, 0.0) * self._present[rows]
        if config.externality == "critic":
            bank.best[rows] = bank.voi[rows]
        market.bid[rows] = (
            bank.belief[rows] if actions is None else bank.belief[rows] * self._multipliers[actions[rows]]
        )
        bids = market.bid[rows]
        bank.loan[rows] = equations.loans(bank.voi[rows].sum(axis=1), bids)
        bank.total_bid[rows] = bids.sum(axis=1)
        scale = equations.noise_scale(
            bids, bank.best[rows].sum(axis=1), market.present[rows], as_printed=config.noise == "as_printed"
        )
        market.spread[rows] = scale

    def before_change(self, mask: NDArray[np.bool_], actions: NDArray[np.int64]) -> None:
        """Draw the noise of the round, and record changes and observations before the shares change.

        ``actions`` are the indices of changes, int64 (batch, n, 3).
        """
        draw_fluctuations(self._game.market, mask, self.share_noise, self.profit_noise)
        self.bank.change[mask] = self._changes[actions[mask]] * self._present[mask, :, None]
        if self._config.externality == "critic":
            # Without a critic taxes are unknown, which only matters if the providers are controlled.
            if self.critic is None and "vsp" in self._game.controlled_roles:
                raise ParameterError(CRITIC.setting, "critic", CRITIC.alternatives)
            self._game.write_observations(self._before)

    def settle(self, mask: NDArray[np.bool_], rewards: NDArray[np.float32] | None) -> None:
        """Tax the providers for the current allocation, book the round, and update the bank's estimates.

        ``rewards`` of the providers, float32 (batch, n), are written if they are not None [mean β].
        """
        market, config, bank = self._game.market, self._config, self.bank
        rows = np.flatnonzero(mask)
        bank.bids_sum[rows] += bank.total_bid[rows]
        bank.noise[rows] += market.spread[rows]
        present, utility = self._present[rows], market.utility[rows]
        fluctuation = config.profit_mean + config.profit_deviation * self.profit_noise[rows]
        gross = np.where(present, bank.profit_rate[rows] * utility + fluctuation, 0.0)
        believed = utility
        if config.externality == "estimated":
            believed = utilities(*utility_fit.fitted_types(bank.fit[rows]), market.share[rows])
        elif config.externality == "critic":
            bank.without[rows] = self._critic_estimates(rows)
        rate = np.where(present, bank.estimate[rows], 0.0)
        interest = config.mechanism == "dual_currency"
        flows = equations.settle(rate, bank.without[rows], believed, bank.best[rows], bank.loan[rows], gross, interest)
        if rewards is not None:
            mean_worth = np.where(present, market.worth[rows], 0.0).sum(axis=1) / market.present[rows]
            rewards[rows] = flows.profit / mean_worth[:, None]
        harm = np.where(present, equations.externalities(bank.without[rows], believed), 0.0)
        report = books.RoundReport(market.previous_share[rows], bank.change[rows], market.share[rows], utility, harm)
        books.book(bank, rows, report, flows, config.belief_weight)
        books.infer_rates(bank, rows)
        if config.externality == "estimated":
            books.infer_utilities(bank, rows, self._center, present, 1)
            self._infer_optima(rows)
        if self._voi_estimator is not None:
            self._regress(rows, STEPS)

    def _critic_estimates(self, rows: NDArray[np.intp]) -> Floats:
        """Return the critic's estimates of SW*₋ᵢ [utility], shape (rows, n); NaN without a critic."""
        market, bank = self._game.market, self.bank
        if self.critic is None:
            return np.full((len(rows), self._config.providers), np.nan)
        self._game.write_observations(self._after)
        total_worth = np.where(self._present, market.worth, 0.0).sum(axis=1)
        largest, largest_of_others = bank.largest / total_worth, bank.largest_of_others / total_worth[:, None]
        estimates = self.critic(
            self._before, self._after, hold=self._hold, largest=largest, largest_of_others=largest_of_others
        )
        return np.asarray((estimates * total_worth[:, None])[rows], np.float64)

    def observe(self, out: NDArray[np.float32]) -> None:
        """Write the providers' observations into ``out``, float32 (batch, n, 8), in [0, 1]."""
        market, config, bank = self._game.market, self._config, self.bank
        top = config.worth[1]
        out[..., 0] = bank.belief / top
        out[..., 1] = bank.loan / top
        out[..., 2] = (bank.total_bid / (market.present * top))[:, None]
        out[..., 3] = bank.tax / (top * config.profit_rate[1])
        relative = market.share * market.present[:, None, None]
        out[..., 4:7] = relative / (1.0 + relative)
        out[..., 7] = (market.rounds / config.rounds)[:, None]
        np.clip(out, 0.0, 1.0, out=out)
        out *= self._present[..., None]

    def charges(self, b: int) -> Floats:
        """Return the taxes of market ``b`` in the last round, divided by α̂ [utility], shape (n,)."""
        bank = self.bank
        last = (bank.bill_count[b] - 1) % bank.bill_harm.shape[1]
        charged = bank.bill_harm[b, last]
        if self._config.mechanism == "dual_currency":
            charged = charged + np.abs(bank.bill_loan[b, last] - bank.bill_best[b, last])
        return np.asarray(charged)

    def state(self) -> list[Floats]:
        """Return the bank's part of the global state, arrays of shape (batch, n), before they are clipped to [0, 1]."""
        config, bank = self._config, self.bank
        top = config.worth[1]
        rates = bank.profit_rate / config.profit_rate[1], bank.estimate / config.profit_rate[1]
        return [bank.belief / top, bank.loan / top, bank.voi / top, *(rate / 2.0 for rate in rates)]

    def measure(self, mask: NDArray[np.bool_], metrics: NDArray[Any], ledger: Floats) -> None:
        """Replace the metrics and receipts of plain VCG by those of the bank.

        Parameters
        ----------
        mask : ndarray of bool, shape (batch,)
            Markets whose episode ends.
        metrics : ndarray of BankMetrics, shape (batch,)
            Where the metrics go.
        ledger : ndarray of float64, shape (batch, providers + 2)
            Where the receipts go, of the providers, the bank and the customers [money].
        """
        market, bank = self._game.market, self.bank
        rows = np.flatnonzero(mask)
        rounds = np.maximum(market.rounds[rows], 1)
        flows = equations.Flows(*np.moveaxis(bank.flows[rows], 1, 0))
        gross, tax = flows.gross, flows.tax
        n = self._config.providers
        ledger[rows, :n] = gross - tax
        ledger[rows, n] = tax.sum(axis=1)
        balance_ledgers(ledger, mask)
        present = self._present[rows]
        metrics["payments"][rows] = tax.sum(axis=1) / rounds
        metrics["net_profit"][rows] = (gross - tax).sum(axis=1) / rounds
        metrics["interest"][rows] = flows.interest.sum(axis=1) / rounds
        metrics["noise"][rows] = bank.noise[rows] / rounds
        last = (bank.bill_count[rows] - 1) % bank.bill_gross.shape[1]
        charged = present & (bank.tax[rows] > bank.bill_gross[rows, last]) & (market.rounds[rows, None] > 0)
        metrics["overcharged"][rows] = charged.sum(axis=1)
        error = np.abs(bank.estimate[rows] / bank.profit_rate[rows] - 1.0)
        metrics["rate_error"][rows] = np.where(present, error, 0.0).sum(axis=1) / market.present[rows]
        known = market.known[rows] == SOLVED
        best = np.where(known, market.optimum[rows], np.nan)
        metrics["bid_ratio"][rows] = bank.bids_sum[rows] / (rounds * best)
