"""Audit of the two-tier market: what leaders, bidders and auctioneer could gain in its rounds, and who loses.

A leader's deviation is simulated in the whole round: wireless agents answer again, and if a fixed agent would buy a
lot, the auction is run again. The others keep their prices, and the auctioneer its steps of the round. Bidders of the
auction inside misreport against truthful others; see `two_tier_bidders`. What a deviation changes in later rounds,
through the shares α that wireless agents then expect, is not counted.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ioa_marl.evaluation.audits.results import AuditResult, Finding, Gain, Kind, Progress, silent
from ioa_marl.evaluation.audits.rounds import (
    joined,
    mean_finding,
    per_round,
    play_rounds,
    price_gains,
    ratio_of_sums,
    without_rounding,
)
from ioa_marl.evaluation.audits.subject import AuditSettings, Subject
from ioa_marl.evaluation.audits.two_tier_answers import AnsweredPrices, answers
from ioa_marl.evaluation.audits.two_tier_bidders import MOST_BIDDERS, Misreports
from ioa_marl.markets.double_dutch.kernels import BUYERS, SELLERS
from ioa_marl.markets.stackelberg.kernels import MarketState
from ioa_marl.markets.stackelberg.params import LEADERS
from ioa_marl.markets.two_tier.deviations import DeviationEvaluator, return_to_settled
from ioa_marl.markets.two_tier.kernels import NOBODY

FOLLOWERS_PLAYED = 1_200
"""Largest total number of wireless agents in the markets of an audit by default."""
MARKETS = (2, 20)
"""Fewest and most markets by default."""
EVERY = 5
"""Bidders, and prices that the auctioneer answers, are audited in every fifth round, the last one included; under the
auctioneer's `oracle` in the last one only."""
LEAST_LOSS = 1e-9
"""Losses up to this are rounding [units]."""
CONDITIONS = ("traits", "reach", "member", "start")
"""Arrays of the pricing tier with what may change from round to round in a dynamic market."""
BIDDERS = ("fixed", "aerial")
"""Names of the buyers and of the sellers."""


def audit(subject: Subject, settings: AuditSettings, progress: Progress = silent) -> AuditResult:
    """Audit leaders, auctioneer and the bidders of the auction in a two-tier market.

    Parameters
    ----------
    subject : Subject
        The policies and the market.
    settings : AuditSettings
        How many markets are played, and which reports bidders try where not all can be tried.
    progress : callable, optional
        Called with what is being done and the share of it that is done.

    Returns
    -------
    AuditResult
        Findings are means over markets and rounds [units per round], unless their unit says otherwise.
    """
    config, (fewest, most) = subject.config, MARKETS
    markets = settings.markets_or(int(np.clip(FOLLOWERS_PLAYED // config.wireless, fewest, most)))
    done = 0.0

    def one_more() -> None:
        nonlocal done
        done += 1.0 / (markets * config.rounds)
        progress("deviations of leaders and bidders", min(done, 1.0))

    chooses = "auctioneer" in subject.controlled_roles and subject.policy_of("auctioneer") == "oracle"
    misreports = Misreports(config, chooses, settings.reports, settings.refine)
    answered = AnsweredPrices(subject) if answers(subject) else None
    watches = play_rounds(subject, markets, lambda game: _Rounds(game, misreports, answered, chooses, one_more))
    controlled = any(role in subject.controlled_roles for role in LEADERS)
    return AuditResult(
        (
            *_leader_findings(watches, config, controlled),
            *([] if answered is None else [_answered_finding(watches, chooses)]),
            *_auction_findings(watches, misreports, chooses),
            *_welfare_findings(watches),
        ),
        (*price_gains(watches, config), *_bidder_gains(watches, config)),
        (
            "the efficiency loss is that of the auctions: no tool knows the best prices of the whole market",
            "joint misreports of bidders and joint prices of leaders were not searched",
        ),
    )


class _Rounds:
    """Sums over the rounds of a batch of markets; a `RoundWatch`."""

    def __init__(
        self,
        game: Any,
        misreports: Misreports,
        answered: AnsweredPrices | None,
        chooses: bool,
        progress: Callable[[], None],
    ) -> None:
        self._game, self._misreports, self._chooses, self._progress = game, misreports, chooses, progress
        self._answered = answered
        config, n = game.config, game.num_envs
        self._evaluator: DeviationEvaluator = game.deviation_evaluator()
        shape, bidders = game.market.price.shape, game.whole.tier.bids.shape[3]
        self.gain, self.best_price, self.price = np.zeros(shape), np.zeros(shape), np.zeros(shape)
        """Sums of gains [units], best prices and posted prices [units/Mbit], float64 (batch, 2, leaders)."""
        self.last_gain, self.answered_gain, self.answered_rounds = np.zeros(n), np.zeros(n), np.zeros(n)
        """Sum of the leaders' gains in the last round; sum of the fixed agents' if the auctioneer answers [units], and
        the number of rounds in it, (batch,)."""
        self.rounds = np.zeros(n)
        """Number of rounds, (batch,)."""
        self.bidder_gain, self.takes_part = np.zeros((n, 2, bidders)), np.zeros((n, 2, bidders))
        """Sums of the bidders' gains [units], and in how many auctions they were audited, (batch, 2, bidders)."""
        self.auction_regret, self.welfare, self.optimum = np.zeros(n), np.zeros(n), np.zeros(n)
        """Regret per round, welfare and optimal welfare of all auctions [units], (batch,)."""
        self.messages, self.traders, self.trader_losses = np.zeros(n), np.zeros(n), np.zeros(n)
        """Listeners of all broadcasts, number of traders and of those with a negative utility, (batch,)."""
        self.tasks, self.losses, self.leader_losses = np.zeros(n), np.zeros(n), np.zeros(n)
        """Numbers of wireless agents, of those with a negative utility, and of leaders with a loss, (batch,)."""
        self.residual = np.zeros(n)
        """What is left of all payments at the end of the episode [units], (batch,)."""
        self._cap = config.price_cap / (config.price_levels - 1)
        self._conditions: MarketState = game.market

    def before(self, mask: NDArray[np.bool_]) -> None:
        """Copy conditions that will change, and play the round with other prices if the auctioneer answers them."""
        if self._game.config.dynamics:
            self._conditions = MarketState(*(array.copy() for array in self._game.market))
        if self._answered is None:
            return
        due = mask & self._is_due(1)
        saved = self._game.save() if due.any() else {}
        for b in np.flatnonzero(due).tolist():
            self.answered_gain[b] += self._answered.gains(saved, b).sum()
            self.answered_rounds[b] += 1.0

    def _is_due(self, ahead: int) -> NDArray[np.bool_]:
        """Return in which markets the round is one of `EVERY`, bool (batch,), ``ahead`` of the settled rounds.

        The steps of `oracle` take a simulation of every pair for each deviation: only its last round is played again.
        """
        left = self._game.config.rounds - self._game.market.round - ahead
        return np.asarray(left == 0 if self._chooses else left % EVERY == 0)

    def after(self, mask: NDArray[np.bool_]) -> None:
        """Add the round that has been settled."""
        whole, config = self._game.whole, self._game.config
        market, tier = whole.pricing, whole.tier
        self.rounds[mask] += 1.0
        due = self._is_due(0)
        for b in np.flatnonzero(mask).tolist():
            self._add_leaders(b)
            last = market.round[b] >= config.rounds
            if due[b]:
                self._add_bidders(b)
            self._add_traders(b)
            if last:
                self._evaluator.take(whole, b)
                self.auction_regret[b] = self._evaluator.auction_regret()
            self._progress()
        self.tasks[mask] += (self._conditions.traits["load"] > 0.0).sum(axis=1)[mask]
        self.losses[mask] += (market.utility < -LEAST_LOSS).sum(axis=1)[mask]
        self.leader_losses[mask] += (market.profit < -LEAST_LOSS).sum(axis=(1, 2))[mask]
        paid = market.accounts[:, :-1].sum(axis=1) + tier.accounts[:, :-1].sum(axis=1)
        self.residual[mask] = without_rounding(-paid)[mask]
        for name, total in (("auction_welfare", self.welfare), ("optimal_welfare", self.optimum)):
            total[mask] = tier.totals[name][mask]
        self.messages[mask] = tier.totals["messages"][mask]

    def _add_leaders(self, b: int) -> None:
        evaluator = self._evaluator
        evaluator.take(self._game.whole, b)
        for name in CONDITIONS if self._game.config.dynamics else ():
            getattr(evaluator.market.pricing, name)[0] = getattr(self._conditions, name)[b]
        return_to_settled(evaluator.market)
        best, gains = evaluator.best_prices()
        self.gain[b] += gains
        self.last_gain[b] = gains.sum()
        posted = self._game.whole.tier.settled_price[b]
        self.price[b] += posted
        self.best_price[b] += np.where(gains > 0.0, best * self._cap, posted)

    def _add_bidders(self, b: int) -> None:
        tier = self._game.whole.tier
        bids = tier.bids[b, self._game.market.round[b] - 1]
        factor = tier.factor[b] if tier.factor.shape[2] else None
        gains, _, audited = self._misreports.gains(bids, tier.pair[b], factor)
        self.bidder_gain[b] += gains
        self.takes_part[b] += audited

    def _add_traders(self, b: int) -> None:
        tier = self._game.whole.tier
        bids, price = tier.bids[b, self._game.market.round[b] - 1], self._game.whole.auction.totals["price"][b]
        buyers = np.flatnonzero(tier.partner[b] != NOBODY)
        gains = np.concatenate([bids[BUYERS, buyers] - price, price - bids[SELLERS, tier.partner[b, buyers]]])
        self.traders[b] += len(gains)
        self.trader_losses[b] += (gains < -LEAST_LOSS).sum()


def _leader_findings(watches: Sequence[_Rounds], config: Any, controlled: bool) -> Iterator[Finding]:
    """Yield what leaders gain by other prices; ``controlled`` says whether policies of the subject post them."""
    gains = per_round(watches, "gain")
    total = gains.sum(axis=(1, 2))
    searched = (
        f"each of the {config.price_levels} prices of the action grid is simulated in the whole round, auction "
        "included; the others keep their prices and the auctioneer its steps"
    )
    yield mean_finding(
        "regret", total / (config.mobile + config.fixed), "units per round", "exact",
        f"mean gain of a leader by the best price of its own in a round: {searched}", "regret" if controlled else None,
    )  # fmt: skip
    for side, role in enumerate(LEADERS):
        yield mean_finding(
            f"{role}_regret", gains[:, side].sum(axis=1), "units per round", "exact",
            f"sum of the gains of the {role} agents, each by deviating alone",
        )  # fmt: skip
    yield mean_finding(
        "nash_conv",
        total,
        "units per round",
        "exact",
        "sum of the gains of all leaders, each by deviating alone: 0 if no leader gains in any round",
    )
    yield mean_finding(
        "last_nash_conv",
        joined(watches, "last_gain"),
        "units",
        "exact",
        "the same in the last round, in which wireless agents expect the shares α of the round before",
    )


def _answered_finding(watches: Sequence[_Rounds], chooses: bool) -> Finding:
    return mean_finding(
        "answered_fixed_regret", joined(watches, "answered_gain") / joined(watches, "answered_rounds"),
        "units per round", "exact",
        "sum of the gains of the fixed agents, each by deviating alone, if the auctioneer's policy sees the other "
        f"price and may answer with other steps, in {_rounds_audited(chooses)}",
    )  # fmt: skip


def _rounds_audited(chooses: bool) -> str:
    return "the last round" if chooses else f"every {EVERY}th round, the last one included"


def _auction_findings(watches: Sequence[_Rounds], misreports: Misreports, chooses: bool) -> Iterator[Finding]:
    gains, present = joined(watches, "bidder_gain"), joined(watches, "takes_part")
    when = _rounds_audited(chooses)
    how = "every report is tried: one for each clock" if misreports.exact else "reports of a grid are tried"
    if chooses:
        how += f" by up to {MOST_BIDDERS} bidders of each side"
    response = (
        "the auctioneer chooses the best steps on the reports" if chooses else "the auctioneer's steps do not depend "
        "on reports, which it does not observe"
    )  # fmt: skip
    kind: Kind = "exact" if misreports.exact else "lower bound"
    for name, sides in (("bidder_regret", slice(None)), ("buyer_regret", BUYERS), ("seller_regret", SELLERS)):
        axes = tuple(range(1, gains[:, sides].ndim))
        value, error = ratio_of_sums(gains[:, sides].sum(axis=axes), present[:, sides].sum(axis=axes))
        who = {"bidder_regret": "bidder", "buyer_regret": "fixed agent", "seller_regret": "aerial agent"}[name]
        yield Finding(
            name, value, "units per auction", kind,
            f"mean gain of a {who} that takes part in an auction by reporting another valuation than "
            f"{misreports.reported}, in {when}: {how}, and {response}; NaN without an auction",
            error,
        )  # fmt: skip
    yield mean_finding(
        "auctioneer_regret",
        joined(watches, "auction_regret"),
        "units per round",
        "exact",
        "return of the best pair of steps on the bids of each round less that achieved, over rounds with an auction",
    )
    value, error = ratio_of_sums(joined(watches, "trader_losses"), joined(watches, "traders"))
    yield Finding(
        "trader_losses", value, "share of traders", "exact",
        "share of the traders whose price is worse than their valuation; NaN without a trade", error,
    )  # fmt: skip
    welfare, optimum = joined(watches, "welfare"), joined(watches, "optimum")
    value, error = ratio_of_sums(optimum - welfare, optimum)
    yield Finding(
        "efficiency_loss", value, "share", "exact",
        "part of the largest possible welfare of all auctions that is lost; NaN where no pair could gain", error,
    )  # fmt: skip
    yield mean_finding(
        "messages", per_round(watches, "messages"), "messages per round", "exact",
        "bidders that listen, summed over the broadcasts of a round",
    )  # fmt: skip


def _welfare_findings(watches: Sequence[_Rounds]) -> Iterator[Finding]:
    value, error = ratio_of_sums(joined(watches, "losses"), joined(watches, "tasks"))
    yield Finding(
        "ir_violations", value, "share of wireless agents", "exact",
        "share of the wireless agents, over all rounds, that end with a negative utility, because another share α or "
        "a smaller part of the load was served than they expected; who buys nothing has 0",
        error, "ir_violations",
    )  # fmt: skip
    yield mean_finding(
        "leader_losses", per_round(watches, "leader_losses"), "leaders", "exact",
        "mean number of leaders whose profit of a round is negative",
    )  # fmt: skip
    yield mean_finding(
        "budget_residual", joined(watches, "residual"), "units per episode", "exact",
        "payments of all agents of both tiers less what they received, from their accounts", "budget_residual",
    )  # fmt: skip


def _bidder_gains(watches: Sequence[_Rounds], config: Any) -> Iterator[Gain]:
    """Yield what each bidder gains by misreports per auction in which it was audited; others are left out."""
    gains, present = joined(watches, "bidder_gain"), joined(watches, "takes_part")
    for side, role in enumerate(BIDDERS):
        for bidder in range(getattr(config, role)):
            value, error = ratio_of_sums(gains[:, side, bidder], present[:, side, bidder])
            if not np.isnan(value):
                yield Gain(f"{role}_{bidder}", "misreport", value, error)
