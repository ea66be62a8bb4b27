"""A two-tier market of one's own agents: a table with a row for each wireless, mobile, fixed and aerial agent.

The columns of the pricing tier are those of `ioa_marl.markets.stackelberg.figures`, without the aerial agent that is
behind each fixed one there. Source: "Hybrid Stackelberg Game and Diffusion-based Auction for Two-tier Agentic AI Task
Offloading in Internet of Agents", Sections IV-A to IV-D.
"""

from __future__ import annotations

import csv
import io
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ioa_marl.foundations.compile import kernel
from ioa_marl.foundations.parameters import require
from ioa_marl.foundations.tables import Table, parse_table
from ioa_marl.markets.stackelberg import figures as pricing_figures
from ioa_marl.markets.stackelberg.figures import SMALLEST
from ioa_marl.markets.two_tier.draws import draw_wind, value_aerial
from ioa_marl.markets.two_tier.kernels import Market, Settings

if TYPE_CHECKING:
    from ioa_marl.markets.two_tier.params import TwoTierParams

LARGEST = 1e9
TIER_FIGURES: dict[str, tuple[str, float, float, str]] = {
    "capacity": ("fixed", SMALLEST, LARGEST, "Mbit"),
    "aerial_speed": ("aerial", SMALLEST, LARGEST**2, "cycles/s"),
    "aerial_cost": ("aerial", 0.0, LARGEST, "units/Mbit"),
    "hover_power": ("aerial", 0.0, LARGEST, "W"),
}
"""Agents that a figure belongs to, its smallest and largest value, and its unit."""
_OF_PRICING = tuple(name for name in pricing_figures.COLUMNS if name not in ("aerial_speed", "aerial_share"))
_COLUMNS = (*_OF_PRICING, *TIER_FIGURES)


@dataclass(frozen=True, eq=False)
class OwnTier:
    """Figures of the auction tier."""

    capacity: NDArray[np.float64]
    """Loads κ_j that the fixed agents can compute themselves in a round [Mbit], shape (fixed,)."""
    time_per_mbit: NDArray[np.float64]
    """λ/μ_k of the aerial agents [s/Mbit], shape (aerial,)."""
    unit_cost: NDArray[np.float64]
    """Unit costs of the aerial agents' computing [units/Mbit], shape (aerial,)."""
    hover_power: NDArray[np.float64]
    """Hover powers of the aerial agents in calm air [W], shape (aerial,)."""


@lru_cache(maxsize=16)
def table_of_pricing(text: str) -> str:
    """Return the rows and columns of a table that are those of the pricing tier, as the text of a table."""
    table = parse_table(text)
    table.require_columns(("agent", "mobile_of", "fixed_of"), _COLUMNS)
    kinds = table.texts("agent")
    kept = [i for i, kind in enumerate(kinds) if kind != "aerial"]
    names = [name for name in table.columns if name in _OF_PRICING]
    columns = [table.texts(name) for name in names]
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(names)
    writer.writerows([column[i] for column in columns] for i in kept)
    return out.getvalue()


def count_agents(text: str) -> dict[str, int]:
    """Return the numbers of wireless, mobile, fixed and aerial agents of a table.

    Raises
    ------
    ParameterError
        If the table has other columns or kinds, or lacks one.
    """
    kinds = parse_table(text).texts("agent") if "agent" in parse_table(text).columns else ()
    counts = pricing_figures.count_agents(parse_table(table_of_pricing(text)))
    require(
        "aerial" in kinds, "data", "a table without a row of an aerial agent", "one row for each agent of all kinds"
    )
    return {**counts, "aerial": kinds.count("aerial")}


def own_tier(params: TwoTierParams) -> OwnTier:
    """Return the figures of the auction tier of ``params.data``, which must be set.

    A figure that the table lacks is the middle of the range of the parameter of its name, that of ``capacity`` the
    geometric one, since capacities are drawn log-uniform.

    Raises
    ------
    ParameterError
        If a figure is out of its range, or in the row of an agent that has no such figure.
    """
    assert params.data is not None
    table = parse_table(params.data)
    given = {name: _of_table(table, name) for name in TIER_FIGURES if name in table.columns}
    middle = {
        "capacity": float(np.sqrt(params.capacity[0] * params.capacity[1])), "aerial_speed": params.aerial_speed,
        "aerial_cost": sum(params.aerial_cost) / 2.0, "hover_power": sum(params.hover_power) / 2.0,
    }  # fmt: skip
    values = {
        name: given.get(name, np.full(getattr(params, TIER_FIGURES[name][0]), value)) for name, value in middle.items()
    }
    speed = params.cycles_per_mbit / values["aerial_speed"]
    return OwnTier(values["capacity"], speed, values["aerial_cost"], values["hover_power"])


def _of_table(table: Table, name: str) -> NDArray[np.float64]:
    kind, low, high, unit = TIER_FIGURES[name]
    allowed = f"numbers from {low:g} to {high:g} [{unit}] in the rows of {kind} agents, and nothing in the others"
    return pricing_figures.column_of(table, name, kind, low, high, allowed)


def write_tier(market: Market, settings: Settings, mask: NDArray[np.bool_], tier: OwnTier) -> None:
    """Write the figures of the auction tier into the markets ``mask``, bool (batch,), with the wind of the episode."""
    market.tier.capacity[mask] = tier.capacity
    market.tier.time_per_mbit[mask] = tier.time_per_mbit
    market.tier.mean_aerial_time[mask] = tier.time_per_mbit.mean()
    market.tier.unit_cost[mask] = tier.unit_cost
    _value_markets(market, settings, mask, tier.hover_power)


@kernel
def _value_markets(
    market: Market, settings: Settings, mask: NDArray[np.bool_], calm_power: NDArray[np.float64]
) -> None:
    for b in range(mask.shape[0]):
        if mask[b]:
            wind = draw_wind(b, market, settings)
            for k in range(calm_power.shape[0]):
                market.tier.hover_power[b, k] = wind * calm_power[k]
                value_aerial(b, k, market, settings)
