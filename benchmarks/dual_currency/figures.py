"""Figures of the audits of the dual-currency auction."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from matplotlib.colors import SymLogNorm
from matplotlib.figure import Figure
from numpy.typing import NDArray

from ioa_marl.evaluation.audits.vcg_slicing.dual_currency import DeviationCurve, GroupDeviation

SHOWN_PAIRS = (
    "interest, α known",
    "interest, externality estimated",
    "no interest, α known",
    "no interest, externality estimated",
)
WINDOW = 15
"""Rounds over which profits are smoothed in the figure: they have a random part."""

OTHERS = ("tab:blue", "tab:orange", "tab:green", "tab:purple", "tab:brown")
"""Colours of those who do not deviate."""


def _smooth(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return trailing means over `WINDOW` rounds; NaN where there are fewer."""
    means = np.convolve(values, np.full(WINDOW, 1.0 / WINDOW), mode="valid")
    return np.concatenate([np.full(WINDOW - 1, np.nan), means])


def draw_deviation(curve: DeviationCurve, grid: GroupDeviation, path: Path) -> None:
    """Draw Fig. 7 for one market, and profit against every factor over many markets."""
    figure = Figure(figsize=(13.0, 7.4))
    profits, welfare, bids, gains = figure.subplots(2, 2).flat
    deviation, truth = curve.deviation, curve.truth
    n = deviation.profits.shape[-1]
    for i in range(n):
        own = i == curve.provider
        colour = "tab:red" if own else OTHERS[i % len(OTHERS)]
        label = f"provider {i}" + (" (deviates)" if own else "")
        profits.plot(
            _smooth(deviation.profits[0, 0, 0, :, i]), color=colour, linewidth=1.8 if own else 1.0, label=label
        )
        bids.plot(deviation.bids[0, 0, 0, :, i], color=colour, linewidth=1.8 if own else 1.0, label=label)
    twin = {"color": "black", "linestyle": ":", "linewidth": 1.4}
    profits.plot(
        _smooth(truth.profits[0, 0, 0, :, curve.provider]), label=f"provider {curve.provider}, truthful twin", **twin
    )
    bids.plot(truth.bids[0, 0, 0, :, curve.provider], label=f"provider {curve.provider}, truthful twin", **twin)
    welfare.plot(deviation.welfare[0, 0, 0], color="tab:red", linewidth=0.8, label="with the deviation")
    welfare.plot(truth.welfare[0, 0, 0], label="truthful twin", **twin)
    for axis, title, unit in (
        (profits, f"net profits, means of {WINDOW} rounds", "money"), (welfare, "social welfare", "utility"),
        (bids, "bids", "currency"),
    ):  # fmt: skip
        for start, _ in curve.segments[1:]:
            axis.axvline(start, color="0.7", linestyle="--", linewidth=1)
        axis.set_title(title)
        axis.set_xlabel("round")
        axis.set_ylabel(unit)
        axis.grid(alpha=0.3)
    low, high = np.quantile(deviation.welfare, [0.02, 1.0])
    welfare.set_ylim(low - 0.3 * (high - low), high + 0.1 * (high - low))
    welfare.legend(fontsize=8)
    profits.legend(fontsize=7, loc="lower left", ncols=2)
    mean = grid.gains.mean(axis=0)
    error = grid.gains.std(axis=0, ddof=1) / np.sqrt(len(grid.gains))
    gains.errorbar(grid.multipliers, mean, yerr=1.96 * error, fmt="o-", capsize=3)
    gains.axhline(0.0, color="0.6", linewidth=1)
    gains.axvline(1.0, color="tab:orange", linestyle="--", linewidth=1)
    gains.set_title(f"gain over the truth, {len(grid.gains)} instances, α known, 95% interval")
    gains.set_xlabel("bid over belief")
    gains.set_ylabel("money per round")
    gains.grid(alpha=0.3)
    figure.tight_layout()
    figure.savefig(path, dpi=110)


def draw_pairs(found: Mapping[str, GroupDeviation], path: Path) -> None:
    """Draw the joint gain of two providers over all pairs of factors, with and without interest: Figs. 8 and 10."""
    figure = Figure(figsize=(12.6, 10.6))
    for axis, name in zip(figure.subplots(2, 2).flat, SHOWN_PAIRS, strict=True):
        pair = found[name]
        mean = pair.gains.mean(axis=0)
        largest = np.abs(mean).max()
        linear = 0.03 * largest
        picture = axis.imshow(
            mean.T, origin="lower", cmap="RdBu_r", norm=SymLogNorm(linear, vmin=-largest, vmax=largest, base=10)
        )
        for i, row in enumerate(mean):
            for j, gain in enumerate(row):
                dark = abs(gain) > 0.2 * largest
                axis.text(
                    i, j, "0" if abs(gain) < 5e-3 else f"{gain:.0f}" if abs(gain) >= 10 else f"{gain:.2f}",
                    ha="center", va="center", fontsize=6, color="white" if dark else "black",
                )  # fmt: skip
        ticks = range(0, len(pair.multipliers), 2)
        labels = [f"{pair.multipliers[i]:g}" for i in ticks]
        axis.set_xticks(ticks, labels)
        axis.set_yticks(ticks, labels)
        axis.set_xlabel(f"factor of provider {pair.members[0]}")
        axis.set_ylabel(f"factor of provider {pair.members[1]}")
        axis.set_title(
            f"{name}\n{len(pair.gains)} instances, joint profit at the truth {pair.profit.mean():.0f}", fontsize=10
        )
        figure.colorbar(picture, ax=axis, shrink=0.8, label="joint gain over the truth [money per round]")
    figure.tight_layout()
    figure.savefig(path, dpi=110)
