"""Sealed-bid double auctions, which are compared with the double Dutch auction on the same bids and asks.

Every bidder demands or offers one lot. Ties between equal reports go to the lower index, and a pair trades only if its
bid exceeds its ask. The rules themselves are in `ioa_marl.markets.double_dutch.sealed_bids`; `settle` runs them in many
markets at once.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ioa_marl.foundations.compile import machine_code
from ioa_marl.foundations.parameters import require
from ioa_marl.markets.double_dutch.sealed_bids import (
    K_DOUBLE,
    MCAFEE,
    SBBA,
    TRADE_REDUCTION,
    VCG,
    SealedBids,
    Settlements,
    settle_markets,
)


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


def settle(
    rule: int, reports: NDArray[np.float64], size: NDArray[np.int64], weight: float = 0.5,
    lot: NDArray[np.int64] | None = None,
) -> Settlements:  # fmt: skip
    """Run a sealed-bid double auction in many markets at once.

    Parameters
    ----------
    rule : int
        ``TRADE_REDUCTION``, ``MCAFEE``, ``K_DOUBLE``, ``SBBA`` or ``VCG`` of this module.
    reports : ndarray of float64, shape (markets, 2, bidders)
        Bids of the buyers and asks of the sellers [units per lot], finite; those beyond ``size`` are not read.
    size : ndarray of int64, shape (markets, 2)
        Number of buyers and of sellers in each market, at most ``bidders``.
    weight : float, default 0.5
        Weight k of the k-double auction; other rules do not use it.
    lot : ndarray of int64, shape (markets, bidders), optional
        For SBBA, the place of each seller in the lottery: different numbers, of which the largest among the efficient
        sellers is excluded. Default: the index.

    Returns
    -------
    Settlements
    """
    markets, _, bidders = reports.shape
    if lot is None:
        lot = np.tile(np.arange(bidders), (markets, 1))
    arrays = (reports, np.float64), (size, np.int64), (lot, np.int64)
    sealed = SealedBids(*(np.require(array, kind, ["C", "W"]) for array, kind in arrays))
    out = Settlements(np.zeros((markets, 2, bidders), np.int64), np.zeros(markets, np.int64), np.zeros((markets, 2)))
    _compiled()(rule, float(weight), sealed, out)
    return out


@cache
def _compiled() -> Callable[[int, float, SealedBids, Settlements], None]:
    """Return the machine code of `settle_markets`, since Numba's look-up of argument types takes longer than it."""
    sealed = SealedBids(np.zeros((1, 2, 1)), np.ones((1, 2), np.int64), np.zeros((1, 1), np.int64))
    out = Settlements(np.zeros((1, 2, 1), np.int64), np.zeros(1, np.int64), np.zeros((1, 2)))
    return machine_code(settle_markets, VCG, 0.5, sealed, out)


def _one_market(
    rule: int, bids: ArrayLike, asks: ArrayLike, weight: float = 0.5, lot: NDArray[np.int64] | None = None
) -> DoubleAuctionOutcome:
    """Check the bids, shape (buyers,), and asks, shape (sellers,), of one market, and return its outcome."""
    sides = []
    for name, given in (("bids", bids), ("asks", asks)):
        side = np.asarray(given, np.float64)
        require(side.ndim == 1 and bool(np.all(np.isfinite(side))), name, given, "a sequence of finite numbers")
        sides.append(side)
    size = np.array([[len(side) for side in sides]])
    reports = np.zeros((1, 2, max(int(size.max()), 1)))
    for row, side in zip(reports[0], sides, strict=True):
        row[: len(side)] = side
    places = None
    if lot is not None:
        places = np.zeros((1, reports.shape[2]), np.int64)
        places[0, : len(lot)] = lot
    out = settle(rule, reports, size, weight, places)
    trades = int(out.trades[0])
    buyers, sellers = out.order[0, :, :trades]
    return DoubleAuctionOutcome(buyers, sellers, float(out.price[0, 0]), float(out.price[0, 1]))


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
    return _one_market(TRADE_REDUCTION, bids, asks)


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
    return _one_market(MCAFEE, bids, asks)


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
    return _one_market(K_DOUBLE, bids, asks, weight)


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
    return _one_market(SBBA, bids, asks, lot=rng.permutation(len(np.asarray(asks))))


def vcg_double_auction(bids: ArrayLike, asks: ArrayLike) -> DoubleAuctionOutcome:
    """Run the VCG auction: make every efficient trade, and pay every trader what its presence is worth to the others.

    A trading buyer pays its externality, the larger of the first excluded bid and the highest ask that trades; a
    trading seller receives the smaller of the first excluded ask and the lowest bid that trades. The mechanism is
    efficient, truthful and individually rational, and the auctioneer pays a deficit, which by the theorem of Myerson
    and Satterthwaite (1983) no mechanism with these properties avoids.

    Parameters
    ----------
    bids : array_like, shape (buyers,)
        Bids of the buyers [units per lot], finite.
    asks : array_like, shape (sellers,)
        Asks of the sellers [units per lot], finite.

    Returns
    -------
    DoubleAuctionOutcome
        Its ``budget_surplus`` is never positive.

    References
    ----------
    W. Vickrey, "Counterspeculation, auctions, and competitive sealed tenders", Journal of Finance 16(1), 1961, which
    has this double auction; E. H. Clarke, "Multipart pricing of public goods", Public Choice 11, 1971; T. Groves,
    "Incentives in teams", Econometrica 41(4), 1973.

    Examples
    --------
    >>> outcome = vcg_double_auction([10, 8, 6, 3], [1, 2, 5, 7])
    >>> outcome.trades, outcome.buyer_price, outcome.seller_price, outcome.budget_surplus
    (3, 5.0, 6.0, -3.0)
    """
    return _one_market(VCG, bids, asks)
