"""Settings whose every value is legal, and which would yet be another experiment than their author wrote."""

from __future__ import annotations

import re
from typing import Any

from ioa_marl.foundations.errors import UserError, shown
from ioa_marl.training.overrides import Given, deletes, plain_value

_THOUSANDS = re.compile(r"\d{1,3}(,\d{3})+")
MAY_BE_LEFT_OUT = re.compile(r"agent|roles\.\w+(\.agent)?|(roles\.\w+\.)?agent\.settings\.\w+")
"""Settings that ``~`` takes away; any other would be left at a default that nobody has named."""


def check_meaning(given: Given, multirun: bool) -> None:
    """Refuse a setting that would be something else than its author wrote, and say the form that was meant.

    Raises
    ------
    UserError
        With that form.
    """
    if deletes(given):
        if not MAY_BE_LEFT_OUT.fullmatch(given.name):
            raise UserError(f"{shown(given.typed)} is not allowed: {given.name} cannot be left out; set it instead")
        return
    if given.name in ("env.preset", "env.name", "agent.name") or re.fullmatch(r"roles\.\w+\.agent\.name", given.name):
        _refuse_name(given)
    if given.swept:
        _check_sweep(given, multirun)


def _refuse_name(given: Given) -> None:
    value = "NAME" if given.swept else plain_value(given.override._value)
    group, _, leaf = given.name.rpartition(".")
    what = f"choose a preset with env=NAME/{value}" if leaf == "preset" else f"choose it with {group}={value}"
    raise UserError(f"{shown(given.typed)} is not allowed: {what}")


def _check_sweep(given: Given, multirun: bool) -> None:
    value = given.typed.partition("=")[2]
    if given.name == "runs":
        raise UserError(
            f"{shown(given.typed)} would run everything once for each folder: use one folder, "
            f"with quotes where its name holds a comma: 'runs=\"{shown(value)}\"'"
        )
    if given.name == "seeds":
        _check_seeds(given)
    elements = [plain_value(element) for element in given.elements()] if given.pattern is None else []
    if given.name in ("budget", "num_envs") and _THOUSANDS.fullmatch(value) and ",0" in value:
        raise UserError(f"{given.typed} would be a sweep: use {given.name}={value.replace(',', '')}")
    cuda = [e for e in elements if str(e).startswith("cuda")]
    if given.name == "device" and len(cuda) > 1:
        raise UserError(
            f"{shown(given.typed)} would run everything again on each device: start one command for each, "
            f"with device={cuda[0]} seeds=[0,1], device={cuda[1]} seeds=[2,3]"
        )
    if not multirun:
        raise UserError(f"{shown(given.typed)} is a sweep: add -m to run every value")


def _check_seeds(given: Given) -> None:
    """Refuse a sweep over counts, which runs the first seeds again and again: a list of numbers was meant."""
    elements = [plain_value(element) for element in given.elements()]
    if all(isinstance(element, list) for element in elements):
        return
    numbers = ",".join(str(e if not isinstance(e, float) or not e.is_integer() else int(e)) for e in elements)
    raise UserError(
        f"{shown(given.typed)} would be a run for each count of seeds: use seeds=[{shown(numbers)}] for these numbers, "
        "or lists, as in seeds=[0,1],[2,3], for a job each"
    )


def check_lists(given: Given, present: Any) -> None:
    """Refuse a sweep over single values of a setting that is a list, which each of them would be in its place.

    Parameters
    ----------
    given : Given
        The setting.
    present : object
        What it is without.
    """
    if not given.swept or not isinstance(present, list):
        return
    elements = [plain_value(element) for element in given.elements()]
    if not any(isinstance(element, list) or element is None for element in elements):
        inner = ",".join(str(element) for element in elements)
        raise UserError(f"{shown(given.typed)} would be a run for each value: use {given.name}=[{shown(inner)}]")
