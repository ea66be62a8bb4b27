"""Gains of deviations that are chosen on other markets than those on which they are measured."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

ROUNDING = 1e-9
"""Differences up to this part of the mean utility are attributed to rounding."""
CLOSER = (-0.05, 0.05)
"""Differences from the best factor that are tried in addition."""


@dataclass(frozen=True)
class HeldOutGain:
    """What the best of some deviations gains; see `held_out_gain`."""

    gains: NDArray[np.float64]
    """Gain in each market, in the unit of the utilities, shape (markets,)."""
    chosen: tuple[int | None, int | None]
    """Index of the deviation with which the markets of even and of odd number were played; None: without deviation."""

    @property
    def mean(self) -> float:
        """Mean gain."""
        return float(self.gains.mean())

    @property
    def standard_error(self) -> float:
        """Standard error of `mean` over the markets."""
        return standard_error(self.gains)

    def how(self, names: Sequence[str]) -> str:
        """Return in words which of the deviations, called ``names``, gains; empty if none does."""
        return " or ".join(dict.fromkeys(names[i] for i in self.chosen if i is not None))


def standard_error(values: ArrayLike) -> float:
    """Return the standard error of the mean of independent values, shape (n,) with n of 2 or more."""
    array = np.asarray(values, np.float64)
    return float(array.std(ddof=1) / np.sqrt(len(array)))


def held_out_gain(utilities: ArrayLike, truth: ArrayLike) -> HeldOutGain:
    """Return what the best of some deviations gains, without the bias of choosing and measuring on the same markets.

    For the markets of even number the deviation is chosen on those of odd number, and the other way round. If none is
    better there than no deviation, there is none, and the gain is 0. The mean gain is thus that of deviations that a
    bidder could have chosen beforehand: a lower bound of what the best one gains, up to the sampling error, and not
    inflated by the number of deviations that are tried.

    Parameters
    ----------
    utilities : array_like, shape (deviations, markets)
        Utility of the bidder with each deviation.
    truth : array_like, shape (markets,)
        Its utility in the same markets without deviation.

    Returns
    -------
    HeldOutGain
    """
    before = np.asarray(truth, np.float64)
    gains = np.asarray(utilities, np.float64).reshape(-1, len(before)) - before
    slack = ROUNDING * float(np.abs(before).mean())
    measured = np.zeros(len(before))
    chosen: list[int | None] = []
    for here, elsewhere in ((slice(0, None, 2), slice(1, None, 2)), (slice(1, None, 2), slice(0, None, 2))):
        means = gains[:, elsewhere].mean(axis=1)
        best = int(np.argmax(means)) if len(means) else 0
        if len(means) and means[best] > slack:
            measured[here] = gains[best, here]
            chosen.append(best)
        else:
            chosen.append(None)
    return HeldOutGain(measured, (chosen[0], chosen[1]))


def search_factors(
    play: Callable[[Mapping[int, Sequence[float]], str], dict[int, NDArray[np.float64]]],
    members: Sequence[int],
    factors: Sequence[float],
    refine: bool,
) -> tuple[dict[int, list[float]], dict[int, NDArray[np.float64]]]:
    """Play constant factors on the reports of each of some bidders, one bidder at a time.

    Parameters
    ----------
    play : callable
        Maps the factors of each bidder, and what to call them in the progress, to its utilities, shape (factors,
        markets) for each bidder.
    members : sequence of int
        Numbers of the bidders.
    factors : sequence of float
        Factors that all of them try, at least one.
    refine : bool
        Whether each also tries factors just below and above its best one.

    Returns
    -------
    factors : dict
        The factors that each bidder tried.
    utilities : dict
        Its utilities with them, shape (factors, markets).
    """
    tried = {member: list(factors) for member in members}
    utilities = play(tried, "misreports over whole episodes")
    if refine:
        best = {member: tried[member][int(utilities[member].mean(axis=1).argmax())] for member in members}
        near = {member: [round(best[member] + step, 4) for step in CLOSER] for member in members}
        closer = {
            member: [factor for factor in near[member] if factor not in (1.0, *tried[member])] for member in members
        }
        more = play(closer, "factors next to the best ones")
        tried = {member: tried[member] + closer[member] for member in members}
        utilities = {member: np.concatenate([utilities[member], more[member]]) for member in members}
    return tried, utilities


def by_member(table: NDArray[np.float64], factors: Mapping[int, Sequence[float]]) -> dict[int, NDArray[np.float64]]:
    """Split utilities, shape (all factors, markets), into those of each bidder, in the order of its factors."""
    ends = np.cumsum([len(tried) for tried in factors.values()])
    return dict(zip(factors, np.split(table, ends[:-1]), strict=True))


def ratio_error(numerators: ArrayLike, denominators: ArrayLike) -> tuple[float, float]:
    """Return the ratio of two means over the same markets, and its standard error (delta method).

    Parameters
    ----------
    numerators, denominators : array_like, shape (markets,)
        Both quantities in every market.

    Returns
    -------
    ratio, standard_error : float
        NaN if the denominators are 0 on average.
    """
    top, bottom = np.asarray(numerators, np.float64), np.asarray(denominators, np.float64)
    mean = float(bottom.mean())
    if mean == 0.0:
        return float("nan"), float("nan")
    ratio = float(top.mean()) / mean
    return ratio, standard_error((top - ratio * bottom) / mean)
