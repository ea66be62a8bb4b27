"""What the plain functions of a Stackelberg market return: outcomes, best responses, equilibria and traces."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

PURE, NONE_FOUND = "pure equilibrium", "none found"


@dataclass(frozen=True)
class Outcome:
    """Shares, utilities, profits and sales of one round at given prices."""

    shares: NDArray[np.float64]
    """Share of each wireless agent that goes to its mobile agent, shape (wireless,); 0 where it buys nothing."""
    buys: NDArray[np.bool_]
    """Which wireless agents buy, shape (wireless,)."""
    utilities: NDArray[np.float64]
    """Utility of each wireless agent [units], shape (wireless,)."""
    mobile_profits: NDArray[np.float64]
    """Profit of each mobile agent [units], shape (mobile,)."""
    fixed_profits: NDArray[np.float64]
    """Profit of each fixed agent [units], shape (fixed,)."""
    mobile_sales: NDArray[np.float64]
    """Load bought from each mobile agent [Mbit], shape (mobile,)."""
    fixed_sales: NDArray[np.float64]
    """Load bought from each fixed agent [Mbit], shape (fixed,)."""

    @property
    def leader_profit(self) -> float:
        """Total profit of the leaders [units]."""
        return float(self.mobile_profits.sum() + self.fixed_profits.sum())


@dataclass(frozen=True)
class BestResponse:
    """The best price of one leader against the others' prices."""

    price: float
    """Best unit price [units/Mbit]."""
    profit: float
    """Profit at that price [units]."""
    present_profit: float
    """Profit at the price before the deviation [units]."""


@dataclass(frozen=True)
class NashConv:
    """The gain of each leader by its best deviation alone."""

    mobile_gains: NDArray[np.float64]
    """Gain of each mobile agent [units], shape (mobile,)."""
    fixed_gains: NDArray[np.float64]
    """Gain of each fixed agent [units], shape (fixed,)."""

    @property
    def total(self) -> float:
        """Sum of all gains [units]: 0 at an equilibrium."""
        return float(self.mobile_gains.sum() + self.fixed_gains.sum())


@dataclass(frozen=True)
class Trace:
    """The first try of a search, Algorithm 2 from the given start: row 0 is the start, row r is after round r."""

    mobile_prices: NDArray[np.float64]
    """Unit price of each mobile agent [units/Mbit], shape (rounds + 1, mobile)."""
    fixed_prices: NDArray[np.float64]
    """Unit price of each fixed agent [units/Mbit], shape (rounds + 1, fixed)."""
    shares: NDArray[np.float64]
    """Share of each wireless agent that goes to its mobile agent, shape (rounds + 1, wireless); see `Outcome`."""
    mobile_profits: NDArray[np.float64]
    """Profit of each mobile agent [units], shape (rounds + 1, mobile)."""
    fixed_profits: NDArray[np.float64]
    """Profit of each fixed agent [units], shape (rounds + 1, fixed)."""


@dataclass(frozen=True)
class Equilibrium:
    """Result of the search for equilibria, and the outcome at its prices."""

    converged: bool
    """Whether the prices are an equilibrium: NashConv is at most ``nash_tolerance`` times the leaders' total profit."""
    rounds: int
    """Number of rounds of the first try, Algorithm 2 from the given start."""
    mobile_prices: NDArray[np.float64]
    """Unit price of each mobile agent [units/Mbit], shape (mobile,).

    Of several equilibria it is the one of lowest total profit; without one, it is the prices of lowest NashConv.
    """
    fixed_prices: NDArray[np.float64]
    """Unit price of each fixed agent [units/Mbit], shape (fixed,)."""
    nash_conv: float
    """NashConv at these prices [units]."""
    outcome: Outcome
    """Shares, utilities and profits at these prices."""
    tries: int
    """Number of tries: Algorithm 2 from several starts and, where it found nothing, damped best responses."""
    equilibria: tuple[tuple[NDArray[np.float64], NDArray[np.float64]], ...]
    """Prices of the mobile and of the fixed agents [units/Mbit] at each different equilibrium that was found."""
    trace: Trace | None = None
    """Prices, shares and profits round by round, if they were asked for."""

    @property
    def label(self) -> str:
        """``pure equilibrium``, with the number of those found, or ``none found`` with what was tried."""
        if self.converged:
            several = len(self.equilibria)
            return PURE if several == 1 else f"{PURE}, the one of lowest profit of {several} that were found"
        profit = self.outcome.leader_profit
        relative = f" ({self.nash_conv / profit:.2%} of total profit)" if profit > 0.0 else ""
        return f"{NONE_FOUND}: lowest NashConv {self.nash_conv:.4g}{relative} after {self.tries} tries"


@dataclass(frozen=True)
class JointMaximum:
    """The prices at which all leaders together earn most."""

    mobile_prices: NDArray[np.float64]
    """Unit price of each mobile agent [units/Mbit], shape (mobile,)."""
    fixed_prices: NDArray[np.float64]
    """Unit price of each fixed agent [units/Mbit], shape (fixed,)."""
    profit: float
    """Total profit of the leaders [units]."""
    at_cap: float
    """Share of the leaders with a sale whose price is ``price_cap``."""
    is_lower_bound: bool
    """Whether the profit is only a lower bound: with more than two leaders the search is not exhaustive."""
