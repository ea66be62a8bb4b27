"""Double auctions side by side: the double Dutch auction under several auctioneers, and sealed-bid double auctions."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from ioa_marl.evaluation.mechanisms.auctioneers import (
    BUYERS,
    SELLERS,
    Auctioneer,
    DoubleAuction,
    Floats,
    LearntAuction,
    SealedBidAuction,
    Units,
    Whole,
    fixed_step,
    require_bids_fit,
    table_of_steps,
    two_phase,
)
from ioa_marl.evaluation.mechanisms.comparison import (
    ROUNDING,
    Comparison,
    MechanismFigures,
    Progress,
    checked_count,
    checked_draw,
    chosen_mechanisms,
    efficiencies,
)
from ioa_marl.evaluation.mechanisms.deviations import MOST_BIDDERS, largest_gains, traders, utilities
from ioa_marl.foundations.parameters import is_number, require
from ioa_marl.foundations.seeds import COMPARISON_SEED
from ioa_marl.markets.double_dutch import sealed_bids
from ioa_marl.markets.double_dutch.params import DoubleDutchParams
from ioa_marl.markets.double_dutch.params import preset as preset_of
from ioa_marl.markets.double_dutch.references import sorted_matching
from ioa_marl.markets.double_dutch.step_tables import drawn_markets

CLOCKED = ("fixed_step", "traditional", "two_phase", "step_table")
"""The double Dutch auction: the best constant step, the finest one, two phases, and a table of steps."""
SEALED = {
    "mcafee": sealed_bids.MCAFEE,
    "trade_reduction": sealed_bids.TRADE_REDUCTION,
    "k_double": sealed_bids.K_DOUBLE,
    "sbba": sealed_bids.SBBA,
    "vcg": sealed_bids.VCG,
}
"""Sealed-bid double auctions, with their rules."""
LEARNT = "learnt"
"""The double Dutch auction of a trained auctioneer."""
MECHANISMS = (*CLOCKED, LEARNT, *SEALED)
"""All mechanisms of this family, in the order in which they are compared."""
GRID = 11
"""Default number of evenly spaced reports."""
MEANINGS = {
    "revenue": "revenue: what the sellers receive",
    "budget_surplus": "budget: what the buyers pay less what the sellers receive; below 0 the auctioneer has a deficit",
    "regret": (
        f"regret: a lower bound, the largest gain of any bidder by up to {{reports}} reports, all others truthful; "
        f"of at most {MOST_BIDDERS} bidders a side, those nearest to the margin"
    ),
    "messages": "messages: clock messages to listeners, or sealed bids, one of each bidder",
}


@dataclass(frozen=True)
class DoubleAuctionBids:
    """True valuations of a batch of double auctions, in which every bidder wants to trade one lot."""

    valuations: Floats
    """Values of the buyers and costs of the sellers, padded with 0 [units per lot], shape (markets, 2, bidders)."""
    size: Whole
    """Numbers of buyers and of sellers, shape (markets, 2)."""
    source: str
    """Where they come from, in words."""
    own: bool = False
    """Whether they are a user's own and not drawn from a preset; the clocks are then scaled to them."""

    @classmethod
    def of(cls, markets: Sequence[tuple[ArrayLike, ArrayLike]], source: str = "own bids") -> DoubleAuctionBids:
        """Return bids from a pair of arrays for each market.

        Parameters
        ----------
        markets : sequence of (array_like, array_like)
            For each market the values of its buyers and the costs of its sellers [units per lot], finite and at least
            0, of one buyer and one seller or more.
        source : str, default "own bids"
            Where they come from, in words.

        Examples
        --------
        >>> DoubleAuctionBids.of([([10, 8, 6, 3], [1, 2, 5]), ([4], [3])]).size.tolist()
        [[4, 3], [1, 1]]
        """
        pairs = [tuple(np.asarray(side, np.float64) for side in sides) for sides in markets]
        require(len(pairs) > 0, "markets", len(pairs), "one market or more")
        for sides in pairs:
            for name, side in zip(("values", "costs"), sides, strict=True):
                valid = side.ndim == 1 and side.size > 0 and bool(np.all(np.isfinite(side) & (side >= 0.0)))
                require(valid, name, side.tolist(), "finite numbers from 0, at least one")
        size = np.array([[len(side) for side in sides] for sides in pairs])
        valuations = np.zeros((len(pairs), 2, int(size.max())))
        for market, sides in enumerate(pairs):
            for number, side in enumerate(sides):
                valuations[market, number, : len(side)] = side
        return cls(valuations, size, source, own=True)

    @classmethod
    def drawn(cls, preset: str = "paper", markets: int = 200, seed: int = 0) -> DoubleAuctionBids:
        """Return the bids of random markets of a preset, from random streams that no training and no evaluation uses.

        Sellers that do not take part, since their cost is above every buyer's income, are left out.
        """
        markets, seed = checked_draw(markets, seed)
        state = drawn_markets(preset_of(preset), markets, COMPARISON_SEED + seed)
        valuations, size = np.zeros(state.valuation.shape), state.size.astype(np.int64)
        for market, side in np.ndindex(markets, 2):
            present = np.sort(state.order[market, side, : size[market, side]])
            valuations[market, side, : len(present)] = state.valuation[market, side, present]
        return cls(valuations, size, f"preset {preset}, seed {seed}")


def compare_double_auctions(
    bids: DoubleAuctionBids | None = None,
    *,
    preset: str = "paper",
    markets: int = 200,
    seed: int = 0,
    mechanisms: Sequence[str] | None = None,
    auctioneer: Auctioneer | None = None,
    psi: float | None = None,
    k: float = 0.5,
    grid: int = GRID,
    progress: Progress | None = None,
) -> Comparison:
    """Run the same bids under several double auctions.

    Parameters
    ----------
    bids : DoubleAuctionBids, optional
        Own bids. The clocks of the double Dutch auction then start at the highest and the lowest of all bids, and its
        tick and steps are those of the preset in proportion to the distance of the clocks. Default: drawn ones.
    preset : str, default "paper"
        Preset of the double Dutch market, for the draw of the bids and the rules of the double Dutch auction.
    markets, seed : int, default 200 and 0
        Number of markets that are drawn, and the seed of the draw and of lotteries.
    mechanisms : sequence of str, optional
        Names from `MECHANISMS`; the first one is the base of the paired differences. Default: all of them, ``learnt``
        if there is an auctioneer.
    auctioneer : Auctioneer, optional
        A trained auctioneer, for ``learnt``.
    psi : float, optional
        Weight ψ of the buyer clock in the clearing price of the double Dutch auction. Default: that of the preset.
    k : float, default 0.5
        Weight k of the k-double auction.
    grid : int, default 11
        Number of evenly spaced reports that a bidder tries; see `deviations`.
    progress : callable, optional
        Called while markets are played.

    Returns
    -------
    Comparison

    Raises
    ------
    ParameterError, UserError
        If an argument is invalid; the message names it and what is allowed.

    Examples
    --------
    >>> bids = DoubleAuctionBids.of([([10, 8, 6, 3], [1, 2, 5, 7])])
    >>> found = compare_double_auctions(bids, mechanisms=["mcafee", "k_double", "vcg"])
    >>> [found.mean(name, "budget_surplus")[0] for name in ("mcafee", "k_double", "vcg")]
    [0.0, 0.0, -3.0]
    >>> found.mean("mcafee", "regret")[0], found.mean("k_double", "regret")[0] > 0.4
    (0.0, True)
    """
    default = [name for name in MECHANISMS if name != LEARNT or auctioneer is not None]
    names = chosen_mechanisms(mechanisms, MECHANISMS, default)
    for name, weight in (("psi", psi), ("k", k)):
        require(weight is None or (is_number(weight) and 0.0 <= weight <= 1.0), name, weight, "0 to 1")
    require(auctioneer is not None or LEARNT not in names, "mechanism", LEARNT, "it with a checkpoint of a trained one")
    grid = checked_count("grid", grid, 2, 1000)
    params = preset_of(preset, **({} if psi is None else {"psi": psi}))
    bids = DoubleAuctionBids.drawn(preset, markets, seed) if bids is None else bids
    makers = _Makers(bids, params, auctioneer, psi, k, seed)
    rows, reports = [], 0
    for name in names:
        figures, tried = _figures(name, makers.make(name), bids, makers.epsilon, grid, progress)
        rows.append(figures)
        reports = max(reports, tried)
    meanings = {key: text.format(reports=reports) for key, text in MEANINGS.items()}
    return Comparison("double_auction", bids.source, tuple(rows), reports, meanings)


class _Makers:
    """Makes the mechanisms for some bids.

    Parameters
    ----------
    bids : DoubleAuctionBids
        The bids.
    params : DoubleDutchParams
        Parameters of the preset.
    auctioneer, psi, k, seed
        See `compare_double_auctions`.

    Attributes
    ----------
    epsilon : float
        How closely a bidder over- or undercuts another: a tick, within which reports are the same to a clock [units].
    """

    def __init__(
        self, bids: DoubleAuctionBids, params: DoubleDutchParams, auctioneer: Auctioneer | None, psi: float | None,
        k: float, seed: int,
    ) -> None:  # fmt: skip
        self._bids, self._auctioneer, self._psi, self._k, self._seed = bids, auctioneer, psi, k, seed
        self._params = _sized(params, bids) if bids.own else params
        self._units = self._units_of(params)
        self.epsilon = params.tick * self._units.scale

    def _units_of(self, params: DoubleDutchParams) -> Units:
        """Return the units in which the bids are between the starts of the clocks."""
        if not self._bids.own:
            return Units()
        within = self._bids.valuations[np.arange(self._bids.valuations.shape[2]) < self._bids.size[:, :, None]]
        low, high = float(within.min()), float(within.max())
        scale = (high - low) / (params.buyer_clock - params.seller_clock) if high > low else 1.0
        return Units(scale, params.seller_clock - low / scale)

    def make(self, name: str) -> DoubleAuction:
        """Return the mechanism with this name."""
        if name == "fixed_step":
            return fixed_step(self._params, self._units)
        if name == "traditional":
            return fixed_step(self._params, self._units, 0)
        if name == "two_phase":
            return two_phase(self._params, self._units)
        if name == "step_table":
            return table_of_steps(self._params, self._units)
        if name == LEARNT:
            assert self._auctioneer is not None
            config = self._auctioneer.config
            require_bids_fit(config, self._bids.valuations, self._bids.size, self._bids.own)
            return LearntAuction(self._auctioneer, self._units_of(config), self._psi)
        lots = self._lots() if name == "sbba" else None
        return SealedBidAuction(SEALED[name], self._k, lots, f"k {self._k:g}" if name == "k_double" else "")

    def _lots(self) -> Whole:
        """Return the places of the sellers in the lottery of each market, int64 (markets, bidders)."""
        lots = np.zeros((len(self._bids.size), self._bids.valuations.shape[2]), np.int64)
        for market, sellers in enumerate(self._bids.size[:, SELLERS].tolist()):
            key = np.array([COMPARISON_SEED + self._seed, market], np.uint64)
            lots[market, :sellers] = np.random.Generator(np.random.Philox(key=key)).permutation(sellers)
        return lots


def _sized(params: DoubleDutchParams, bids: DoubleAuctionBids) -> DoubleDutchParams:
    """Return the parameters of a preset for the numbers of bidders that a user's own markets have."""
    (buyers, sellers), (fewest_buyers, fewest_sellers) = bids.size.max(axis=0), bids.size.min(axis=0)
    spare = int(buyers + sellers) - params.buyers - params.sellers  # one more broadcast for each more bidder
    return dataclasses.replace(
        params, buyers=int(buyers), sellers=int(sellers), min_buyers=int(fewest_buyers),
        min_sellers=int(fewest_sellers), max_ticks=params.max_ticks + max(spare, 0),
    )  # fmt: skip


def _figures(
    name: str, mechanism: DoubleAuction, bids: DoubleAuctionBids, epsilon: float, grid: int, progress: Progress | None
) -> tuple[MechanismFigures, int]:
    """Return the figures of a mechanism, and the largest number of reports that a bidder tried."""
    truth, size, markets = bids.valuations, bids.size, len(bids.size)

    def done(count: int) -> None:
        if progress is not None:
            progress(name, count, markets)

    done(0)
    played = mechanism.play(truth, size, np.arange(markets))
    trade, at_truth = traders(played), utilities(played, truth)
    welfare = np.where(trade[:, BUYERS], truth[:, BUYERS], 0.0).sum(axis=1)
    welfare = welfare - np.where(trade[:, SELLERS], truth[:, SELLERS], 0.0).sum(axis=1)
    best = np.array(
        [sorted_matching(t[BUYERS, :n], t[SELLERS, :m]).welfare for t, (n, m) in zip(truth, size, strict=True)]
    )
    paid, received = np.where(played.trades > 0, played.price.T, 0.0) * played.trades
    gains, reports = largest_gains(mechanism, truth, size, at_truth, grid, epsilon, done)
    slack = ROUNDING * (1.0 + truth.max(axis=(1, 2)))
    figures = {
        "welfare": welfare,
        "efficiency": efficiencies(welfare, best),
        "revenue": received,
        "budget_surplus": paid - received,
        "regret": np.where(gains > slack, gains, 0.0),
        "ir_violations": (at_truth < -slack[:, None, None]).sum(axis=(1, 2)).astype(np.float64),
        "messages": played.messages,
    }
    return MechanismFigures(name, figures, mechanism.setting), reports
