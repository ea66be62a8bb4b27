from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from ioa_marl.leaderboard import plots
from ioa_marl.leaderboard.query import read_store
from ioa_marl.leaderboard.rows import Board, arrange
from ioa_marl.leaderboard.tensorboard import score_curves

AddRun = Callable[..., Path]


def board_of(runs: Path) -> tuple[Board, dict[str, plots.ScoreCurve]]:
    found = arrange(read_store(runs))
    return found.boards[0], score_curves(found.boards[0])


def words(figure: object) -> set[str]:
    from matplotlib.text import Text

    return {text.get_text() for text in figure.findobj(Text)}  # type: ignore[attr-defined]


def test_bars_are_as_long_as_the_scores_and_references_are_lines(runs: Path, add_run: AddRun) -> None:
    add_run("sac", [0.2, 0.4])
    add_run("ppo", [0.6])
    figure = plots.score_bars(board_of(runs)[0])
    (axes,) = figure.axes
    assert [bar.get_width() for bar in axes.patches] == pytest.approx([0.6, 0.3])
    assert {"ppo", "sac", "optimum", "random play", "best constant", "0.300"} <= words(figure)
    upright = [line.get_xdata()[0] for line in axes.lines if line.get_linestyle() == "--"]
    assert sorted(upright) == pytest.approx([0.0, 0.5, 1.0])


def test_learning_curves_are_interquartile_means_of_the_seeds(runs: Path, add_run: AddRun) -> None:
    add_run("sac", [-5.0, 0.5, 0.7, 9.0], steps=(500, 1000))
    add_run("oracle", [1.0])
    board, curves = board_of(runs)
    assert curves["sac"].scores[:, -1].tolist() == pytest.approx([-5.0, 0.5, 0.7, 9.0])
    figure = plots.learning_curves(board, curves)
    assert figure is not None
    drawn = [line for line in figure.axes[0].lines if line.get_marker() == "o"]
    assert len(drawn) == 1
    assert drawn[0].get_xdata().tolist() == [500, 1000]
    assert list(drawn[0].get_ydata()) == pytest.approx([0.5, 0.6])
    assert {"sac", "oracle", "optimum"} <= words(figure)


def test_there_are_no_learning_curves_where_nothing_learns(runs: Path, add_run: AddRun) -> None:
    add_run("random", [0.0, 0.1])
    assert plots.learning_curves(*board_of(runs)) is None


def test_seeds_evaluated_at_other_steps_are_left_out_of_a_curve(runs: Path, add_run: AddRun) -> None:
    folder = add_run("sac", [0.1, 0.2, 0.3], steps=(500, 1000))
    other = add_run("other", [0.9], steps=(400, 1000))
    (folder / "seed_2/evaluation.parquet").write_bytes((other / "seed_0/evaluation.parquet").read_bytes())
    _, curves = board_of(runs)
    assert curves["sac"].scores.shape == (2, 2)


def test_profile_is_the_share_of_seeds_above_each_score(runs: Path, add_run: AddRun) -> None:
    add_run("sac", [0.2, 0.8, 0.4, 0.6])
    figure = plots.performance_profile(board_of(runs)[0])
    assert figure is not None
    line = next(line for line in figure.axes[0].lines if line.get_label() == "sac")
    x, y = np.asarray(line.get_xdata()), np.asarray(line.get_ydata())
    for threshold, share in ((0.1, 1.0), (0.2, 0.75), (0.5, 0.5), (0.79, 0.25), (0.8, 0.0)):
        assert y[np.searchsorted(x, threshold, side="right") - 1] == share


@pytest.mark.parametrize("seeds", [1, 3])
def test_every_picture_of_a_crowded_board_can_be_drawn(runs: Path, add_run: AddRun, seeds: int) -> None:
    for i in range(14):
        add_run(f"an_agent_with_a_rather_long_name_{i}", [i / 10] * seeds, steps=(10, 20))
    board, curves = board_of(runs)
    for figure in (
        plots.score_bars(board),
        plots.learning_curves(board, curves),
        plots.performance_profile(board),
    ):
        assert figure is not None
        assert plots.png(figure).startswith(b"\x89PNG")
