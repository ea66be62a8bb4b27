"""Sealed-bid double auctions: what other mechanisms make of the bids and asks of a double Dutch auction.

Every bidder wants or offers one lot. Ties between equal reports go to the lower index; a pair trades only where
the bid exceeds the ask.
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
    """Who trades, and at which prices; the m-th buyer meets the m-th seller."""

    buyers: NDArray[np.int64]
    """Indices of the trading buyers, shape (trades,)."""
    sellers: NDArray[np.int64]
    """Indices of the trading sellers, shape (trades,)."""
    buyer_price: float
    """What each trading buyer pays [units per lot]; NaN where nobody trades."""
    seller_price: float
    """What each trading seller receives [units per lot]; NaN where nobody trades."""

    @property
    def trades(self) -> int:
        """Number of trades."""
        return len(self.buyers)

    @property
    def budget_surplus(self) -> float:
        """What the buyers pay beyond what the sellers receive; it stays with the auctioneer [units]."""
        return self.trades * (self.buyer_price - self.seller_price) if self.trades else 0.0

    def welfare(self, values: ArrayLike, costs: ArrayLike) -> float:
        """Return Σ values − Σ costs over the traders [units].

        Parameters
        ----------
        values : array_like, shape (buyers,)
            True values of all buyers.
        costs : array_like, shape (sellers,)
            True costs of all sellers.
        """
        return float(np.asarray(values)[self.buyers].sum() - np.asarray(costs)[self.sellers].sum())

    def utilities(self, values: ArrayLike, costs: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return what every bidder gains, zero for those who do not trade.

        Parameters
        ----------
        values : array_like, shape (buyers,)
            True values of all buyers.
        costs : array_like, shape (sellers,)
            True costs of all sellers.

        Returns
        -------
        buyers : ndarray, shape (buyers,)
            Value less price [units].
        sellers : ndarray, shape (sellers,)
            Price less cost [units].
        """
        values, costs = np.asarray(values, np.float64), np.asarray(costs, np.float64)
        of_buyers, of_sellers = np.zeros(len(values)), np.zeros(len(costs))
        of_buyers[self.buyers] = values[self.buyers] - self.buyer_price
        of_sellers[self.sellers] = self.seller_price - costs[self.sellers]
        return of_buyers, of_sellers


@dataclass(frozen=True)
class _Margin:
    """The efficient trades, and the reports on both sides of their end."""

    buyers: NDArray[np.int64]
    sellers: NDArray[np.int64]
    bid: float
    """Lowest bid that trades."""
    ask: float
    """Highest ask that trades."""
    next_bid: float
    """Highest bid that does not trade, −∞ without one."""
    next_ask: float
    """Lowest ask that does not trade, ∞ without one."""


def _margin(bids: ArrayLike, asks: ArrayLike) -> _Margin:
    given = []
    for name, reports in (("bids", bids), ("asks", asks)):
        array = np.asarray(reports, np.float64)
        require(
            array.ndim == 1 and bool(np.all(np.isfinite(array))),
            name,
            reports,
            "a sequence of finite numbers",
        )
        given.append(array)
    matching = sorted_matching(*given)
    trading = given[0][matching.buyers], given[1][matching.sellers]
    others = np.delete(given[0], matching.buyers), np.delete(given[1], matching.sellers)
    return _Margin(
        matching.buyers,
        matching.sellers,
        bid=float(trading[0].min(initial=math.inf)),
        ask=float(trading[1].max(initial=-math.inf)),
        next_bid=float(others[0].max(initial=-math.inf)),
        next_ask=float(others[1].min(initial=math.inf)),
    )


def _outcome(
    buyers: NDArray[np.int64], sellers: NDArray[np.int64], buyer_price: float, seller_price: float
) -> DoubleAuctionOutcome:
    if len(buyers) == 0:
        buyer_price = seller_price = math.nan
    return DoubleAuctionOutcome(buyers, sellers, buyer_price, seller_price)


def trade_reduction(bids: ArrayLike, asks: ArrayLike) -> DoubleAuctionOutcome:
    """Leave out the least valuable efficient trade; its bid and its ask are the prices of the others.

    Truthful and individually rational; the auctioneer keeps a surplus.

    Parameters
    ----------
    bids : array_like, shape (buyers,)
        Bids, finite.
    asks : array_like, shape (sellers,)
        Asks, finite.

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
    """Trade at the mean of the first bid and ask left out, if all efficient traders accept it; else reduce trade.

    Truthful and individually rational; the auctioneer never loses. Where every bid or every ask is part of the
    efficient trades there is no such mean, and trade is reduced.

    Parameters
    ----------
    bids : array_like, shape (buyers,)
        Bids, finite.
    asks : array_like, shape (sellers,)
        Asks, finite.

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
    """Make every efficient trade at one price between the lowest and the highest that clear the market.

    Efficient at truth, individually rational and budget balanced, not truthful.

    Parameters
    ----------
    bids : array_like, shape (buyers,)
        Bids, finite.
    asks : array_like, shape (sellers,)
        Asks, finite.
    weight : float, default 0.5
        Weight k of the highest clearing price, in [0, 1].

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
    """Trade at one truthful price, the lower of the last efficient bid and the first ask left out.

    Where that price is a bid, its buyer stays out, and so does one of the efficient sellers by lot. Truthful,
    individually rational, and the auctioneer gets nothing.

    Parameters
    ----------
    bids : array_like, shape (buyers,)
        Bids, finite.
    asks : array_like, shape (sellers,)
        Asks, finite.
    rng : numpy.random.Generator
        Source of the lottery. One permutation of all sellers is drawn in any case, so that neither the draw nor
        anybody's place in it depends on the reports: truthful for every outcome of the lottery.

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
    out = int(np.argmax(place[margin.sellers]))
    return _outcome(margin.buyers[:-1], np.delete(margin.sellers, out), margin.bid, margin.bid)
