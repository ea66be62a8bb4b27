"""Pictures of a two-tier market, as text and as an image."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ioa_marl.envs import rendering
from ioa_marl.markets.double_dutch.kernels import BUYERS, SELLERS
from ioa_marl.markets.stackelberg.params import LEADERS
from ioa_marl.markets.two_tier.kernels import NOBODY

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from ioa_marl.envs.two_tier.game import TwoTierGame

_TITLE = "Two-tier market"
_COLOURS = (rendering.BLUE, rendering.ORANGE)
_MOST_NAMED = 24
"""Number of leaders above which an axis names only some of them, and the text shows only the first ones."""


@dataclass(frozen=True)
class _View:
    """The properties of a market that the pictures show; money in units, loads in Mbit.

    Tuples have an entry for each side: mobile and fixed agents in the first four, buyers and sellers in the others.
    """

    played: int
    """Number of rounds played."""
    rounds: int
    """Number of rounds of the episode."""
    posted: bool
    """Whether the prices of this round are posted and its auction has not been run."""
    price: tuple[NDArray[np.float64], NDArray[np.float64]]
    """(leaders,) each: unit prices [units/Mbit]."""
    cost: tuple[NDArray[np.float64], NDArray[np.float64]]
    """(leaders,) each: unit costs [units/Mbit]."""
    sales: tuple[NDArray[np.float64], NDArray[np.float64]]
    """(leaders,) each: loads sold."""
    profit: tuple[NDArray[np.float64], NDArray[np.float64]]
    """(leaders,) each: profits."""
    load: NDArray[np.float64]
    """(fixed,): load that the wireless agents want."""
    capacity: NDArray[np.float64]
    """(fixed,): load that the fixed agent can compute."""
    passed: NDArray[np.float64]
    """(fixed,): load that is passed on to an aerial agent."""
    lot: float
    """Load of a lot."""
    highest_bid: float
    """Largest possible valuation of a lot."""
    values: NDArray[np.float64]
    """(buyers,): valuations of a lot, highest first."""
    asks: NDArray[np.float64]
    """(sellers,): valuations of a lot, lowest first."""
    value_trades: NDArray[np.bool_]
    """(buyers,): whether the buyer trades."""
    ask_trades: NDArray[np.bool_]
    """(sellers,): whether the seller trades."""
    clearing: float
    """Clearing price of a lot."""
    trades: int
    """Number of trades."""
    messages: float
    """Number of messages in the auction."""
    auction_return: float
    """Return of the auctioneer."""
    aerial_profit: float
    """Total profit of the aerial agents."""
    welfare: float
    """Total utility of the wireless agents."""
    steps: tuple[float, float]
    """Steps of the two clocks."""

    @property
    def unserved(self) -> NDArray[np.float64]:
        """(fixed,): load that is not served."""
        return np.maximum(self.load - np.minimum(self.load, self.capacity) - self.passed, 0.0)

    @property
    def unserved_part(self) -> float:
        """Part of all load that is not served."""
        return float(self.unserved.sum() / self.load.sum()) if self.load.any() else 0.0

    @property
    def opening(self) -> bool:
        """Whether no prices have been posted in this episode."""
        return not (self.played or self.posted)

    @property
    def headline(self) -> str:
        """Progress of the episode."""
        stage = "prices are posted" if self.posted else "opening" if self.opening else "settled"
        return f"round {min(self.played + self.posted, self.rounds)} of {self.rounds}  ·  {stage}"

    @property
    def sentence(self) -> str:
        """Summary of the auction in one sentence."""
        buyers = rendering.counted(len(self.values), "buyer")
        sellers = rendering.counted(len(self.asks), "seller")
        if self.posted:
            return f"{buyers} with excess load and {sellers} wait for the auctioneer"
        if self.opening:
            return "nothing has been posted yet"
        if self.trades:
            trades = rendering.counted(self.trades, "trade")
            return f"{buyers}, {sellers}, {trades} at the clearing price {self.clearing:,.2f}"
        return f"{buyers}, {sellers}, no trade"


def _view(game: TwoTierGame, b: int) -> _View:
    """Return the properties of market ``b`` that the pictures show."""
    market, tier, auction = game.whole
    config, posted = game.config, bool(market.phase[b] > 0)
    counts = (config.mobile, config.fixed)
    sides = {name: tuple(getattr(market, name)[b, s, : counts[s]].copy() for s in (0, 1)) for name in (
        "price", "cost", "sales", "profit"
    )}  # fmt: skip
    load, capacity = tier.load[b].copy(), tier.capacity[b].copy()
    trades = 0 if posted else int(auction.totals[b].trades)
    sorted_valuations, trading = [], []
    for side in (BUYERS, SELLERS):
        bidders = auction.order[b, side, : auction.size[b, side]]
        valuations = auction.valuation[b, side, bidders]
        order = np.argsort(-valuations if side == BUYERS else valuations, kind="stable")
        sorted_valuations.append(valuations[order])
        trading.append(order < trades)  # the bidders who accepted first trade
    return _View(
        played=int(market.round[b]), rounds=config.rounds, posted=posted, **sides, load=load, capacity=capacity,
        passed=np.where((tier.partner[b] != NOBODY) & (not posted), config.lot, 0.0),
        lot=config.lot, highest_bid=config.price_cap * config.lot,
        values=sorted_valuations[BUYERS], asks=sorted_valuations[SELLERS],
        value_trades=trading[BUYERS], ask_trades=trading[SELLERS],
        clearing=float(auction.totals[b].price), trades=trades, messages=float(auction.totals[b].messages),
        auction_return=float(auction.totals[b].return_), aerial_profit=float(tier.aerial_profit[b].sum()),
        welfare=float(market.utility[b].sum()), steps=tuple(config.steps[i] for i in tier.pair[b]),
    )  # fmt: skip


def figure(game: TwoTierGame, index: int = 0) -> Figure:
    """Return the picture of a market as a Matplotlib figure, which can be saved in any format.

    The left half shows the pricing tier: above, the prices and unit costs of all leaders; below, the loads of the fixed
    agents, split into the load that they compute, the load that they pass on and the load that is not served, with
    their capacities. The right half shows the auction tier: demand, supply and the clearing price.

    Parameters
    ----------
    game : TwoTierGame
        Batch of markets.
    index : int, default 0
        Index of the market in the batch.

    Returns
    -------
    Figure
        1080 × 720 pixels.
    """
    view = _view(game, index)
    colour = rendering.ORANGE if view.posted else rendering.INK
    drawn = rendering.titled_figure(_TITLE, view.headline, view.sentence, colour)
    _draw_tiles(drawn, view)
    top = max(max(map(float, (*view.price[0], *view.price[1], *view.cost[0], *view.cost[1]))) * 1.15, 0.1)
    for side, x in enumerate((0.065, 0.325)):
        axes = drawn.add_axes((x, 0.475, 0.225, 0.265))
        rendering.style_axes(axes, "", "unit price" if side == 0 else "")
        rendering.title_axes(axes, f"{LEADERS[side]} agents", _COLOURS[side], 11.5)
        axes.set_ylim(0.0, top)
        _draw_prices(axes, view, side)
    _draw_loads(drawn, view)
    _draw_auction(drawn, view)
    _draw_legend(drawn, view)
    return drawn


def _draw_tiles(drawn: Figure, view: _View) -> None:
    tiles = (
        ("mobile profit", f"{view.profit[0].sum():,.1f}"), ("fixed profit", f"{view.profit[1].sum():,.1f}"),
        ("aerial profit", f"{view.aerial_profit:,.1f}"), ("wireless welfare", f"{view.welfare:,.0f}"),
        ("excess load" if view.posted else "load not served", f"{view.unserved_part:.0%}"),
        ("auction return", f"{view.auction_return:,.1f}"), ("messages", f"{view.messages:,.0f}"),
    )  # fmt: skip
    for i, (label, value) in enumerate(tiles):
        # Before the auction, only the excess load of the round is known.
        known = not view.opening and (not view.posted or label == "excess load")
        rendering.tile(drawn, 0.03 + 0.137 * i, label, value.replace("-", "−") if known else "–", y=0.85)


def _number_agents(axes: Axes, count: int) -> None:
    """Write the numbers of ``count`` agents below their bars, only some of the numbers if there are many."""
    axes.set_xlim(-0.6, count - 0.4)
    axes.set_xticks(range(0, count, 1 if count <= _MOST_NAMED else count // 8))


def _draw_prices(axes: Axes, view: _View, side: int) -> None:
    """Draw each leader's margin as a bar from its unit cost to its price, in pink where the price is below the cost."""
    price, cost, at = view.price[side], view.cost[side], np.arange(len(view.price[side]))
    axes.bar(at, cost, width=0.7, color=rendering.GRID)
    _number_agents(axes, len(at))
    if view.opening:
        return
    colours = [_COLOURS[side] if gain else rendering.PINK for gain in price >= cost]
    axes.bar(at, price - cost, bottom=cost, width=0.7, color=colours, alpha=0.85)
    axes.axhline(float(price.mean()), color=rendering.INK, linewidth=1.1, linestyle=(0, (4, 3)))
    axes.annotate(
        f"mean {price.mean():.2f}", (1.0, float(price.mean())), xycoords=("axes fraction", "data"), xytext=(0, 3),
        textcoords="offset points", ha="right", va="bottom", fontsize=9, color=rendering.INK,
        bbox={"facecolor": rendering.PAPER, "edgecolor": "none", "pad": 1.0, "alpha": 0.75},
    )  # fmt: skip


def _draw_loads(drawn: Figure, view: _View) -> None:
    """Draw the load of each fixed agent by what becomes of it, and its capacity as a horizontal line."""
    axes = drawn.add_axes((0.065, 0.135, 0.485, 0.235))
    rendering.style_axes(axes, "fixed agent", "load, Mbit")
    own, at = np.minimum(view.load, view.capacity), np.arange(len(view.load))
    axes.bar(at, own, width=0.7, color=rendering.ORANGE, alpha=0.85)
    axes.bar(at, view.passed, bottom=own, width=0.7, color=rendering.GREEN, alpha=0.85)
    # Before the auction it is unknown how much of the excess will be bought, so it is hatched.
    face, hatch = (rendering.PAPER, "////") if view.posted else (rendering.PINK, "")
    positive = view.unserved > 1e-9
    axes.bar(
        at[positive], view.unserved[positive], bottom=(own + view.passed)[positive], width=0.7, facecolor=face,
        edgecolor=rendering.PINK, hatch=hatch,
    )  # fmt: skip
    top = float(view.load.max()) * 1.18 or 4.0 * view.lot
    axes.set_ylim(0.0, top)
    _number_agents(axes, len(at))
    width = float(np.clip(26.0 / len(at), 0.8, 2.6))
    within = view.capacity <= top
    axes.hlines(view.capacity[within], at[within] - 0.46, at[within] + 0.46, color=rendering.INK, linewidth=width)
    if len(at) <= _MOST_NAMED:
        for j in at[~within]:
            axes.text(j, top, "▲", ha="center", va="top", fontsize=8, color=rendering.INK)


def _draw_auction(drawn: Figure, view: _View) -> None:
    """Draw demand, supply and the clearing price; a filled circle is a bidder that trades."""
    axes = drawn.add_axes((0.625, 0.135, 0.25, 0.605))
    rendering.style_axes(axes, "lots", "price per lot")
    rendering.title_axes(axes, "auction of excess load", rendering.GREEN, 11.5)
    lots = max(1, len(view.values), len(view.asks))
    axes.set_xlim(0, lots)
    rendering.count_along_x(axes)
    prices = [*view.values, *view.asks]
    axes.set_ylim(0.0, max(prices, default=0.0) * 1.12 or view.highest_bid)
    pairs = min(len(view.values), len(view.asks))
    gains = int((view.values[:pairs] > view.asks[:pairs]).sum())
    rendering.shade_gains(axes, view.values[:gains], view.asks[:gains], 0.15)
    for valuations, colour, trading in (
        (view.values, rendering.ORANGE, view.value_trades), (view.asks, rendering.BLUE, view.ask_trades)
    ):  # fmt: skip
        axes.plot(*rendering.staircase(valuations), color=colour, linewidth=2.2, solid_capstyle="butt", zorder=3)
        x, size = np.arange(len(valuations), dtype=np.float64) + 0.5, float(np.clip(150.0 / lots, 3.0, 8.0))
        rendering.circles(axes, x, valuations, trading, colour, size, 1.5)
    if view.trades:
        axes.axhline(view.clearing, color=rendering.INK, linewidth=2.0, zorder=4)
        words = f"clearing\nprice\n{view.clearing:,.2f}"
        rendering.draw_tag(axes, rendering.Tag(view.clearing, words, rendering.INK, True))
    elif not prices:
        axes.text(0.5, 0.5, "no bidders", transform=axes.transAxes, ha="center", color=rendering.MUTED, fontsize=12)


def _draw_legend(drawn: Figure, view: _View) -> None:
    ink, orange, pink = rendering.INK, rendering.ORANGE, rendering.PINK
    excess = (
        rendering.area_entry("excess", rendering.PAPER, hatch="////", edgecolor=pink, lw=None)
        if view.posted
        else rendering.area_entry("not served", pink, edgecolor=pink, lw=None)
    )
    entries = [
        rendering.area_entry("unit cost", rendering.GRID),
        rendering.area_entry("computed by itself", orange, alpha=0.85),
        rendering.area_entry("bought in the auction", rendering.GREEN, alpha=0.85),
        excess,
        rendering.line_entry("capacity (▲ beyond)", ink, 2.4),
        rendering.line_entry("buyers' values", orange, 2.2),
        rendering.line_entry("sellers' costs", rendering.BLUE, 2.2),
        rendering.mark_entry("trades", "o", ink, 6),
    ]
    rendering.legend(drawn, entries, fontsize=9.0, handlelength=1.4, columnspacing=1.2, handletextpad=0.5)


def text(game: TwoTierGame, index: int = 0) -> str:
    """Return a market as lines of at most 100 characters.

    Parameters
    ----------
    game : TwoTierGame
        Batch of markets.
    index : int, default 0
        Index of the market in the batch.

    Returns
    -------
    str
        A table of the leaders with the loads of the fixed agents, the valuations of the bidders, and the totals.
    """
    view = _view(game, index)
    lines = [f"{_TITLE}  ·  {view.headline}", view.sentence, ""]
    for side, name in enumerate(LEADERS):
        count = min(len(view.price[side]), _MOST_NAMED // 2)
        rows = [[name, "price", "cost", "sold", "profit"]]
        extra = ["load", "capacity", "passed on", "not served"] if side else []
        rows[0] += extra
        for x in range(count):
            cells = [view.price[side][x], view.cost[side][x], view.sales[side][x], view.profit[side][x]]
            cells += [view.load[x], view.capacity[x], view.passed[x], view.unserved[x]] if side else []
            rows.append([f"  {x}", *(f"{cell:,.2f}" for cell in cells)])
        lines += [line[: rendering.COLUMNS] for line in rendering.text_table(rows)]
        if count < len(view.price[side]):
            lines.append(f"  … {len(view.price[side]) - count:,} more, mean price {view.price[side].mean():,.2f}")
        lines.append("")
    return "\n".join([*lines, *_auction_lines(view)])


def _auction_lines(view: _View) -> list[str]:
    """Return the lines with the valuations of the bidders and the totals of the round."""
    top, width = max([*view.values, *view.asks, 1e-9]), rendering.COLUMNS - 32
    lines = [" " * 29 + rendering.text_scale(0.0, top, width)]
    for name, valuations in (("buyers' values", view.values), ("sellers' costs", view.asks)):
        density = rendering.framed(rendering.text_density(valuations, 0.0, top, width))
        lines.append(f"{name:<20}{len(valuations):>6,} {density}")
    profit, welfare = sum(float(x.sum()) for x in view.profit), view.welfare
    last = [
        f"trades {view.trades:,}   clearing price {view.clearing:,.2f}   steps {view.steps[0]:g} and {view.steps[1]:g}"
        f"   messages {view.messages:,.0f}   return {view.auction_return:,.2f}",
        f"leaders' profit {profit:,.2f}   aerial profit {view.aerial_profit:,.2f}   wireless welfare {welfare:,.1f}"
        f"   load not served {view.unserved_part:.1%}",
    ]
    return [*lines, "", *last]
