"""Random draws of a double Dutch auction: the numbers of bidders and their valuations.

The common arguments ``b``, ``state`` and ``params`` are those of `ioa_marl.markets.double_dutch.kernels`. The draws of
an episode come from the Philox generator with the key (seed, stream) of the market.
"""

from __future__ import annotations

import math

from ioa_marl.foundations.compile import kernel
from ioa_marl.foundations.philox import fill_uniform, philox_block, to_unit
from ioa_marl.markets.double_dutch.kernels import BUYERS, SELLERS, aerial_cost, fixed_valuation
from ioa_marl.markets.double_dutch.state import Array, AuctionState, DoubleDutchRecord

OF_MARKET, OF_VALUES, OF_COSTS = range(3)
"""Purposes of the random counter: numbers of bidders with level and width, positions of buyers, those of sellers."""


@kernel
def draw_bids(b: int, state: AuctionState, params: Array) -> None:
    """Draw the numbers of bidders and their valuations (Eqs. 33 and 34) in the current episode."""
    p: DoubleDutchRecord = params[0]
    seed, stream, episode = state.seed[b], state.stream[b], state.episode[b]
    w0, w1, w2, w3 = philox_block(seed, stream, 1, episode, OF_MARKET)
    n_buyers = p.min_buyers + int(to_unit(w0) * (p.max_buyers - p.min_buyers + 1))
    n_sellers = p.min_sellers + int(to_unit(w1) * (p.max_sellers - p.min_sellers + 1))
    level = p.level_low + (p.level_high - p.level_low) * to_unit(w2)
    log_width = p.log_width_low + (p.log_width_high - p.log_width_low) * to_unit(w3)
    width = math.exp(log_width)

    values = state.valuation
    fill_uniform(seed, stream, episode, OF_VALUES, values, b, BUYERS)
    fill_uniform(seed, stream, episode, OF_COSTS, values, b, SELLERS)
    highest_income = 0.0
    for j in range(n_buyers):
        target = level + width * (p.value_low + (p.value_high - p.value_low) * values[b, BUYERS, j])
        price = (target + p.buyer_penalty) / p.lot
        values[b, BUYERS, j] = fixed_valuation(price, p.lot, p.buyer_penalty)
        highest_income = max(highest_income, price * p.lot)
        state.order[b, BUYERS, j] = j
    participants = 0
    overhead = p.compute_cost + p.delay_cost
    for k in range(n_sellers):
        target = level - width * (p.cost_low + (p.cost_high - p.cost_low) * values[b, SELLERS, k])
        hover_power = max(target - overhead, 0.0) / p.hover_cost
        cost = aerial_cost(hover_power, p.compute_cost, p.hover_cost, p.delay_cost)
        values[b, SELLERS, k] = cost
        # The paper clips a higher cost down, which would make the seller trade at a loss; here it does not take part.
        if cost <= highest_income:
            state.order[b, SELLERS, participants] = k
            participants += 1
    state.size[b, BUYERS] = n_buyers
    state.size[b, SELLERS] = participants
    for i in range(values.shape[2]):
        # Bidders that do not exist must not show their draws in the state.
        if i >= n_buyers:
            values[b, BUYERS, i] = 0.0
        if i >= n_sellers:
            values[b, SELLERS, i] = 0.0
