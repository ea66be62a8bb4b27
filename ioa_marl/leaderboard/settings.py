"""Configurations of runs as flat settings, with the names that ``ioa-marl train`` uses for overrides."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, TypeAlias

from ioa_marl.foundations.files import LARGEST_TEXT, DamagedFileError, read_bytes, read_yaml
from ioa_marl.foundations.tables import is_table, table_label
from ioa_marl.leaderboard.text import LONGEST_NAME, visible

SettingValue: TypeAlias = bool | int | float | str
"""Value of one setting."""
Settings: TypeAlias = Mapping[str, SettingValue]
"""Settings by their dotted names."""

MOST_SETTINGS = 1000
"""Largest number of settings of a run, because each takes a column."""
LARGEST_INTEGER = 2**63 - 1
"""Largest integer that is kept as a number."""

_SEED = re.compile(rb"^seed: \d{1,20}\r?$", re.MULTILINE)


class Configs:
    """Reads ``config.yaml``; files that differ only in the seed are parsed once."""

    def __init__(self) -> None:
        self._parsed: dict[bytes, dict[str, SettingValue]] = {}

    def of(self, path: Path) -> dict[str, SettingValue]:
        """Return the settings in a file.

        Raises
        ------
        DamagedFileError
            If the file cannot be used.
        """
        key = _SEED.sub(b"", read_bytes(path, LARGEST_TEXT))
        if key not in self._parsed:
            config = read_yaml(path)
            if not isinstance(config, Mapping):
                raise DamagedFileError(path, "is not a mapping of settings")
            settings = flatten(config)
            if len(settings) > MOST_SETTINGS:
                raise DamagedFileError(path, f"has {len(settings)} settings; at most {MOST_SETTINGS} are shown")
            if max(map(len, settings), default=0) > LONGEST_NAME:
                raise DamagedFileError(path, f"has the name of a setting with more than {LONGEST_NAME} characters")
            self._parsed[key] = settings
        return self._parsed[key]


def flatten(config: Mapping[str, Any]) -> dict[str, SettingValue]:
    """Return a resolved configuration with flat keys.

    The agent of a run with one agent is ``agent``; with several agents, each is ``roles.ROLE.agent``. Those of the
    agents of one role are ``roles.ROLE.agents.0`` and so on.
    """
    tree = {key: value for key, value in config.items() if key not in ("agents", "seed")}
    agents = config.get("agents")
    if isinstance(agents, Mapping):
        if len(agents) == 1 and not _differ(next(iter(agents.values()))):
            tree["agent"] = next(iter(agents.values()))
        else:
            tree["roles"] = {
                role: {key: choice[key] for key in ("agent", "agents")} if _differ(choice) else {"agent": choice}
                for role, choice in agents.items()
            }
    return {visible(name): value for name, value in _leaves(tree, "")}


def _differ(choice: Any) -> bool:
    """Whether a choice of an agent is one for each agent of a role."""
    return isinstance(choice, Mapping) and {"agent", "agents"} <= set(choice)


def _leaves(value: Any, name: str) -> Iterator[tuple[str, SettingValue]]:
    if isinstance(value, Mapping):
        for key, inner in value.items():
            part = key if isinstance(key, str) else str(as_setting(key))
            yield from _leaves(inner, f"{name}.{part}" if name else part)
    else:
        yield name, as_setting(value)


def as_setting(value: Any) -> SettingValue:
    """Return a value for a cell: numbers and truth values unchanged, the name of a table, all else as visible text."""
    if isinstance(value, str):
        return table_label(value) if is_table(value) else visible(value)
    if isinstance(value, float):
        return value if math.isfinite(value) else str(value)
    if isinstance(value, bool) or (isinstance(value, int) and abs(value) <= LARGEST_INTEGER):
        return value
    try:
        return visible(json.dumps(value, default=str, ensure_ascii=False).replace(" ", ""))
    except (TypeError, ValueError):  # keys that are not text, or an integer with more digits than Python writes
        return f"a {type(value).__name__}"
