"""Pictures of a Stackelberg market, as text and as an image."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ioa_marl.envs import rendering
from ioa_marl.markets.stackelberg.drivers import best_responses, demand_of_leader
from ioa_marl.markets.stackelberg.kernels import FIXED, LAST, MOBILE
from ioa_marl.markets.stackelberg.params import LEADERS
from ioa_marl.markets.stackelberg.records import Deviation
from ioa_marl.markets.stackelberg.results import BestResponse

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from ioa_marl.envs.stackelberg.game import StackelbergGame

_TITLE = "Stackelberg market"
_COLOURS = ((rendering.BLUE, rendering.GREEN, "#56B4E9"), (rendering.ORANGE, rendering.YELLOW, rendering.PINK))
_OTHERS = "#C4C9D1"
_LIGHT = frozenset({"#56B4E9", rendering.YELLOW, rendering.PINK, _OTHERS})
"""Colours on which dark letters are easier to read than white ones."""
_CURVES = 3
"""Number of leaders of a side whose demand is drawn: those with the largest sales."""
_DRAWN, _WRITTEN = 24, 12
"""Largest numbers of wireless agents that are shown one by one, in the image and in the text."""
_PRICES = 101
"""Number of prices on a demand curve."""
_SEARCHED = 2_000
"""Number of wireless agents above which the search for better prices is left out, because it would take seconds."""


@dataclass(frozen=True)
class _Leader:
    """The properties of a leader that the pictures show; money in units, loads in Mbit."""

    name: str
    """Role and number."""
    colour: str
    """Colour of its bars and its curve."""
    price: float
    """Posted unit price [units/Mbit]."""
    cost: float
    """Unit cost [units/Mbit]."""
    sales: float
    """Load sold in the last round."""
    profit: float
    """Profit in the last round."""
    best: BestResponse | None
    """Its best price against the others' prices, at exact answers; None if it was not searched."""
    demand: NDArray[np.float64]
    """(prices,): load sold at each price [Mbit]; empty for leaders without a curve."""


@dataclass(frozen=True)
class _View:
    """The properties of a market that the pictures show."""

    played: int
    """Number of rounds played."""
    rounds: int
    """Number of rounds of the episode."""
    cap: float
    """Largest unit price [units/Mbit]."""
    prices: NDArray[np.float64]
    """(prices,): unit prices of the demand curves [units/Mbit]."""
    leaders: tuple[list[_Leader], list[_Leader]]
    """Mobile and fixed agents; those with the largest sales first."""
    rows: NDArray[np.int64]
    """(rows,): wireless agents that are shown one by one."""
    shares: NDArray[np.float64]
    """(wireless,): share of the mobile agent."""
    buys: NDArray[np.bool_]
    """(wireless,): whether the wireless agent bought."""
    reach: NDArray[np.int64]
    """(2, wireless): mobile and fixed agent in reach of each wireless agent in the last round."""
    loads: NDArray[np.float64]
    """(wireless,): workloads [Mbit]."""
    utilities: NDArray[np.float64]
    """(wireless,): utilities [units]."""

    @property
    def all_leaders(self) -> list[_Leader]:
        """Leaders of both sides."""
        return self.leaders[0] + self.leaders[1]

    @property
    def profit(self) -> float:
        """Total profit of the leaders [units]."""
        return sum(leader.profit for leader in self.all_leaders)

    @property
    def nash_conv(self) -> float | None:
        """Sum of the leaders' gains by deviating alone [units]; None if best prices were not searched."""
        best = [leader.best for leader in self.all_leaders if leader.best is not None]
        if len(best) < len(self.all_leaders):
            return None
        return sum(response.profit - response.present_profit for response in best)

    @property
    def headline(self) -> str:
        """Progress of the episode."""
        return rendering.round_headline(self.played, self.rounds)

    @property
    def sentence(self) -> str:
        """Summary of the last round in one sentence."""
        if self.played == 0:
            return "no prices yet: the leaders post first, then the wireless agents split their tasks"
        mobile, fixed = (sum(leader.sales for leader in side) for side in self.leaders)
        total = max(mobile + fixed, 1e-12)
        return (
            f"{int(self.buys.sum()):,} of {len(self.buys):,} wireless agents buy: {mobile / total:.0%} of their load "
            f"from mobile agents, {fixed / total:.0%} from fixed ones"
        )

    def colour(self, side: int, leader: int) -> str:
        """Return the colour of a leader."""
        name = f"{LEADERS[side]} {leader}"
        return next((each.colour for each in self.leaders[side] if each.name == name), _OTHERS)


def _leaders(game: StackelbergGame, b: int, side: int, prices: NDArray[np.float64]) -> list[_Leader]:
    """Return the leaders of a side of market ``b``, first those whose demand at ``prices`` is drawn."""
    market, config, count = game.market, game.config, getattr(game.config, LEADERS[side])
    mask = np.arange(game.num_envs) == b
    deviations = Deviation.zeros(game.num_envs, count)
    # In a dynamic market the conditions of the last round have been replaced, except at the end of the episode.
    known = market.round[b] > 0 and (not config.dynamics or market.round[b] == config.rounds)
    searched = config.wireless <= _SEARCHED and known
    if searched:
        best_responses(market, game.params, mask, side, market.price, config.scan(), deviations)
    order = np.argsort(-market.sales[b, side, :count], kind="stable")
    shown = np.sort(order[:_CURVES])
    out = []
    for rank, leader in enumerate([*shown, *np.sort(order[_CURVES:])]):
        demand = np.zeros(len(prices) if rank < _CURVES else 0)
        if market.round[b] > 0:
            demand_of_leader(market, game.params, b, side, int(leader), market.price, prices[: len(demand)], demand)
        out.append(
            _Leader(
                name=f"{LEADERS[side]} {leader}",
                colour=_COLOURS[side][rank] if rank < _CURVES else _OTHERS,
                price=float(market.price[b, side, leader]),
                cost=float(market.cost[b, side, leader]),
                sales=float(market.sales[b, side, leader]),
                profit=float(market.profit[b, side, leader]),
                best=BestResponse(*deviations[b, leader].tolist()) if searched else None,
                demand=demand,
            )
        )
    return out


def _view(game: StackelbergGame, b: int, most: int) -> _View:
    """Return the properties of market ``b`` that the pictures show, with up to ``most`` wireless agents one by one."""
    market, config = game.market, game.config
    prices = np.linspace(0.0, config.price_cap, _PRICES)
    leaders = (_leaders(game, b, MOBILE, prices), _leaders(game, b, FIXED, prices))
    # Who bought from whom is shown, and with handover the links of the next round are others.
    first = LAST if config.has_handover() else MOBILE
    reach = market.reach[b, first : first + 2].astype(np.int64)
    # Among many wireless agents, those come first whose leaders have a colour of their own.
    names = {leader.name for side in leaders for leader in side[:_CURVES]}
    coloured = [np.array([f"{role} {i}" in names for i in range(getattr(config, role))], np.int64) for role in LEADERS]
    coloured_leaders = coloured[MOBILE][reach[MOBILE]] + coloured[FIXED][reach[FIXED]]
    rows = np.sort(np.argsort(-coloured_leaders, kind="stable")[:most])
    return _View(
        played=int(market.round[b]),
        rounds=config.rounds,
        cap=config.price_cap,
        prices=prices,
        leaders=leaders,
        rows=rows,
        shares=market.share[b].copy(),
        buys=market.buys[b].copy(),
        reach=reach,
        loads=market.traits["load"][b].copy(),
        utilities=market.utility[b].copy(),
    )


def figure(game: StackelbergGame, index: int = 0) -> Figure:
    """Return the picture of a market as a Matplotlib figure, which can be saved in any format.

    The left panels show what each leader would sell at every price while the others keep theirs. A dot marks the posted
    price, a diamond the best one, and dotted lines are unit costs. In a dynamic market this is the demand of the next
    round. The middle panel shows how each wireless agent splits its task. The right panel shows the profits, with the
    profit of each leader at its best price as an outline.

    Parameters
    ----------
    game : StackelbergGame
        Batch of markets.
    index : int, default 0
        Index of the market in the batch.

    Returns
    -------
    Figure
        1080 × 720 pixels.
    """
    view = _view(game, index, _DRAWN)
    drawn = rendering.titled_figure(_TITLE, view.headline, view.sentence)
    _draw_tiles(drawn, view)
    for side, bottom in ((MOBILE, 0.465), (FIXED, 0.115)):
        _draw_demand(drawn.add_axes((0.07, bottom, 0.34, 0.255)), view, side)
    _draw_shares(drawn.add_axes((0.475, 0.115, 0.24, 0.605)), view)
    _draw_profits(drawn.add_axes((0.80, 0.115, 0.175, 0.605)), view)
    _draw_legend(drawn)
    return drawn


def _draw_tiles(drawn: Figure, view: _View) -> None:
    rendering.tile(drawn, 0.03, "leaders earn", f"{view.profit:,.1f}", "this round")
    if view.nash_conv is not None:
        note = f"{view.nash_conv / view.profit:.1%} of it" if view.profit > 0.0 else ""
        rendering.tile(drawn, 0.27, "gain by deviating", f"{view.nash_conv:,.2f}", note)
    rendering.tile(drawn, 0.52, "wireless agents gain", f"{view.utilities.sum():,.1f}")
    buyers = f"{int(view.buys.sum()):,} of {len(view.buys):,}"
    rendering.tile(drawn, 0.76, "take part", f"{float(view.buys.mean()):.0%}", buyers)


def _draw_demand(axes: Axes, view: _View, side: int) -> None:
    """Draw the demand curves of a side with the unit costs, the posted prices and the best prices."""
    rendering.style_axes(axes, "unit price [units/Mbit]" if side == FIXED else "", "load sold [Mbit]")
    count = len(view.leaders[side])
    note = f" ({_CURVES} of {count:,})" if count > _CURVES else ""
    rendering.title_axes(axes, f"demand for {LEADERS[side]} agents{note}")
    shown = [leader for leader in view.leaders[side] if len(leader.demand)]
    top = max((float(leader.demand.max(initial=0.0)) for leader in shown), default=0.0)
    # The curves are 0 beyond these prices, so the axis ends there.
    ends = [float(view.prices[leader.demand > 0.0].max(initial=leader.price)) for leader in shown]
    axes.set_xlim(0.0, min(max(ends, default=view.cap) * 1.1 + 1e-9, view.cap) if view.played else view.cap)
    axes.set_ylim(0.0, max(top, 1e-9) * 1.12)
    for leader in shown:
        axes.axvline(leader.cost, color=leader.colour, linewidth=1.2, linestyle=(0, (1, 2)))
        axes.plot(view.prices, leader.demand, color=leader.colour, linewidth=2.2, label=leader.name, alpha=0.9)
        if view.played == 0:
            continue
        at = float(np.interp(leader.price, view.prices, leader.demand))
        axes.plot([leader.price], [at], color=leader.colour, marker="o", markersize=11, markeredgecolor=rendering.INK)
        if leader.best is not None:
            height = float(np.interp(leader.best.price, view.prices, leader.demand))
            axes.plot(
                [leader.best.price], [height], color=rendering.PAPER, marker="D", markersize=7,
                markeredgecolor=leader.colour, markeredgewidth=2.0,
            )  # fmt: skip
    if view.played:
        axes.legend(loc="upper right", frameon=False, fontsize=9.5, labelcolor=rendering.INK, handlelength=1.4)


def _draw_shares(axes: Axes, view: _View) -> None:
    """Draw a bar for each wireless agent: its mobile agent's share on the left, its fixed agent's on the right."""
    rendering.style_axes(axes, "share of the task", "", grid=None)
    note = f" ({len(view.rows)} of {len(view.shares):,})" if len(view.rows) < len(view.shares) else ""
    rendering.title_axes(axes, f"who buys from whom{note}")
    n = len(view.rows)
    axes.set_xlim(0.0, 1.0)
    axes.set_ylim(max(n, 4) - 0.4, -0.6)
    fontsize = 9.5 if n <= 14 else 7.5
    for row, i in enumerate(view.rows):
        if not view.buys[i]:
            axes.barh(row, 1.0, height=0.74, color=rendering.PAPER, edgecolor=rendering.GRID, linewidth=1.0)
            words = "buys nothing" if view.played else ""
            axes.text(0.5, row, words, ha="center", va="center", fontsize=fontsize, color=rendering.MUTED)
            continue
        share = float(view.shares[i])
        for side, start, width in ((0, 0.0, share), (1, share, 1.0 - share)):
            leader = int(view.reach[side, i])
            axes.barh(row, width, left=start, height=0.74, color=view.colour(side, leader), alpha=0.85)
            if width > 0.2:
                words = f"{LEADERS[side][0]}{leader}  {width:.0%}"
                ink = rendering.INK if view.colour(side, leader) in _LIGHT else rendering.PAPER
                at = start + width / 2
                axes.text(at, row, words, ha="center", va="center", fontsize=fontsize, color=ink, fontweight="bold")
    axes.set_yticks(np.arange(n))
    axes.set_yticklabels([f"w{i}" for i in view.rows], fontsize=fontsize + 0.5)


def _draw_profits(axes: Axes, view: _View) -> None:
    """Draw the profits of the leaders as bars, and as outlines the profits at their best prices."""
    rendering.style_axes(axes, "units", "", grid="x")
    rendering.title_axes(axes, "profit, and the best")
    shown = [leader for side in view.leaders for leader in side[: max(_CURVES, 6)]]
    values = [leader.profit for leader in shown] + [leader.best.profit for leader in shown if leader.best is not None]
    low, high = min([0.0, *values]), max([1e-9, *values])
    room = high - low
    axes.set_xlim(low - (0.1 * room if low < 0.0 else 0.0), high + 0.28 * room)
    axes.set_ylim(max(len(shown), 4) - 0.4, -0.6)
    for row, leader in enumerate(shown):
        axes.barh(row, leader.profit, height=0.62, color=leader.colour, alpha=0.85)
        end = leader.profit
        if leader.best is not None:
            axes.barh(row, leader.best.profit, height=0.62, facecolor="none", edgecolor=rendering.INK, linewidth=1.2)
            end = max(end, leader.best.profit)
        words = f"{leader.profit:,.1f}"
        axes.text(max(end, 0.0) + 0.02 * room, row, words, va="center", fontsize=9.5, color=rendering.INK)
    axes.axvline(0.0, color=rendering.MUTED, linewidth=1.0)
    axes.locator_params(axis="x", nbins=4)
    axes.set_yticks(np.arange(len(shown)))
    axes.set_yticklabels([leader.name for leader in shown], fontsize=10)


def _draw_legend(drawn: Figure) -> None:
    ink, muted, paper = rendering.INK, rendering.MUTED, rendering.PAPER
    entries = [
        rendering.mark_entry("posted price", "o", muted, 10, markeredgecolor=ink),
        rendering.mark_entry("best price", "D", muted, 7, markerfacecolor=paper, mew=2.0),
        rendering.line_entry("unit cost", muted, 1.2, (0, (1, 2))),
        rendering.area_entry("profit", muted, alpha=0.85),
        rendering.area_entry("profit at the best price, the others unchanged", "none", edgecolor=ink, lw=1.2),
    ]
    rendering.legend(drawn, entries)


def text(game: StackelbergGame, index: int = 0) -> str:
    """Return a market as lines of at most 100 characters.

    Parameters
    ----------
    game : StackelbergGame
        Batch of markets.
    index : int, default 0
        Index of the market in the batch.

    Returns
    -------
    str
        Prices, sales and profits of the leaders, then how each wireless agent splits its task.
    """
    view = _view(game, index, _WRITTEN)
    lines = [f"{_TITLE}  ·  {view.headline}", view.sentence, "", *rendering.text_table(_leader_rows(view)), ""]
    deviation = "" if view.nash_conv is None else f", could gain {view.nash_conv:,.2f} by deviating alone"
    lines += [f"leaders earn {view.profit:,.2f}{deviation}", ""]
    for i in view.rows:
        mobile, fixed = (f"{LEADERS[side]} {view.reach[side, i]}" for side in range(2))
        if view.buys[i]:
            share = float(view.shares[i])
            bar = rendering.framed(rendering.text_bar(share, 30))
            lines.append(
                f"w{i:<4}{mobile:>12} {share:>4.0%} {bar} {1 - share:>4.0%} {fixed:<12} {view.utilities[i]:>9,.1f}"
            )
        else:
            lines.append(f"w{i:<4}{mobile:>12}      {'buys nothing' if view.played else '':^32}      {fixed}")
    hidden = len(view.shares) - len(view.rows)
    if hidden:
        lines.append(f"… and {hidden:,} more wireless agents")
    return "\n".join(line.rstrip() for line in lines)


def _leader_rows(view: _View) -> list[list[str]]:
    """Return the table of the leaders, the first row with its headings."""
    rows = [["leader", "price", "unit cost", "sold", "profit", "best price", "best profit"]]
    for side in view.leaders:
        for leader in side[:_WRITTEN]:
            best = ["", ""] if leader.best is None else [f"{leader.best.price:.2f}", f"{leader.best.profit:,.2f}"]
            rows.append(
                [leader.name, f"{leader.price:.2f}", f"{leader.cost:.2f}", f"{leader.sales:,.1f}",
                 f"{leader.profit:,.2f}", *best]
            )  # fmt: skip
        if len(side) > _WRITTEN:
            rows.append([f"{len(side) - _WRITTEN:,} more", *[""] * 6])
    return rows
