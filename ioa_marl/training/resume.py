"""Reading of checkpoints, with the check that they belong to the run that resumes."""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from ioa_marl.foundations import checkpoint
from ioa_marl.foundations.checkpoint import REMEDY, UnreadableCheckpointError
from ioa_marl.training.config import RunSpec


def read_checkpoint(spec: RunSpec, seed: int, path: Path, complete: bool = True) -> dict[str, Any]:
    """Return the checkpoint of a seed of a run.

    Parameters
    ----------
    spec : RunSpec
        The run.
    seed : int
        The training seed.
    path : Path
        The file.
    complete : bool, default True
        Whether training must be able to resume from it; the best checkpoint contains only a policy.

    Raises
    ------
    UnreadableCheckpointError
        If it is damaged, or belongs to another run, seed, step or version; the message names the file and the remedy.
    """
    saved = checkpoint.load(path)
    try:
        problem = _problem(spec, seed, saved) or (_state_problem(spec, saved) if complete else "")
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        problem = f"is no checkpoint of a run: {type(error).__name__} {error}"
    if problem:
        raise UnreadableCheckpointError(f"{path} {problem}; {REMEDY}")
    return saved


def _problem(spec: RunSpec, seed: int, saved: Mapping[str, Any]) -> str:
    """Return how a checkpoint differs from the run in seed, versions or settings, or ""."""
    described = saved["spec"]
    if described["seed"] != seed:
        return f"is of seed {described['seed']}, not of seed {seed}"
    installed = spec.resolved()
    if described["versions"] != installed["versions"]:
        made = ", ".join(different_versions(described["versions"], installed["versions"]))
        return f"was made with other versions than those installed ({made})"
    for name, was, now in differing_values(spec.identity(described), spec.identity(installed)):
        return f"is of another run: {name} is {was} there, {now} here"
    return ""


def _state_problem(spec: RunSpec, saved: Mapping[str, Any]) -> str:
    """Return what keeps training from resuming at the saved step and state, or ""."""
    iteration, steps = int(saved["iteration"]), int(saved["steps"])
    last = spec.budget // spec.num_envs if spec.learns else 0
    if not 0 <= iteration <= last or steps != iteration * spec.num_envs:
        return f"is of no step of this run: iteration {iteration}, {steps} steps"
    step = saved.get("best_step")
    numbers = [saved["train_seconds"], saved["best"], 0 if step is None else step]
    evaluations = saved.get("evaluations", ())
    if (
        not all(type(number) in (int, float) for number in numbers)
        or not all(type(at) is int and type(digest) is str for at, digest in evaluations)
        or not isinstance(saved.get("libraries", {}), Mapping)
    ):
        return "is no checkpoint of a run: its times, evaluations or libraries are not what they should be"
    if len(saved["agents"]) != len(spec.agents) or not isinstance(saved["game"], Mapping):
        return "is no checkpoint of a run: agents or markets are missing"
    return ""


def different_versions(made: Mapping[str, Any], installed: Mapping[str, Any]) -> list[str]:
    """Return each version that differs from the installed one, as ``env 0, now 1``."""
    return [f"{name} {was}, now {now}" for name, was, now in differing_values(made, installed)]


def changed_names(recorded: Mapping[str, Any], current: Mapping[str, Any]) -> list[str]:
    """Return the names of current values that were recorded with another value; others may be missing there."""
    return [name for name, value in current.items() if recorded.get(name, value) != value]


def differing_values(
    one: Any, two: Any, name: str = "", *, absent: str = "absent", equal: Callable[[Any, Any], bool] = operator.eq
) -> Iterator[tuple[str, Any, Any]]:
    """Yield the dotted name and both values wherever two nested mappings differ.

    Parameters
    ----------
    one, two : object
        The values, mappings or not.
    name : str
        Name of the values, in front of the keys.
    absent : str
        Text in place of a value that only one of them has.
    equal : callable
        Compares two values that are not both mappings.
    """
    if isinstance(one, Mapping) and isinstance(two, Mapping):
        for key in dict.fromkeys([*one, *two]):
            inner = f"{name}.{key}" if name else str(key)
            yield from differing_values(one.get(key, absent), two.get(key, absent), inner, absent=absent, equal=equal)
    elif not equal(one, two):
        yield name, one, two
