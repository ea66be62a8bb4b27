"""The function that Hydra's launchers call for one job of a sweep: in this process, in a pool, or on a cluster."""

from __future__ import annotations

import os
import sys
import time
import traceback
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import torch
from omegaconf import DictConfig, OmegaConf
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

from ioa_marl.evaluation.statistics import estimate
from ioa_marl.foundations import interrupts, output
from ioa_marl.foundations.errors import ParameterError, UserError, one_line
from ioa_marl.foundations.files import DamagedFileError, check_working_folder, read_yaml
from ioa_marl.training.config import RunSpec, resolve
from ioa_marl.training.failures import Notify, SeedsFailedError
from ioa_marl.training.integrity import check_weights
from ioa_marl.training.resume import changed_names, different_versions
from ioa_marl.training.runner import Report
from ioa_marl.training.seeds import train_seeds
from ioa_marl.training.store import SeedFolder
from ioa_marl.training.workers import working

FAILURES = "IOA_MARL_FAILURES"
"""Environment variable with the file that jobs append their failures to; the command's exit status reads it."""
PROGRESS = "IOA_MARL_PROGRESS"
"""Environment variable: ``bar`` (one job at a time on a terminal), ``lines`` (several at a time) or ``off``."""


def job(config: DictConfig) -> None:
    """Train the seeds of one configuration; a failure is recorded and printed, and does not stop the sweep."""
    torch.set_num_threads(1)
    record = os.environ.get(FAILURES)
    quiet = os.environ.get(PROGRESS) == "off"
    with working(Path(record).parent if record else None), output.without_messages(quiet):
        try:
            values = OmegaConf.to_container(config, resolve=True)
            assert isinstance(values, dict)
            spec = resolve({str(key): value for key, value in values.items() if key != "hydra"})
            run(spec)
        except (Exception, SystemExit) as error:  # the sweep goes on; a plug-in may even call sys.exit
            stopped = interrupts.received()
            if stopped is not None:  # the error is a consequence of the interruption
                raise interrupts.Interrupted(stopped) from error
            _report_error(error)


def _report_error(error: BaseException) -> None:
    """Print what went wrong; an error that is not the user's is printed with its traceback."""
    if isinstance(error, OSError):
        try:
            check_working_folder()
        except UserError as explanation:
            error = explanation
    if isinstance(error, SeedsFailedError):
        for message in dict.fromkeys(error.reasons.values()):
            _record_failure(message, "user")
    elif isinstance(error, (UserError, ParameterError)):
        _record_failure(str(error), "user")
    else:
        traceback.print_exc()
        _record_failure(f"{type(error).__name__}: {error}".splitlines()[0], "crash")


def _record_failure(message: str, kind: str) -> None:
    print(f"ioa-marl: {one_line(message)}", file=sys.stderr, flush=True)  # noqa: T201 - the output of the command
    record = os.environ.get(FAILURES)
    if record:
        with Path(record).open("a") as file:
            file.write(kind + "\n")


def run(spec: RunSpec) -> None:
    """Train the seeds of a run that are not done, with a progress bar on a terminal."""
    console = Console(stderr=True)

    def notify(message: str) -> None:
        console.print(f"ioa-marl: {one_line(message)}", highlight=False, markup=False, soft_wrap=True)

    title = f"{spec.env_label}  {spec.agent_label}"
    done = [seed for seed in spec.seeds if SeedFolder(spec.seed_folder(seed)).finished()]
    missing = [s for s in spec.seeds if s not in done]
    if done:
        _notify_of_changed_code(spec, done, notify)
        for problem in filter(None, (_weights_problem(SeedFolder(spec.seed_folder(seed))) for seed in done)):
            notify(problem)
    if not missing:
        _print(console, f"{title}  {len(done)} seeds already done: {spec.folder}")
        return
    if not spec.folder.exists():
        _notify_of_older_versions(spec, notify)
    started = time.perf_counter()
    with _progress(f"{title}  {len(missing)} seeds", spec.budget, console) as report:
        train_seeds(spec, missing, report, notify)
    results = [SeedFolder(spec.seed_folder(seed)).result() for seed in spec.seeds]
    if not all("scores" in result for result in results):
        raise UserError(f"{spec.folder} was renamed or removed; run the command again to go on")
    parts = []
    # A seed has no score if its instance of the market has no scale.
    for role in (role for role in results[0]["scores"] if all(role in result["scores"] for result in results)):
        score = estimate([result["scores"][role] for result in results])
        parts.append(f"{role} score {score.value:.3f}")
    summary = "  ".join(parts) or "no scored role"
    seconds = time.perf_counter() - started
    _print(console, f"{title}  {len(missing)} seeds  {summary}  {seconds:.0f} s")


def _print(console: Console, line: str) -> None:
    console.print(line, markup=False, highlight=False, soft_wrap=True)


def _notify_of_changed_code(spec: RunSpec, done: Sequence[int], notify: Notify) -> None:
    """Notify the user if finished rows were made with other code of the same version."""
    current = spec.code
    seeds: dict[str, list[int]] = {}
    for seed in done:
        recorded = SeedFolder(spec.seed_folder(seed)).result().get("code")
        if isinstance(recorded, Mapping):
            for name in changed_names(recorded, current):
                seeds.setdefault(name, []).append(seed)
    for name, changed in seeds.items():
        notify(
            f"code of {name} changed since {_listed(changed)} of {spec.folder} ended; if that changes results, raise "
            "its version, and the same command trains anew"
        )


def _weights_problem(folder: SeedFolder) -> str:
    return check_weights(folder.path, folder.result())


def _listed(seeds: Sequence[int]) -> str:
    names = [f"seed_{seed}" for seed in seeds]
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more seeds" if len(names) > 3 else "")


def _notify_of_older_versions(spec: RunSpec, notify: Notify) -> None:
    """Notify the user if the store contains the same run of an older version; it is another run and stays as it is."""
    installed = spec.resolved()
    wanted = {key: value for key, value in spec.identity(installed).items() if key != "versions"}
    for folder in sorted(spec.folder.parent.glob("*/")):
        config = next(iter(sorted(folder.glob("seed_*/config.yaml"))), None)
        if config is None:
            continue
        try:
            described = read_yaml(config)
            same = {key: value for key, value in spec.identity(described).items() if key != "versions"} == wanted
            other = different_versions(described["versions"], installed["versions"])
        except (DamagedFileError, AttributeError, KeyError, TypeError, ValueError):
            continue  # a damaged description must not hide the others or stop the run
        if same and other:
            notify(f"{folder} holds this run as an older version made it ({', '.join(other)}); it stays as it is")


@contextmanager
def _progress(title: str, budget: int, console: Console) -> Iterator[Report]:
    """Show the progress of training: a bar, or a line per quarter of the budget where several jobs share a terminal."""
    mode = os.environ.get(PROGRESS, "bar") if console.is_terminal else "off"
    columns = (
        TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeRemainingColumn(),
        TextColumn("{task.fields[score]}"),
    )  # fmt: skip
    quarters = 0
    with Progress(*columns, console=console, disable=mode != "bar", transient=True) as progress:
        task = progress.add_task(title, total=budget, score="")

        def report(steps: int, scores: Mapping[str, float]) -> None:
            nonlocal quarters
            shown = "  ".join(f"{role} {value:.3f}" for role, value in scores.items())
            progress.update(task, completed=steps, score=shown)
            if mode == "lines" and 4 * steps // budget > quarters:
                quarters = 4 * steps // budget
                _print(console, f"{title}  {25 * quarters}%  {shown}")

        yield report
