"""Settings with legal values that would start another experiment than the one their author probably meant."""

from __future__ import annotations

import re
from typing import Any

from ioa_marl.foundations.errors import UserError, shown
from ioa_marl.training.overrides import Setting, deletes, plain_value

_THOUSANDS = re.compile(r"\d{1,3}(,\d{3})+")
MAY_BE_LEFT_OUT = re.compile(
    r"agent|roles\.\w+(\.agent|\.agents\.\d+)?|(agent|roles\.\w+\.(agent|agents\.\d+))\.settings\.\w+"
)
"""Settings that ``~`` may remove; any other would silently fall back to a default."""


def check_meaning(setting: Setting, multirun: bool) -> None:
    """Refuse a setting that probably means something else than it does, and suggest the form that was meant.

    Raises
    ------
    UserError
        With the suggested form.
    """
    if deletes(setting):
        if not MAY_BE_LEFT_OUT.fullmatch(setting.name):
            raise UserError(f"{shown(setting.typed)} is not allowed: {setting.name} cannot be left out; set it instead")
        return
    if setting.name in ("env.preset", "env.name", "agent.name") or re.fullmatch(
        r"roles\.\w+\.(agent|agents\.\d+)\.name", setting.name
    ):
        _refuse_name(setting)
    if setting.swept:
        _check_sweep(setting, multirun)


def _refuse_name(setting: Setting) -> None:
    value = "NAME" if setting.swept else plain_value(setting.override._value)
    group, _, leaf = setting.name.rpartition(".")
    what = f"choose a preset with env=NAME/{value}" if leaf == "preset" else f"choose it with {group}={value}"
    raise UserError(f"{shown(setting.typed)} is not allowed: {what}")


def _check_sweep(setting: Setting, multirun: bool) -> None:
    value = setting.typed.partition("=")[2]
    if setting.name == "runs":
        raise UserError(
            f"{shown(setting.typed)} would run everything once for each folder: use one folder, "
            f"with quotes where its name holds a comma: 'runs=\"{shown(value)}\"'"
        )
    if setting.name == "seeds":
        _check_seeds(setting)
    elements = [plain_value(element) for element in setting.elements()] if setting.pattern is None else []
    if setting.name in ("budget", "num_envs") and _THOUSANDS.fullmatch(value) and ",0" in value:
        raise UserError(f"{setting.typed} would be a sweep: use {setting.name}={value.replace(',', '')}")
    cuda = [e for e in elements if str(e).startswith("cuda")]
    if setting.name == "device" and len(cuda) > 1:
        raise UserError(
            f"{shown(setting.typed)} would run everything again on each device: start one command for each, "
            f"with device={cuda[0]} seeds=[0,1], device={cuda[1]} seeds=[2,3]"
        )
    if not multirun:
        raise UserError(f"{shown(setting.typed)} is a sweep: add -m to run every value")


def _check_seeds(setting: Setting) -> None:
    """Refuse a sweep over numbers of seeds, which would train the first seeds repeatedly: a list was probably meant."""
    elements = [plain_value(element) for element in setting.elements()]
    if all(isinstance(element, list) for element in elements):
        return
    numbers = ",".join(str(e if not isinstance(e, float) or not e.is_integer() else int(e)) for e in elements)
    raise UserError(
        f"{shown(setting.typed)} would be a run for each count of seeds: use seeds=[{shown(numbers)}] for these "
        "numbers, or lists, as in seeds=[0,1],[2,3], for a job each"
    )


def check_lists(setting: Setting, present: Any) -> None:
    """Refuse a sweep over single values of a setting whose value is a list.

    Parameters
    ----------
    setting : Setting
        The setting.
    present : object
        The value of the setting without this override.
    """
    if not setting.swept or not isinstance(present, list):
        return
    elements = [plain_value(element) for element in setting.elements()]
    if not any(isinstance(element, list) or element is None for element in elements):
        inner = ",".join(str(element) for element in elements)
        raise UserError(f"{shown(setting.typed)} would be a run for each value: use {setting.name}=[{shown(inner)}]")
