"""Stackelberg markets from figures of one's own: workloads, links, speeds and unit costs, as named arrays with units.

Source of the quantities: Sections IV-A to IV-C of "Hybrid Stackelberg Game and Diffusion-based Auction for Two-tier
Agentic AI Task Offloading in Internet of Agents".
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from ioa_marl.foundations.parameters import require
from ioa_marl.markets.stackelberg import drivers
from ioa_marl.markets.stackelberg.figures import FIGURES, complete, links, require_feasible, write_figures
from ioa_marl.markets.stackelberg.kernels import MarketState
from ioa_marl.markets.stackelberg.params import StackelbergParams, allocate_state


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
    values = complete(params, figures)
    state = allocate_state(params, 1)
    reach = np.array([links(params, side, given) for side, given in enumerate((mobile_of, fixed_of))])
    write_figures(params, values, reach, state)
    require_feasible(params, values, state)
    drivers.reshape_markets(state, params.record(), np.ones(1, np.bool_))
    return state
