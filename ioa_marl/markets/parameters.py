"""What markets say when a parameter cannot be used."""

from __future__ import annotations

import math
from typing import Any


class ParameterError(ValueError):
    """A parameter has a value that is not allowed; the message is one line that a person can act on."""

    def __init__(self, name: str, value: Any, allowed: str) -> None:
        super().__init__(f"{name}={value} is not allowed: use {allowed}")
        self.name, self.value, self.allowed = name, value, allowed


def require(condition: bool, name: str, value: Any, allowed: str) -> None:
    """Raise `ParameterError` unless ``condition`` holds."""
    if not condition:
        raise ParameterError(name, value, allowed)


def check_integer(config: Any, name: str, low: int, high: int) -> None:
    """Raise `ParameterError` unless the field ``name`` is a whole number in [low, high]."""
    value = getattr(config, name)
    whole = isinstance(value, int) and not isinstance(value, bool)
    require(whole and low <= value <= high, name, value, f"{low} to {high}")


def check_number(config: Any, name: str, low: float, high: float = math.inf, open_low: bool = False) -> None:
    """Raise `ParameterError` unless the field ``name`` is a finite number in [low, high], or in (low, high]."""
    value = getattr(config, name)
    allowed = f"a number of at least {low:g}"
    if open_low:
        allowed = f"a number above {low:g}"
    elif high < math.inf:
        allowed = f"a number from {low:g} to {high:g}"
    number = isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
    require(number and low <= value <= high and not (open_low and value == low), name, value, allowed)
