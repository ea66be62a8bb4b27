"""Parsers of the settings of a run that depend on no other setting."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch

from ioa_marl.foundations.errors import UserError, shown
from ioa_marl.foundations.parameters import integer_if_whole, is_whole
from ioa_marl.foundations.seeds import MAX_TRAINING_SEED

MOST_SEEDS = 10_000
"""Largest number of seeds of a run."""


def integer(values: Mapping[str, Any], key: str, low: int, high: int) -> int:
    """Return an integer setting in ``low`` … ``high``; NumPy integers and whole numbers in E-notation are allowed."""
    value = integer_if_whole(values[key])
    if not is_whole(value) or not low <= value <= high:
        several = isinstance(value, (list, tuple)) and len(value) > 1
        hint = f", or {key}={','.join(map(str, value))} with -m for a run with each" if several else ""
        raise UserError(f"{key}={shown(value)} is not allowed: use a whole number from {low} to {high}{hint}")
    return int(value)


def parse_seeds(value: Any) -> tuple[int, ...]:
    """Return seed numbers from a count or a list."""
    count = integer_if_whole(value)
    if is_whole(count) and 1 <= count <= MOST_SEEDS:
        return tuple(range(count))
    if isinstance(count, (list, tuple, range)) and 0 < len(count) <= MOST_SEEDS:
        numbers = tuple(map(integer_if_whole, count))
        if all(is_whole(s) and 0 <= s <= MAX_TRAINING_SEED for s in numbers) and len(set(numbers)) == len(numbers):
            return numbers
    raise UserError(
        f"seeds={shown(value)} is not allowed: use a count from 1 to {MOST_SEEDS}, "
        f"or a list of different numbers from 0 to {MAX_TRAINING_SEED}, as in seeds=[3,7]"
    )


def parse_runs(value: Any) -> Path:
    """Return the folder of the run store; ``~`` is the home folder."""
    if isinstance(value, str | Path) and str(value) and "\0" not in str(value):
        with suppress(RuntimeError):  # ``~name`` without such a user is an ordinary name
            return Path(value).expanduser()
        return Path(value)
    raise UserError(f"runs={shown(value)} is not allowed: use the path of a folder, as in runs=./runs")


def parse_device(value: Any) -> str:
    """Return the name of an available device."""
    if value == "cpu":
        return "cpu"
    kind, _, index = str(value).partition(":")
    if kind != "cuda" or (index and not (index.isascii() and index.isdigit() and len(index) < 5)):
        raise UserError(f"device={shown(value)} is not allowed: use cpu or cuda")
    available = torch.cuda.device_count()
    if int(index or 0) >= available:
        raise UserError(f"device={value} is not allowed: {available} CUDA devices were found; use cpu")
    return str(value)
