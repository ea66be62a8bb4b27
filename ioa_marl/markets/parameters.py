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


def check_number(config: Any, name: str, low: float, high: float = math.inf, open_low: bool = False) -> None:
    """Raise `ParameterError` unless the field ``name`` is a finite number in [low, high], or in (low, high]."""
    value = getattr(config, name)
    inside = (value > low if open_low else value >= low) and value <= high
    allowed = f"more than {low:g}" if open_low else f"at least {low:g}"
    if high < math.inf:
        allowed = f"{low:g} to {high:g}"
    require(math.isfinite(value) and inside, name, value, allowed)
