"""Pictures of the modified second-bid auction, as text and as an image."""

from __future__ import annotations

import textwrap
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ioa_marl.envs import rendering
from ioa_marl.envs.rendering import BLUE, GRID, INK, MUTED, ORANGE, PAPER, PINK, amount
from ioa_marl.foundations.records import plain_view
from ioa_marl.markets.second_bid.auction import allocate
from ioa_marl.markets.second_bid.state import UAV, SecondBidMetrics

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from ioa_marl.envs.second_bid.game import SecondBidGame

_TITLE = "Modified second-bid auction"
_MOST_BARS = 12
"""Largest number of stations that are shown: those with the highest bids."""
_MOST_NAMED = 8
"""Number of shown stations above which a station is labelled with its number only."""
_MOST_TASKS = 60
"""Largest number of tasks in the strip of winners: the last ones."""


@dataclass(frozen=True)
class _View:
    """The properties of a market that the pictures show: the last auctioned task, or before the first auction task 1.

    Money is in units.
    """

    task: int
    """Number of tasks auctioned so far."""
    tasks: int
    """Number of tasks of the episode."""
    stations: NDArray[np.int64]
    """(stations,): stations by bid, the highest first."""
    bids: NDArray[np.float64]
    """(stations,): their bids."""
    values: NDArray[np.float64]
    """(stations,): their true values."""
    uav_value: float
    """Value of the UAV."""
    contract_price: float
    """Contract price of the UAV."""
    rho: float | None
    """Price scaling factor; None before the first task is auctioned."""
    rival: float
    """Second highest bid b₍₂₎, that of a station or, with ``rivals="providers"``, of the UAV."""
    winner: int | None
    """Winning station or UAV; None before the first task is auctioned."""
    payment: float
    """Payment of the winner."""
    winners: NDArray[np.int64]
    """(task,): winner of each auctioned task."""
    lost: NDArray[np.float64]
    """(task,): surplus lost against the best ρ in each auctioned task."""
    means: dict[str, float]
    """Metrics of the episode so far."""

    @property
    def threshold(self) -> float | None:
        """Threshold that the best bid has to exceed: ρ times the second highest bid."""
        return None if self.rho is None else self.rho * self.rival

    @property
    def shown(self) -> int:
        """Number of stations that are shown."""
        return min(len(self.bids), _MOST_BARS)

    @property
    def first_task(self) -> int:
        """Index of the first task in the strip of winners."""
        return max(0, self.task - _MOST_TASKS)

    @property
    def headline(self) -> str:
        """Progress of the episode."""
        if self.winner is None:
            return f"task 1 of {self.tasks:,}  ·  waiting for ρ"
        who = "the UAV serves" if self.winner == UAV else f"station {self.winner} serves"
        return f"task {self.task:,} of {self.tasks:,}  ·  {who}"

    @property
    def sentence(self) -> str:
        """Result of the last auction with its reason, in one sentence."""
        if self.rho is None or self.threshold is None:
            return "the best station serves if its bid exceeds ρ times the second bid, otherwise the UAV does"
        price = f"ρ × second bid = {self.rho:.2f} × {amount(self.rival)} = {amount(self.threshold)}"
        if self.winner == UAV:
            return f"best bid {amount(self.bids[0])} ≤ {price}: the UAV pays its contract price {amount(self.payment)}"
        return f"best bid {amount(self.bids[0])} > {price}: this is what station {self.winner} pays"


def _view(game: SecondBidGame, b: int) -> _View:
    """Return the properties of market ``b`` that the pictures show."""
    state, task = game.market, int(game.market.task[b])
    # Before any station has bid, the task is shown with the true values as bids.
    current_bids = state.bid[b] if state.bid[b, 0] > 0.0 else state.value[b, 1:]
    bids, values = (state.settled_bid[b], state.settled_value[b]) if task else (current_bids, state.value[b])
    order = np.argsort(-bids, kind="stable")
    sums = dict(zip(SecondBidMetrics.names(), plain_view(state.totals)[b].tolist(), strict=True))
    means = {name: total / max(task, 1) for name, total in sums.items()}
    means["efficiency"] = sums["surplus"] / sums["optimal_surplus"] if sums["optimal_surplus"] > 0.0 else 1.0
    rho = float(state.settled[b, task - 1].rho) if task else None
    uav_bid = float(values[0]) if game.config.rivals == "providers" else 0.0
    return _View(
        task=task,
        tasks=game.config.tasks,
        stations=order,
        bids=bids[order],
        values=values[1:][order],
        uav_value=float(values[0]),
        contract_price=float(game.params[0].contract_price),
        rho=rho,
        rival=max(float(bids[order[1]]), uav_bid),
        winner=None if rho is None else allocate(bids, rho, uav_bid=uav_bid).winner,
        payment=float(state.settled[b, task - 1].payment) if task else 0.0,
        winners=state.winners[b, :task].copy(),
        lost=state.settled["lost"][b, :task].copy(),
        means=means,
    )


def figure(game: SecondBidGame, index: int = 0) -> Figure:
    """Return the picture of a market as a Matplotlib figure, which can be saved in any format.

    Bars are the bids of the stations, the highest first, and apart from them the value of the UAV with its contract
    price. The horizontal line is the threshold that the best bid has to exceed. The bar of the winner has the full
    colour. The strip below shows the winners of the tasks so far.

    Parameters
    ----------
    game : SecondBidGame
        Batch of markets.
    index : int, default 0
        Index of the market in the batch.

    Returns
    -------
    Figure
        1080 × 720 pixels.
    """
    view = _view(game, index)
    colour = INK if view.winner is None else ORANGE if view.winner == UAV else BLUE
    drawn = rendering.titled_figure(_TITLE, view.headline, view.sentence, colour)
    _draw_tiles(drawn, view)
    axes = drawn.add_axes((0.075, 0.275, 0.765, 0.475))
    rendering.style_axes(axes, "", "units per task")
    _draw_bars(axes, view)
    _draw_thresholds(axes, view)
    _draw_strip(drawn, view)
    _draw_legend(drawn)
    return drawn


def _draw_tiles(drawn: Figure, view: _View) -> None:
    means = view.means
    surplus, optimum = amount(means["surplus"]), f"of {amount(means['optimal_surplus'])}"
    rendering.progress_tile(drawn, "mean surplus", surplus, optimum, means["efficiency"])
    rendering.tile(drawn, 0.29, "efficiency", f"{means['efficiency']:.1%}")
    rendering.tile(drawn, 0.43, "served by the UAV", f"{means['uav_share']:.0%}")
    rendering.tile(drawn, 0.61, "mean revenue", amount(means["revenue"]))
    rendering.tile(drawn, 0.78, "mean delay", f"{amount(means['delay'], 2)} s")


def _draw_bars(axes: Axes, view: _View) -> None:
    """Draw the best bids and apart from them the UAV's value, and diamonds at the true values of misreports."""
    shown = view.shown
    x = [*range(shown), shown + 0.6]
    heights = [*view.bids[:shown], view.uav_value]
    colours = [BLUE] * shown + [ORANGE]
    names = [f"station {n}" if shown <= _MOST_NAMED else f"{n}" for n in view.stations[:shown]] + ["UAV"]
    wins = [view.winner == n for n in view.stations[:shown]] + [view.winner == UAV]
    top = 1.16 * max(*heights, view.contract_price, *view.values[:shown])
    if view.threshold is not None:
        top = min(max(top, 1.12 * view.threshold), 2.0 * top)
    axes.set_xlim(-0.6, x[-1] + 0.6)
    axes.set_ylim(0.0, top)
    axes.set_xticks([])
    for bar in zip(x, heights, colours, names, wins, strict=True):
        _draw_bar(axes, view, *bar)
    misreported = np.flatnonzero(view.values[:shown] != view.bids[:shown])
    axes.plot(
        misreported, view.values[misreported], linestyle="none", marker="D", markersize=8, zorder=6,
        markerfacecolor=PAPER, markeredgecolor=INK, markeredgewidth=1.6,
    )  # fmt: skip
    if shown > _MOST_NAMED:
        words = "stations" if len(view.bids) == shown else f"the best {shown} of {len(view.bids):,} stations"
        axes.text(0.5 * (shown - 1), -0.075 * top, words, ha="center", va="top", fontsize=10.5, color=MUTED)


def _draw_bar(axes: Axes, view: _View, x: float, height: float, colour: str, name: str, wins: bool) -> None:
    """Draw one bar with its amount above and its name below; the winner's bar shows the payment as well."""
    top = axes.get_ylim()[1]
    axes.bar(x, height, width=0.72, color=colour, alpha=1.0 if wins else 0.3, zorder=2)
    label = amount(height)
    if wins:
        payment = amount(view.payment)
        label = f"{label}\npays {payment}" if view.shown <= _MOST_NAMED else f"pays\n{payment}"
    ink, weight = (INK, "bold") if wins else (MUTED, "normal")
    axes.text(
        x, height + 0.012 * top, label, ha="center", va="bottom", fontsize=10.5, zorder=5,
        color=ink, fontweight=weight, linespacing=1.15,
        bbox={"boxstyle": "round,pad=0.12", "facecolor": PAPER, "edgecolor": "none", "alpha": 0.85},
    )  # fmt: skip
    axes.text(x, -0.02 * top, name, ha="center", va="top", fontsize=10.5, color=ink, fontweight=weight)


def _draw_thresholds(axes: Axes, view: _View) -> None:
    """Draw the threshold that the best bid has to exceed, and over the UAV its contract price."""
    right, top = axes.get_xlim()[1], axes.get_ylim()[1]
    contract = view.contract_price
    axes.plot([view.shown + 0.2, right], [contract] * 2, color=INK, linewidth=1.8, linestyle=(0, (4, 2)), zorder=4)
    tags = [rendering.Tag(contract, f"contract price\n{amount(contract)}", ORANGE, view.winner == UAV)]
    if view.threshold is not None:
        inside = view.threshold <= top
        if inside:
            axes.plot([-0.6, right], [view.threshold] * 2, color=INK, linewidth=2.4, zorder=3)
        words = f"ρ × second bid\n{amount(view.threshold)}{'' if inside else ' ▲'}"
        tags.append(rendering.Tag(min(view.threshold, top), words, INK, view.winner != UAV))
    rendering.draw_tags(axes, tags)


def _draw_strip(drawn: Figure, view: _View) -> None:
    """Draw a cell for each task in the colour of its winner, and below it the surplus lost against the best ρ."""
    axes = drawn.add_axes((0.075, 0.105, 0.765, 0.085))
    cells = min(view.tasks, _MOST_TASKS)
    axes.set_xlim(0, cells)
    axes.set_ylim(-1.0, 1.0)
    axes.set_axis_off()
    worst = max(float(view.lost.max(initial=0.0)), 1e-300)
    for cell in range(cells):
        task = view.first_task + cell
        if task >= view.task:
            axes.bar(cell + 0.5, 0.8, bottom=0.2, width=0.86, color=GRID)
            continue
        axes.bar(cell + 0.5, 0.8, bottom=0.2, width=0.86, color=ORANGE if view.winners[task] == UAV else BLUE)
        axes.bar(cell + 0.5, -0.9 * view.lost[task] / worst, bottom=0.05, width=0.86, color=PINK)
    drawn.text(0.855, 0.173, "who served", fontsize=10, color=MUTED, va="center")
    drawn.text(0.855, 0.127, "surplus lost", fontsize=10, color=MUTED, va="center")


def _draw_legend(drawn: Figure) -> None:
    entries = [
        rendering.area_entry("station (bid)", BLUE),
        rendering.area_entry("UAV (value)", ORANGE),
        rendering.line_entry("what the best bid has to exceed", INK, 2.4),
        rendering.line_entry("UAV's contract price", INK, 1.8, (0, (4, 2))),
        rendering.mark_entry("true value of a misreport", "D", INK, 7, markerfacecolor=PAPER),
        rendering.area_entry("surplus lost", PINK),
    ]
    rendering.legend(drawn, entries, y=0.012, columnspacing=1.6)


def text(game: SecondBidGame, index: int = 0) -> str:
    """Return a market as lines of at most 100 characters.

    Parameters
    ----------
    game : SecondBidGame
        Batch of markets.
    index : int, default 0
        Index of the market in the batch.

    Returns
    -------
    str
        Bids, the threshold that the best bid has to exceed and the UAV's value as bars over a common axis, then the
        winners of the tasks so far and the metrics.
    """
    view = _view(game, index)
    shown = view.shown
    lines = [f"{_TITLE}  ·  {view.headline}", *textwrap.wrap(view.sentence, rendering.COLUMNS), ""]
    rows = []
    for n, bid, value in zip(view.stations[:shown], view.bids, view.values, strict=False):
        note = "" if bid == value else f" value {amount(value)}"
        rows.append((f"station {n}", float(bid), view.winner == n, note))
    if view.threshold is not None:
        rows.append(("ρ × second bid", view.threshold, False, ""))
    rows.append(("UAV's value", view.uav_value, view.winner == UAV, ""))
    rows.append(("contract price", view.contract_price, False, ""))
    top = max(float(view.bids[0]), view.uav_value, view.contract_price, view.threshold or 0.0)
    for name, height, wins, note in rows:
        mark = "►" if wins else " "
        bar = rendering.framed(rendering.text_bar(height / top, rendering.COLUMNS - 56))
        lines.append(f"{mark} {name:<15}{amount(height):>14}  {bar}{note}".rstrip())
    if len(view.bids) > shown:
        lines.append(f"  the best {shown} of {len(view.bids):,} stations")
    return "\n".join([*lines, *_metric_lines(view)])


def _metric_lines(view: _View) -> list[str]:
    """Return the strip of winners and the metrics of the episode so far."""
    means, first = view.means, view.first_task
    winners = "".join("U" if winner == UAV else "s" for winner in view.winners[first:])
    losses = "".join("x" if lost > 0.0 else " " for lost in view.lost[first:])
    bar = rendering.framed(rendering.text_bar(means["efficiency"], 20))
    return [
        "",
        f"  who served  {winners}",
        f"  not best    {losses}".rstrip(),
        "",
        f"  mean surplus {amount(means['surplus'], 2)} of {amount(means['optimal_surplus'], 2)}"
        f"   {bar} {means['efficiency']:.1%}",
        f"  served by the UAV {means['uav_share']:.0%}   revenue {amount(means['revenue'], 2)}"
        f"   delay {amount(means['delay'], 2)} s   ρ {means['rho']:,.2f}",
    ]
