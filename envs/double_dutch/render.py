"""Pictures of a double Dutch auction, as text and as an image."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

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

COLUMNS = 100
"""Width of the text."""

_COLOURS = (rendering.BLUE, rendering.ORANGE)
_ARROWS = ("▼", "▲")
_STEMS = 120
"""With more bidders than this, lines from valuations to accepted clocks would only be a smear."""


@dataclass(frozen=True)
class _Side:
    """One side of an auction; bidders are in the order of eagerness, money is in units of account."""

    name: str
    start: float
    clock: float
    valuations: NDArray[np.float64]
    """(n,): highest values first, or lowest costs first."""
    accepted: NDArray[np.float64]
    """(n,): the clock at which each accepted, NaN before."""
    trades: NDArray[np.bool_]
    """(n,): who accepted and has a partner."""
    last: tuple[float, int] | None
    """Clock of the last acceptance, and how many accepted at it."""

    @property
    def winners(self) -> int:
        return int(np.isfinite(self.accepted).sum())

    @property
    def waiting(self) -> int:
        return len(self.accepted) - self.winners


@dataclass(frozen=True)
class _View:
    """An auction as its pictures need it."""

    sides: tuple[_Side, _Side]
    turn: int
    asking: bool
    closed: bool
    ticks: int
    max_ticks: int
    digits: int
    """Decimals that prices need."""
    efficient_trades: int
    totals: dict[str, float]

    def price(self, amount: float) -> str:
        return f"{amount:,.{self.digits}f}"

    @property
    def trades(self) -> int:
        return int(self.totals["trades"])

    @property
    def efficiency(self) -> float:
        best = self.totals["optimal_welfare"]
        return self.totals["welfare"] / best if best > 0.0 else 1.0

    @property
    def price_range(self) -> tuple[float, float]:
        """Lowest and highest price that the auction can show."""
        buyers, sellers = self.sides
        prices = [buyers.start, sellers.start, buyers.clock, sellers.clock]
        prices += [*buyers.valuations[:1], *buyers.valuations[-1:]]
        prices += [*sellers.valuations[:1], *sellers.valuations[-1:]]
        return min(prices), max(prices)

    @property
    def headline(self) -> str:
        if self.closed:
            return f"tick {self.ticks}  ·  closed"
        return f"tick {self.ticks}  ·  {self.sides[self.turn].name}s' turn"

    @property
    def sentence(self) -> str:
        """What happens next, or what came of it."""
        if self.closed:
            return f"{_plural(self.trades, 'trade')} at the clearing price {self.price(self.totals['price'])}"
        side = self.sides[self.turn]
        if self.asking:
            return f"asking {_plural(side.waiting, 'waiting ' + side.name)} at {self.price(side.clock)}"
        return f"no {side.name} accepted {self.price(side.clock)}: the auctioneer moves the clock"


def _plural(count: int, noun: str) -> str:
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"


def _side(game: DoubleDutchGame, b: int, side: int) -> _Side:
    state, tick = game.market, game.config.tick
    n, winners = int(state.size[b, side]), int(state.winners[b, side])
    accepting = state.order[b, side, :n]
    valuation = state.valuation[b, side, accepting]
    # `order` lists acceptors first; the picture shows everybody by eagerness.
    keenest = np.lexsort((accepting, -valuation if side == BUYERS else valuation))
    clocks = state.accepted_at[b, side, accepting[keenest]]
    last = int(state.recent[b, side, 0])
    return _Side(
        name=("buyer", "seller")[side],
        start=(game.config.buyer_clock, game.config.seller_clock)[side],
        clock=float(state.clock[b, side] * tick),
        valuations=valuation[keenest],
        accepted=np.where(clocks >= 0, clocks * tick, np.nan),
        trades=keenest < int(state.winners[b].min()),
        last=(last * tick, int((clocks == last).sum())) if winners else None,
    )


def _view(game: DoubleDutchGame, index: int) -> _View:
    state = game.market
    totals = dict(zip(Metrics.names(), plain_view(state.totals)[index].tolist(), strict=True))
    buyers, sellers = _side(game, index, BUYERS), _side(game, index, SELLERS)
    pairs = min(len(buyers.valuations), len(sellers.valuations))
    return _View(
        sides=(buyers, sellers),
        turn=int(state.side[index]),
        asking=not state.deciding[index],
        # Ticks and efficiency are filled in at the end; an auction without bidders ends at tick 0.
        closed=totals["ticks"] > 0.0 or totals["efficiency"] > 0.0,
        ticks=int(state.ticks[index]),
        max_ticks=game.config.max_ticks,
        digits=max(2, len(f"{game.config.tick:.6f}".rstrip("0").partition(".")[2])),
        efficient_trades=int((buyers.valuations[:pairs] > sellers.valuations[:pairs]).sum()),
        totals=totals,
    )


def figure(game: DoubleDutchGame, index: int = 0) -> Figure:
    """Return the picture of an auction as a matplotlib figure, for saving in any format.

    Demand and supply are staircases, the clocks are lines that close in on each other, every acceptance is a
    point at the clock that was accepted. Light green is the welfare still to be gained, dark green what the
    trades so far have realised.

    Parameters
    ----------
    game : DoubleDutchGame
        Batch of auctions.
    index : int, default 0
        Which auction of the batch.

    Returns
    -------
    Figure
        1080 × 720 pixels.
    """
    from matplotlib.ticker import MaxNLocator

    view = _view(game, index)
    drawn = rendering.new_figure()
    _draw_header(drawn, view)
    axes = drawn.add_axes((0.075, 0.15, 0.775, 0.605))
    rendering.style_axes(
        axes, "lots, buyers from the highest value down, sellers from the lowest cost up", "price per lot"
    )
    low, high = view.price_range
    margin = 0.03 * (high - low)
    lots = max(1, *(len(side.valuations) for side in view.sides))
    axes.set_xlim(0, lots)
    axes.set_ylim(low - margin, high + margin)
    axes.xaxis.set_major_locator(MaxNLocator("auto", steps=[1, 2, 5, 10], integer=True))
    _draw_welfare(axes, view)
    for side, colour in zip(view.sides, _COLOURS, strict=True):
        _draw_bidders(axes, side, colour, lots)
    _draw_clocks(axes, view)
    _draw_legend(drawn)
    return drawn


def _draw_header(drawn: Figure, view: _View) -> None:
    active = rendering.INK if view.closed else _COLOURS[view.turn]
    drawn.text(0.03, 0.957, "Double Dutch auction", fontsize=19, fontweight="bold", color=rendering.INK, va="center")
    drawn.text(
        0.97, 0.957, view.headline, fontsize=13, fontweight="bold", color=rendering.PAPER, ha="right", va="center",
        bbox={"boxstyle": "round,pad=0.45", "facecolor": active, "edgecolor": active},
    )  # fmt: skip
    drawn.text(0.03, 0.912, view.sentence, fontsize=12, color=rendering.MUTED, va="center")
    totals = view.totals
    y = 0.848
    rendering.tile(drawn, 0.03, y, "welfare", f"{totals['welfare']:,.1f}", f"of {totals['optimal_welfare']:,.1f}")
    rendering.progress_bar(drawn, 0.03, y - 0.062, 0.21, view.efficiency, rendering.GREEN)
    rendering.tile(drawn, 0.29, y, "efficiency", f"{view.efficiency:.1%}")
    rendering.tile(drawn, 0.42, y, "trades", f"{view.trades:,}", f"of {view.efficient_trades:,} efficient")
    rendering.tile(drawn, 0.63, y, "messages", f"{totals['messages']:,.0f}")
    rendering.tile(drawn, 0.80, y, "auctioneer's return", f"{totals['return']:,.1f}".replace("-", "−"))


def _draw_welfare(axes: Axes, view: _View) -> None:
    """Shade the gains from trade, and over them those that the trades made so far have realised.

    Traders' values and costs are sorted among themselves, so that the dark area is their welfare exactly.
    """
    buyers, sellers = view.sides
    best = view.efficient_trades
    x, top = rendering.staircase(buyers.valuations[:best])
    axes.fill_between(
        x, rendering.staircase(sellers.valuations[:best])[1], top, color=rendering.GREEN, alpha=0.13, lw=0
    )
    x, top = rendering.staircase(buyers.valuations[buyers.trades])
    bottom = rendering.staircase(sellers.valuations[sellers.trades])[1]
    axes.fill_between(x, bottom, top, where=top >= bottom, color=rendering.GREEN, alpha=0.35, lw=0)
    axes.fill_between(x, bottom, top, where=top < bottom, color=rendering.PINK, alpha=0.5, lw=0)


def _draw_bidders(axes: Axes, side: _Side, colour: str, lots: int) -> None:
    width = 2.2 if lots <= 200 else 1.2
    axes.plot(*rendering.staircase(side.valuations), color=colour, linewidth=width, solid_capstyle="butt", zorder=3)
    at = np.arange(len(side.valuations)) + 0.5
    if lots <= _STEMS:
        axes.vlines(at, side.valuations, side.accepted, color=colour, alpha=0.45, linewidth=1.0, zorder=3)
    size = float(np.clip(340.0 / lots, 3.0, 8.0))
    for chosen, face in ((side.trades, colour), (~side.trades, rendering.PAPER)):
        axes.plot(
            at[chosen], side.accepted[chosen],
            linestyle="none", marker="o", markersize=size, markerfacecolor=face, markeredgecolor=colour,
            markeredgewidth=1.6 if lots <= 200 else 0.8, zorder=5,
        )  # fmt: skip


def _draw_clocks(axes: Axes, view: _View) -> None:
    """Draw the clocks as lines behind which lies what they have swept, and label them in the margin."""
    low, high = axes.get_ylim()
    labels: list[tuple[float, str, str, bool]] = []  # from below, where prices are equal
    for number, (side, colour, arrow) in enumerate(zip(view.sides, _COLOURS, _ARROWS, strict=True)):
        active = not view.closed and number == view.turn
        axes.axhspan(side.start, side.clock, color=colour, alpha=0.06, lw=0, zorder=0)
        axes.axhline(
            side.clock, color=colour, linewidth=2.6 if active else 1.4,
            linestyle="-" if active else (0, (5, 3)), zorder=4,
        )  # fmt: skip
        words = f"{side.name} clock\n{view.price(side.clock)} {arrow}"
        labels.insert(0, (side.clock, words, colour, active))
    if view.closed:
        price = view.totals["price"]
        axes.axhline(price, color=rendering.INK, linewidth=2.0, zorder=4)
        labels.insert(1, (price, f"clearing price\n{view.price(price)}", rendering.INK, True))
    height = (high - low) / axes.bbox.height
    shown = rendering.spread([label[0] for label in labels], 54 * height, low + 22 * height, high - 22 * height)
    for (at, words, colour, filled), y in zip(labels, shown, strict=True):
        rendering.tag(axes, at, y, words, colour, filled)


def _draw_legend(drawn: Figure) -> None:
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    point: dict[str, Any] = {"linestyle": "none", "marker": "o", "markersize": 7, "color": rendering.INK}
    entries = [
        Line2D([], [], color=rendering.BLUE, lw=2.2, label="buyers' values"),
        Line2D([], [], color=rendering.ORANGE, lw=2.2, label="sellers' costs"),
        Patch(facecolor=rendering.GREEN, alpha=0.15, lw=0, label="possible welfare"),
        Patch(facecolor=rendering.GREEN, alpha=0.45, lw=0, label="realised welfare"),
        Line2D([], [], label="accepted, trades", **point),
        Line2D([], [], label="accepted, no partner", markerfacecolor=rendering.PAPER, **point),
    ]
    rendering.legend(drawn, entries, y=0.012, fontsize=9.5, handlelength=1.6, columnspacing=1.6, handletextpad=0.6)


def text(game: DoubleDutchGame, index: int = 0) -> str:
    """Return an auction as lines of at most 100 characters.

    Parameters
    ----------
    game : DoubleDutchGame
        Batch of auctions.
    index : int, default 0
        Which auction of the batch.

    Returns
    -------
    str
        Clocks as bars over a common price axis, where bidders wait and where they accepted, and the figures.
    """
    view = _view(game, index)
    width = COLUMNS - 31
    low, high = view.price_range
    low, high = (low, high) if high > low else (low, low + 1.0)
    lines = [f"Double Dutch auction  ·  {view.headline}  (of {view.max_ticks})", view.sentence, ""]
    scale = f"{low:,.2f}" + f"{high:,.2f}".rjust(width - len(f"{low:,.2f}"))
    lines.append(" " * 29 + scale)
    for number, (side, arrow) in enumerate(zip(view.sides, _ARROWS, strict=True)):
        mark = "►" if number == view.turn and not view.closed else " "
        share = (side.clock - low) / (high - low)
        bar = rendering.text_bar(share if number else 1.0 - share, width, from_right=number == BUYERS)
        lines.append(f"{mark} {side.name + ' clock':<13}{view.price(side.clock):>9} {arrow}  ▕{bar}▏")
    waiting = [np.isnan(side.accepted) for side in view.sides]
    for title, sides in (("wait", waiting), ("accepted", [~w for w in waiting])):
        for side, chosen in zip(view.sides, sides, strict=True):
            prices = side.valuations[chosen] if title == "wait" else side.accepted[chosen]
            row = rendering.text_density(prices, low, high, width)
            lines.append(f"  {side.name + 's'} {title:<12}"[:22].ljust(22) + f"{len(prices):>5,} ▕{row}▏")
    return "\n".join([*lines, "", *_figures(view)])


def _figures(view: _View) -> list[str]:
    totals = view.totals
    rows = [["", "bidders", "accepted", "waiting", "last acceptance"]]
    for side in view.sides:
        last = "-" if side.last is None else f"{side.last[1]:,} at {view.price(side.last[0])}"
        rows.append([f"{side.name}s", f"{len(side.accepted):,}", f"{side.winners:,}", f"{side.waiting:,}", last])
    welfare = f"welfare {totals['welfare']:,.2f} of {totals['optimal_welfare']:,.2f}"
    return [
        *("  " + line for line in rendering.text_table(rows)),
        "",
        f"  {welfare}   ▕{rendering.text_bar(view.efficiency, 20)}▏ {view.efficiency:.1%}",
        f"  trades {view.trades:,} of {view.efficient_trades:,} efficient"
        f"   messages {totals['messages']:,.0f}   regret {totals['regret']:,.2f}"
        f"   return {totals['return']:,.2f}",
    ]
