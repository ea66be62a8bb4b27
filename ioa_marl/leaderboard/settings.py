"""Configurations of runs as flat settings, named as the overrides of ``ioa-marl train`` are."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, TypeAlias

from ioa_marl.foundations.files import LARGEST_TEXT, DamagedFileError, read_bytes, read_yaml
from ioa_marl.leaderboard.text import LONGEST_NAME, visible

AgentContext: TypeAlias = bool | int | float | str
Settings: TypeAlias = Mapping[str, AgentContext]

MOST_SETTINGS = 1000
"""Settings of a run that are shown; more would be a column each."""
LARGEST_INTEGER = 2**63 - 1

_SEED = re.compile(rb"^seed: \d{1,20}\r?$", re.MULTILINE)


class Configs:
    """Reads ``config.yaml``; files that differ in nothing but the seed are parsed once."""

    def __init__(self) -> None:
        self._held: dict[bytes, dict[str, AgentContext]] = {}

    def of(self, path: Path) -> dict[str, AgentContext]:
        """Return the settings that a file holds.

        Raises
        ------
        DamagedFileError
            If it cannot be used.
        """
        key = _SEED.sub(b"", read_bytes(path, LARGEST_TEXT))
        if key not in self._held:
            config = read_yaml(path)
            if not isinstance(config, Mapping):
                raise DamagedFileError(path, "is not a mapping of settings")
            settings = flatten(config)
            if len(settings) > MOST_SETTINGS:
                raise DamagedFileError(path, f"has {len(settings)} settings; at most {MOST_SETTINGS} are shown")
            if max(map(len, settings), default=0) > LONGEST_NAME:
                raise DamagedFileError(path, f"has the name of a setting with more than {LONGEST_NAME} characters")
            self._held[key] = settings
        return self._held[key]


def flatten(config: Mapping[str, Any]) -> dict[str, AgentContext]:
    """Return a resolved configuration as flat keys.

    The only agent of a run is ``agent``; of several, each is ``roles.ROLE.agent``.
    """
    tree = {key: value for key, value in config.items() if key not in ("agents", "seed")}
    agents = config.get("agents")
    if isinstance(agents, Mapping):
        if len(agents) == 1:
            tree["agent"] = next(iter(agents.values()))
        else:
            tree["roles"] = {role: {"agent": choice} for role, choice in agents.items()}
    return {visible(name): value for name, value in _leaves(tree, "")}


def _leaves(value: Any, name: str) -> Iterator[tuple[str, AgentContext]]:
    if isinstance(value, Mapping):
        for key, inner in value.items():
            part = key if isinstance(key, str) else str(as_setting(key))
            yield from _leaves(inner, f"{name}.{part}" if name else part)
    else:
        yield name, as_setting(value)


def as_setting(value: Any) -> AgentContext:
    """Return a value as a table can hold it: numbers and truth values as they are, the rest as visible text."""
    if isinstance(value, str):
        return visible(value)
    if isinstance(value, float):
        return value if math.isfinite(value) else str(value)
    if isinstance(value, bool) or (isinstance(value, int) and abs(value) <= LARGEST_INTEGER):
        return value
    try:
        return visible(json.dumps(value, default=str, ensure_ascii=False).replace(" ", ""))
    except (TypeError, ValueError):  # keys that are no text, or an integer of more digits than are written
        return f"a {type(value).__name__}"
