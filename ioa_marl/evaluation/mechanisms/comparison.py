"""The result of a comparison: figures of every mechanism in every market, their means, and paired differences."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ioa_marl.evaluation.statistics import Estimate, paired_difference
from ioa_marl.foundations.errors import unknown_name
from ioa_marl.foundations.parameters import ParameterError, integer_if_whole, is_whole, require
from ioa_marl.foundations.seeds import MAX_TRAINING_SEED

Floats = NDArray[np.float64]

FIGURES = ("welfare", "efficiency", "revenue", "budget_surplus", "regret", "ir_violations", "messages")
"""Names of the figures of every mechanism."""
MOST_MARKETS = 100_000
"""Largest number of markets."""
ROUNDING = 1e-9
"""Loss of a bidder, relative to the largest valuation of its market, that is taken for rounding."""

Progress = Callable[[str, int, int], None]
"""Called with the name of a mechanism, the number of markets done under it, and the number of markets."""


@dataclass(frozen=True)
class MechanismFigures:
    """One mechanism on all markets."""

    name: str
    """Name of the mechanism."""
    figures: Mapping[str, Floats]
    """Each of `FIGURES` in every market, shape (markets,): welfare [units]; efficiency, welfare over the largest
    possible one (1 where that is 0); revenue and budget surplus [units]; regret, the largest gain of any bidder among
    the reports that were tried, a lower bound [units]; number of bidders who lose although they tell the truth; and
    number of messages."""
    setting: str = ""
    """Settings of the mechanism that are not in its name, in words."""


@dataclass(frozen=True)
class Comparison:
    """Several mechanisms on the same markets, with the same bids and, in lotteries, the same random numbers."""

    family: str
    """Family of the mechanisms."""
    source: str
    """Where the bids come from, in words."""
    mechanisms: tuple[MechanismFigures, ...]
    """The mechanisms; the first one is the base of the paired differences."""
    reports: int
    """Largest number of reports that a bidder tried."""
    meanings: Mapping[str, str]
    """What revenue, budget surplus, regret and messages are in this family, one sentence each."""

    @property
    def base(self) -> str:
        """Name of the mechanism that the others are compared with."""
        return self.mechanisms[0].name

    @property
    def markets(self) -> int:
        """Number of markets."""
        return len(self.mechanisms[0].figures["welfare"])

    def __getitem__(self, name: str) -> MechanismFigures:
        """Return the mechanism with this name."""
        for mechanism in self.mechanisms:
            if mechanism.name == name:
                return mechanism
        raise unknown_name("mechanism", name, [mechanism.name for mechanism in self.mechanisms])

    def mean(self, name: str, figure: str) -> tuple[float, float]:
        """Return the mean of a figure over the markets and its standard error, which is NaN for one market."""
        values = self[name].figures[figure]
        error = float(values.std(ddof=1) / np.sqrt(len(values))) if len(values) > 1 else float("nan")
        return float(values.mean()), error

    def difference(self, name: str, figure: str = "welfare") -> Estimate:
        """Return the mean difference to the base in the same markets, with a 95% bootstrap interval over markets."""
        return paired_difference(self[name].figures[figure], self.mechanisms[0].figures[figure])


def chosen_mechanisms(chosen: Sequence[str] | None, known: Collection[str], default: Sequence[str]) -> tuple[str, ...]:
    """Return the names of the mechanisms that are compared, each once; refuse unknown ones."""
    names = tuple(default) if chosen is None or not len(chosen) else tuple(chosen)
    for name in names:
        if name not in known:
            raise unknown_name("mechanism", name, known)
    require(len(set(names)) == len(names), "mechanism", ", ".join(names), "every name once")
    return names


def checked_count(name: str, value: int, low: int, high: int) -> int:
    """Return a whole number in a range, or refuse it."""
    number = integer_if_whole(value)
    if not (is_whole(number) and low <= number <= high):
        raise ParameterError(name, value, f"{low} to {high}")
    return int(number)


def checked_draw(markets: int, seed: int) -> tuple[int, int]:
    """Return a number of markets to draw and the seed of the draw, or refuse them."""
    return checked_count("markets", markets, 1, MOST_MARKETS), checked_count("seed", seed, 0, MAX_TRAINING_SEED)


def efficiencies(welfare: Floats, best: Floats) -> Floats:
    """Return welfare over the largest possible welfare, 1 where that is 0; all shapes are (markets,)."""
    return np.divide(welfare, best, out=np.ones_like(best), where=best > 0.0)
