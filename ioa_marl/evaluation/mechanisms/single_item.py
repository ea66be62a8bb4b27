"""Auctions of one item side by side: second price, the modified second bid at some ρ, first price.

The item is a computing task. Stations bid for it, and a UAV serves it at a contract price if no station wins; see
`ioa_marl.markets.second_bid`. All stations tell the truth, so that first price is shown at bids at which nobody would
bid in it: its regret says so.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from ioa_marl.evaluation.audits.second_bid import Rule, fixed
from ioa_marl.evaluation.mechanisms.comparison import (
    ROUNDING,
    Comparison,
    Floats,
    MechanismFigures,
    Progress,
    checked_count,
    checked_draw,
    chosen_mechanisms,
    efficiencies,
)
from ioa_marl.foundations.parameters import is_number, require
from ioa_marl.foundations.seeds import COMPARISON_SEED
from ioa_marl.markets.second_bid import drivers
from ioa_marl.markets.second_bid.auction import allocate
from ioa_marl.markets.second_bid.params import SecondBidParams
from ioa_marl.markets.second_bid.params import preset as preset_of
from ioa_marl.markets.second_bid.references import RuleConstants, Tasks, calibration, rule_constants
from ioa_marl.markets.second_bid.state import UAV

MECHANISMS = ("second_price", "msb", "ratio_rule", "threshold", "first_price")
"""All mechanisms of this family, in the order in which they are compared."""
GRID = 31
"""Default number of evenly spaced reports."""
HIGHEST = 3.0
"""Highest evenly spaced report, as a multiple of the highest value of a market."""
EPSILON = 1e-6
"""How closely a station over- or undercuts another, relative to the highest value of the market."""
MEANINGS = {
    "revenue": "revenue: what the auctioneer receives from the station that wins, or from the UAV its contract price",
    "budget_surplus": "budget: the same, since the auctioneer pays nobody",
    "regret": "regret: a lower bound, the largest gain of any station by up to {reports} reports, all others truthful",
    "messages": "messages: sealed bids, one of each station",
}


@dataclass(frozen=True)
class ItemValues:
    """True values of one item in a batch of markets."""

    stations: tuple[Floats, ...]
    """Values of the stations of each market [units], shape (stations,) each."""
    uav: Floats
    """Value of the UAV in each market [units], shape (markets,)."""
    source: str
    """Where they come from, in words."""
    own: bool = False
    """Whether they are a user's own and not drawn from a preset; rules are then calibrated on these very values."""

    @classmethod
    def of(cls, stations: Sequence[ArrayLike], uav: ArrayLike = 0.0, source: str = "own values") -> ItemValues:
        """Return values from an array for each market.

        Parameters
        ----------
        stations : sequence of array_like, shape (stations,) each
            Values of the stations of each market [units], finite and at least 0, of two stations or more.
        uav : array_like, broadcastable to (markets,), default 0
            Values of the UAV [units], finite and at least 0.
        source : str, default "own values"
            Where they come from, in words.
        """
        values = tuple(np.asarray(of_market, np.float64) for of_market in stations)
        require(len(values) > 0, "markets", len(values), "one market or more")
        for of_market in values:
            valid = of_market.ndim == 1 and of_market.size >= 2 and bool(np.all(np.isfinite(of_market)))
            require(
                valid and of_market.min() >= 0.0, "stations", of_market.tolist(), "finite numbers from 0, two or more"
            )
        of_uav = np.broadcast_to(np.asarray(uav, np.float64), (len(values),))
        require(bool(np.all(np.isfinite(of_uav) & (of_uav >= 0.0))), "uav", of_uav.tolist(), "finite numbers from 0")
        return cls(values, of_uav, source, own=True)

    @classmethod
    def drawn(cls, preset: str = "paper", markets: int = 200, seed: int = 0) -> ItemValues:
        """Return the values of the first task of random markets of a preset, from streams that nothing else uses.

        Where resources belong to an instance, every market is one of its own.
        """
        markets, seed = checked_draw(markets, seed)
        params = preset_of(preset)
        state = params.allocate(markets, 1)
        state.seed[:], state.stream[:] = COMPARISON_SEED + seed, np.arange(markets)
        state.instance[:] = COMPARISON_SEED + seed * 2**20 + np.arange(markets)
        drivers.draw_tasks(state, params.record(), np.ones(markets, np.bool_))
        return cls(tuple(state.value[:, 1:].copy()), state.value[:, 0].copy(), f"preset {preset}, seed {seed}")

    def tasks(self) -> Tasks:
        """Return what the calibration of rules needs of the values, as one market of many tasks."""
        ordered = [np.sort(values) for values in self.stations]
        first, second, lowest = (np.array([[values[i] for values in ordered]]) for i in (-1, -2, 0))
        return Tasks(self.uav[None], first, second, lowest, self.uav[None])


class ItemMechanism(NamedTuple):
    """A mechanism for one item."""

    run: Callable[[Floats, float], tuple[int, float]]
    """Maps the stations' bids, shape (stations,), and the UAV's value [units] to the index of the winner, or ``UAV``,
    and its payment [units]."""
    setting: str
    """Its settings, in words."""


def _constants(values: ItemValues, params: SecondBidParams) -> RuleConstants:
    """Return the constants of the rules: best for own values themselves, or calibrated on other markets of a preset."""
    if values.own:
        return rule_constants(values.tasks(), params)
    found = calibration(params)
    return RuleConstants(found.contract_price, float(params.rhos()[found.constant]), found.ratio, found.threshold)


def _mechanism(
    name: str, constants: RuleConstants, params: SecondBidParams, rho: float | None, threshold: float | None
) -> ItemMechanism:
    """Return the mechanism with this name."""
    rhos, first_price = params.rhos(), name == "first_price"
    limit = constants.threshold if threshold is None else threshold
    factor = 1.0
    if name == "msb":
        factor = constants.rho if rho is None else rho
    elif name == "ratio_rule":
        factor = params.nearest_rho(constants.ratio)
    rule: Rule = fixed(factor)
    if name == "threshold":
        rule = lambda bids: 1.0 if bids.max() > limit else float(rhos[-1])  # noqa: E731

    def run(bids: Floats, uav: float) -> tuple[int, float]:
        rival = uav if params.rivals == "providers" else 0.0
        outcome = allocate(bids, rule(bids), constants.contract_price, rival)
        own_bid = first_price and outcome.winner != UAV
        return outcome.winner, float(bids[outcome.winner]) if own_bid else outcome.payment

    settings = {"msb": f"ρ {factor:.4g}", "ratio_rule": f"ρ {factor:.4g}", "threshold": f"threshold {limit:.4g}"}
    return ItemMechanism(run, settings.get(name, ""))


def candidates(values: Floats, grid: int) -> Floats:
    """Return the bids that every station of a market tries, increasing and without repetition [units].

    They are evenly spaced from 0 to three times the highest value; and all values, each also a little below and above.

    Parameters
    ----------
    values : ndarray of float64, shape (stations,)
        True values [units].
    grid : int
        Number of evenly spaced bids.

    Returns
    -------
    ndarray of float64, shape (bids,)
    """
    epsilon = EPSILON * values.max()
    tried = np.concatenate(
        [np.linspace(0.0, HIGHEST * values.max(), grid), values - epsilon, values, values + epsilon]
    )  # fmt: skip
    return np.unique(np.maximum(tried, 0.0))


def largest_gain(mechanism: ItemMechanism, values: Floats, uav: float, tried: Floats) -> float:
    """Return the largest gain of any station from another bid, at least 0: a lower bound of the regret [units]."""
    winner, payment = mechanism.run(values, uav)
    largest = 0.0
    for station, value in enumerate(values):
        truth = value - payment if winner == station else 0.0
        bids = values.copy()
        for bid in tried:
            bids[station] = bid
            winner_then, payment_then = mechanism.run(bids, uav)
            gain = (value - payment_then if winner_then == station else 0.0) - truth
            largest = max(largest, gain)
    return float(largest)


def compare_single_item(
    values: ItemValues | None = None,
    *,
    preset: str = "paper",
    markets: int = 200,
    seed: int = 0,
    mechanisms: Sequence[str] | None = None,
    rho: float | None = None,
    threshold: float | None = None,
    grid: int = GRID,
    progress: Progress | None = None,
) -> Comparison:
    """Run the same bids under several auctions of one item.

    Parameters
    ----------
    values : ItemValues, optional
        Own values. Default: drawn ones.
    preset : str, default "paper"
        Preset of the second-bid market, for the draw and the grid of ρ.
    markets, seed : int, default 200 and 0
        Number of markets that are drawn, one task each, and the seed of the draw.
    mechanisms : sequence of str, optional
        Names from `MECHANISMS`; the first one is the base of the paired differences. Default: all of them.
    rho : float, optional
        ρ of ``msb``, at least 1. Default: the best constant of the market's grid.
    threshold : float, optional
        Threshold of ``threshold`` [units], from 0: ρ is 1 if the highest bid exceeds it, else the largest one. Default:
        the best one.
    grid : int, default 31
        Number of evenly spaced bids that a station tries.
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
    >>> values = ItemValues.of([[8.0, 5.0], [6.0, 3.0]], uav=[10.0, 1.0])
    >>> found = compare_single_item(values, mechanisms=["second_price", "msb", "first_price"], rho=1.8)
    >>> [found.mean(row.name, "welfare")[0] for row in found.mechanisms]
    [7.0, 8.0, 7.0]
    >>> found.mean("second_price", "regret")[0], round(found.mean("first_price", "regret")[0], 3)
    (0.0, 3.0)
    """
    names = chosen_mechanisms(mechanisms, MECHANISMS, MECHANISMS)
    require(rho is None or (is_number(rho) and rho >= 1.0), "rho", rho, "a number of at least 1")
    valid = threshold is None or (is_number(threshold) and threshold >= 0.0)
    require(valid, "threshold", threshold, "a number of at least 0")
    grid = checked_count("grid", grid, 2, 1000)
    params = preset_of(preset)
    values = ItemValues.drawn(preset, markets, seed) if values is None else values
    constants = _constants(values, params)
    tried = [candidates(of_market, grid) for of_market in values.stations]
    rows = [
        _figures(name, _mechanism(name, constants, params, rho, threshold), values, params.uav_weight, tried, progress)
        for name in names
    ]
    reports = max(map(len, tried))
    meanings = {key: text.format(reports=reports) for key, text in MEANINGS.items()}
    return Comparison("single_item", values.source, tuple(rows), reports, meanings)


def _figures(
    name: str, mechanism: ItemMechanism, values: ItemValues, uav_weight: float, tried: Sequence[Floats],
    progress: Progress | None,
) -> MechanismFigures:  # fmt: skip
    """Return the figures of a mechanism."""
    markets = len(values.stations)
    welfare, paid, regret, losses = (np.zeros(markets) for _ in range(4))
    for market, (stations, uav) in enumerate(zip(values.stations, values.uav.tolist(), strict=True)):
        winner, payment = mechanism.run(stations, uav)
        slack = ROUNDING * (1.0 + stations.max())
        welfare[market] = uav_weight * uav if winner == UAV else stations[winner]
        paid[market] = payment
        losses[market] = winner != UAV and payment > stations[winner] + slack
        gain = largest_gain(mechanism, stations, uav, tried[market])
        regret[market] = gain if gain > slack else 0.0
        if progress is not None:
            progress(name, market + 1, markets)
    best = np.array([max(s.max(), uav_weight * uav) for s, uav in zip(values.stations, values.uav, strict=True)])
    figures = {
        "welfare": welfare,
        "efficiency": efficiencies(welfare, best),
        "revenue": paid,
        "budget_surplus": paid,
        "regret": regret,
        "ir_violations": losses,
        "messages": np.array([float(len(stations)) for stations in values.stations]),
    }
    return MechanismFigures(name, figures, mechanism.setting)
