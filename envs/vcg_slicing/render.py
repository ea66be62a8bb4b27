"""Pictures of the slicing market, as text and as an image."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ioa_marl.envs import rendering
from ioa_marl.markets.vcg_slicing.baselines import utilities
from ioa_marl.markets.vcg_slicing.optimum import ClarkeOutcome, WelfareOptimum, clarke_payments, welfare_optimum
from ioa_marl.markets.vcg_slicing.records import NOTHING

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from ioa_marl.envs.vcg_slicing.game import VCGSlicingGame

_TITLE = "Slicing market"
RESOURCES = ("bandwidth", "computing", "cache")
_COLOURS = (rendering.BLUE, rendering.ORANGE, rendering.GREEN)
_DRAWN, _WRITTEN = 50, 16
"""Largest numbers of providers that are shown one by one, in the image and in the text: those with the largest
optimal shares."""
_PRICED = 2000
"""Number of providers above which payments are left out, because they would take seconds."""


@dataclass(frozen=True)
class _View:
    """The properties of a market that the pictures show."""

    played: int
    """Number of rounds played."""
    rounds: int
    """Number of rounds of the episode."""
    rows: NDArray[np.int64]
    """(rows,): providers shown one by one, by the resource of their largest optimal share, then by this share."""
    hidden: NDArray[np.int64]
    """(hidden,): providers that are not shown one by one."""
    shares: NDArray[np.float64]
    """(providers, 3): current shares."""
    best_shares: NDArray[np.float64]
    """(providers, 3): shares at the optimum of the true types."""
    utilities: NDArray[np.float64]
    """(providers,): true utilities [utility]."""
    payments: NDArray[np.float64] | None
    """(providers,): Clarke payments at the current allocation and its reports, with a bank its taxes over α̂ [utility].
    None if they take too long, or if they depend on actions and no round has been played."""
    history: NDArray[np.float64]
    """(rounds + 1,): welfare at the start and after each round [utility]."""
    optimum: float
    """SW* [utility]."""
    equal_split: float
    """Welfare of the equal split [utility]."""
    bids: float | None
    """Sum of the bids of the last round [currency]; None without a bank."""
    noise: float
    """Standard deviation of the noise on shares in that round."""

    @property
    def ratio(self) -> float:
        """Current welfare over the optimal welfare."""
        return float(self.history[-1]) / self.optimum if self.optimum > 0.0 else 1.0

    @property
    def overcharged(self) -> NDArray[np.bool_]:
        """(providers,): whether the payment exceeds the utility."""
        assert self.payments is not None
        return np.asarray(self.payments > self.utilities + 1e-9 * self.optimum)

    @property
    def headline(self) -> str:
        """Progress of the episode."""
        return rendering.round_headline(self.played, self.rounds)

    @property
    def sentence(self) -> str:
        """Summary of the payments in one sentence."""
        market = f"{rendering.counted(len(self.utilities), 'provider')} share three resources"
        if self.payments is None:
            return market
        overcharged = int(self.overcharged.sum())
        payers = "nobody pays" if not overcharged else rendering.counted(overcharged, "pays", "pay")
        return f"{market}; {payers} more than the slice is worth"

    @property
    def bidding(self) -> str:
        """Bids of the last round in words; empty without a bank."""
        if self.bids is None:
            return ""
        bids = f"bids are {self.bids / max(self.optimum, 1e-300):.1%} of the largest welfare"
        return bids + (f", which moves shares by {self.noise:.1g}" if self.noise > 0.0 else "")


# The frames of an episode show the same market, so its optimum is computed once.
@lru_cache(maxsize=4)
def _optimum(worth: bytes, rate: bytes) -> WelfareOptimum:
    """Return the welfare optimum; the arguments are the bytes of ``worth`` (providers,) and ``rate`` (providers, 3)."""
    return welfare_optimum(np.frombuffer(worth), np.frombuffer(rate).reshape(-1, 3))


@lru_cache(maxsize=4)
def _clarke(worth: bytes, rate: bytes) -> ClarkeOutcome:
    """Return the Clarke payments at the optimum; see `_optimum` for the arguments."""
    return clarke_payments(np.frombuffer(worth), np.frombuffer(rate).reshape(-1, 3))


def _view(game: VCGSlicingGame, b: int, most: int) -> _View:
    """Return the properties of market ``b`` that the pictures show, with up to ``most`` providers one by one."""
    market, n = game.market, int(game.market.present[b])
    n = n or game.config.providers  # before the first reset
    worth, rate, played = market.worth[b, :n], market.rate[b, :n], int(market.rounds[b])
    bank = game.bank
    known = bool(market.known[b] != NOTHING)
    best_shares, optimum = np.zeros((n, 3)), 0.0
    payments = np.zeros(n) if not known and n <= _PRICED else None
    if known:
        solution = _optimum(worth.tobytes(), rate.tobytes())
        best_shares, optimum = solution.shares, solution.welfare
        if bank is not None:
            payments = bank.charges(b)[:n] if played else None
        elif game.providers_choose:
            # The market's reports may already be those of the next round, so the payments come from the last one.
            payments = market.payment[b, :n].copy() if played else None
        elif n <= _PRICED:
            present = market.utility[b, :n]
            payments = _clarke(worth.tobytes(), rate.tobytes()).welfare_without - (present.sum() - present)
    largest_share = best_shares.max(axis=1)
    largest = np.argsort(-largest_share, kind="stable")
    rows = largest[:most]
    rows = rows[np.lexsort((-largest_share[rows], best_shares[rows].argmax(axis=1)))]
    return _View(
        played=played,
        rounds=game.config.rounds,
        rows=rows,
        hidden=largest[most:],
        shares=market.share[b, :n].copy(),
        best_shares=best_shares,
        utilities=market.utility[b, :n].copy(),
        payments=payments,
        history=market.history[b, : played + 1].copy(),
        optimum=optimum,
        equal_split=float(utilities(worth, rate, np.full((n, 3), 1.0 / n)).sum()),
        bids=float(bank.bank.total_bid[b]) if bank is not None and played else None,
        noise=float(market.spread[b]),
    )


def figure(game: VCGSlicingGame, index: int = 0) -> Figure:
    """Return the picture of a market as a Matplotlib figure, which can be saved in any format.

    The left half has a row for each provider and a column for each resource. Bars are the shares, and marks the shares
    at the optimum. The right half shows the welfare of each round with the optimum, and each provider's payment against
    its utility: above the diagonal a provider pays more than its utility.

    Parameters
    ----------
    game : VCGSlicingGame
        Batch of markets.
    index : int, default 0
        Index of the market in the batch.

    Returns
    -------
    Figure
        1080 × 720 pixels.
    """
    view = _view(game, index, _DRAWN)
    # With a bank the sentence is about the bids, because the tiles show the payments.
    bidding = f"{rendering.counted(len(view.utilities), 'provider')}; {view.bidding}"
    drawn = rendering.titled_figure(_TITLE, view.headline, bidding if view.bidding else view.sentence)
    _draw_tiles(drawn, view)
    width, gap = 0.170, 0.014
    for resource in range(3):
        axes = drawn.add_axes((0.075 + resource * (width + gap), 0.115, width, 0.60))
        _draw_resource(axes, view, resource)
    _draw_welfare(drawn.add_axes((0.715, 0.475, 0.255, 0.24)), view)
    _draw_payments(drawn.add_axes((0.715, 0.115, 0.255, 0.24)), view)
    _draw_legend(drawn)
    return drawn


def _draw_tiles(drawn: Figure, view: _View) -> None:
    welfare, optimum = f"{view.history[-1]:,.1f}", f"of {view.optimum:,.1f}"
    rendering.progress_tile(drawn, "welfare", welfare, optimum, view.ratio)
    rendering.tile(drawn, 0.29, "of the optimum", f"{view.ratio:.1%}")
    equal = view.equal_split / view.optimum if view.optimum > 0.0 else 1.0
    rendering.tile(drawn, 0.45, "equal split", f"{equal:.1%}")
    if view.payments is not None:
        rendering.tile(drawn, 0.61, "payments of a round", f"{view.payments.sum():,.1f}")
        rendering.tile(drawn, 0.82, "pay too much", f"{view.overcharged.sum():,}", f"of {len(view.utilities):,}")


def _draw_resource(axes: Axes, view: _View, resource: int) -> None:
    """Draw the shares of a resource as bars, and the best shares as marks, on the scale of all resources."""
    rows, colour = view.rows, _COLOURS[resource]
    n = len(rows)
    rendering.style_axes(axes, "", "", grid="x")
    shown = np.concatenate([view.shares[rows], view.best_shares[rows]])
    axes.set_xlim(0.0, max(float(shown.max(initial=0.0)) * 1.06, 1e-6))
    axes.set_ylim(n - 0.35, -0.65)
    at = np.arange(n)
    axes.barh(at, view.shares[rows, resource], height=0.68, color=colour, alpha=0.75)
    best = view.best_shares[rows, resource]
    marked = best > 1e-6
    width = 2.0 if n <= 20 else 1.4
    axes.vlines(best[marked], at[marked] - 0.44, at[marked] + 0.44, color=rendering.INK, linewidth=width)
    rendering.title_axes(axes, RESOURCES[resource], colour)
    axes.locator_params(axis="x", nbins=4)
    axes.set_yticks(at[:: 1 if n <= 30 else 5])
    if resource:
        axes.set_yticklabels([])
    else:
        axes.set_yticklabels([f"vsp {i}" for i in rows[:: 1 if n <= 30 else 5]], fontsize=10 if n <= 20 else 8)
    if len(view.hidden):
        rest = f"{len(view.hidden):,} others: {view.shares[view.hidden, resource].sum():.2f}"
        rest += f" (best {view.best_shares[view.hidden, resource].sum():.2f})"
        axes.set_xlabel(rest, fontsize=8.5, color=rendering.MUTED, labelpad=3)
    else:
        axes.set_xlabel("share", fontsize=10, color=rendering.MUTED, labelpad=3)


def _draw_welfare(axes: Axes, view: _View) -> None:
    """Draw the welfare of each round, and as horizontal lines the optimum and the welfare of the equal split."""
    rendering.style_axes(axes, "", "")
    rendering.title_axes(axes, "welfare by round")
    axes.axhline(view.optimum, color=rendering.INK, linewidth=1.6)
    axes.axhline(view.equal_split, color=rendering.MUTED, linewidth=1.2, linestyle=(0, (4, 3)))
    axes.plot(np.arange(len(view.history)), view.history, color=rendering.PINK, linewidth=2.4)
    axes.plot([len(view.history) - 1], view.history[-1:], color=rendering.PINK, marker="o", markersize=7)
    low = min(float(view.history.min()), view.equal_split)
    room = max(view.optimum - low, 1e-9 * max(view.optimum, 1.0))
    axes.set_xlim(0, view.rounds * 1.02)
    axes.set_ylim(low - 0.12 * room, view.optimum + 0.16 * room)
    for height, words in ((view.optimum, "optimum"), (view.equal_split, "equal split")):
        axes.text(view.rounds, height + 0.02 * room, words, ha="right", va="bottom", fontsize=9, color=rendering.MUTED)


def _draw_payments(axes: Axes, view: _View) -> None:
    """Draw each provider's payment against its utility; triangles above the diagonal pay more than their utility."""
    rendering.style_axes(axes, "utility", "payment")
    rendering.title_axes(axes, "who pays what")
    if view.payments is None:
        words = f"not drawn for more than {_PRICED} providers" if len(view.utilities) > _PRICED else "nothing yet"
        axes.text(0.5, 0.5, words, transform=axes.transAxes, ha="center", fontsize=9, color=rendering.MUTED)
        axes.set_xticks([])
        axes.set_yticks([])
        return
    top = max(float(view.utilities.max()), 1e-9) * 1.08
    # Far from the optimum payments are many times the utilities, so large ones are drawn at the upper edge.
    edge = 1.5 * top
    axes.set_xlim(0.0, top)
    axes.set_ylim(0.0, edge)
    axes.plot([0.0, top], [0.0, top], color=rendering.MUTED, linewidth=1.0)
    overcharged = view.overcharged
    height = np.minimum(view.payments, edge)
    size = 6.5 if len(height) <= 60 else 3.0
    beyond = int((view.payments > edge).sum())
    if beyond:
        words = f"{beyond:,} at the edge pay {view.payments.max():,.0f} at most"
        axes.text(0.98, 0.86, words, transform=axes.transAxes, ha="right", fontsize=9, color=rendering.ORANGE)
    for chosen, colour, mark in ((~overcharged, rendering.BLUE, "o"), (overcharged, rendering.ORANGE, "^")):
        axes.plot(
            view.utilities[chosen], height[chosen],
            linestyle="none", marker=mark, markersize=size, color=colour, alpha=0.8, clip_on=False,
        )  # fmt: skip


def _draw_legend(drawn: Figure) -> None:
    entries = [
        rendering.area_entry("share held", rendering.MUTED, alpha=0.75),
        rendering.mark_entry("best share", "|", rendering.INK, 11, mew=2),
        rendering.line_entry("welfare", rendering.PINK, 2.4),
        rendering.mark_entry("pays at most its utility", "o", rendering.BLUE, 7),
        rendering.mark_entry("pays more than it gets", "^", rendering.ORANGE, 7),
    ]
    rendering.legend(drawn, entries)


def text(game: VCGSlicingGame, index: int = 0) -> str:
    """Return a market as lines of at most 100 characters.

    Parameters
    ----------
    game : VCGSlicingGame
        Batch of markets.
    index : int, default 0
        Index of the market in the batch.

    Returns
    -------
    str
        Welfare, then for each provider its share of each resource as a bar, with the best share beside it.
    """
    view = _view(game, index, _WRITTEN)
    bar = rendering.framed(rendering.text_bar(view.ratio, 30))
    lines = [
        f"{_TITLE}  ·  {view.headline}",
        view.sentence,
        *([view.bidding] if view.bidding else []),
        "",
        f"welfare {_amount(view.history[-1])} of {_amount(view.optimum)}   {bar} {view.ratio:.1%}"
        f"   equal split {_amount(view.equal_split)}",
        "",
        *_share_lines(view),
    ]
    return "\n".join(line.rstrip() for line in lines)


def _share_lines(view: _View) -> list[str]:
    """Return the table of the providers, with a heading and the sums over those that are not shown one by one."""
    headings = "".join(f"{name + '  (best)':<24}" for name in RESOURCES)
    pays = "" if view.payments is None else f"  {'pays':>8}"
    lines = [f"{'':<10}{headings}{'utility':>8}{pays}"]
    shown = np.concatenate([view.shares[view.rows], view.best_shares[view.rows]])
    scale = max(float(shown.max(initial=0.0)), 1e-12)
    for i in view.rows:
        cells = ""
        for share, best in zip(view.shares[i], view.best_shares[i], strict=True):
            bar = rendering.framed(rendering.text_bar(share / scale, 8))
            cells += f"{bar}{_share(share)} ({_share(best)})  "[:24].ljust(24)
        pays = "" if view.payments is None else f"  {_money(view.payments[i])}"
        lines.append(f"{'vsp ' + str(i):<10}{cells}{_money(view.utilities[i])}{pays}")
    if len(view.hidden):
        sums, best_sums = view.shares[view.hidden].sum(axis=0), view.best_shares[view.hidden].sum(axis=0)
        cells = "".join(f"{'':<10}{_share(sums[x])} ({_share(best_sums[x])})".ljust(24) for x in range(3))
        lines.append(f"{len(view.hidden)} more".ljust(10) + f"{cells}{_money(view.utilities[view.hidden].sum())}")
    return lines


def _money(value: float) -> str:
    """Return a number in eight characters."""
    written = f"{value:.1f}"
    return f"{written if len(written) <= 8 else f'{value:.1e}':>8}"


def _amount(value: float) -> str:
    """Return a number in at most ten characters."""
    written = f"{value:,.2f}"
    return written if len(written) <= 10 else f"{value:.3e}"


def _share(value: float) -> str:
    """Return a share in five characters."""
    return f"{value:.3f}"
