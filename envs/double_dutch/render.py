"""Pictures of a double Dutch auction, as text and as an image."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ioa_marl.envs import rendering
from ioa_marl.foundations.records import plain_view
from ioa_marl.markets.double_dutch.kernels import BUYERS, SELLERS
from ioa_marl.markets.double_dutch.state import Metrics

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from ioa_marl.envs.double_dutch.game import DoubleDutchGame

_TITLE = "Double Dutch auction"
_COLOURS = (rendering.BLUE, rendering.ORANGE)
_ARROWS = ("▼", "▲")
_STEMS = 120
"""Number of lots above which the lines from valuations to accepted clocks are left out, because they would overlap."""


@dataclass(frozen=True)
class _Side:
    """One side of an auction; bidders are ordered by eagerness, prices and valuations are in units of account."""

    name: str
    """``buyer`` or ``seller``."""
    start: float
    """Clock at the start."""
    clock: float
    """Current clock."""
    valuations: NDArray[np.float64]
    """(n,): values of the buyers, highest first, or costs of the sellers, lowest first."""
    accepted: NDArray[np.float64]
    """(n,): clock that each bidder accepted; NaN before it accepts one."""
    trades: NDArray[np.bool_]
    """(n,): whether the bidder has accepted and has a partner."""
    last: tuple[float, int] | None
    """Clock of the last acceptance, and the number of bidders who accepted it; None before the first one."""

    @property
    def winners(self) -> int:
        """Number of bidders who have accepted."""
        return int(np.isfinite(self.accepted).sum())

    @property
    def waiting(self) -> int:
        """Number of bidders who have not accepted."""
        return len(self.accepted) - self.winners


@dataclass(frozen=True)
class _View:
    """The properties of an auction that the pictures show."""

    sides: tuple[_Side, _Side]
    """Buyers and sellers."""
    turn: int
    """Side whose clock is running."""
    asking: bool
    """Whether the bidders of that side are offered the clock next, rather than the auctioneer having to move it."""
    closed: bool
    """Whether the auction is over."""
    ticks: int
    """Ticks played."""
    max_ticks: int
    """Largest number of ticks."""
    digits: int
    """Number of decimals of a price."""
    efficient_trades: int
    """Number of trades in the welfare optimum."""
    totals: dict[str, float]
    """Metrics of the episode so far."""

    def price(self, value: float) -> str:
        """Return a price as text."""
        return f"{value:,.{self.digits}f}"

    @property
    def trades(self) -> int:
        """Number of trades."""
        return int(self.totals["trades"])

    @property
    def efficiency(self) -> float:
        """Welfare over the optimal welfare."""
        best = self.totals["optimal_welfare"]
        return self.totals["welfare"] / best if best > 0.0 else 1.0

    @property
    def price_range(self) -> tuple[float, float]:
        """Lowest and highest price among clocks and valuations [units of account]."""
        buyers, sellers = self.sides
        prices = [buyers.start, sellers.start, buyers.clock, sellers.clock]
        prices += [*buyers.valuations[:1], *buyers.valuations[-1:]]
        prices += [*sellers.valuations[:1], *sellers.valuations[-1:]]
        return min(prices), max(prices)

    @property
    def headline(self) -> str:
        """Progress of the auction."""
        if self.closed:
            return f"tick {self.ticks}  ·  closed"
        return f"tick {self.ticks}  ·  {self.sides[self.turn].name}s' turn"

    @property
    def sentence(self) -> str:
        """What happens next, or the result of a closed auction, in one sentence."""
        if self.closed:
            if not self.trades:
                return "no trade, and so no clearing price"
            trades = rendering.counted(self.trades, "trade")
            return f"{trades} at the clearing price {self.price(self.totals['price'])}"
        side = self.sides[self.turn]
        if self.asking:
            return f"asking {rendering.counted(side.waiting, 'waiting ' + side.name)} at {self.price(side.clock)}"
        return f"no {side.name} accepted {self.price(side.clock)}: the auctioneer moves the clock"


def _side(game: DoubleDutchGame, b: int, side: int) -> _Side:
    """Return the properties of a side of auction ``b`` that the pictures show."""
    state, tick = game.market, game.config.tick
    n, winners = int(state.size[b, side]), int(state.winners[b, side])
    bidders = state.order[b, side, :n]
    valuation = state.valuation[b, side, bidders]
    # In `order` the winners come first; the pictures show all bidders by eagerness.
    eagerness = np.lexsort((bidders, -valuation if side == BUYERS else valuation))
    clocks = state.accepted_at[b, side, bidders[eagerness]]
    last = int(state.recent[b, side, 0])
    return _Side(
        name=("buyer", "seller")[side],
        start=(game.config.buyer_clock, game.config.seller_clock)[side],
        clock=float(state.clock[b, side] * tick),
        valuations=valuation[eagerness],
        accepted=np.where(clocks >= 0, clocks * tick, np.nan),
        trades=eagerness < int(state.winners[b].min()),
        last=(last * tick, int((clocks == last).sum())) if winners else None,
    )


def _view(game: DoubleDutchGame, b: int) -> _View:
    """Return the properties of auction ``b`` that the pictures show."""
    state = game.market
    totals = dict(zip(Metrics.names(), plain_view(state.totals)[b].tolist(), strict=True))
    buyers, sellers = _side(game, b, BUYERS), _side(game, b, SELLERS)
    pairs = min(len(buyers.valuations), len(sellers.valuations))
    return _View(
        sides=(buyers, sellers),
        turn=int(state.side[b]),
        asking=not state.deciding[b],
        # Ticks and efficiency are written at the end; an auction without bidders ends at tick 0.
        closed=totals["ticks"] > 0.0 or totals["efficiency"] > 0.0,
        ticks=int(state.ticks[b]),
        max_ticks=game.config.max_ticks,
        digits=max(2, len(f"{game.config.tick:.6f}".rstrip("0").partition(".")[2])),
        efficient_trades=int((buyers.valuations[:pairs] > sellers.valuations[:pairs]).sum()),
        totals=totals,
    )


def figure(game: DoubleDutchGame, index: int = 0) -> Figure:
    """Return the picture of an auction as a Matplotlib figure, which can be saved in any format.

    Demand and supply are staircases, the two clocks are horizontal lines that approach each other, and every
    acceptance is a circle at the accepted clock. The light green area is the possible welfare, the dark green area the
    welfare of the trades so far.

    Parameters
    ----------
    game : DoubleDutchGame
        Batch of auctions.
    index : int, default 0
        Index of the auction in the batch.

    Returns
    -------
    Figure
        1080 × 720 pixels.
    """
    view = _view(game, index)
    drawn = rendering.titled_figure(_TITLE, view.headline, view.sentence, _colour_of_turn(view))
    _draw_tiles(drawn, view)
    axes = drawn.add_axes((0.075, 0.15, 0.775, 0.605))
    rendering.style_axes(
        axes, "lots, buyers from the highest value down, sellers from the lowest cost up", "price per lot"
    )
    low, high = view.price_range
    margin = 0.03 * (high - low)
    lots = max(1, *(len(side.valuations) for side in view.sides))
    axes.set_xlim(0, lots)
    axes.set_ylim(low - margin, high + margin)
    rendering.count_along_x(axes)
    _draw_welfare(axes, view)
    for side, colour in zip(view.sides, _COLOURS, strict=True):
        _draw_bidders(axes, side, colour, lots)
    _draw_clocks(axes, view)
    _draw_legend(drawn)
    return drawn


def _colour_of_turn(view: _View) -> str:
    return rendering.INK if view.closed else _COLOURS[view.turn]


def _draw_tiles(drawn: Figure, view: _View) -> None:
    totals = view.totals
    welfare, optimum = f"{totals['welfare']:,.1f}", f"of {totals['optimal_welfare']:,.1f}"
    rendering.progress_tile(drawn, "welfare", welfare, optimum, view.efficiency)
    rendering.tile(drawn, 0.29, "efficiency", f"{view.efficiency:.1%}")
    rendering.tile(drawn, 0.42, "trades", f"{view.trades:,}", f"of {view.efficient_trades:,} efficient")
    rendering.tile(drawn, 0.63, "messages", f"{totals['messages']:,.0f}")
    rendering.tile(drawn, 0.80, "auctioneer's return", f"{totals['return']:,.1f}".replace("-", "−"))


def _draw_welfare(axes: Axes, view: _View) -> None:
    """Shade the possible welfare and over it the welfare of the trades so far.

    The values and the costs of the trading bidders are each sorted, so that the dark area equals their welfare.
    """
    buyers, sellers = view.sides
    best = view.efficient_trades
    rendering.shade_gains(axes, buyers.valuations[:best], sellers.valuations[:best], 0.13)
    x, values = rendering.staircase(buyers.valuations[buyers.trades])
    costs = rendering.staircase(sellers.valuations[sellers.trades])[1]
    axes.fill_between(x, costs, values, where=values >= costs, color=rendering.GREEN, alpha=0.35, lw=0)
    axes.fill_between(x, costs, values, where=values < costs, color=rendering.PINK, alpha=0.5, lw=0)


def _draw_bidders(axes: Axes, side: _Side, colour: str, lots: int) -> None:
    """Draw the valuations of a side and the clocks that its bidders accepted; a filled circle has a partner."""
    width = 2.2 if lots <= 200 else 1.2
    axes.plot(*rendering.staircase(side.valuations), color=colour, linewidth=width, solid_capstyle="butt", zorder=3)
    x = np.arange(len(side.valuations), dtype=np.float64) + 0.5
    if lots <= _STEMS:
        axes.vlines(x, side.valuations, side.accepted, color=colour, alpha=0.45, linewidth=1.0, zorder=3)
    size = float(np.clip(340.0 / lots, 3.0, 8.0))
    rendering.circles(axes, x, side.accepted, side.trades, colour, size, 1.6 if lots <= 200 else 0.8)


def _draw_clocks(axes: Axes, view: _View) -> None:
    """Draw the clocks as lines, shade the prices that they have passed, and label them in the margin."""
    tags: list[rendering.Tag] = []  # from below, which decides where prices are equal
    for number, (side, colour, arrow) in enumerate(zip(view.sides, _COLOURS, _ARROWS, strict=True)):
        active = not view.closed and number == view.turn
        axes.axhspan(side.start, side.clock, color=colour, alpha=0.06, lw=0, zorder=0)
        axes.axhline(
            side.clock, color=colour, linewidth=2.6 if active else 1.4,
            linestyle="-" if active else (0, (5, 3)), zorder=4,
        )  # fmt: skip
        words = f"{side.name} clock\n{view.price(side.clock)} {arrow}"
        tags.insert(0, rendering.Tag(side.clock, words, colour, active))
    if view.closed and view.trades:
        price = view.totals["price"]
        axes.axhline(price, color=rendering.INK, linewidth=2.0, zorder=4)
        tags.insert(1, rendering.Tag(price, f"clearing price\n{view.price(price)}", rendering.INK, True))
    rendering.draw_tags(axes, tags)


def _draw_legend(drawn: Figure) -> None:
    ink = rendering.INK
    entries = [
        rendering.line_entry("buyers' values", rendering.BLUE, 2.2),
        rendering.line_entry("sellers' costs", rendering.ORANGE, 2.2),
        rendering.area_entry("possible welfare", rendering.GREEN, alpha=0.15),
        rendering.area_entry("realised welfare", rendering.GREEN, alpha=0.45),
        rendering.mark_entry("accepted, trades", "o", ink, 7),
        rendering.mark_entry("accepted, no partner", "o", ink, 7, markerfacecolor=rendering.PAPER),
    ]
    rendering.legend(drawn, entries, y=0.012, columnspacing=1.6)


def text(game: DoubleDutchGame, index: int = 0) -> str:
    """Return an auction as lines of at most 100 characters.

    Parameters
    ----------
    game : DoubleDutchGame
        Batch of auctions.
    index : int, default 0
        Index of the auction in the batch.

    Returns
    -------
    str
        Clocks as bars over a common price axis, densities of the valuations of waiting bidders and of the accepted
        clocks, and the metrics.
    """
    view = _view(game, index)
    width = rendering.COLUMNS - 31
    low, high = view.price_range
    low, high = (low, high) if high > low else (low, low + 1.0)
    lines = [f"{_TITLE}  ·  {view.headline}  (of {view.max_ticks})", view.sentence, ""]
    lines.append(" " * 29 + rendering.text_scale(low, high, width))
    for number, (side, arrow) in enumerate(zip(view.sides, _ARROWS, strict=True)):
        mark = "►" if number == view.turn and not view.closed else " "
        part = (side.clock - low) / (high - low)
        bar = rendering.text_bar(part if number == SELLERS else 1.0 - part, width, from_right=number == BUYERS)
        lines.append(f"{mark} {side.name + ' clock':<13}{view.price(side.clock):>9} {arrow}  {rendering.framed(bar)}")
    waiting = [side.valuations[np.isnan(side.accepted)] for side in view.sides]
    accepted = [side.accepted[np.isfinite(side.accepted)] for side in view.sides]
    for title, prices_of_sides in (("wait", waiting), ("accepted", accepted)):
        for side, prices in zip(view.sides, prices_of_sides, strict=True):
            density = rendering.framed(rendering.text_density(prices, low, high, width))
            lines.append(f"  {side.name + 's'} {title:<12}"[:22].ljust(22) + f"{len(prices):>5,} {density}")
    return "\n".join([*lines, "", *_metric_lines(view)])


def _metric_lines(view: _View) -> list[str]:
    """Return the table of both sides and the metrics of the episode so far."""
    totals = view.totals
    rows = [["", "bidders", "accepted", "waiting", "last acceptance"]]
    for side in view.sides:
        last = "-" if side.last is None else f"{side.last[1]:,} at {view.price(side.last[0])}"
        rows.append([f"{side.name}s", f"{len(side.accepted):,}", f"{side.winners:,}", f"{side.waiting:,}", last])
    welfare = f"welfare {totals['welfare']:,.2f} of {totals['optimal_welfare']:,.2f}"
    bar = rendering.framed(rendering.text_bar(view.efficiency, 20))
    return [
        *("  " + line for line in rendering.text_table(rows)),
        "",
        f"  {welfare}   {bar} {view.efficiency:.1%}",
        f"  trades {view.trades:,} of {view.efficient_trades:,} efficient"
        f"   messages {totals['messages']:,.0f}   regret {totals['regret']:,.2f}"
        f"   return {totals['return']:,.2f}",
    ]
