"""What markets say when a parameter cannot be used."""

from __future__ import annotations

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
