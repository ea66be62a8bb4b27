"""Bids of one's own, task by task, under the rules of the second-bid auction: plain functions of arrays.

Source: Eqs. 13 to 15 of "Diffusion-based auction mechanism for efficient resource management in 6G-enabled vehicular
metaverses", and the rules that it compares with.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ioa_marl.foundations.parameters import ParameterError, is_number, require
from ioa_marl.markets.second_bid.params import LARGEST_VALUE, SecondBidParams
from ioa_marl.markets.second_bid.references import Tasks, best_threshold, rule_constants
from ioa_marl.markets.second_bid.state import UAV

RULES = ("second_price", "msb", "ratio_rule", "threshold", "oracle")
"""Rules by which ρ is chosen: 1; a constant; ζ E[v₀]/E[b₍₂₎]; 1 above a threshold of b₍₁₎; the best one per task."""


@dataclass(frozen=True)
class TraceOutcome:
    """What a rule makes of the bids of many tasks; all arrays have the shape (tasks,)."""

    rule: str
    """Name of the rule."""
    rho: NDArray[np.float64]
    """Price scaling factor ρ of each task."""
    winner: NDArray[np.int64]
    """Column of the station that serves each task, or ``UAV`` (−1)."""
    payment: NDArray[np.float64]
    """Payment of the winner: ρ·b₍₂₎ by a station, the contract price by the UAV [units]."""
    surplus: NDArray[np.float64]
    """Allocative surplus: the winning bid or ζ v₀ [units]."""

    @property
    def total_surplus(self) -> float:
        """Surplus of all tasks [units]."""
        return float(self.surplus.sum())

    @property
    def total_payment(self) -> float:
        """Payments for all tasks [units]."""
        return float(self.payment.sum())

    @property
    def uav_share(self) -> float:
        """Share of the tasks that the UAV serves."""
        return float(np.mean(self.winner == UAV))


def auction_traces(
    bids: ArrayLike,
    uav: ArrayLike,
    *,
    rules: Sequence[str] = RULES,
    rho: float | None = None,
    threshold: float | None = None,
    contract_price: float | None = None,
    params: SecondBidParams | None = None,
) -> dict[str, TraceOutcome]:
    """Auction the same tasks under several rules, from bids of one's own.

    Bids are taken for true valuations: the surplus of a task that a station wins is its bid. All rules but ``oracle``
    choose ρ without v₀ of the task, which only the oracle knows.

    Parameters
    ----------
    bids : array_like, shape (tasks, stations)
        Bid of each station for each task [units], from 0; two stations or more.
    uav : array_like, shape (tasks,)
        Valuation v₀ of each task by the UAV [units], from 0.
    rules : sequence of str, default all of `RULES`
        ``second_price`` (ρ = 1), ``msb`` (a constant ρ), ``ratio_rule`` (the ρ of the grid nearest to
        max(1, ζ E[v₀]/E[b₍₂₎])), ``threshold`` (ρ = 1 if b₍₁₎ exceeds the threshold, else the largest ρ of the grid),
        and ``oracle`` (the ρ of the grid with the largest surplus of the task; ties go to the smallest).
    rho : float, optional
        ρ of ``msb``, at least 1. Default: the constant of the grid with the largest surplus of these very tasks.
    threshold : float, optional
        Threshold of ``threshold`` [units], from 0. Default: the one with the largest surplus of these very tasks.
    contract_price : float, optional
        What the UAV pays for a task b₀ [units], from 0. Default: the mean of ``uav``, which maximises Eq. 13.
    params : SecondBidParams, optional
        Grid of ρ (``levels``), bargaining power ζ (``uav_weight``) and ``rivals``. Default: those of ``paper``.

    Returns
    -------
    dict of TraceOutcome
        By rule, in the order of ``rules``.

    Raises
    ------
    ParameterError
        If an argument is invalid; the message is one line that names it and what is allowed.

    See Also
    --------
    ioa_marl.evaluation.mechanisms.compare_single_item : The same with regrets, first price and intervals.

    Examples
    --------
    Three tasks of two stations and a UAV. Second price gives every task to a station, and ρ = 2.1 two tasks to the UAV,
    one of them wrongly:

    >>> found = auction_traces(bids=[[8.0, 5.0], [6.0, 3.0], [2.0, 9.0]], uav=[10.0, 4.0, 7.0], rho=2.1)
    >>> {name: outcome.total_surplus for name, outcome in found.items()}
    {'second_price': 23.0, 'msb': 23.0, 'ratio_rule': 25.0, 'threshold': 23.0, 'oracle': 25.0}
    >>> found["oracle"].winner, found["oracle"].rho.round(2), found["oracle"].payment
    (array([-1,  0,  1]), array([2., 1., 1.]), array([7., 3., 2.]))
    """
    params = SecondBidParams() if params is None else params
    bid, value = _checked(bids, uav)
    for name in rules:
        require(name in RULES, "rules", name, ", ".join(RULES))
    require(rho is None or (is_number(rho) and rho >= 1.0), "rho", rho, "a number of at least 1")
    _check_money("threshold", threshold)
    _check_money("contract_price", contract_price)
    tasks = Tasks.of_bids(bid, value)
    constants = rule_constants(tasks, params)
    chosen: dict[str, Callable[[], NDArray[np.float64]]] = {
        "second_price": lambda: np.ones(len(bid)),
        "msb": lambda: np.full(len(bid), constants.rho if rho is None else float(rho)),
        "ratio_rule": lambda: np.full(len(bid), params.nearest_rho(constants.ratio)),
        "threshold": lambda: _threshold_rhos(tasks, params, threshold),
        "oracle": lambda: _best_rhos(tasks, params),
    }
    price = float(value.mean()) if contract_price is None else float(contract_price)
    return {name: _auctioned(name, chosen[name](), bid, tasks, params, price) for name in rules}


def _threshold_rhos(tasks: Tasks, params: SecondBidParams, threshold: float | None) -> NDArray[np.float64]:
    """Return ρ of each task by a threshold of the highest bid."""
    limit = best_threshold(tasks, params) if threshold is None else threshold
    return np.where(tasks.first[0] > limit, 1.0, params.rhos()[-1])


def _best_rhos(tasks: Tasks, params: SecondBidParams) -> NDArray[np.float64]:
    """Return the ρ of the grid with the largest surplus of each task; ties go to the smallest."""
    surplus = np.array([tasks.surplus(rho, params.uav_weight, params.rivals)[0] for rho in params.rhos()])
    return np.asarray(params.rhos()[surplus.argmax(axis=0)])


def _auctioned(
    rule: str, rho: NDArray[np.float64], bids: NDArray[np.float64], tasks: Tasks, params: SecondBidParams, price: float
) -> TraceOutcome:
    """Return the outcome of the tasks at these factors."""
    rival = tasks.rival(params.rivals)[0]
    station_wins = tasks.first[0] > rho * rival
    return TraceOutcome(
        rule=rule,
        rho=rho,
        winner=np.where(station_wins, bids.argmax(axis=1), UAV),
        payment=np.where(station_wins, rho * rival, price),
        surplus=tasks.surplus(rho, params.uav_weight, params.rivals)[0],
    )


def _checked(bids: ArrayLike, uav: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return bids, (tasks, stations), and valuations of the UAV, (tasks,), or refuse them."""
    numbers = f"numbers from 0 to {LARGEST_VALUE:g}"
    allowed = {
        "bids": f"{numbers} of shape (tasks, stations), one row for each task, of two stations or more",
        "uav": f"{numbers}, one for each task",
    }
    arrays = []
    for name, values in (("bids", bids), ("uav", uav)):
        try:
            array = np.asarray(values, np.float64)
        except (TypeError, ValueError) as error:
            raise ParameterError(name, values, allowed[name]) from error
        wrong = ~((array >= 0.0) & (array <= LARGEST_VALUE))
        where = f" of task {np.argwhere(wrong)[0][0]}" if wrong.any() and array.ndim else ""
        require(not wrong.any(), name, f"{array[wrong][0] if wrong.any() else ''}{where}", allowed[name])
        arrays.append(array)
    bid, value = arrays
    shape = f"array of shape {bid.shape}"
    require(bid.ndim == 2 and bid.shape[0] > 0 and bid.shape[1] >= 2, "bids", shape, allowed["bids"])
    require(value.shape == bid.shape[:1], "uav", f"array of shape {value.shape}", f"{allowed['uav']}: {len(bid)}")
    return bid, value


def _check_money(name: str, amount: float | None) -> None:
    """Refuse an amount that is below 0 or no number."""
    require(amount is None or (is_number(amount) and amount >= 0.0), name, amount, "a number of at least 0")
