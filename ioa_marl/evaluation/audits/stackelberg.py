"""Audit of the Stackelberg market: what leaders gain by other prices, how far they collude, who ends with a loss.

Every round of the evaluation episodes is looked at, with its conditions and posted prices. Deviations are those of one
round: what rivals would post in later rounds if they saw another price is not counted. Wireless agents answer a
deviation exactly, also where a policy of their own plays them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ioa_marl.envs.stackelberg.comparison import COMPARED_EVERY
from ioa_marl.evaluation.audits.results import AuditResult, Finding, Gain, Kind, Progress, silent
from ioa_marl.evaluation.audits.rounds import (
    joined,
    mean_finding,
    mean_of_markets,
    per_round,
    play_rounds,
    price_gains,
    ratio_of_sums,
    without_rounding,
)
from ioa_marl.evaluation.audits.subject import AuditSettings, Subject
from ioa_marl.markets.stackelberg import drivers
from ioa_marl.markets.stackelberg.benchmarks import known_equilibria, known_joint_maxima
from ioa_marl.markets.stackelberg.kernels import MarketState
from ioa_marl.markets.stackelberg.params import LEADERS, StackelbergParams
from ioa_marl.markets.stackelberg.records import Deviation

Floats = NDArray[np.float64]

FOLLOWERS_PLAYED = 40_000
"""Largest total number of wireless agents in the markets of an audit by default."""
MARKETS = (2, 100)
"""Fewest and most markets by default."""
MOST_FOLLOWERS = 20
"""Wireless agents whose gains are listed one by one: those with the largest."""
LEAST_LOSS = 1e-9
"""Losses up to this are rounding [units]."""
NO_ROOM = 1e-9
"""Part of the largest joint profit by which it has to exceed that in equilibrium for the profit gain to be defined."""


def audit(subject: Subject, settings: AuditSettings, progress: Progress = silent) -> AuditResult:
    """Audit leaders, and followers if they are played by a policy, in a Stackelberg market.

    Parameters
    ----------
    subject : Subject
        The policies and the market.
    settings : AuditSettings
        How many markets are played; deviations are searched as ``deviation_step`` of the market says.
    progress : callable, optional
        Called with what is being done and the share of it that is done.

    Returns
    -------
    AuditResult
        Findings are means over markets and rounds [units per round], unless their unit says otherwise.
    """
    fewest, most = MARKETS
    markets = settings.markets_or(int(np.clip(FOLLOWERS_PLAYED // subject.config.wireless, fewest, most)))
    done = 0.0

    def one_more() -> None:
        nonlocal done
        done += 1.0 / (markets * subject.config.rounds)
        progress("best prices of the leaders", min(done, 1.0))

    watches = play_rounds(subject, markets, lambda game: _Rounds(game, one_more))
    leaders = tuple(role for role in LEADERS if role in subject.controlled_roles)
    found = AuditResult(
        (
            *_price_findings(watches, subject.config, bool(leaders)),
            *_collusion_findings(watches, subject.config),
            *_welfare_findings(watches),
        ),
        tuple(price_gains(watches, subject.config)),
    )
    if "wireless" in subject.controlled_roles:
        found += _follower_result(watches, subject.config, not leaders)
    return found


class _Rounds:
    """Sums over the rounds of a batch of markets; a `RoundWatch`."""

    def __init__(self, game: Any, progress: Callable[[], None]) -> None:
        self._game, self._progress = game, progress
        self._params: StackelbergParams = game.config
        n, leaders = game.num_envs, game.market.price.shape
        self.gain, self.best_price, self.price = np.zeros(leaders), np.zeros(leaders), np.zeros(leaders)
        """Sums of gains [units], best prices and posted prices [units/Mbit], float64 (batch, 2, leaders)."""
        self.rounds, self.compared, self.pure = np.zeros(n), np.zeros(n), np.zeros(n)
        """Numbers of rounds, of those compared with equilibria, and of those with a pure equilibrium, (batch,)."""
        self.equilibrium_profit = np.zeros(n)
        """Sum over the compared rounds [units], (batch,)."""
        self.beyond, self.room, self.collusion, self.at_cap = np.zeros(n), np.zeros(n), np.zeros(n), np.zeros(n)
        """π − π_N and π_M − π_N where there is an equilibrium, gain of a cartel [units], share at the cap, (batch,)."""
        self.welfare, self.optimum = np.zeros(n), np.zeros(n)
        """Sums of social welfare, the operator's account included, and of the first best [units], (batch,)."""
        self.tasks, self.losses, self.leader_losses = np.zeros(n), np.zeros(n), np.zeros(n)
        """Numbers of wireless agents with a task, of those with a negative utility, of leaders at a loss, (batch,)."""
        self.follower_gain = np.zeros((n, self._params.wireless))
        """Sum of what each wireless agent loses against its exact best answer [units], (batch, wireless)."""
        self.residual = np.zeros(n)
        """What the operator's account has at the end of the episode [units], (batch,)."""
        self._conditions: MarketState = game.market
        self._searched = np.full(leaders, np.nan)
        self._deviations = [Deviation.zeros(n, getattr(self._params, role)) for role in LEADERS]

    def before(self, mask: NDArray[np.bool_]) -> None:
        """Copy the conditions of the round, and the posted prices."""
        self._conditions = MarketState(*(array.copy() for array in self._game.market))

    def after(self, mask: NDArray[np.bool_]) -> None:
        """Add the round that has been settled."""
        market: MarketState = self._game.market
        self.rounds[mask] += 1.0
        self._add_deviations(mask)
        self._add_comparison(mask, market)
        self._add_welfare(mask, market)
        self.residual[mask] = without_rounding(-market.accounts[:, :-1].sum(axis=1))[mask]

    def _add_deviations(self, mask: NDArray[np.bool_]) -> None:
        params, state = self._params, self._conditions
        # Conditions change between the rounds of a dynamic market only, so prices that stay need no new search.
        new = mask & (params.dynamics | (state.price != self._searched).any(axis=(1, 2)))
        self._searched[new] = state.price[new]
        for side, role in enumerate(LEADERS):
            count, found = getattr(params, role), self._deviations[side]
            drivers.best_responses(state, params.record(), new, side, state.price, params.scan(), found)
            self.gain[mask, side, :count] += (found["profit"] - found["present_profit"])[mask]
            self.best_price[mask, side, :count] += found["price"][mask]
            self.price[mask, side, :count] += state.price[mask, side, :count]

    def _add_comparison(self, mask: NDArray[np.bool_], market: MarketState) -> None:
        """Compare the round with equilibria and the joint maximum, as often as the market itself does."""
        params, state = self._params, self._conditions
        every = COMPARED_EVERY if params.dynamics else 1
        compared = mask & ((params.rounds - market.round) % every == 0)
        profits = market.profit.sum(axis=(1, 2))
        for b in np.flatnonzero(mask).tolist():
            self._progress()
            if not compared[b]:
                continue
            alone = np.arange(len(mask)) == b  # one at a time, because a large market takes seconds
            equilibria = known_equilibria(params, state, alone)[b]
            joint = known_joint_maxima(params, state, alone)[b]
            profit, most = float(profits[b]), joint.profit
            self.compared[b] += 1.0
            self.pure[b] += len(equilibria.found) > 0
            self.equilibrium_profit[b] += equilibria.profit
            self.at_cap[b] += joint.at_cap
            self.collusion[b] += max(most - profit, 0.0)  # to stay is one of the joint deviations
            if len(equilibria.found) and most - equilibria.profit > NO_ROOM * abs(most):
                self.beyond[b] += profit - equilibria.profit
                self.room[b] += most - equilibria.profit

    def _add_welfare(self, mask: NDArray[np.bool_], market: MarketState) -> None:
        params, state = self._params, self._conditions
        best, optimum = best_utilities(params, state, mask), welfare_optimum(params, state, mask)
        utility, profit = market.utility, market.profit
        created = _money_created(params, state, market)
        welfare = utility.sum(axis=1) + profit.sum(axis=(1, 2)) - created
        with_task = state.traits["load"] > 0.0
        for total, values in (
            (self.follower_gain, np.maximum(best - utility, 0.0)),
            (self.welfare, welfare),
            (self.optimum, optimum),
            (self.tasks, with_task.sum(axis=1)),
            (self.losses, (with_task & (utility < -LEAST_LOSS)).sum(axis=1)),
            (self.leader_losses, (profit < -LEAST_LOSS).sum(axis=(1, 2))),
        ):
            total[mask] += values[mask]


def best_utilities(params: StackelbergParams, state: MarketState, mask: NDArray[np.bool_]) -> Floats:
    """Return the utility of every wireless agent if it answers the posted prices exactly.

    Parameters
    ----------
    params : StackelbergParams
        Parameters of the markets.
    state : MarketState
        Batch of markets, which is not changed.
    mask : ndarray of bool, shape (batch,)
        Markets that are looked at.

    Returns
    -------
    ndarray of float64, shape (batch, wireless)
        Utilities [units], 0 where it buys nothing and outside ``mask``.
    """
    answers = state._replace(share=np.zeros_like(state.share), buys=np.zeros_like(state.buys))
    drivers.answer_markets(answers, params.record(), mask)
    utilities = np.zeros_like(state.utility)
    drivers.utilities_at(answers, params.record(), answers.share, utilities)
    return np.where(answers.buys, utilities, 0.0)


def welfare_optimum(params: StackelbergParams, state: MarketState, mask: NDArray[np.bool_]) -> Floats:
    """Return the largest social welfare of a round: each wireless agent pays what its load costs, and no more.

    At such prices the utility of a wireless agent is its contribution to welfare, so its exact best answer is the
    efficient one, and it buys only if that is worth the cost. No prices and no shares lead to a higher welfare.

    Parameters
    ----------
    params, state, mask
        See `best_utilities`.

    Returns
    -------
    ndarray of float64, shape (batch,)
        Welfare [units]; 0 outside ``mask``.
    """
    traits = state.traits.copy()
    traits["mobility_factor"] = 1.0  # a factor on the price, not on the cost
    at_cost = state._replace(price=state.cost.copy(), traits=traits)
    return np.asarray(best_utilities(params, at_cost, mask).sum(axis=1))


def _money_created(params: StackelbergParams, state: MarketState, market: MarketState) -> Floats:
    """Return what mobile agents are credited in the round beyond what was paid [units], shape (batch,)."""
    if params.mobility != "as_printed":
        return np.zeros(len(market.seed))
    load, factor = state.traits["load"], state.traits["mobility_factor"]
    price = np.take_along_axis(state.price[:, 0], state.reach[:, 0].astype(np.int64), axis=1)
    return np.asarray((market.share * load * price * (factor - 1.0)).sum(axis=1))


def _price_findings(watches: Sequence[_Rounds], config: Any, controlled: bool) -> Iterator[Finding]:
    """Yield what leaders gain by other prices; ``controlled`` says whether policies of the subject post them."""
    gains = per_round(watches, "gain")
    total, leaders = gains.sum(axis=(1, 2)), config.mobile + config.fixed
    searched = (
        f"prices from 0 to the cap are searched on a grid of {config.deviation_step:g} units/Mbit and refined, with "
        "exact answers of the wireless agents and the others' prices of the round as they are"
    )
    yield mean_finding(
        "regret", total / leaders, "units per round", "lower bound",
        f"mean gain of a leader by the best price of its own in a round: {searched}",
        "regret" if controlled else None,
    )  # fmt: skip
    yield mean_finding(
        "nash_conv",
        total,
        "units per round",
        "lower bound",
        "sum of the gains of all leaders, each by deviating alone: 0 if the prices of every round are an equilibrium",
    )
    profit, compared = joined(watches, "equilibrium_profit"), np.maximum(joined(watches, "compared"), 1.0)
    value, error = ratio_of_sums(total, profit / compared)
    yield Finding(
        "relative_nash_conv", value, "share", "lower bound",
        "NashConv over the leaders' total profit in equilibrium (of several, the one of lowest profit; where none was "
        "found, at the prices of lowest NashConv); NaN where that is not positive",
        error,
    )  # fmt: skip


def _collusion_findings(watches: Sequence[_Rounds], config: Any) -> Iterator[Finding]:
    two = config.mobile + config.fixed == 2
    largest = "π_M, the largest joint profit, is found by enumeration of price pairs and is exact"
    if not two:
        largest = "π_M, the largest joint profit, is a lower bound from several starts of an ascent"
    beyond, room = joined(watches, "beyond"), joined(watches, "room")
    defined = room > 0.0
    share = np.where(defined, beyond / np.where(defined, room, 1.0), np.nan)
    value, _ = mean_of_markets(share)
    # A larger π_M would bring the figure nearer to 0, from above or from below.
    kind: Kind = "exact" if two else "upper bound" if not value < 0.0 else "lower bound"
    yield mean_finding(
        "profit_gain", share, "share", kind,
        "(π − π_N)/(π_M − π_N) of Calvano et al. (2020), over rounds with a pure equilibrium: π_N is the total profit "
        f"in the equilibrium of lowest profit that was found; {largest}; NaN without an equilibrium",
        "profit_gain",
    )  # fmt: skip
    compared = np.maximum(joined(watches, "compared"), 1.0)
    yield mean_finding(
        "collusion_gain", joined(watches, "collusion") / compared, "units per round",
        "exact" if two else "lower bound",
        f"what all leaders together would gain in a round by the prices of π_M: {largest}", "collusion_gain",
    )  # fmt: skip
    yield mean_finding(
        "monopoly_at_cap",
        joined(watches, "at_cap") / compared,
        "share of sellers",
        "exact" if two else "estimate",
        "share of the leaders with a sale that post the price cap at π_M; where it is not 0, a higher cap would mean "
        "a higher π_M and a lower profit gain",
    )
    yield mean_finding(
        "pure_equilibrium",
        joined(watches, "pure") / compared,
        "share of rounds",
        "lower bound",
        "share of the compared rounds in which a pure equilibrium was found",
    )


def _welfare_findings(watches: Sequence[_Rounds]) -> Iterator[Finding]:
    value, error = ratio_of_sums(joined(watches, "losses"), joined(watches, "tasks"))
    yield Finding(
        "ir_violations", value, "share of wireless agents", "exact",
        "share of the wireless agents with a task, over all rounds, that end with a negative utility: who buys nothing "
        "has 0, and this market lets nobody buy at a negative utility",
        error, "ir_violations",
    )  # fmt: skip
    yield mean_finding(
        "leader_losses", per_round(watches, "leader_losses"), "leaders", "exact",
        "mean number of leaders whose profit of a round is negative, because they sell below their unit cost",
    )  # fmt: skip
    yield mean_finding(
        "budget_residual", joined(watches, "residual"), "units per episode", "exact",
        "payments of all agents less what they received, from the ledger: below 0 the operator adds money, as with "
        "mobility=as_printed",
        "budget_residual",
    )  # fmt: skip
    welfare, optimum = joined(watches, "welfare"), joined(watches, "optimum")
    value, error = ratio_of_sums(optimum - welfare, optimum)
    yield Finding(
        "efficiency_loss", value, "share", "exact",
        "part of the largest social welfare that is lost: that of exact answers to prices equal to unit costs, which "
        "no prices can exceed; NaN where that is 0",
        error,
    )  # fmt: skip


def _follower_result(watches: Sequence[_Rounds], config: Any, only: bool) -> AuditResult:
    """Return what wireless agents lose against exact answers; ``only`` if no leader is played by the subject."""
    gains = per_round(watches, "follower_gain")
    finding = mean_finding(
        "follower_regret", gains.mean(axis=1), "units per round", "exact",
        "mean gain of a wireless agent by its exact best answer to the posted prices, any share from 0 to 1 or none",
        "regret" if only else None,
    )  # fmt: skip
    described = []
    largest = np.argsort(-gains.mean(axis=0), kind="stable")[:MOST_FOLLOWERS]
    for n in np.sort(largest).tolist():
        value, error = mean_of_markets(gains[:, n])
        described.append(Gain(f"wireless_{n}", "share", value, error, "the exact best share" if value > 0.0 else ""))
    note = "gains of the leaders suppose wireless agents that answer exactly, which these policies need not do"
    return AuditResult((finding,), tuple(described), (note,))
