"""Pictures of the modified second-bid auction, as text and as an image."""

from __future__ import annotations

import textwrap
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ioa_marl.envs.rendering import (
    BLUE,
    GREEN,
    GRID,
    INK,
    MUTED,
    ORANGE,
    PAPER,
    PINK,
    amount,
    legend,
    new_figure,
    progress_bar,
    spread,
    style_axes,
    tag,
    text_bar,
    tile,
)
from ioa_marl.foundations.records import plain_view
from ioa_marl.markets.second_bid.auction import allocate
from ioa_marl.markets.second_bid.state import UAV, SecondBidMetrics

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from ioa_marl.envs.second_bid.game import SecondBidGame

COLUMNS = 100
"""Width of the text."""
_NAMED = 12
"""With more stations than this only the best bids are drawn."""
_SPELT = 8
"""With more stations than this their names are numbers only."""
_STRIP = 60
"""Most tasks that the strip of winners shows: the last ones."""


@dataclass(frozen=True)
class _View:
    """A market as its pictures need it: the last task auctioned, or before there is one the present task."""

    task: int
    """Tasks auctioned so far."""
    tasks: int
    stations: NDArray[np.int64]
    """(n,): stations by bid, the highest first."""
    bids: NDArray[np.float64]
    """(n,): their bids [units]."""
    values: NDArray[np.float64]
    """(n,): their true values [units]."""
    uav: float
    """UAV's valuation [units]."""
    contract: float
    """Its contract price [units]."""
    rho: float | None
    """Price scaling factor; None before the first task is auctioned."""
    winner: int | None
    payment: float
    history: NDArray[np.int64]
    """(task,): winners so far."""
    lost: NDArray[np.float64]
    """(task,): surplus lost against the best ρ [units]."""
    means: dict[str, float]
    """Metrics of the episode so far."""

    @property
    def scaled(self) -> float | None:
        """ρ times the second highest bid [units]."""
        return None if self.rho is None else self.rho * float(self.bids[1])

    @property
    def headline(self) -> str:
        if self.winner is None:
            return f"task 1 of {self.tasks:,}  ·  waiting for ρ"
        who = "the UAV serves" if self.winner == UAV else f"station {self.winner} serves"
        return f"task {self.task:,} of {self.tasks:,}  ·  {who}"

    @property
    def sentence(self) -> str:
        """What happened, and why."""
        if self.rho is None or self.scaled is None:
            return "the best station serves if its bid exceeds ρ times the second bid, otherwise the UAV does"
        price = f"ρ × second bid = {self.rho:.2f} × {amount(self.bids[1])} = {amount(self.scaled)}"
        if self.winner == UAV:
            return f"best bid {amount(self.bids[0])} ≤ {price}: the UAV pays its contract price {amount(self.payment)}"
        return f"best bid {amount(self.bids[0])} > {price}: this is what station {self.winner} pays"


def _view(game: SecondBidGame, b: int) -> _View:
    state, task = game.market, int(game.market.task[b])
    # A task that nobody has bid for yet is shown with what the bids would be.
    present = state.bid[b] if state.bid[b, 0] > 0.0 else state.value[b, 1:]
    bids, values = (state.settled_bid[b], state.settled_value[b]) if task else (present, state.value[b])
    order = np.argsort(-bids, kind="stable")
    sums = dict(zip(SecondBidMetrics.names(), plain_view(state.totals)[b].tolist(), strict=True))
    means = {name: total / max(task, 1) for name, total in sums.items()}
    means["efficiency"] = sums["surplus"] / sums["optimal_surplus"] if sums["optimal_surplus"] > 0.0 else 1.0
    contract = float(game.params[0].contract_price)
    rho = float(state.settled[b, task - 1].rho) if task else None
    return _View(
        task=task,
        tasks=game.config.tasks,
        stations=order,
        bids=bids[order],
        values=values[1:][order],
        uav=float(values[0]),
        contract=contract,
        rho=rho,
        winner=None if rho is None else allocate(bids, rho).winner,
        payment=float(state.settled[b, task - 1].payment) if task else 0.0,
        history=state.winners[b, :task].copy(),
        lost=state.settled["lost"][b, :task].copy(),
        means=means,
    )


def figure(game: SecondBidGame, index: int = 0) -> Figure:
    """Return the picture of a market as a matplotlib figure, for saving in any format.

    Bars are the stations' bids, the highest first, and the UAV's value beside its contract price; the line is what the
    best bid has to exceed. Whoever serves the task is drawn in full colour. The strip below says who served so far.

    Parameters
    ----------
    game : SecondBidGame
        Batch of markets.
    index : int, default 0
        Which market of the batch.

    Returns
    -------
    Figure
        1080 × 720 pixels.
    """
    view = _view(game, index)
    drawn = new_figure()
    _draw_header(drawn, view)
    axes = drawn.add_axes((0.075, 0.275, 0.765, 0.475))
    style_axes(axes, "", "units per task")
    _draw_bars(axes, view)
    _draw_lines(axes, view)
    _draw_strip(drawn, view)
    _draw_legend(drawn)
    return drawn


def _draw_header(drawn: Figure, view: _View) -> None:
    colour = INK if view.winner is None else ORANGE if view.winner == UAV else BLUE
    drawn.text(0.03, 0.957, "Modified second-bid auction", fontsize=19, fontweight="bold", color=INK, va="center")
    drawn.text(
        0.97, 0.957, view.headline, fontsize=13, fontweight="bold", color=PAPER, ha="right", va="center",
        bbox={"boxstyle": "round,pad=0.45", "facecolor": colour, "edgecolor": colour},
    )  # fmt: skip
    drawn.text(0.03, 0.912, view.sentence, fontsize=12, color=MUTED, va="center")
    means, y = view.means, 0.848
    tile(drawn, 0.03, y, "mean surplus", amount(means["surplus"]), f"of {amount(means['optimal_surplus'])}")
    progress_bar(drawn, 0.03, y - 0.062, 0.21, means["efficiency"], GREEN)
    tile(drawn, 0.29, y, "efficiency", f"{means['efficiency']:.1%}")
    tile(drawn, 0.43, y, "served by the UAV", f"{means['uav_share']:.0%}")
    tile(drawn, 0.61, y, "mean revenue", amount(means["revenue"]))
    tile(drawn, 0.78, y, "mean delay", f"{amount(means['delay'], 2)} s")


def _draw_bars(axes: Axes, view: _View) -> None:
    """Draw the best bids and, apart from them, the UAV; labels over bars say what they are."""
    shown = min(len(view.bids), _NAMED)
    at = [*range(shown), shown + 0.6]
    heights = [*view.bids[:shown], view.uav]
    colours = [BLUE] * shown + [ORANGE]
    names = [f"station {n}" if shown <= _SPELT else f"{n}" for n in view.stations[:shown]] + ["UAV"]
    served = [view.winner == n for n in view.stations[:shown]] + [view.winner == UAV]
    top = 1.16 * max(*heights, view.contract, *view.values[:shown])
    if view.scaled is not None:
        top = min(max(top, 1.12 * view.scaled), 2.0 * top)
    for x, height, colour, name, wins in zip(at, heights, colours, names, served, strict=True):
        axes.bar(x, height, width=0.72, color=colour, alpha=1.0 if wins else 0.3, zorder=2)
        label = amount(height)
        if wins:
            label = f"{label}\npays {amount(view.payment)}" if shown <= _SPELT else f"pays\n{amount(view.payment)}"
        weight = "bold" if wins else "normal"
        axes.text(
            x, height + 0.012 * top, label, ha="center", va="bottom", fontsize=10.5, zorder=5,
            color=INK if wins else MUTED, fontweight=weight, linespacing=1.15,
            bbox={"boxstyle": "round,pad=0.12", "facecolor": PAPER, "edgecolor": "none", "alpha": 0.85},
        )  # fmt: skip
        axes.text(
            x, -0.02 * top, name, ha="center", va="top", fontsize=10.5,
            color=INK if wins else MUTED, fontweight=weight,
        )  # fmt: skip
    misreported = np.flatnonzero(view.values[:shown] != view.bids[:shown])
    axes.plot(
        misreported, view.values[misreported], linestyle="none", marker="D", markersize=8, zorder=6,
        markerfacecolor=PAPER, markeredgecolor=INK, markeredgewidth=1.6,
    )  # fmt: skip
    axes.set_xlim(-0.6, at[-1] + 0.6)
    axes.set_ylim(0.0, top)
    axes.set_xticks([])
    if shown > _SPELT:
        words = "stations" if len(view.bids) == shown else f"the best {shown} of {len(view.bids):,} stations"
        axes.text(0.5 * (shown - 1), -0.075 * top, words, ha="center", va="top", fontsize=10.5, color=MUTED)


def _draw_lines(axes: Axes, view: _View) -> None:
    """Draw what the best bid has to exceed, over the stations, and the contract price, over the UAV."""
    shown = min(len(view.bids), _NAMED)
    right = axes.get_xlim()[1]
    top = axes.get_ylim()[1]
    axes.plot([shown + 0.2, right], [view.contract] * 2, color=INK, linewidth=1.8, linestyle=(0, (4, 2)), zorder=4)
    labels = [(view.contract, f"contract price\n{amount(view.contract)}", ORANGE, view.winner == UAV)]
    if view.scaled is not None:
        if view.scaled <= top:
            axes.plot([-0.6, right], [view.scaled] * 2, color=INK, linewidth=2.4, zorder=3)
        arrow = "" if view.scaled <= top else " ▲"
        words = f"ρ × second bid\n{amount(view.scaled)}{arrow}"
        labels.append((min(view.scaled, top), words, INK, view.winner != UAV))
    height = top / axes.bbox.height
    placed = spread([label[0] for label in labels], 54 * height, 22 * height, top - 22 * height)
    for (at, words, colour, filled), y in zip(labels, placed, strict=True):
        tag(axes, at, y, words, colour, filled)


def _draw_strip(drawn: Figure, view: _View) -> None:
    """Draw one cell a task: who served it, and below it how much the other choice would have gained."""
    axes = drawn.add_axes((0.075, 0.105, 0.765, 0.085))
    first = max(0, view.task - _STRIP)
    cells = min(view.tasks, _STRIP)
    axes.set_xlim(0, cells)
    axes.set_ylim(-1.0, 1.0)
    axes.set_axis_off()
    worst = max(float(view.lost.max(initial=0.0)), 1e-300)
    for cell in range(cells):
        task = first + cell
        if task >= view.task:
            axes.bar(cell + 0.5, 0.8, bottom=0.2, width=0.86, color=GRID)
            continue
        axes.bar(cell + 0.5, 0.8, bottom=0.2, width=0.86, color=ORANGE if view.history[task] == UAV else BLUE)
        axes.bar(cell + 0.5, -0.9 * view.lost[task] / worst, bottom=0.05, width=0.86, color=PINK)
    drawn.text(0.855, 0.173, "who served", fontsize=10, color=MUTED, va="center")
    drawn.text(0.855, 0.127, "surplus lost", fontsize=10, color=MUTED, va="center")


def _draw_legend(drawn: Figure) -> None:
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    entries = [
        Patch(facecolor=BLUE, lw=0, label="station (bid)"),
        Patch(facecolor=ORANGE, lw=0, label="UAV (value)"),
        Line2D([], [], color=INK, lw=2.4, label="what the best bid has to exceed"),
        Line2D([], [], color=INK, lw=1.8, linestyle=(0, (4, 2)), label="UAV's contract price"),
        Line2D(
            [], [], linestyle="none", marker="D", markersize=7, markerfacecolor=PAPER, markeredgecolor=INK,
            label="true value of a misreport",
        ),
        Patch(facecolor=PINK, lw=0, label="surplus lost"),
    ]  # fmt: skip
    legend(drawn, entries, y=0.012, fontsize=9.5, handlelength=1.6, columnspacing=1.6, handletextpad=0.6)


def text(game: SecondBidGame, index: int = 0) -> str:
    """Return a market as lines of at most 100 characters.

    Parameters
    ----------
    game : SecondBidGame
        Batch of markets.
    index : int, default 0
        Which market of the batch.

    Returns
    -------
    str
        Bids and the UAV's value as bars over a common axis, what the best bid has to exceed, and who served so far.
    """
    view = _view(game, index)
    width = COLUMNS - 56
    shown = min(len(view.bids), _NAMED)
    lines = [f"Modified second-bid auction  ·  {view.headline}", *textwrap.wrap(view.sentence, COLUMNS), ""]
    top = max(float(view.bids[0]), view.uav, view.contract, view.scaled or 0.0)
    rows = []
    for n, bid, value in zip(view.stations[:shown], view.bids, view.values, strict=False):
        note = "" if bid == value else f" value {amount(value)}"
        rows.append((f"station {n}", float(bid), view.winner == n, note))
    if view.scaled is not None:
        rows.append(("ρ × second bid", view.scaled, False, ""))
    rows.append(("UAV's value", view.uav, view.winner == UAV, ""))
    rows.append(("contract price", view.contract, False, ""))
    for name, height, wins, note in rows:
        mark = "►" if wins else " "
        lines.append(f"{mark} {name:<15}{amount(height):>14}  ▕{text_bar(height / top, width)}▏{note}".rstrip())
    if len(view.bids) > shown:
        lines.append(f"  the best {shown} of {len(view.bids):,} stations")
    first = max(0, view.task - _STRIP)
    served = "".join("U" if winner == UAV else "s" for winner in view.history[first:])
    missed = "".join("x" if lost > 0.0 else " " for lost in view.lost[first:])
    means = view.means
    return "\n".join(
        [
            *lines,
            "",
            f"  who served  {served}",
            f"  not best    {missed}".rstrip(),
            "",
            f"  mean surplus {amount(means['surplus'], 2)} of {amount(means['optimal_surplus'], 2)}"
            f"   ▕{text_bar(means['efficiency'], 20)}▏ {means['efficiency']:.1%}",
            f"  served by the UAV {means['uav_share']:.0%}   revenue {amount(means['revenue'], 2)}"
            f"   delay {amount(means['delay'], 2)} s   ρ {means['rho']:,.2f}",
        ]
    )
