"""What a comparison shows: the table, the file and the picture have the figures."""

from __future__ import annotations

import csv
import io

import numpy as np
import pytest
from matplotlib.text import Text

from ioa_marl.envs.rendering import figure_to_array
from ioa_marl.evaluation.mechanisms import Comparison, MechanismFigures, csv_text, lines, picture
from ioa_marl.evaluation.mechanisms.comparison import FIGURES
from ioa_marl.evaluation.mechanisms.picture import PANELS
from ioa_marl.foundations.errors import UserError


def comparison(markets=4, **changes):
    rng = np.random.default_rng(0)
    rows = []
    for i, name in enumerate(("first", "second")):
        figures = {figure: np.full(markets, 2.0) for figure in FIGURES}
        figures["welfare"] = 10.0 + np.arange(markets) + i * (1.0 + rng.random(markets))
        figures["messages"] = np.full(markets, 80_000.0 if i else 40.0)
        rows.append(MechanismFigures(name, figures | changes, "of a kind" if i else ""))
    return Comparison("shares", "own $types$", tuple(rows), 5, {"regret": "regret: a lower bound"})


def cells(text):
    return list(csv.DictReader(io.StringIO(text)))


def test_the_file_has_means_errors_and_paired_differences_at_full_precision():
    found = comparison()
    first, second = cells(csv_text(found))
    welfare = found["second"].figures["welfare"]
    assert float(second["welfare"]) == welfare.mean()
    assert float(second["welfare_se"]) == pytest.approx(welfare.std(ddof=1) / 2)
    assert float(second["welfare_difference"]) == pytest.approx((welfare - found["first"].figures["welfare"]).mean())
    assert float(second["welfare_difference_low"]) <= float(second["welfare_difference"])
    assert (first["base"], first["welfare_difference"], first["reports"]) == ("first", "0.0", "5")
    assert "regret_lower_bound" in first
    assert second["setting"] == "of a kind"


def test_what_one_market_cannot_say_is_empty():
    first, second = cells(csv_text(comparison(1)))
    assert first["welfare_se"] == second["welfare_difference_low"] == ""
    assert "nan" not in "\n".join(lines(comparison(1)))


def test_the_table_says_that_regret_is_a_lower_bound_and_what_the_base_is():
    text = lines(comparison())
    assert text[0] == "shares: own $types$, 4 markets; base: first"
    header, first, second = text[2:5]
    assert header.split()[0] == "mechanism"
    assert "regret ≥" in header
    assert "base" in first
    assert "80,000" in second
    assert "+1." in second
    assert "regret: a lower bound" in text
    assert "second: of a kind" in text


@pytest.mark.parametrize("width", [60, 80, 200])
def test_a_narrow_table_names_the_columns_that_it_leaves_out(width):
    text = lines(comparison(), width)
    kept = text[2]
    left_out = [line for line in text if line.startswith("left out")]
    assert bool(left_out) == ("efficiency" not in kept)
    assert "welfare less base" in kept
    assert max(map(len, text[5:])) <= width


def test_figures_that_differ_by_rounding_only_have_no_error_and_no_interval():
    same = 1.0 + np.array([0.0, 1e-16, -1e-16, 0.0])
    text = "\n".join(lines(comparison(efficiency=same)))
    assert "±0.000000" not in text


def test_the_picture_has_a_panel_for_each_figure_and_a_bar_for_each_mechanism():
    figure = picture(comparison())
    assert len(figure.axes) == len(PANELS)
    for axes in figure.axes:
        assert len(axes.patches) == 2
    bars = [bar.get_width() for bar in figure.axes[0].patches]
    assert bars == [comparison().mean(name, "welfare")[0] for name in ("first", "second")]
    assert figure.axes[-1].get_xscale() == "log"
    words = {text.get_text() for text in figure.findobj(Text)}
    assert {"first", "second", "regret, lower bound", "welfare less base"} <= words
    assert figure_to_array(figure).std() > 0


def test_pictures_of_nothing_and_of_losses_can_be_drawn():
    for changes in ({"regret": np.zeros(4)}, {"budget_surplus": -np.ones(4)}, {"messages": np.zeros(4)}):
        assert figure_to_array(picture(comparison(**changes))).shape[2] == 3


def test_a_mechanism_that_was_not_compared_is_refused():
    with pytest.raises(UserError, match="unknown mechanism 'third': known are first, second"):
        comparison().mean("third", "welfare")
