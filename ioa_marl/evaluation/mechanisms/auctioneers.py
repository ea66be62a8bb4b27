"""Double auctions on a batch of reports: the double Dutch auction under any auctioneer, and sealed-bid auctions.

Arrays that all of them share: ``reports``, float64 (rows, 2, bidders), has the bids of the buyers and the asks of the
sellers [units per lot], and ``size``, int64 (rows, 2), the numbers of bidders. Every row is an auction of its own.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from ioa_marl.agents.base import Agent
from ioa_marl.envs.double_dutch.game import DoubleDutchConfig, DoubleDutchGame
from ioa_marl.envs.double_dutch.policies import COARSE, FINE
from ioa_marl.evaluation.playing import evaluation_config
from ioa_marl.foundations.parameters import require
from ioa_marl.markets.double_dutch.params import DoubleDutchParams
from ioa_marl.markets.double_dutch.references import best_fixed_step
from ioa_marl.markets.double_dutch.rivals import settle
from ioa_marl.markets.double_dutch.state import allocate_state
from ioa_marl.markets.double_dutch.step_tables import TableShape, play_table, step_table

Floats = NDArray[np.float64]
Whole = NDArray[np.int64]

BUYERS, SELLERS = 0, 1
FEW_LEFT = 0.5
"""Share of the auctions of a batch that still run, from which on a learnt auctioneer plays only these."""


class Played(NamedTuple):
    """Outcomes of a batch of auctions."""

    order: Whole
    """int64 (rows, 2, bidders): indices of the bidders of each side, the traders first."""
    trades: Whole
    """int64 (rows,): number of trades."""
    price: Floats
    """float64 (rows, 2): price that a trading buyer pays, and that a trading seller receives [units per lot]."""
    messages: Floats
    """float64 (rows,): number of messages."""


class DoubleAuction(Protocol):
    """A double auction that can be run on a batch of reports."""

    setting: str
    """Its settings, in words."""

    def play(self, reports: Floats, size: Whole, market: Whole) -> Played:
        """Run it; ``market``, int64 (rows,), is the number of each row's market, on which lotteries depend."""
        ...


class SealedBidAuction:
    """A rule of `ioa_marl.markets.double_dutch.rivals`.

    Parameters
    ----------
    rule : int
        The rule.
    weight : float, default 0.5
        Weight k of the k-double auction.
    lots : ndarray of int64, shape (markets, bidders), optional
        Place of each seller in the lottery of SBBA in every market, the same for all reports.
    setting : str, default ""
        Settings in words.
    """

    def __init__(self, rule: int, weight: float = 0.5, lots: Whole | None = None, setting: str = "") -> None:
        self._rule, self._weight, self._lots, self.setting = rule, weight, lots, setting

    def play(self, reports: Floats, size: Whole, market: Whole) -> Played:
        """Run the rule; a message is a sealed bid, so there is one for each bidder."""
        lot = None if self._lots is None else self._lots[market]
        out = settle(self._rule, reports, size, self._weight, lot)
        return Played(out.order, out.trades, out.price, size.sum(axis=1).astype(np.float64))


@dataclass(frozen=True)
class Units:
    """Map from the units of the bids to those of the clocks of an auction: clock = shift + bid / scale."""

    scale: float = 1.0
    """Units of the bids per unit of the clocks."""
    shift: float = 0.0
    """Clock that corresponds to a bid of 0 [units of the clocks]."""


class TableAuction:
    """The double Dutch auction of an auctioneer that looks up its step in a table; see `step_tables`.

    Parameters
    ----------
    params : DoubleDutchParams
        Parameters of the auction.
    shape : TableShape
        Bins of the table.
    actions : ndarray of int64, shape (cells,)
        Index of the step of each cell.
    units : Units
        Units of the bids.
    setting : str
        Settings in words.
    """

    def __init__(
        self, params: DoubleDutchParams, shape: TableShape, actions: Whole, units: Units, setting: str
    ) -> None:
        self._params, self._table, self._units, self.setting = params, actions, units, setting
        self._edges = shape.edges(params)

    def play(self, reports: Floats, size: Whole, market: Whole) -> Played:
        """Run the auctions; a message is a clock message to one listener."""
        rows, _, bidders = reports.shape
        state = allocate_state(rows, bidders)
        state.size[:] = size
        state.valuation[:] = self._units.shift + reports / self._units.scale
        state.order[:] = np.arange(bidders)
        working = np.ones(rows, np.bool_), np.zeros((len(self._table), rows), np.bool_), np.zeros(rows)
        play_table(state, self._params.record(), self._params.step_ticks(), self._edges, self._table, *working)
        return _played(
            state.order, state.totals["trades"], state.totals["price"], state.totals["messages"], self._units
        )


def _played(order: NDArray[np.int32], trades: Floats, price: Floats, messages: Floats, units: Units) -> Played:
    """Return outcomes in the units of the bids; buyers pay what sellers receive."""
    paid = np.where(trades > 0.0, (price - units.shift) * units.scale, np.nan)
    return Played(order.astype(np.int64), trades.astype(np.int64), np.stack([paid, paid], axis=1), messages.copy())


_ONE_STEP = TableShape(winners=(), gaps=())
"""A table with a cell for each side."""
_BEFORE_AND_AFTER = TableShape(winners=(0.0,), gaps=())
"""A table that knows whether the active side has a winner."""


def fixed_step(params: DoubleDutchParams, units: Units, index: int | None = None) -> TableAuction:
    """Return the auction with one step, by default the one with the best mean return on calibration markets."""
    chosen = best_fixed_step(_any_price(params)) if index is None else index
    return TableAuction(params, _ONE_STEP, np.full(2, chosen), units, f"step {params.steps[chosen] * units.scale:g}")


def two_phase(params: DoubleDutchParams, units: Units) -> TableAuction:
    """Return the auction with a coarse step until the first acceptance of the active side, and then a fine one."""
    for step in (COARSE, FINE):
        require(step in params.steps, "steps", params.steps, f"steps with {COARSE:g} and {FINE:g} for two_phase")
    indices = np.array([params.steps.index(COARSE), params.steps.index(FINE)] * 2)
    setting = f"steps {COARSE * units.scale:g} and {FINE * units.scale:g}"
    return TableAuction(params, _BEFORE_AND_AFTER, indices, units, setting)


def table_of_steps(params: DoubleDutchParams, units: Units) -> TableAuction:
    """Return the auction with the table of steps that the scripted policy ``step_table`` follows."""
    found = step_table(_any_price(params))
    return TableAuction(params, found.shape, found.actions, units, f"{len(found.actions)} cells")


def _any_price(params: DoubleDutchParams) -> DoubleDutchParams:
    """Return parameters with the default ψ, on which no return depends, so that references are computed once."""
    return dataclasses.replace(params, psi=DoubleDutchParams.psi)


@dataclass(frozen=True)
class Auctioneer:
    """A trained auctioneer of the double Dutch auction."""

    config: DoubleDutchConfig
    """Settings of the market in which it was trained."""
    agent: Agent
    """The agent, of one seed, which plays the role ``auctioneer`` and no other."""
    label: str = "an agent"
    """What it is, in words."""


class LearntAuction:
    """The double Dutch auction of a trained auctioneer, which acts in deterministic mode.

    Parameters
    ----------
    auctioneer : Auctioneer
        The auctioneer.
    units : Units
        Units of the bids.
    psi : float, optional
        Weight of the buyer clock in the clearing price. Default: that of its market.
    """

    def __init__(self, auctioneer: Auctioneer, units: Units, psi: float | None = None) -> None:
        plays = tuple(role.name for role in auctioneer.agent.context.plays)
        require(plays == ("auctioneer",), "auctioneer", "+".join(plays), "an agent that plays only the auctioneer")
        config = evaluation_config(auctioneer.config)
        self._config = config if psi is None else dataclasses.replace(config, psi=psi)
        self._agent, self._units, self.setting = auctioneer.agent, units, auctioneer.label

    def play(self, reports: Floats, size: Whole, market: Whole) -> Played:
        """Run the auctions; a message is a clock message to one listener."""
        config = self._config
        clocks = np.maximum(self._units.shift + reports / self._units.scale, 0.0)  # 0 is the least valuation of a game
        clocks[np.arange(reports.shape[2]) >= size[:, :, None]] = 0.0
        game = DoubleDutchGame(config, len(reports), ("auctioneer",), autoreset=False)
        observations, _ = game.reset_to(clocks[:, BUYERS, : config.buyers], clocks[:, SELLERS, : config.sellers], size)
        self._agent.attach(game)
        order: NDArray[np.int32] = np.zeros(reports.shape, np.int32)
        trades, price, messages = (np.zeros(len(reports)) for _ in range(3))
        rows, running = np.arange(len(reports)), np.ones(len(reports), np.bool_)  # of the game: all rows, at first
        while running.any():
            if running.mean() < FEW_LEFT:
                game, observations = self._only(game, running)
                rows, running = rows[running], np.ones(int(running.sum()), np.bool_)
            by_seed = {role: array[None] for role, array in observations.items()}
            step = game.step({"auctioneer": self._agent.act(by_seed, deterministic=True)["auctioneer"][0]})
            ended = running & step.terminated
            market_state, at = game.market, rows[ended]
            width = min(reports.shape[2], market_state.order.shape[2])
            order[at, :, :width] = market_state.order[ended, :, :width]
            totals = market_state.totals[ended]
            trades[at], price[at], messages[at] = totals["trades"], totals["price"], totals["messages"]
            running &= ~ended
            observations = step.observations
        return _played(order, trades, price, messages, self._units)

    def _only(self, game: DoubleDutchGame, kept: NDArray[np.bool_]) -> tuple[DoubleDutchGame, dict[str, Floats]]:
        """Return a game of the markets ``kept``, bool (batch,), that continues ``game``, and its observations."""
        smaller = DoubleDutchGame(self._config, int(kept.sum()), ("auctioneer",), autoreset=False)
        observations, _ = smaller.restore({name: array[kept] for name, array in game.saved_arrays().items()})
        self._agent.attach(smaller)
        return smaller, observations


def require_bids_fit(config: DoubleDutchConfig, reports: Floats, size: Whole, own: bool) -> None:
    """Refuse bids that the market of a trained auctioneer cannot have.

    Parameters
    ----------
    config : DoubleDutchConfig
        Settings of that market.
    reports, size
        See the module.
    own : bool
        Whether the bids are a user's own, which are scaled to the clocks.
    """
    for side, (name, most) in enumerate((("buyers", config.buyers), ("sellers", config.sellers))):
        largest = int(size[:, side].max())
        require(largest <= most, name, largest, f"at most {most} with this checkpoint, which was trained with as many")
    present = np.arange(reports.shape[2]) < size[:, :, None]
    within = reports[present]
    low, high = config.seller_clock, config.buyer_clock
    fits = own or bool(np.all((within >= low) & (within <= high)))
    require(fits, "checkpoint", f"clocks from {high:g} to {low:g}", "a preset whose bids are between these clocks")
