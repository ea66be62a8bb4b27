"""Utility loss of bidding strategies in a sealed-bid auction of one item, as equilibrium learning reports it.

The value of each of n bidders is independent and uniform on [0, 1]. A bidder's **ex interim utility loss** at a value v
is what its best bid gains over that of its strategy, in expectation over the values of the others, who follow theirs.
In a Bayes-Nash equilibrium it is 0 at every value. The expectation is a mean over the same draws of the others' values
for all bids that are tried (common random numbers), and the bids are a grid: the loss is a lower bound but for the
sampling error of the mean, and the maximum over the grid makes it too high by about that error.

These auctions have known equilibria, with which the estimator can be checked: it is the independent measure beside the
audits by counterfactual play.

References
----------
Krishna, "Auction Theory", 2nd edition, 2010, Propositions 2.1 and 2.2. Bichler, Fichtl, Heidekrüger, Kohring and
Sutterer, "Learning equilibria in symmetric auction games using artificial neural networks", Nature Machine Intelligence
3, 2021, for the utility loss.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ioa_marl.foundations.parameters import require

Floats = NDArray[np.float64]
Strategy = Callable[[Floats], Floats]
"""Maps values in [0, 1] to bids of the same shape."""
PRICES = ("first", "second")
"""What the winner pays: its own bid, or the highest one of the others."""


def equilibrium(price: str, bidders: int) -> Strategy:
    """Return the symmetric equilibrium: (n − 1)/n of the value at the first price, the value at the second.

    Parameters
    ----------
    price : str
        ``first`` or ``second``.
    bidders : int
        Number of bidders n, 2 or more.
    """
    _check(price, bidders)
    return shaded((bidders - 1) / bidders if price == "first" else 1.0)


def shaded(factor: float) -> Strategy:
    """Return the strategy that bids ``factor`` times the value."""
    return lambda values: factor * values


def best_response(price: str, bidders: int, factor: float) -> Strategy:
    """Return the best response to n − 1 others that all bid ``factor`` times their values, in closed form.

    At the first price, a bid b wins with probability min(b/factor, 1)^(n−1), and (v − b) b^(n−1) is largest at
    b = (n − 1)/n · v. A bid above ``factor`` wins no more often. At the second price the value is a best response to
    anything.

    Parameters
    ----------
    price : str
        ``first`` or ``second``.
    bidders : int
        Number of bidders n, 2 or more.
    factor : float
        Bid over value of the others, positive.

    Examples
    --------
    >>> best_response("first", 3, 2 / 3)(np.array([0.3, 0.9])).round(3).tolist()
    [0.2, 0.6]
    """
    _check(price, bidders)
    require(factor > 0.0, "factor", factor, "a number above 0")
    if price == "second":
        return shaded(1.0)
    return lambda values: np.minimum((bidders - 1) / bidders * values, factor)


def truthful_loss(price: str, bidders: int) -> float:
    """Return the mean utility loss if all bid their values: (n − 1)^(n−1) / (nⁿ (n + 1)) at the first price, else 0.

    At the first price the truth earns nothing, and the best response (n − 1)/n · v earns vⁿ (n − 1)^(n−1) / nⁿ.

    Examples
    --------
    >>> round(truthful_loss("first", 2), 6)
    0.083333
    """
    _check(price, bidders)
    n = bidders
    return (n - 1) ** (n - 1) / (n**n * (n + 1)) if price == "first" else 0.0


@dataclass(frozen=True)
class UtilityLoss:
    """Ex interim utility losses at some values of a bidder."""

    values: Floats
    """Values of the bidder, shape (values,)."""
    losses: Floats
    """What the best bid of the grid gains over that of the strategy, at least 0, shape (values,)."""
    best_bids: Floats
    """A bid with this gain, shape (values,)."""

    @property
    def mean(self) -> float:
        """Mean loss over the values: the ex ante utility loss."""
        return float(self.losses.mean())

    @property
    def max(self) -> float:
        """Largest loss at any of the values: how far the strategies are from an equilibrium."""
        return float(self.losses.max())


def utility_loss(
    strategy: Strategy,
    price: str = "first",
    bidders: int = 2,
    others: Strategy | None = None,
    *,
    values: int = 50,
    bids: int = 201,
    draws: int = 20_000,
    seed: int = 0,
) -> UtilityLoss:
    """Estimate the ex interim utility loss of a strategy.

    Parameters
    ----------
    strategy : callable
        Strategy of the bidder.
    price : str, default "first"
        What the winner pays: ``first`` or ``second``.
    bidders : int, default 2
        Number of bidders n.
    others : callable, optional
        Strategy of the other bidders; default: the same.
    values : int, default 50
        Number of values of the bidder, in the middle of equal parts of [0, 1].
    bids : int, default 201
        Number of bids of the grid, evenly spaced on [0, 1]; the bid of the strategy is tried as well.
    draws : int, default 20 000
        Draws of the values of the others.
    seed : int, default 0
        Seed of the draws.

    Returns
    -------
    UtilityLoss

    Examples
    --------
    >>> loss = utility_loss(shaded(1.0), "first", 2)
    >>> bool(abs(loss.mean - truthful_loss("first", 2)) < 0.002)
    True
    """
    _check(price, bidders)
    for name, number in (("values", values), ("bids", bids), ("draws", draws)):
        require(number >= 2, name, number, "2 or more")
    rng = np.random.default_rng(seed)
    reply = strategy if others is None else others
    rival = np.sort(reply(rng.random((draws, bidders - 1))).max(axis=1))
    own = (np.arange(values) + 0.5) / values
    made = np.asarray(strategy(own), np.float64)
    grid = np.linspace(0.0, 1.0, bids)
    truth = _expected_utilities(own, made, rival, price)
    gains = np.array([_expected_utilities(own, np.full(values, bid), rival, price) for bid in grid]) - truth
    best = gains.argmax(axis=0)
    losses = np.take_along_axis(gains, best[None], axis=0)[0]
    return UtilityLoss(own, np.maximum(losses, 0.0), np.where(losses > 0.0, grid[best], made))


def _expected_utilities(values: Floats, bids: Floats, rival: Floats, price: str) -> Floats:
    """Return the mean utility of bids, shape (values,), against ordered highest bids of the others, shape (draws,)."""
    beaten = np.searchsorted(rival, bids, side="left")
    if price == "first":
        return np.asarray((values - bids) * beaten / len(rival))
    paid = np.concatenate([[0.0], np.cumsum(rival)])
    return np.asarray((values * beaten - paid[beaten]) / len(rival))


def _check(price: str, bidders: int) -> None:
    require(price in PRICES, "price", price, " or ".join(PRICES))
    require(bidders >= 2, "bidders", bidders, "2 or more")
