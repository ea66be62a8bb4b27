"""Stackelberg markets from figures of one's own: workloads, links, speeds and unit costs, as named arrays with units.

Source of the quantities: Sections IV-A to IV-C of "Hybrid Stackelberg Game and Diffusion-based Auction for Two-tier
Agentic AI Task Offloading in Internet of Agents".
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ioa_marl.foundations.parameters import ParameterError, require
from ioa_marl.markets.stackelberg import drivers
from ioa_marl.markets.stackelberg.kernels import FIXED, MOBILE, MarketState, list_members
from ioa_marl.markets.stackelberg.params import (
    LARGEST,
    LEADERS,
    MOST_EFFICIENCY,
    SMALLEST,
    StackelbergParams,
    allocate_state,
)

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


def _figure(params: StackelbergParams, name: str, given: dict[str, ArrayLike]) -> NDArray[np.float64]:
    """Return a figure of all its agents, from what is given or from the parameter of that name."""
    agents, low, high, unit = FIGURES[name]
    count = getattr(params, agents)
    allowed = f"one number or {count}, one for each {agents} agent [{unit}], finite and from {low:g} to {high:g}"
    parameter = getattr(params, "mobility_offset" if name == "mobility_factor" else name)
    values = given[name] if name in given else np.mean(parameter)
    array = _numbers(name, values, low, high, allowed)
    require(array.shape in ((), (count,)), name, f"array of shape {array.shape}", allowed)
    return np.array(np.broadcast_to(array, (count,)))


def _links(params: StackelbergParams, side: int, values: ArrayLike) -> NDArray[np.int32]:
    """Return the leader of a side that each wireless agent can buy from."""
    leaders = getattr(params, LEADERS[side])
    name = f"{LEADERS[side]}_of"
    allowed = f"{params.wireless} whole numbers from 0 to {leaders - 1}, the {LEADERS[side]} agent of each wireless one"
    array = _numbers(name, values, 0.0, leaders - 1.0, allowed)
    require(array.shape == (params.wireless,), name, f"array of shape {array.shape}", allowed)
    require(bool(np.all(array == np.round(array))), name, values, allowed)
    return array.astype(np.int32)


def _require_feasible(params: StackelbergParams, values: dict[str, NDArray[np.float64]], state: MarketState) -> None:
    """Refuse a market in which a wireless agent has no share with 1 + ε − t > 0, or in which E may overflow."""
    traits, record = state.traits[0], params.record()
    efficiency = traits["exponent"] / math.log(2.0)
    worst = int(np.argmax(efficiency))
    require(
        efficiency[worst] <= MOST_EFFICIENCY, "bandwidth", f"{values['bandwidth'][worst]:g} for wireless agent {worst}",
        f"values with spectral efficiencies workload/(bandwidth · upload_time) up to {MOST_EFFICIENCY:g}; "
        f"here it is {efficiency[worst]:.4g} bit/s/Hz",
    )  # fmt: skip
    shortest, out = np.full(params.wireless, np.inf), np.zeros((1, params.wireless))
    for share in np.linspace(0.0, 1.0, _SHARES):
        drivers.latencies_at(state, record, np.full_like(out, share), out)
        shortest = np.minimum(shortest, out[0])
    worst = int(np.argmax(shortest - traits["slack"]))
    require(
        shortest[worst] < traits["slack"][worst],
        "workload", f"{values['workload'][worst]:g} for wireless agent {worst}",
        f"values with 1 + ε − t > 0 for some share: its shortest computing latency is {shortest[worst]:.4g} s, and "
        f"1 + tolerable_delay − upload_time is {traits['slack'][worst]:.4g} s",
    )  # fmt: skip


def market_from(
    params: StackelbergParams, *, mobile_of: ArrayLike, fixed_of: ArrayLike, **figures: ArrayLike
) -> MarketState:
    """Return a market with figures of one's own, for `solve_equilibrium`, `nash_conv`, `answer_to` and the others.

    Every figure is one number for all agents, or one for each. Those that are not given are the parameter of the same
    name, the middle of its range if it is one, without ``spread``.

    Parameters
    ----------
    params : StackelbergParams
        Numbers of agents, ``price_cap``, ``latency_case``, ``cycles_per_mbit`` (λ) and settings of the search.
        ``dynamics`` must be off.
    mobile_of, fixed_of : array_like of int, shape (wireless,)
        Links: the mobile and the fixed agent, from 0, that each wireless agent can buy from. A leader may have none.
    workload : array_like, shape (wireless,)
        Workload W [Mbit].
    upload_time, tolerable_delay : array_like, shape (wireless,)
        Transmission time t_up and tolerable delay ε [s].
    qoe_weight, actuator_ratio : array_like, shape (wireless,)
        Weight κ of the quality of experience [units], and t_n/ε.
    bandwidth : array_like, shape (wireless,)
        Bandwidth w_B [MHz].
    mobile_energy, fixed_energy : array_like, shape (wireless,)
        Energy costs ζ t_up n_B/g of both links for 1 bit/s/Hz [units]; `link_energy` computes them from gains g.
    relay_time : array_like, shape (wireless,)
        Transmission time t_k_up from the fixed to the aerial agent [s].
    mobility_factor : array_like, shape (wireless,)
        Mobility factor m of the pair of a wireless and its mobile agent. Default: ``mobility_offset``.
    mobile_speed, fixed_speed, aerial_speed : array_like, shape (mobile,), (fixed,) and (fixed,)
        Processing speeds μ [cycles/s]; there is an aerial agent behind each fixed one.
    aerial_share : array_like, shape (fixed,)
        Share α that a fixed agent passes on.
    mobile_cost, fixed_cost : array_like, shape (mobile,) and (fixed,)
        Unit costs [units/Mbit].

    Returns
    -------
    MarketState
        A batch of one market, with its first round open.

    Raises
    ------
    ParameterError
        If a figure has a wrong name, shape or value, or if a wireless agent cannot meet its deadline at any share; the
        message is one line that says what is allowed.

    Examples
    --------
    Three wireless agents, two mobile agents and a fixed one:

    >>> from ioa_marl.markets.stackelberg import preset, solve_equilibrium
    >>> params = preset("paper", wireless=3, mobile=2)
    >>> market = market_from(
    ...     params, mobile_of=[0, 0, 1], fixed_of=[0, 0, 0], workload=[8.0, 10.0, 12.0], mobile_cost=[0.5, 0.7]
    ... )
    >>> found = solve_equilibrium(params, market)
    >>> found.label
    'pure equilibrium'
    >>> found.mobile_prices.round(2), found.fixed_prices.round(2)
    (array([1.77, 1.84]), array([2.81]))
    """
    require(not params.dynamics, "dynamics", params.dynamics, "false: the figures are those of every round")
    for name in figures:
        require(name in FIGURES, name, figures[name], f"one of the figures mobile_of, fixed_of, {', '.join(FIGURES)}")
    values = {name: _figure(params, name, figures) for name in FIGURES}
    require(
        params.latency_case != "aa" or bool(np.all(values["aerial_share"] > 0.0)), "aerial_share",
        values["aerial_share"], "positive shares while latency_case=aa",
    )  # fmt: skip
    state = allocate_state(params, 1)
    state.reach[0, MOBILE], state.reach[0, FIXED] = _links(params, MOBILE, mobile_of), _links(params, FIXED, fixed_of)
    _set_figures(params, values, state)
    for side, leaders in enumerate(LEADERS):
        list_members(0, side, getattr(params, leaders), state)
    _require_feasible(params, values, state)
    drivers.reshape_markets(state, params.record(), np.ones(1, np.bool_))
    return state


def _set_figures(params: StackelbergParams, values: dict[str, NDArray[np.float64]], state: MarketState) -> None:
    """Write figures into the arrays of the kernels, which hold what utilities are made of."""
    nominal: Any = state.nominal[0]
    nominal["load"] = values["workload"]
    nominal["slack"] = 1.0 + values["tolerable_delay"] - values["upload_time"]
    nominal["qoe_weight"] = values["qoe_weight"] * np.log1p(values["actuator_ratio"])
    nominal["exponent"] = values["workload"] / (values["bandwidth"] * values["upload_time"]) * math.log(2.0)
    nominal["mobile_energy"], nominal["fixed_energy"] = values["mobile_energy"], values["fixed_energy"]
    nominal["mobility_factor"] = values["mobility_factor"]
    state.traits[0] = state.nominal[0]
    state.relay_time[0] = values["relay_time"]
    state.idle_share[0] = 0.0
    state.offloading_ratio[0], state.served_fraction[0] = values["aerial_share"], 1.0
    state.aerial_time_per_mbit[0] = params.cycles_per_mbit / values["aerial_speed"]
    for side, leaders in enumerate(LEADERS):
        count = getattr(params, leaders)
        state.time_per_mbit[0, side, :count] = params.cycles_per_mbit / values[f"{leaders}_speed"]
        state.cost[0, side, :count] = values[f"{leaders}_cost"]
