"""How much prices, shares and links change from round to round, and the quality of experience: optional metrics."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ioa_marl.foundations.records import Record, plain_view
from ioa_marl.markets.stackelberg import drivers
from ioa_marl.markets.stackelberg.kernels import FIXED, MOBILE, MarketState
from ioa_marl.markets.stackelberg.params import StackelbergParams
from ioa_marl.markets.stackelberg.records import StackelbergMetrics

_SIDES = slice(MOBILE, FIXED + 1)


class MobilityTotals(Record):
    """Sums over the rounds of an episode."""

    price_change: float
    """Sum of the leaders' mean price changes [units/Mbit]."""
    price_changes: float
    """Number of rounds in the sum: all with prices before them."""
    share_change: float
    """Sum of the changes of shares of the wireless agents that buy in a round and in the one before."""
    share_changes: float
    """Number of changes in the sum."""
    qoe: float
    """Sum of the quality of experience of all purchases [units]."""
    purchases: float
    """Number of purchases."""
    handovers: float
    """Sum of the shares of links that change."""
    transitions: float
    """Number of transitions from one round to the next."""


class MobilityMetrics(StackelbergMetrics):
    """Metrics of an episode with ``mobility_metrics``; see `StackelbergGame`."""

    price_change: float
    """Mean absolute change of a leader's price from round to round [units/Mbit]."""
    share_stability: float
    """1 less the mean absolute change of the shares of the wireless agents that buy in both rounds."""
    qoe: float
    """Mean quality of experience κ ln(1 + ε − t) ln(1 + t_n/ε) of a purchase [units]."""
    handovers: float
    """Share of the links that change from round to round."""


class MobilityWatch:
    """Sums the changes between rounds in a batch of markets.

    The game calls `remember` before each phase of a round, and the methods that add after what they look at.

    Parameters
    ----------
    params : StackelbergParams
        Parameters of the markets.
    market : MarketState
        Batch of markets, of which only the arrays are read.
    """

    def __init__(self, params: StackelbergParams, market: MarketState) -> None:
        self._market, self._record = market, params.record()
        self._is_leader = np.zeros(market.price.shape[1:], np.bool_)
        self._is_leader[MOBILE, : params.mobile] = self._is_leader[FIXED, : params.fixed] = True
        self.totals = MobilityTotals.zeros(len(market.round))
        """`MobilityTotals` (batch,)."""
        self.remember()

    def remember(self) -> None:
        """Copy prices, shares, purchases and links, with which those that follow are compared."""
        market = self._market
        self._price, self._share, self._buys = market.price.copy(), market.share.copy(), market.buys.copy()
        self._links = market.reach[:, _SIDES].copy()

    def open_episode(self, mask: NDArray[np.bool_]) -> None:
        """Set the sums of the markets ``mask``, bool (batch,), to zero."""
        plain_view(self.totals)[mask] = 0.0

    def add_prices(self, mask: NDArray[np.bool_]) -> None:
        """Add the changes of the prices that have been posted in the markets ``mask``, bool (batch,)."""
        changed = mask & (self._market.round > 0)
        change = np.abs(self._market.price - self._price)[:, self._is_leader].mean(axis=1)
        self.totals["price_change"][changed] += change[changed]
        self.totals["price_changes"][changed] += 1.0

    def add_shares(self, mask: NDArray[np.bool_]) -> None:
        """Add the changes of the shares that have been chosen in the markets ``mask``, and the QoE of all purchases."""
        market, totals = self._market, self.totals
        # When an episode opens nobody has bought, so nobody buys in its first round and in one before.
        both = market.buys & self._buys & mask[:, None]
        totals["share_change"] += np.where(both, np.abs(market.share - self._share), 0.0).sum(axis=1)
        totals["share_changes"] += both.sum(axis=1)
        quality, bought = np.zeros_like(market.share), market.buys & mask[:, None]
        drivers.qualities_at(market, self._record, market.share, quality)
        totals["qoe"] += np.where(bought, quality, 0.0).sum(axis=1)
        totals["purchases"] += bought.sum(axis=1)

    def add_handovers(self, mask: NDArray[np.bool_]) -> None:
        """Add the links of the next round that are others than before, in the markets ``mask``, bool (batch,)."""
        changed = (self._market.reach[:, _SIDES] != self._links).mean(axis=(1, 2))
        self.totals["handovers"][mask] += changed[mask]
        self.totals["transitions"][mask] += 1.0

    def metrics(self) -> NDArray[Any]:
        """Return the metrics of the present episodes that `MobilityMetrics` adds, float64 (batch, 4); NaN without any.

        The order is that of the record.
        """
        totals = self.totals
        with np.errstate(invalid="ignore"):
            columns = [
                totals["price_change"] / totals["price_changes"],
                1.0 - totals["share_change"] / totals["share_changes"],
                totals["qoe"] / totals["purchases"],
                totals["handovers"] / totals["transitions"],
            ]
        return np.stack(columns, axis=1)
