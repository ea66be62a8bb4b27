"""The leaderboard as a TensorBoard log directory: hyperparameters with scores, curves, pictures and the table.

Event files are written record by record in this thread: `EventFileWriter` has a thread per file, in which a full
disk is told as a traceback.
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
from ioa_marl.leaderboard.settings import AgentContext
from ioa_marl.leaderboard.text import file_name, shortened, unique

NOT_SET = "-"
"""Value of a hyperparameter that a run does not have; TensorBoard's filters garble what is not ASCII."""
MOST_COLUMNS = 1000
"""Hyperparameters in the table, those that most runs have."""
MOST_PICTURED = 100
"""Boards of which there are pictures; each takes a third of a second."""
_NAMED = ("agent.name", "env.name", "env.preset", "budget")
_STATUS = {
    DONE: api_pb2.STATUS_SUCCESS,
    FAILED: api_pb2.STATUS_FAILURE,
    DAMAGED: api_pb2.STATUS_FAILURE,
}
_NOTE = "\n\nThe HPARAMS tab has one row per run; metrics there are plain means over the run's seeds.\n"


@dataclass(frozen=True)
class Trial:
    """One row of the HParams table: a run on a board, or a run of which no seed is done."""

    name: str
    """Unique; begins with the rank, because the table is sorted by it."""
    folder: str
    """Folder of its sessions, unique too."""
    run: Run
    board: Board | None
    hparams: dict[str, AgentContext] = field(default_factory=dict)


def write_log(leaderboard: Leaderboard, folder: Path, table: str) -> None:
    """Write the log directory.

    Parameters
    ----------
    leaderboard : Leaderboard
        What to show.
    folder : Path
        Log directory, made here.
    table : str
        The leaderboard as Markdown.
    """
    trials = _trials(leaderboard)
    for trial in trials:
        # Not the folders' names: two stores may have the same, and seeds that nobody can tell are called alike.
        names = unique([f"seed_{'unknown' if seed.seed < 0 else seed.seed}" for seed in trial.run.seeds])
        for seed, name in zip(trial.run.seeds, names, strict=True):
            _write(folder / trial.folder / name, _session(trial, seed))
    experiment = plugin_data_pb2.HParamsPluginData(experiment=_experiment(leaderboard, trials))
    columns = _hparams_value(metadata.EXPERIMENT_TAG, experiment)
    _write(folder / "leaderboard", [(0, [columns, *_overview(leaderboard, table)])])


def score_curves(board: Board) -> dict[str, plots.ScoreCurve]:
    """Return the learning curves of a board's rows, by label; only seeds evaluated at the same steps are joined."""
    out = {}
    for row in board.rows:
        held: list[tuple[SeedRow, Curve]] = [(seed, seed.curve) for seed in row.run.done if seed.curve is not None]
        held = [(seed, curve) for seed, curve in held if len(curve.steps) and board.objective in curve.metrics]
        held = [(seed, curve) for seed, curve in held if np.array_equal(curve.steps, held[0][1].steps)]
        if held and board.references:
            role = board.role or ""
            scores = [[on_scale(seed, role, value) for value in curve.metrics[board.objective]] for seed, curve in held]
            out[row.run.label] = plots.ScoreCurve(held[0][1].steps, np.array(scores))
    return out


def _trials(leaderboard: Leaderboard) -> list[Trial]:
    """Return a trial for each row of each board, and for each run that is on none; all have the same keys."""
    several = len(leaderboard.boards) > 1
    placed: list[tuple[str, str, Run, Board | None]] = []
    for board in leaderboard.boards:
        # TensorBoard sorts names as text.
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


def _hparams(run: Run, board: Board | None) -> dict[str, AgentContext]:
    """Return what says which run this is, and its settings."""
    states = sorted({seed.status for seed in run.seeds})
    state = states[0] if len(states) == 1 else f"{len(run.done)} of {len(run.seeds)} seeds done"
    # Columns stand in the alphabet's order, and only the first five are shown unasked: these come last.
    settings: dict[str, AgentContext] = {
        f"setting.{key}": shortened(value) if isinstance(value, str) else value
        for key, value in run.settings.items()
        if key not in _NAMED
    }
    names: dict[str, AgentContext] = {
        "agent": run.label,
        "budget": run.budget or NOT_SET,
        "env": f"{run.env}-{run.preset}",
        "outcome": state,
        "role": (board and board.role) or NOT_SET,
        "row_checked": run.checked or NOT_SET,
        "seeds": len(run.seeds),
    }
    return names | settings


def _same_keys(sets: Sequence[Mapping[str, AgentContext]]) -> list[dict[str, AgentContext]]:
    """Give all sets the same keys, and each key values of one type, without which its column cannot be sorted."""
    filled: list[dict[str, AgentContext]] = [{} for _ in sets]
    times = Counter(key for held in sets for key in held)
    for key in sorted(key for key, _ in times.most_common(MOST_COLUMNS)):
        values = [held.get(key, NOT_SET) for held in sets]
        alike = {_kind(value) for value in values} in ({"number"}, {"truth"})
        for out, value in zip(filled, values, strict=True):
            out[key] = value if alike else str(value)
    return filled


def _kind(value: AgentContext) -> str:
    if isinstance(value, bool):
        return "truth"
    return "number" if isinstance(value, (int, float)) and math.isfinite(value) else "text"


def _experiment(leaderboard: Leaderboard, trials: Sequence[Trial]) -> api_pb2.Experiment:
    """Return the columns of the HParams table, of which it shows the first few: the score before other metrics.

    This is the only such record: of several that differ, TensorBoard would take any.
    """
    infos = []
    for key in trials[0].hparams if trials else ():
        values = [trial.hparams[key] for trial in trials]
        telling = {value for value in values if value != NOT_SET}
        info = api_pb2.HParamInfo(name=key, differs=len(telling) > 1)
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
"""Training steps and what is written for them."""


def _session(trial: Trial, seed: SeedRow) -> Summaries:
    """Yield what TensorBoard is told of one seed: the hyperparameters, the curves and how it ended."""
    yield 0, hparams_pb(trial.hparams, trial_id=trial.name).value
    if trial.board is not None and seed.status == DONE:
        last, curve = seed.env_steps or 0, seed.curve
        if curve is not None:
            for i, step in enumerate(curve.steps):
                if step < last:
                    values = {name: float(series[i]) for name, series in curve.metrics.items()}
                    yield int(step), _scalars(_shown(trial.board, seed, values))
        final = _shown(trial.board, seed, seed.metrics)
        if trial.board.role is not None:
            final["score"] = seed.scores.get(trial.board.role, math.nan)
        final["steps_per_second"] = seed.steps_per_second or math.nan
        final["train_minutes"] = (seed.train_seconds or 0.0) / (seed.seeds_together or 1) / 60.0
        yield last, _scalars(final)
    end = plugin_data_pb2.SessionEndInfo(status=_STATUS.get(seed.status, api_pb2.STATUS_RUNNING))
    content = plugin_data_pb2.HParamsPluginData(session_end_info=end)
    yield 0, [_hparams_value(metadata.SESSION_END_INFO_TAG, content)]


def _hparams_value(tag: str, content: plugin_data_pb2.HParamsPluginData) -> Summary.Value:
    return Summary.Value(tag=tag, metadata=metadata.create_summary_metadata(content), tensor=metadata.NULL_TENSOR)


def _shown(board: Board, seed: SeedRow, metrics: Mapping[str, float]) -> dict[str, float]:
    """Return the metrics that the board shows, and the score they make on the scale of the seed."""
    values = {name: metrics[name] for name in (board.objective, *board.metrics) if name in metrics}
    if board.role is not None and board.objective in metrics:
        values["score"] = on_scale(seed, board.role, metrics[board.objective])
    return values


def _scalars(values: Mapping[str, float]) -> list[Summary.Value]:
    return [Summary.Value(tag=name, simple_value=value) for name, value in values.items() if math.isfinite(value)]


def _overview(leaderboard: Leaderboard, table: str) -> list[Summary.Value]:
    """Return the table as text and the pictures of each board."""
    scored = [board for board in leaderboard.boards if board.role is not None]
    left_out = len(scored) - MOST_PICTURED
    note = f"\nPictures are of the first {MOST_PICTURED} of {len(scored)} boards.\n" if left_out > 0 else ""
    values = [_text("leaderboard", table + _NOTE + note)]
    for board in scored[:MOST_PICTURED]:
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
