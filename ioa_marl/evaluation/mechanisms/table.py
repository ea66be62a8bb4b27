"""A comparison as text: a table for the terminal, and CSV at full precision."""

from __future__ import annotations

import csv
import io
import math
import textwrap

from rich.cells import cell_len

from ioa_marl.evaluation.mechanisms.comparison import FIGURES, Comparison

HEADERS = {
    "welfare": "welfare",
    "difference": "welfare less base",
    "efficiency": "efficiency",
    "revenue": "revenue",
    "budget_surplus": "budget",
    "regret": "regret ≥",
    "ir_violations": "losers",
    "messages": "messages",
}
"""Headers of the columns after the name of the mechanism."""
_DROPPED = ("efficiency", "revenue", "ir_violations", "budget_surplus")
"""Columns that are left out in a narrow terminal, in this order."""
_GAP = "  "


def lines(comparison: Comparison, width: int = 120) -> list[str]:
    """Return the comparison as lines of text: a row for each mechanism, and what the columns are.

    Means have their standard errors over the markets, and differences their 95% bootstrap interval.

    Parameters
    ----------
    comparison : Comparison
        The comparison.
    width : int, default 120
        Width of the terminal in characters; columns that do not fit are left out and named.
    """
    columns = {"mechanism": ["mechanism", *(row.name for row in comparison.mechanisms)]}
    for name, header in HEADERS.items():
        columns[name] = [header, *(_cell(comparison, row.name, name) for row in comparison.mechanisms)]
    dropped = []
    for name in _DROPPED:
        if _width(columns) > width:
            del columns[name]
            dropped.append(HEADERS[name])
    widths = {name: max(map(cell_len, cells)) for name, cells in columns.items()}
    out = [f"{comparison.family}: {comparison.source}, {comparison.markets} markets; base: {comparison.base}", ""]
    for cells in zip(*columns.values(), strict=True):
        padded = [
            cell + " " * (widths[name] - cell_len(cell))
            if name == "mechanism"
            else " " * (widths[name] - cell_len(cell)) + cell
            for name, cell in zip(columns, cells, strict=True)
        ]
        out.append(_GAP.join(padded).rstrip())
    settings = [f"{row.name}: {row.setting}" for row in comparison.mechanisms if row.setting]
    notes = [*([", ".join(settings)] if settings else []), *comparison.meanings.values()]
    if dropped:
        notes.append(f"left out, for want of width: {', '.join(dropped)}; --out has all columns")
    means = "means over the markets ± standard error; [95% bootstrap interval] of the paired difference"
    losers = "losers: bidders who lose although they tell the truth"
    wrapped = [line for note in (means, losers, *notes) for line in textwrap.wrap(note, width, subsequent_indent=_GAP)]
    return [*out, "", *wrapped]


def _width(columns: dict[str, list[str]]) -> int:
    return sum(max(map(cell_len, cells)) for cells in columns.values()) + len(_GAP) * (len(columns) - 1)


def _cell(comparison: Comparison, mechanism: str, column: str) -> str:
    """Return a cell of the table."""
    if column != "difference":
        mean, error = comparison.mean(mechanism, column)
        if not error > 1e-12 * abs(mean):  # equal up to rounding, or a single market
            return _rounded(mean, None)
        digits = _digits(error)
        return f"{_rounded(mean, digits)} ±{_rounded(error, digits)}"
    if mechanism == comparison.base:
        return "base"
    found = comparison.difference(mechanism)
    if not found.high - found.low > 1e-12 * comparison.mean(mechanism, "welfare")[0]:
        return f"{_rounded(found.value, None, '+')}"
    digits = _digits((found.high - found.low) / 4.0)
    low, high = _rounded(found.low, digits), _rounded(found.high, digits)
    return f"{_rounded(found.value, digits, '+')} [{low}, {high}]"


def _digits(error: float) -> int:
    """Return the number of decimals with which an error has two significant digits."""
    return min(max(1 - math.floor(math.log10(error)), 0), 6)


def _rounded(value: float, digits: int | None, sign: str = "") -> str:
    """Return a number with some decimals or, with None, four significant digits; zero has no sign."""
    if digits is None:
        digits = min(max(3 - math.floor(math.log10(abs(value))), 0), 6) if value else 0
        text = f"{value:{sign},.{digits}f}"
        text = text.rstrip("0").rstrip(".") if "." in text else text
    else:
        text = f"{value:{sign},.{digits}f}"
    return text if any(digit in text for digit in "123456789") else text.lstrip("+-")


def csv_text(comparison: Comparison) -> str:
    """Return the comparison as CSV, one line for each mechanism.

    ``NAME`` and ``NAME_se`` are the mean of a figure over the markets and its standard error; regret is named
    ``regret_lower_bound``. ``welfare_difference`` is the paired difference to ``base``, with the ends ``…_low`` and
    ``…_high`` of its 95% interval. What is not defined, such as the standard error of one market, is empty.
    """
    names = ["regret_lower_bound" if figure == "regret" else figure for figure in FIGURES]
    header = ["family", "source", "markets", "mechanism", "setting", "base", "reports"]
    header += [column for name in names for column in (name, f"{name}_se")]
    header += ["welfare_difference", "welfare_difference_low", "welfare_difference_high"]
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(header)
    for row in comparison.mechanisms:
        found = comparison.difference(row.name)
        figures = [value for figure in FIGURES for value in comparison.mean(row.name, figure)]
        shared = [comparison.family, comparison.source, comparison.markets, row.name, row.setting, comparison.base]
        numbers = [*figures, found.value, found.low, found.high]
        cells = ["" if math.isnan(number) else repr(number) for number in numbers]
        writer.writerow([*shared, comparison.reports, *cells])
    return out.getvalue()
