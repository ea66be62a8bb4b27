"""The options of ``ioa-marl train``: the arguments that begin with a dash."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ioa_marl.foundations.errors import UserError, shown

_VALUES = {"--cfg": "--cfg", "-c": "--cfg", "--config-dir": "--config-dir", "-cd": "--config-dir"}
_PARTS = ("job", "hydra", "all")


@dataclass(frozen=True)
class Options:
    """The options, and the settings as they were typed."""

    settings: tuple[str, ...]
    """The arguments that are not options: ``key=value``."""
    multirun: bool = False
    """``-m``: whether every combination of values is run."""
    quiet: bool = False
    """``--quiet``: whether progress is hidden."""
    cfg: str | None = None
    """``--cfg``: the part of the configuration that is printed instead of running it."""
    config_dir: Path | None = None
    """``--config-dir``: a folder of configuration files in addition to the package's."""


def parse_options(arguments: Sequence[str]) -> Options:
    """Split arguments into options and settings.

    Raises
    ------
    UserError
        If an option is unknown, or its value is missing or not allowed.
    """
    settings: list[str] = []
    values: dict[str, str] = {}
    flags: set[str] = set()
    remaining = list(arguments)
    while remaining:
        argument = remaining.pop(0)
        name, equals, value = argument.partition("=")
        if name in _VALUES:
            if not equals and not remaining:
                raise UserError(f"{name} needs a value, as in {name} {'job' if _VALUES[name] == '--cfg' else 'DIR'}")
            values[_VALUES[name]] = value if equals else remaining.pop(0)
        elif argument in ("-m", "--multirun", "--quiet"):
            flags.add(argument)
        elif argument.startswith("-"):
            raise UserError(_unknown(argument))
        else:
            settings.append(argument)
    cfg, folder = values.get("--cfg"), values.get("--config-dir")
    if cfg is not None and cfg not in _PARTS:
        raise UserError(f"--cfg {shown(cfg)} is not allowed: use {' or '.join(_PARTS)}")
    if folder == "":
        raise UserError("--config-dir needs a value, as in --config-dir DIR")
    return Options(
        tuple(settings), bool(flags & {"-m", "--multirun"}), "--quiet" in flags, cfg,
        None if folder is None else Path(folder),
    )  # fmt: skip


def _unknown(argument: str) -> str:
    known = "options are -m, --quiet, --config-dir DIR and --cfg job; settings are key=value"
    bare = argument.lstrip("-")
    hint = f": write {shown(bare)} for the setting" if "=" in bare and bare[0].isalpha() else f": {known}"
    return f"unknown option {shown(argument)}{hint}"
