"""Figures of one's own for a Stackelberg market: their names, units and bounds, checked, from arrays or from a table.

Source of the quantities: Sections IV-A to IV-C of "Hybrid Stackelberg Game and Diffusion-based Auction for Two-tier
Agentic AI Task Offloading in Internet of Agents".
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ioa_marl.foundations.parameters import ParameterError, require
from ioa_marl.foundations.tables import Table
from ioa_marl.markets.stackelberg import drivers
from ioa_marl.markets.stackelberg.kernels import MarketState, list_members

if TYPE_CHECKING:
    from ioa_marl.markets.stackelberg.params import StackelbergParams

LEADERS = ("mobile", "fixed")
"""Sides of the market, in the order of the arrays' axis."""
MOST_EFFICIENCY = 64.0
"""Largest spectral efficiency [bit/s/Hz] that is accepted; 2 to this power is still an exact number."""
SMALLEST, LARGEST = 1e-9, 1e9
"""Accepted range of positive parameters."""
Figures = dict[str, NDArray[np.float64]]
"""Figures by name, each with one number for each of its agents."""
FIGURES: dict[str, tuple[str, float, float, str]] = {
    "workload": ("wireless", SMALLEST, LARGEST, "Mbit"),
    "upload_time": ("wireless", SMALLEST, LARGEST, "s"),
    "tolerable_delay": ("wireless", 0.0, LARGEST, "s"),
    "qoe_weight": ("wireless", SMALLEST, LARGEST, "units"),
    "actuator_ratio": ("wireless", SMALLEST, LARGEST, "a ratio"),
    "bandwidth": ("wireless", SMALLEST, LARGEST, "MHz"),
    "mobile_energy": ("wireless", 0.0, LARGEST, "units"),
    "fixed_energy": ("wireless", 0.0, LARGEST, "units"),
    "relay_time": ("wireless", 0.0, LARGEST, "s"),
    "mobility_factor": ("wireless", 0.0, LARGEST, "a ratio"),
    "mobile_speed": ("mobile", SMALLEST, LARGEST**2, "cycles/s"),
    "mobile_cost": ("mobile", 0.0, LARGEST, "units/Mbit"),
    "fixed_speed": ("fixed", SMALLEST, LARGEST**2, "cycles/s"),
    "fixed_cost": ("fixed", 0.0, LARGEST, "units/Mbit"),
    "aerial_speed": ("fixed", SMALLEST, LARGEST**2, "cycles/s"),
    "aerial_share": ("fixed", 0.0, 1.0, "a share"),
}
"""Agents that a figure belongs to, its smallest and largest value, and its unit."""
OF_A_TABLE: dict[str, tuple[str, float, float, str]] = {
    "mobile_gain": ("wireless", 1e-30, 1.0, "a ratio, not dB"),
    "fixed_gain": ("wireless", 1e-30, 1.0, "a ratio, not dB"),
    "noise_power": ("wireless", 1e-30, LARGEST, "W"),
    "energy_price": ("wireless", 0.0, LARGEST, "units/J"),
    "idle_share": ("mobile", 0.0, 1.0, "a share"),
}
"""Figures that only a table has: those from which `link_energy` computes the energies, and the idle resources of mobile
agents, from which the mobility factor of a dynamic market follows."""
_OF_LINKS = ("mobile_gain", "fixed_gain", "noise_power", "energy_price")
COLUMNS = ("agent", "mobile_of", "fixed_of", *FIGURES, *OF_A_TABLE)
"""Columns that a table may have."""
_SHARES = 1001
"""Shares at which it is checked whether a wireless agent can meet its deadline."""


def link_energy(
    gain: ArrayLike, upload_time: ArrayLike, noise_power: ArrayLike, energy_price: ArrayLike
) -> NDArray[np.float64]:
    """Return the energy cost of links for 1 bit/s/Hz, ζ t_up n_B/g, as `market_from` takes it.

    Parameters
    ----------
    gain : array_like
        Channel power gain g of each link, as a ratio, above 0; see `ioa_marl.markets.common.physics.db_to_ratio`.
    upload_time : array_like
        Transmission time t_up of its wireless agent [s].
    noise_power : array_like
        Noise power n_B in its bandwidth [W].
    energy_price : array_like
        Price ζ of energy [units/J]. All four are broadcast against each other.

    Returns
    -------
    ndarray of float64
        Energy costs [units].

    Raises
    ------
    ParameterError
        If an argument is invalid; the message names it and what is allowed.

    References
    ----------
    Eqs. 1-3 of the source; see `ioa_marl.markets.common.physics.transmission_energy`.

    Examples
    --------
    >>> link_energy(gain=[1e-11, 2e-11], upload_time=0.5, noise_power=1e-13, energy_price=800.0)
    array([4., 2.])
    """
    given = {"gain": gain, "upload_time": upload_time, "noise_power": noise_power, "energy_price": energy_price}
    bounds = {"gain": 1e-30, "noise_power": 1e-30}
    arrays = [_numbers(name, values, bounds.get(name, 0.0), LARGEST) for name, values in given.items()]
    try:
        g, time, noise, price = np.broadcast_arrays(*arrays)
    except ValueError as error:
        shapes = ", ".join(str(array.shape) for array in arrays)
        raise ParameterError(
            "gain", f"array of shape {arrays[0].shape}", f"shapes that fit; they are {shapes}"
        ) from error
    return np.asarray(price * time * noise / g)


def _numbers(name: str, values: ArrayLike, low: float, high: float, allowed: str = "") -> NDArray[np.float64]:
    """Return ``values`` as an array of numbers from ``low`` to ``high``; ``allowed`` is for the message."""
    allowed = allowed or f"finite numbers from {low:g} to {high:g}"
    try:
        array = np.asarray(values, np.float64)
    except (TypeError, ValueError) as error:
        raise ParameterError(name, values, allowed) from error
    require(bool(np.all((array >= low) & (array <= high))), name, values, allowed)
    return array


def complete(params: StackelbergParams, given: Mapping[str, ArrayLike]) -> Figures:
    """Return all figures of all agents: those that are given, and the others from the parameters of their names.

    A parameter that is a range counts with its middle; ``spread`` is not used.

    Raises
    ------
    ParameterError
        If a figure that is given has a wrong shape or value.
    """
    values = {name: _figure(params, name, given) for name in FIGURES}
    require(
        params.latency_case != "aa" or bool(np.all(values["aerial_share"] > 0.0)), "aerial_share",
        values["aerial_share"], "positive shares while latency_case=aa",
    )  # fmt: skip
    return values


def _figure(params: StackelbergParams, name: str, given: Mapping[str, ArrayLike]) -> NDArray[np.float64]:
    agents, low, high, unit = FIGURES[name]
    count = getattr(params, agents)
    allowed = f"one number or {count}, one for each {agents} agent [{unit}], finite and from {low:g} to {high:g}"
    parameter = getattr(params, "mobility_offset" if name == "mobility_factor" else name)
    values = given[name] if name in given else np.mean(parameter)
    array = _numbers(name, values, low, high, allowed)
    require(array.shape in ((), (count,)), name, f"array of shape {array.shape}", allowed)
    return np.array(np.broadcast_to(array, (count,)))


def reachable(params: StackelbergParams, values: Figures, reach: NDArray[np.int32]) -> list[NDArray[np.int32]]:
    """Return links to check: those given and, where wireless agents change leaders, every worst case.

    Of mobile agents the slowest is the worst for all; of fixed agents it depends on the aerial agent behind, so each is
    a case.
    """
    if params.mobile_radius is None and params.fixed_radius is None:
        return [reach]
    mobile = reach[0]
    if params.mobile_radius is not None:
        mobile = np.full_like(mobile, np.argmin(values["mobile_speed"]))
    fixed = [reach[1]] if params.fixed_radius is None else [np.full_like(reach[1], j) for j in range(params.fixed)]
    return [np.stack([mobile, other]) for other in fixed]


def links(params: StackelbergParams, side: int, values: ArrayLike) -> NDArray[np.int32]:
    """Return the leader of a side that each wireless agent can buy from, int32 (wireless,), checked."""
    leaders = getattr(params, LEADERS[side])
    name = f"{LEADERS[side]}_of"
    allowed = f"{params.wireless} whole numbers from 0 to {leaders - 1}, the {LEADERS[side]} agent of each wireless one"
    array = _numbers(name, values, 0.0, leaders - 1.0, allowed)
    require(array.shape == (params.wireless,), name, f"array of shape {array.shape}", allowed)
    require(bool(np.all(array == np.round(array))), name, values, allowed)
    return array.astype(np.int32)


def require_feasible(params: StackelbergParams, values: Figures, state: MarketState, tasks: int = 1) -> None:
    """Refuse a market in which a wireless agent has no share with 1 + ε − t > 0, or in which E may overflow.

    Parameters
    ----------
    params, values : StackelbergParams and dict of ndarray
        Parameters and figures, for the message.
    state : MarketState
        The market, in row 0.
    tasks : int, default 1
        Largest number of tasks in a round.
    """
    traits, record = state.traits[0], params.record()
    efficiency = traits["exponent"] / math.log(2.0)
    worst = int(np.argmax(efficiency))
    require(
        efficiency[worst] <= MOST_EFFICIENCY, "bandwidth", f"{values['bandwidth'][worst]:g} for wireless agent {worst}",
        f"values with spectral efficiencies workload/(bandwidth · upload_time) up to {MOST_EFFICIENCY:g}; "
        f"here it is {efficiency[worst]:.4g} bit/s/Hz",
    )  # fmt: skip
    traits["load"] *= tasks
    shortest, out = np.full(params.wireless, np.inf), np.zeros((1, params.wireless))
    for share in np.linspace(0.0, 1.0, _SHARES):
        drivers.latencies_at(state, record, np.full_like(out, share), out)
        shortest = np.minimum(shortest, out[0])
    traits["load"] /= tasks
    worst = int(np.argmax(shortest - traits["slack"]))
    require(
        shortest[worst] < traits["slack"][worst],
        "workload", f"{values['workload'][worst]:g} for wireless agent {worst}",
        f"values with 1 + ε − t > 0 for some share: its shortest computing latency is {shortest[worst]:.4g} s, and "
        f"1 + tolerable_delay − upload_time is {traits['slack'][worst]:.4g} s",
    )  # fmt: skip


def write_figures(
    params: StackelbergParams, values: Figures, reach: NDArray[np.int32], state: MarketState, market: int = 0
) -> None:
    """Write figures into the arrays of a market, which hold what utilities are made of.

    Parameters
    ----------
    params : StackelbergParams
        Parameters.
    values : dict of ndarray
        All figures, see `complete`.
    reach : ndarray of int32, shape (2, wireless)
        The mobile and the fixed agent of each wireless agent.
    state : MarketState
        Where they go.
    market : int, default 0
        Index of the market in the batch.
    """
    b, nominal = market, state.nominal[market]
    for first in range(0, state.reach.shape[1], 2):  # with handover also the first links and those of the last round
        state.reach[b, first : first + 2] = reach
    nominal["load"] = values["workload"]
    nominal["slack"] = 1.0 + values["tolerable_delay"] - values["upload_time"]
    nominal["qoe_weight"] = values["qoe_weight"] * np.log1p(values["actuator_ratio"])
    nominal["exponent"] = values["workload"] / (values["bandwidth"] * values["upload_time"]) * math.log(2.0)
    nominal["mobile_energy"], nominal["fixed_energy"] = values["mobile_energy"], values["fixed_energy"]
    nominal["mobility_factor"] = values["mobility_factor"]
    state.traits[b] = nominal
    state.relay_time[b] = values["relay_time"]
    state.idle_share[b] = values.get("idle_share", 0.0)
    state.offloading_ratio[b], state.served_fraction[b] = values["aerial_share"], 1.0
    state.aerial_time_per_mbit[b] = params.cycles_per_mbit / values["aerial_speed"]
    for side, leaders in enumerate(LEADERS):
        count = getattr(params, leaders)
        state.time_per_mbit[b, side, :count] = params.cycles_per_mbit / values[f"{leaders}_speed"]
        state.cost[b, side, :count] = values[f"{leaders}_cost"]
        list_members(b, side, count, state)


def bounds_of(params: StackelbergParams, values: Figures) -> dict[str, float]:
    """Return the bounds of given figures by which observations are scaled; see `StackelbergRecord`."""
    variation, tasks = (params.fading_limit, params.max_tasks) if params.dynamics else (1.0, 1)
    bounds = {
        "most_load": float(values["workload"].max()) * tasks,
        "most_slack": float(np.max(1.0 + values["tolerable_delay"] - values["upload_time"])),
        "most_qoe_weight": float(np.max(values["qoe_weight"] * np.log1p(values["actuator_ratio"]))),
        "most_aerial_time": params.cycles_per_mbit / float(values["aerial_speed"].min()),
    }
    for side in LEADERS:
        cost, energy = values[f"{side}_cost"], values[f"{side}_energy"]
        bounds[f"least_{side}_cost"], bounds[f"most_{side}_cost"] = float(cost.min()), float(cost.max())
        bounds[f"least_{side}_energy"] = float(energy.min()) / variation
        bounds[f"most_{side}_energy"] = float(energy.max()) * variation
        bounds[f"most_{side}_time"] = params.cycles_per_mbit / float(values[f"{side}_speed"].min())
    bounds["most_energy"] = max(bounds["most_mobile_energy"], bounds["most_fixed_energy"]) * tasks
    factor = values["mobility_factor"]
    bounds["least_factor"], bounds["most_factor"] = float(factor.min()), float(factor.max())
    if params.dynamics:
        bounds["least_factor"] = params.mobility_offset
        bounds["most_factor"] = params.mobility_offset + params.mobility_weight
    return bounds


def count_agents(table: Table) -> dict[str, int]:
    """Return the numbers of wireless, mobile and fixed agents of a table, whose rows are the agents.

    Raises
    ------
    ParameterError
        If the table has unknown columns, lacks one, or has a kind of agents that is unknown or missing.
    """
    table.require_columns(("agent", "mobile_of", "fixed_of"), COLUMNS)
    kinds, known = table.texts("agent"), ("wireless", *LEADERS)
    table.require("agent", np.array([kind in known for kind in kinds]), "wireless, mobile or fixed")
    for kind in known:
        require(
            kind in kinds, "data", f"a table without a row of a {kind} agent", "one row for each agent of all kinds"
        )
    return {kind: kinds.count(kind) for kind in known}


def figures_of_table(params: StackelbergParams, table: Table) -> tuple[Figures, NDArray[np.int32]]:
    """Return all figures of a table and the links of its wireless agents.

    Parameters
    ----------
    params : StackelbergParams
        Parameters, for the figures that the table lacks.
    table : Table
        One row for each agent, in any order of the kinds: ``agent`` (wireless, mobile or fixed), ``mobile_of`` and
        ``fixed_of`` (numbers of leaders from 0, in the order of their rows), and figures in the rows of their agents.

    Returns
    -------
    figures : dict of ndarray
        See `complete`; with ``dynamics`` also ``idle_share``.
    reach : ndarray of int32, shape (2, wireless)
        Links.
    """
    given = {name: _of_table(table, name) for name in table.columns if name in FIGURES or name in OF_A_TABLE}
    reach = np.array([_links_of_table(table, side) for side in range(2)])
    unused, other = ("mobility_factor", "idle_share") if params.dynamics else ("idle_share", "mobility_factor")
    require(
        unused not in given, "data", f"a table with the column {unused} while dynamics={params.dynamics}".lower(),
        f"{other}: the mobility factor follows from speeds and idle shares only with dynamics",
    )  # fmt: skip
    of_links = {name: given.pop(name) for name in _OF_LINKS if name in given}
    idle = given.pop("idle_share", np.full(params.mobile, (1.0 + params.lowest_idle) / 2.0))
    values = complete(params, given)
    if of_links:
        _set_energies(of_links, given, values)
    if params.dynamics:
        values["idle_share"] = idle
    return values, reach


def _set_energies(of_links: Figures, given: Figures, values: Figures) -> None:
    """Compute the energies of all links from the gains and the other columns of links."""
    for name in _OF_LINKS:
        require(name in of_links, "data", f"a table with {next(iter(of_links))}", f"a table with {name} as well")
    for side in LEADERS:
        name = f"{side}_energy"
        require(name not in given, "data", f"a table with {name} and {side}_gain", "one of the two")
        values[name] = link_energy(
            of_links[f"{side}_gain"], values["upload_time"], of_links["noise_power"], of_links["energy_price"]
        )


def _of_table(table: Table, name: str) -> NDArray[np.float64]:
    kind, low, high, unit = {**FIGURES, **OF_A_TABLE}[name]
    allowed = f"numbers from {low:g} to {high:g} [{unit}] in the rows of {kind} agents, and nothing in the others"
    return column_of(table, name, kind, low, high, allowed)


def _links_of_table(table: Table, side: int) -> NDArray[np.int32]:
    """Return the leader of a side that each wireless agent of a table can buy from, int32 (wireless,)."""
    leaders = LEADERS[side]
    last = table.texts("agent").count(leaders) - 1
    allowed = f"whole numbers from 0 to {last} in the rows of wireless agents, the rows of {leaders} agents from 0"
    column = column_of(table, f"{leaders}_of", "wireless", 0.0, float(last), allowed)
    whole = np.ones(table.rows, np.bool_)
    whole[np.array(table.texts("agent")) == "wireless"] = column == np.round(column)
    table.require(f"{leaders}_of", whole, allowed)
    return column.astype(np.int32)


def column_of(table: Table, name: str, kind: str, low: float, high: float, allowed: str) -> NDArray[np.float64]:
    """Return a figure of the agents of a kind, in the order of their rows; the cells of others must be empty.

    Parameters
    ----------
    table : Table
        A table with the column ``agent``.
    name, kind : str
        Name of the figure, and the kind of its agents.
    low, high : float
        Smallest and largest value.
    allowed : str
        What is allowed, for the message.

    Returns
    -------
    ndarray of float64, shape (agents of the kind,)
    """
    column = table.numbers(name, allowed)
    mine = np.array([other == kind for other in table.texts("agent")])
    table.require(name, np.where(mine, (column >= low) & (column <= high), np.isnan(column)), allowed)
    return np.asarray(column[mine])
