"""The leaderboard as a TensorBoard log directory: hyperparameters with scores, learning curves, figures and the table.

Event files are written record by record in this thread: `EventFileWriter` has a thread for each file, in which a full
disk ends in a traceback.
"""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from tensorboard.compat.proto.event_pb2 import Event
from tensorboard.compat.proto.summary_pb2 import Summary, SummaryMetadata
from tensorboard.compat.proto.tensor_pb2 import TensorProto
from tensorboard.compat.proto.tensor_shape_pb2 import TensorShapeProto
from tensorboard.compat.proto.types_pb2 import DT_STRING
from tensorboard.plugins.hparams import api_pb2, metadata, plugin_data_pb2
from tensorboard.plugins.hparams.summary_v2 import hparams_pb
from tensorboard.plugins.text import metadata as text
from tensorboard.summary.writer.record_writer import RecordWriter

from ioa_marl.leaderboard import plots
from ioa_marl.leaderboard.curves import Curve
from ioa_marl.leaderboard.rows import Board, Leaderboard, Run
from ioa_marl.leaderboard.seeds import DAMAGED, DONE, FAILED, SeedRow, on_scale
from ioa_marl.leaderboard.settings import SettingValue
from ioa_marl.leaderboard.text import file_name, shortened, unique

NOT_SET = "-"
"""Value of a hyperparameter that a run does not have; in ASCII, because TensorBoard's filters garble other text."""
MOST_COLUMNS = 1000
"""Largest number of hyperparameters in the table; those that most runs have are chosen."""
MOST_DRAWN = 100
"""Largest number of boards with figures; those of a board take a third of a second."""
_NAMED = ("agent.name", "env.name", "env.preset", "budget")
_STATUS = {
    DONE: api_pb2.STATUS_SUCCESS,
    FAILED: api_pb2.STATUS_FAILURE,
    DAMAGED: api_pb2.STATUS_FAILURE,
}
_NOTE = "\n\nThe HPARAMS tab has one row per run; metrics there are plain means over the run's seeds.\n"


@dataclass(frozen=True)
class Trial:
    """One row of the HParams table: a run on a board, or a run without a finished seed."""

    name: str
    """Unique name; it begins with the rank, because the table is sorted by name."""
    folder: str
    """Unique folder of the sessions."""
    run: Run
    """The run."""
    board: Board | None
    """The board; None for a run without a finished seed."""
    hparams: dict[str, SettingValue] = field(default_factory=dict)
    """Hyperparameters of the run."""


def write_log(leaderboard: Leaderboard, folder: Path, table: str) -> None:
    """Write the log directory.

    Parameters
    ----------
    leaderboard : Leaderboard
        The leaderboard.
    folder : Path
        Log directory.
    table : str
        The leaderboard as Markdown.
    """
    trials = _trials(leaderboard)
    for trial in trials:
        # Made unique, because several stores may contain the same seed, and unknown seeds share one name.
        names = unique([f"seed_{'unknown' if seed.seed < 0 else seed.seed}" for seed in trial.run.seeds])
        for seed, name in zip(trial.run.seeds, names, strict=True):
            _write(folder / trial.folder / name, _session(trial, seed))
    experiment = plugin_data_pb2.HParamsPluginData(experiment=_experiment(leaderboard, trials))
    columns = _hparams_value(metadata.EXPERIMENT_TAG, experiment)
    _write(folder / "leaderboard", [(0, [columns, *_overview(leaderboard, table)])])


def score_curves(board: Board) -> dict[str, plots.ScoreCurve]:
    """Return the learning curves of a board's rows by label, of the seeds that were evaluated at the same steps."""
    out = {}
    for row in board.rows:
        curves: list[tuple[SeedRow, Curve]] = [(seed, seed.curve) for seed in row.run.done if seed.curve is not None]
        curves = [(seed, curve) for seed, curve in curves if len(curve.steps) and board.objective in curve.metrics]
        curves = [(seed, curve) for seed, curve in curves if np.array_equal(curve.steps, curves[0][1].steps)]
        if curves and board.references:
            role = board.role or ""
            scores = [
                [
                    on_scale(seed, role, value, last=step == curve.steps[-1])
                    for step, value in zip(curve.steps, curve.metrics[board.objective], strict=True)
                ]
                for seed, curve in curves
            ]
            out[row.run.label] = plots.ScoreCurve(curves[0][1].steps, np.array(scores))
    return out


def _trials(leaderboard: Leaderboard) -> list[Trial]:
    """Return a trial for each row of each board, and for each run without a board; all have the same keys."""
    several = len(leaderboard.boards) > 1
    placed: list[tuple[str, str, Run, Board | None]] = []
    for board in leaderboard.boards:
        # Leading zeros, because TensorBoard sorts names as text.
        digits = max(2, len(str(len(board.rows))))
        for row in board.rows:
            name = f"{row.rank:0{digits}d} {row.run.label}"
            folder = f"{board.slug}/{file_name(row.run.label)}"
            placed.append((f"{board.slug} {name}" if several else name, folder, row.run, board))
    for run in leaderboard.runs:
        if not run.done:
            folder = f"{file_name(f'{run.env}-{run.preset}')}/{file_name(run.label)}"
            placed.append((f"{run.seeds[0].status} {run.label}", folder, run, None))
    names, folders = unique([name for name, *_ in placed]), unique([folder for _, folder, *_ in placed])
    same = _same_keys([_hparams(run, board) for *_, run, board in placed])
    return [Trial(names[i], folders[i], run, board, same[i]) for i, (*_, run, board) in enumerate(placed)]


def _hparams(run: Run, board: Board | None) -> dict[str, SettingValue]:
    """Return the hyperparameters of a run: its names and its settings."""
    states = sorted({seed.status for seed in run.seeds})
    state = states[0] if len(states) == 1 else f"{len(run.done)} of {len(run.seeds)} seeds done"
    # TensorBoard sorts columns by name and shows only the first five at first; the prefix puts these last.
    settings: dict[str, SettingValue] = {
        f"setting.{key}": shortened(value) if isinstance(value, str) else value
        for key, value in run.settings.items()
        if key not in _NAMED
    }
    names: dict[str, SettingValue] = {
        "agent": run.label,
        "budget": run.budget or NOT_SET,
        "env": f"{run.env}-{run.preset}",
        "outcome": state,
        "role": (board and board.role) or NOT_SET,
        "row_checked": run.checked or NOT_SET,
        "seeds": len(run.seeds),
    }
    return names | settings


def _same_keys(sets: Sequence[Mapping[str, SettingValue]]) -> list[dict[str, SettingValue]]:
    """Return sets with the same keys and one type of values per key, so that TensorBoard can sort the columns."""
    filled: list[dict[str, SettingValue]] = [{} for _ in sets]
    times = Counter(key for hparams in sets for key in hparams)
    for key in sorted(key for key, _ in times.most_common(MOST_COLUMNS)):
        values = [hparams.get(key, NOT_SET) for hparams in sets]
        alike = {_kind(value) for value in values} in ({"number"}, {"truth"})
        for out, value in zip(filled, values, strict=True):
            out[key] = value if alike else str(value)
    return filled


def _kind(value: SettingValue) -> str:
    if isinstance(value, bool):
        return "truth"
    return "number" if isinstance(value, (int, float)) and math.isfinite(value) else "text"


def _experiment(leaderboard: Leaderboard, trials: Sequence[Trial]) -> api_pb2.Experiment:
    """Return the columns of the HParams table; the score comes first, because only the first few are shown.

    There must be only one such record: of several, TensorBoard would use an arbitrary one.
    """
    infos = []
    for key in trials[0].hparams if trials else ():
        values = [trial.hparams[key] for trial in trials]
        values_set = {value for value in values if value != NOT_SET}
        info = api_pb2.HParamInfo(name=key, differs=len(values_set) > 1)
        if _kind(values[0]) == "number":
            info.type = api_pb2.DATA_TYPE_FLOAT64
            numbers = [float(value) for value in values]
            info.domain_interval.min_value, info.domain_interval.max_value = min(numbers), max(numbers)
        else:
            info.type = api_pb2.DATA_TYPE_BOOL if _kind(values[0]) == "truth" else api_pb2.DATA_TYPE_STRING
            info.domain_discrete.extend(sorted(set(values), key=str))
        infos.append(info)
    shown = [name for board in leaderboard.boards for name in (board.objective, *board.metrics)]
    tags = dict.fromkeys(["score", *shown, "steps_per_second", "train_minutes"])
    metrics = [api_pb2.MetricInfo(name=api_pb2.MetricName(group="", tag=tag)) for tag in tags]
    return api_pb2.Experiment(hparam_infos=infos, metric_infos=metrics)


Summaries = Iterable[tuple[int, Sequence[Summary.Value]]]
"""Pairs of training steps and the values that are written for them."""


def _session(trial: Trial, seed: SeedRow) -> Summaries:
    """Yield the summaries of one seed: hyperparameters, learning curves and final status."""
    yield 0, hparams_pb(trial.hparams, trial_id=trial.name).value
    if trial.board is not None and seed.status == DONE:
        last, curve = seed.env_steps or 0, seed.curve
        if curve is not None:
            for i, step in enumerate(curve.steps):
                if step < last:
                    values = {name: float(series[i]) for name, series in curve.metrics.items()}
                    yield int(step), _scalars(_shown(trial.board, seed, values, last=False))
        final = _shown(trial.board, seed, seed.metrics, last=True)
        if trial.board.role is not None:
            final["score"] = seed.scores.get(trial.board.role, math.nan)
            final["sampled_score"] = seed.sampled_scores.get(trial.board.role, math.nan)
        final["steps_per_second"] = seed.steps_per_second or math.nan
        final["train_minutes"] = (seed.train_seconds or 0.0) / (seed.seeds_together or 1) / 60.0
        yield last, _scalars(final)
    end = plugin_data_pb2.SessionEndInfo(status=_STATUS.get(seed.status, api_pb2.STATUS_RUNNING))
    content = plugin_data_pb2.HParamsPluginData(session_end_info=end)
    yield 0, [_hparams_value(metadata.SESSION_END_INFO_TAG, content)]


def _hparams_value(tag: str, content: plugin_data_pb2.HParamsPluginData) -> Summary.Value:
    return Summary.Value(tag=tag, metadata=metadata.create_summary_metadata(content), tensor=metadata.NULL_TENSOR)


def _shown(board: Board, seed: SeedRow, metrics: Mapping[str, float], *, last: bool) -> dict[str, float]:
    """Return the metrics that the board shows, and the score that they give on the scale of the seed."""
    values = {name: metrics[name] for name in (board.objective, *board.metrics) if name in metrics}
    if board.role is not None and board.objective in metrics:
        values["score"] = on_scale(seed, board.role, metrics[board.objective], last=last)
    return values


def _scalars(values: Mapping[str, float]) -> list[Summary.Value]:
    return [Summary.Value(tag=name, simple_value=value) for name, value in values.items() if math.isfinite(value)]


def _overview(leaderboard: Leaderboard, table: str) -> list[Summary.Value]:
    """Return the table as text and the figures of each board."""
    scored = [board for board in leaderboard.boards if board.role is not None]
    left_out = len(scored) - MOST_DRAWN
    note = f"\nPictures are of the first {MOST_DRAWN} of {len(scored)} boards.\n" if left_out > 0 else ""
    values = [_text("leaderboard", table + _NOTE + note)]
    for board in scored[:MOST_DRAWN]:
        drawn = {
            "1 scores": plots.score_bars(board),
            "2 learning curves": plots.learning_curves(board, score_curves(board)),
            "3 performance profile": plots.performance_profile(board),
        }
        for name, figure in drawn.items():
            if figure is not None:
                width, height = figure.canvas.get_width_height()
                image = Summary.Image(width=width, height=height, colorspace=4, encoded_image_string=plots.png(figure))
                values.append(Summary.Value(tag=f"{board.slug}/{name}", image=image))
    return values


def _text(tag: str, content: str) -> Summary.Value:
    tensor = TensorProto(
        dtype=DT_STRING,
        string_val=[content.encode()],
        tensor_shape=TensorShapeProto(dim=[TensorShapeProto.Dim(size=1)]),
    )
    plugin = SummaryMetadata.PluginData(
        plugin_name=text.PLUGIN_NAME, content=text.create_summary_metadata("", "").plugin_data.content
    )
    return Summary.Value(tag=tag, metadata=SummaryMetadata(plugin_data=plugin), tensor=tensor)


def _write(folder: Path, summaries: Summaries) -> None:
    """Write one event file."""
    now = time.time()
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / f"events.out.tfevents.{int(now)}.leaderboard").open("wb") as file:
        records = RecordWriter(file)
        records.write(Event(wall_time=now, file_version="brain.Event:2").SerializeToString())
        for step, values in summaries:
            event = Event(wall_time=now, step=step, summary=Summary(value=values))
            records.write(event.SerializeToString())
