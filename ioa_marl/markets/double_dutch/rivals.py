"""Sealed-bid double auctions, which are compared with the double Dutch auction on the same bids and asks.

Every bidder demands or offers one lot. Ties between equal reports go to the lower index, and a pair trades only if its
bid exceeds its ask.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ioa_marl.foundations.parameters import require
from ioa_marl.markets.double_dutch.references import sorted_matching


@dataclass(frozen=True)
class DoubleAuctionOutcome:
    """Traders and prices of a double auction; the m-th buyer trades with the m-th seller."""

    buyers: NDArray[np.int64]
    """Indices of the trading buyers, shape (trades,)."""
    sellers: NDArray[np.int64]
    """Indices of the trading sellers, shape (trades,)."""
    buyer_price: float
    """Price that each trading buyer pays [units per lot]; NaN without a trade."""
    seller_price: float
    """Price that each trading seller receives [units per lot]; NaN without a trade."""

    @property
    def trades(self) -> int:
        """Number of trades."""
        return len(self.buyers)

    @property
    def budget_surplus(self) -> float:
        """Payments of the buyers less receipts of the sellers, which the auctioneer keeps [units]."""
        return self.trades * (self.buyer_price - self.seller_price) if self.trades else 0.0

    def welfare(self, values: ArrayLike, costs: ArrayLike) -> float:
        """Return the welfare, Σ values − Σ costs over the traders [units].

        Parameters
        ----------
        values : array_like, shape (buyers,)
            True values of all buyers [units per lot].
        costs : array_like, shape (sellers,)
            True costs of all sellers [units per lot].
        """
        return float(np.asarray(values)[self.buyers].sum() - np.asarray(costs)[self.sellers].sum())

    def utilities(self, values: ArrayLike, costs: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return the utility of every bidder, which is 0 for those who do not trade.

        Parameters
        ----------
        values : array_like, shape (buyers,)
            True values of all buyers [units per lot].
        costs : array_like, shape (sellers,)
            True costs of all sellers [units per lot].

        Returns
        -------
        buyer_utilities : ndarray of float64, shape (buyers,)
            Value less price [units].
        seller_utilities : ndarray of float64, shape (sellers,)
            Price less cost [units].
        """
        values, costs = np.asarray(values, np.float64), np.asarray(costs, np.float64)
        buyer_utilities, seller_utilities = np.zeros(len(values)), np.zeros(len(costs))
        buyer_utilities[self.buyers] = values[self.buyers] - self.buyer_price
        seller_utilities[self.sellers] = self.seller_price - costs[self.sellers]
        return buyer_utilities, seller_utilities


@dataclass(frozen=True)
class _Margin:
    """The efficient trades, and the marginal reports: the last ones that trade and the first ones that do not."""

    buyers: NDArray[np.int64]
    """Indices of the efficient buyers, highest bid first, shape (trades,)."""
    sellers: NDArray[np.int64]
    """Indices of the efficient sellers, lowest ask first, shape (trades,)."""
    bid: float
    """Lowest bid that trades [units per lot]; ∞ without one."""
    ask: float
    """Highest ask that trades [units per lot]; −∞ without one."""
    next_bid: float
    """Highest bid that does not trade [units per lot]; −∞ without one."""
    next_ask: float
    """Lowest ask that does not trade [units per lot]; ∞ without one."""


def _margin(bids: ArrayLike, asks: ArrayLike) -> _Margin:
    """Return the margin of checked bids, shape (buyers,), and asks, shape (sellers,)."""
    checked = []
    for name, reports in (("bids", bids), ("asks", asks)):
        array = np.asarray(reports, np.float64)
        require(
            array.ndim == 1 and bool(np.all(np.isfinite(array))),
            name,
            reports,
            "a sequence of finite numbers",
        )
        checked.append(array)
    bids, asks = checked
    matching = sorted_matching(bids, asks)
    return _Margin(
        matching.buyers,
        matching.sellers,
        bid=float(bids[matching.buyers].min(initial=math.inf)),
        ask=float(asks[matching.sellers].max(initial=-math.inf)),
        next_bid=float(np.delete(bids, matching.buyers).max(initial=-math.inf)),
        next_ask=float(np.delete(asks, matching.sellers).min(initial=math.inf)),
    )


def _outcome(
    buyers: NDArray[np.int64], sellers: NDArray[np.int64], buyer_price: float, seller_price: float
) -> DoubleAuctionOutcome:
    """Return an outcome, without prices if there is no trade."""
    if len(buyers) == 0:
        buyer_price = seller_price = math.nan
    return DoubleAuctionOutcome(buyers, sellers, buyer_price, seller_price)


def trade_reduction(bids: ArrayLike, asks: ArrayLike) -> DoubleAuctionOutcome:
    """Run trade reduction: exclude the least valuable efficient trade; its bid and ask are the prices of the others.

    The mechanism is truthful and individually rational, and the auctioneer keeps a surplus.

    Parameters
    ----------
    bids : array_like, shape (buyers,)
        Bids of the buyers [units per lot], finite.
    asks : array_like, shape (sellers,)
        Asks of the sellers [units per lot], finite.

    Returns
    -------
    DoubleAuctionOutcome

    References
    ----------
    M. Babaioff and N. Nisan, "Concurrent auctions across the supply chain", Journal of Artificial Intelligence
    Research 21, 2004; the second case of McAfee (1992).

    Examples
    --------
    >>> outcome = trade_reduction([10, 8, 6, 3], [1, 2, 5, 7])
    >>> outcome.trades, outcome.buyer_price, outcome.seller_price
    (2, 6.0, 5.0)
    """
    margin = _margin(bids, asks)
    return _outcome(margin.buyers[:-1], margin.sellers[:-1], margin.bid, margin.ask)


def mcafee(bids: ArrayLike, asks: ArrayLike) -> DoubleAuctionOutcome:
    """Run McAfee's auction: trade at the mean of the first excluded bid and ask, or reduce trade.

    Trade is reduced, as in `trade_reduction`, if an efficient trader would not accept that mean, or if there is none
    because every bid or every ask is part of the efficient trades. The mechanism is truthful and individually rational,
    and the auctioneer never loses.

    Parameters
    ----------
    bids : array_like, shape (buyers,)
        Bids of the buyers [units per lot], finite.
    asks : array_like, shape (sellers,)
        Asks of the sellers [units per lot], finite.

    Returns
    -------
    DoubleAuctionOutcome

    References
    ----------
    R. P. McAfee, "A dominant strategy double auction", Journal of Economic Theory 56(2), 1992.

    Examples
    --------
    >>> outcome = mcafee([10, 8, 6, 3], [1, 2, 5, 7])
    >>> outcome.trades, outcome.buyer_price, outcome.seller_price
    (3, 5.0, 5.0)
    """
    margin = _margin(bids, asks)
    middle = 0.5 * (margin.next_bid + margin.next_ask)
    if margin.ask <= middle <= margin.bid:
        return _outcome(margin.buyers, margin.sellers, middle, middle)
    return _outcome(margin.buyers[:-1], margin.sellers[:-1], margin.bid, margin.ask)


def k_double_auction(bids: ArrayLike, asks: ArrayLike, weight: float = 0.5) -> DoubleAuctionOutcome:
    """Run the k-double auction: make every efficient trade at a price between the lowest and the highest clearing one.

    The mechanism is efficient under truthful reports, individually rational and budget balanced, but not truthful.

    Parameters
    ----------
    bids : array_like, shape (buyers,)
        Bids of the buyers [units per lot], finite.
    asks : array_like, shape (sellers,)
        Asks of the sellers [units per lot], finite.
    weight : float, default 0.5
        Weight k of the highest clearing price in the price, in [0, 1].

    Returns
    -------
    DoubleAuctionOutcome

    References
    ----------
    K. Chatterjee and W. Samuelson, "Bargaining under incomplete information", Operations Research 31(5), 1983
    (one bidder a side); A. Rustichini, M. A. Satterthwaite and S. R. Williams, "Convergence to efficiency in a
    simple market with incomplete information", Econometrica 62(5), 1994.

    Examples
    --------
    >>> outcome = k_double_auction([10, 8, 6, 3], [1, 2, 5, 7])
    >>> outcome.trades, outcome.buyer_price, outcome.seller_price
    (3, 5.5, 5.5)
    """
    require(0.0 <= weight <= 1.0, "weight", weight, "0 to 1")
    margin = _margin(bids, asks)
    highest, lowest = min(margin.bid, margin.next_ask), max(margin.ask, margin.next_bid)
    price = weight * highest + (1.0 - weight) * lowest
    return _outcome(margin.buyers, margin.sellers, price, price)


def sbba(bids: ArrayLike, asks: ArrayLike, rng: np.random.Generator) -> DoubleAuctionOutcome:
    """Run SBBA: trade at one price, the lower of the last efficient bid and the first excluded ask.

    If that price is a bid, its buyer does not trade, and neither does one of the efficient sellers, chosen by lot.
    The mechanism is truthful, individually rational and strongly budget balanced.

    Parameters
    ----------
    bids : array_like, shape (buyers,)
        Bids of the buyers [units per lot], finite.
    asks : array_like, shape (sellers,)
        Asks of the sellers [units per lot], finite.
    rng : numpy.random.Generator
        Generator of the lottery. One permutation of all sellers is always drawn, so that neither the draw nor the place
        of a seller in it depends on the reports. The mechanism is then truthful for every outcome of the lottery.

    Returns
    -------
    DoubleAuctionOutcome

    References
    ----------
    E. Segal-Halevi, A. Hassidim and Y. Aumann, "SBBA: a strongly-budget-balanced double-auction mechanism",
    Symposium on Algorithmic Game Theory, 2016.

    Examples
    --------
    >>> outcome = sbba([10, 8, 6, 3], [1, 2, 5, 7], np.random.default_rng(0))
    >>> outcome.trades, outcome.buyer_price, outcome.budget_surplus
    (2, 6.0, 0.0)
    """
    margin = _margin(bids, asks)
    place = rng.permutation(len(np.asarray(asks)))
    if len(margin.buyers) == 0 or margin.next_ask <= margin.bid:
        return _outcome(margin.buyers, margin.sellers, margin.next_ask, margin.next_ask)
    excluded = int(np.argmax(place[margin.sellers]))
    return _outcome(margin.buyers[:-1], np.delete(margin.sellers, excluded), margin.bid, margin.bid)
