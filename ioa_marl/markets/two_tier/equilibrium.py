"""Equilibria of the leaders' prices in the whole two-tier market, which know capacities, lots and unserved load.

Algorithm 2 of the paper solves the pricing tier alone: a fixed agent whose load exceeds its capacity gains by a higher
price there. Here every price of the action grid is tried in the whole round, auction included, as in `deviations`.

A solution is a profile of grid prices that the leaders post in every round of an episode. Its NashConv is the sum of
the leaders' largest gains in a settled round: the wireless agents expect the shares α that these prices and the best
pair of steps on their bids lead to. At 0 the prices are a pure equilibrium of the leaders, in which the auctioneer,
too, plays its best pair. The search is heuristic: where it finds none, none may exist, and the prices of the lowest
NashConv that it has seen are returned, labelled as such. A round of the search computes every leader's best price.

- From each start the two sides answer each other's prices in turn for `ALTERNATING` rounds.
- Then, from the lowest prices seen so far, only the leader with the largest gain moves, until prices repeat. Where the
  graph of leaders and wireless agents falls into components (each pair of leaders in ``paper``), which only meet in the
  auction, the lowest prices are kept for each component, and one leader of each moves.
- The shares α that the result leads to are then expected, and the search goes on from the result, until α is the same.

In a dynamic market conditions are new in every round, so there is nothing in which prices could settle. A solution is
then that of one round: with its tasks, channel gains and speeds, and with the shares α that are expected in it.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

from ioa_marl.foundations.parameters import require
from ioa_marl.markets.stackelberg.kernels import FIXED, MOBILE
from ioa_marl.markets.two_tier import drivers
from ioa_marl.markets.two_tier.deviations import DeviationEvaluator
from ioa_marl.markets.two_tier.grid import cost_plus_indices
from ioa_marl.markets.two_tier.kernels import Market
from ioa_marl.markets.two_tier.params import TwoTierParams

PURE, NONE_FOUND = "pure equilibrium of the grid", "none found, prices of lowest NashConv"
"""Labels of a solution."""
TOLERANCE = 1e-7
"""Largest NashConv of an equilibrium [units]: profits are sums of floats, in which ties differ by rounding."""
MARGINS = ((1.1, 0.5), (0.3, 0.3), (3.0, 1.5))
"""Starts: margins of the mobile and of the fixed agents over unit costs, near the usual solutions, below and above."""
ALTERNATING = 8
"""Rounds from a start in which all leaders of a side move."""
SINGLE = 32
"""Largest number of rounds after these in which one leader of each component moves."""
SETTLING_ROUNDS = 6
"""Rounds at constant prices after which the shares α are taken as settled."""
EXPECTATIONS = 8
"""Largest number of shares α for which prices are searched."""
LARGE = 100
"""Number of leaders above which a search has one start, and no rounds in which single leaders move."""
REMEMBERED = 8192
"""Number of solutions that are kept for the next call."""
_ONE = np.ones(1, np.bool_)


@dataclass(frozen=True)
class Equilibrium:
    """Prices of the leaders that no leader gains by leaving, or the best that were found."""

    prices: NDArray[np.int64]
    """Indices of the grid prices, shape (2, leaders): mobile agents, then fixed agents."""
    nash_conv: NDArray[np.float64]
    """Sum of the gains of the mobile and of the fixed agents in a settled round, or in the round that is open if the
    market is dynamic [units], shape (2,)."""
    converged: bool
    """Whether the total NashConv is within `TOLERANCE`."""
    label: str
    """`PURE` or `NONE_FOUND`."""
    rounds: int
    """Number of rounds of the search."""

    @property
    def total(self) -> float:
        """Sum of all gains [units]."""
        return float(self.nash_conv.sum())


class _Lowest:
    """The prices of the lowest NashConv seen at some shares α: of all leaders, and of each component."""

    def __init__(self, components: NDArray[np.int64]) -> None:
        self.components = components
        self.total, self.prices = np.inf, np.zeros(components.shape, np.int64)
        self._of_component = np.full(int(components.max()) + 1, np.inf)
        self.combined = self.prices.copy()
        """For each component its own lowest prices."""

    def see(self, prices: NDArray[np.int64], gains: NDArray[np.float64]) -> None:
        """Take note of prices and of the leaders' gains, both of shape (2, leaders)."""
        present = self.components >= 0
        sums = np.bincount(self.components[present], gains[present], len(self._of_component))
        if sums.sum() < self.total:
            self.total, self.prices = float(sums.sum()), prices.copy()
        lower = sums < self._of_component
        self._of_component[lower] = sums[lower]
        changed = present & lower[self.components]
        self.combined[changed] = prices[changed]


class _Search:
    """A search on the copy of one market that the evaluator has taken."""

    def __init__(self, params: TwoTierParams, evaluator: DeviationEvaluator) -> None:
        self.params, self.evaluator, self.rounds = params, evaluator, 0
        self._pricing, self._tier = evaluator.market.pricing, evaluator.market.tier
        self._tier.factor[...] = 1.0  # the other bidders are taken to be truthful
        self._components = _leader_components(params, self._pricing.reach[0])
        self._large = params.mobile + params.fixed > LARGE

    def run_once(self) -> Equilibrium:
        """Search with the conditions and the expected shares α that the market has now."""
        starts = self._starts()
        prices = self._lowest(starts[:1] if self._large else starts)
        self._post(prices)
        self.evaluator.answer_with_best_pair()
        _, by_leader = self.evaluator.search()
        return self._result(prices, by_leader.sum(axis=1))

    def _result(self, prices: NDArray[np.int64], gains: NDArray[np.float64]) -> Equilibrium:
        """Return prices, shape (2, leaders), with the gains of each side [units], shape (2,)."""
        converged = bool(gains.sum() <= TOLERANCE)
        return Equilibrium(prices, gains, converged, PURE if converged else NONE_FOUND, self.rounds)

    def run(self) -> Equilibrium:
        """Search with the shares α that the prices found lead to."""
        self._pricing.offloading_ratio[0] = 0.0
        self._pricing.served_fraction[0] = 1.0
        self._pricing.aerial_time_per_mbit[0] = self._tier.mean_aerial_time[0]
        starts = self._starts()
        if self._large:
            starts = starts[:1]
        prices, gains = np.zeros(self._components.shape, np.int64), np.full(2, np.inf)
        for _ in range(EXPECTATIONS):
            found, expected = self._lowest(starts), self._pricing.offloading_ratio[0].copy()
            settled = self._settle(found)
            if settled.sum() < gains.sum():
                prices, gains = found, settled
            self._pricing.offloading_ratio[0] = expected
            self._play(found)
            if gains.sum() <= TOLERANCE or (self._pricing.offloading_ratio[0] == expected).all():
                break
            starts = [found]
        return self._result(prices, gains)

    def _starts(self) -> list[NDArray[np.int64]]:
        params, levels, out = self.params, self.evaluator.levels, []
        for margins in MARGINS:
            start = np.zeros(self._components.shape, np.int64)
            for side, (count, margin) in enumerate(zip((params.mobile, params.fixed), margins, strict=True)):
                cost = self._pricing.cost[:, side, :count]
                start[side, :count] = cost_plus_indices(params, levels, cost, margin)[0]
            out.append(start)
        return out

    def _post(self, prices: NDArray[np.int64]) -> None:
        self._pricing.price[0] = self.params.price_cap * prices / (self.evaluator.levels - 1)

    def _gains(self, prices: NDArray[np.int64], lowest: _Lowest) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """Return all best prices against ``prices`` and the gains by them, both of shape (2, leaders)."""
        self._post(prices)
        self.evaluator.answer_with_best_pair()
        best, gains = self.evaluator.search()
        self.rounds += 1
        lowest.see(prices, gains)
        return best, gains

    def _lowest(self, starts: list[NDArray[np.int64]]) -> NDArray[np.int64]:
        """Return the prices of lowest NashConv that are seen from ``starts``, at the shares α that are expected."""
        self.evaluator.expect()
        lowest = _Lowest(self._components)
        for start in starts:
            prices = start
            for turn in range(ALTERNATING):
                best, gains = self._gains(prices, lowest)
                if lowest.total <= TOLERANCE:
                    return lowest.prices
                prices = prices.copy()
                moves = gains[turn % 2] > TOLERANCE
                prices[turn % 2, moves] = best[turn % 2, moves]
            prices, seen = lowest.combined.copy(), set[bytes]()
            while prices.tobytes() not in seen and len(seen) < (0 if self._large else SINGLE):
                seen.add(prices.tobytes())
                best, gains = self._gains(prices, lowest)
                if lowest.total <= TOLERANCE:
                    return lowest.prices
                prices = np.where(self._largest(gains), best, prices)
        return lowest.prices

    def _largest(self, gains: NDArray[np.float64]) -> NDArray[np.bool_]:
        """Return which leaders have the largest gain of their component, one of each, bool (2, leaders)."""
        out = np.zeros(gains.shape, np.bool_)
        order = np.argsort(gains, axis=None, kind="stable")[::-1]
        order = order[self._components.ravel()[order] >= 0]
        _, first = np.unique(self._components.ravel()[order], return_index=True)
        out.ravel()[order[first]] = True
        return out & (gains > TOLERANCE)

    def _play(self, prices: NDArray[np.int64]) -> None:
        """Play a round at ``prices``, shape (2, leaders), with the best pair of steps; afterwards its α is expected."""
        evaluator, params = self.evaluator, self.params
        market, settings = evaluator.market, evaluator.settings
        mobile = np.ascontiguousarray(prices[None, MOBILE, : params.mobile])
        fixed = np.ascontiguousarray(prices[None, FIXED, : params.fixed])
        market.pricing.round[0] = 0  # the record of an episode's bids is as long as the episode
        drivers.post_prices(market, settings, _ONE, evaluator.levels, mobile, fixed)
        pair = np.array([[evaluator.best_pair()]], np.int64)
        drivers.hold_auctions(market, settings, _ONE, pair, np.zeros(1, np.bool_))

    def _settle(self, prices: NDArray[np.int64]) -> NDArray[np.float64]:
        """Return the NashConv of each side at constant prices, mean over the last two rounds [units], shape (2,)."""
        self._pricing.offloading_ratio[0] = 0.0
        self.evaluator.expect()
        gains = np.zeros(2)
        for r in range(SETTLING_ROUNDS):
            self._play(prices)
            if r >= SETTLING_ROUNDS - 2:
                after = self._pricing.offloading_ratio[0].copy()
                gains += self.evaluator.leader_regrets() / 2.0
                self._pricing.offloading_ratio[0] = after  # `leader_regrets` goes back to what the round expected
                self.evaluator.expect()
        return gains


def _leader_components(params: TwoTierParams, reach: NDArray[np.int32]) -> NDArray[np.int64]:
    """Return the component of each leader in the graph whose edges are the wireless agents.

    Parameters
    ----------
    params : TwoTierParams
        Parameters.
    reach : ndarray of int32, shape (2, wireless)
        The leader of each side that a wireless agent has in reach.

    Returns
    -------
    ndarray of int64, shape (2, leaders)
        Numbers of the components; −1 where there is no leader.
    """
    mobile, leaders = params.mobile, params.mobile + params.fixed
    edges = coo_matrix((np.ones(reach.shape[1]), (reach[MOBILE], reach[FIXED] + mobile)), shape=(leaders, leaders))
    _, labels = connected_components(edges, directed=False)
    out = np.full((2, max(mobile, params.fixed)), -1, np.int64)
    out[MOBILE, :mobile], out[FIXED, : params.fixed] = labels[:mobile], labels[mobile:]
    return out


def solve_equilibrium(
    params: TwoTierParams, market: Market, levels: int, index: int = 0, evaluator: DeviationEvaluator | None = None
) -> Equilibrium:
    """Return grid prices that no leader gains by leaving in a settled round, or those of the lowest NashConv seen.

    The result depends on technology and costs of the market only, not on the prices or shares α that it has now. In a
    dynamic market it is that of the round that is open: it also depends on the conditions of the round and on the
    shares α that wireless agents expect in it.

    Parameters
    ----------
    params : TwoTierParams
        Parameters of the market.
    market : Market
        A batch of markets, which is not changed.
    levels : int
        Number of grid prices: index m is the price p̄ m/(levels − 1) [units/Mbit].
    index : int, default 0
        Which market of the batch.
    evaluator : DeviationEvaluator, optional
        The evaluator to use, of the same ``params`` and ``levels``; its copy of a market is overwritten.

    Returns
    -------
    Equilibrium
    """
    require(0 <= index < len(market.pricing.seed), "index", index, f"0 to {len(market.pricing.seed) - 1}")
    evaluator = evaluator or DeviationEvaluator(params, levels)
    evaluator.take(market, index)
    search = _Search(params, evaluator)
    return search.run_once() if params.dynamics else search.run()


_solutions: OrderedDict[Any, NDArray[np.int64]] = OrderedDict()


def solve_batch(
    params: TwoTierParams, market: Market, mask: NDArray[np.bool_], evaluator: DeviationEvaluator
) -> NDArray[np.int64]:
    """Return the prices of `solve_equilibrium` of the markets ``mask``.

    Those of the same episode, in a dynamic market of the same round and the same expected shares α, are solved once.

    Parameters
    ----------
    params : TwoTierParams
        Parameters of the markets.
    market : Market
        Batch of markets.
    mask : ndarray of bool, shape (batch,)
        Markets to solve.
    evaluator : DeviationEvaluator
        See `solve_equilibrium`.

    Returns
    -------
    ndarray of int64, shape (batch, 2, leaders)
        Indices of the grid prices; 0 outside ``mask``.
    """
    state = market.pricing
    out = np.zeros(state.price.shape, np.int64)
    for b in np.flatnonzero(mask).tolist():
        # These numbers fix everything that is drawn.
        drawn = [state.instance, state.seed, state.stream, state.episode, *[state.round] * params.dynamics]
        expected = state.offloading_ratio[b].tobytes() if params.dynamics else b""
        key = (params, evaluator.levels, *(int(x[b]) for x in drawn), expected)
        if key not in _solutions:
            _solutions[key] = solve_equilibrium(params, market, evaluator.levels, b, evaluator).prices
            if len(_solutions) > REMEMBERED:
                _solutions.popitem(last=False)
        out[b] = _solutions[key]
    return out
