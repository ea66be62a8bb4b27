"""Errors that a person can cause; the command prints them as one line and exits with status 2."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

from ioa_marl.foundations.parameters import ParameterError

__all__ = [
    "CannotPlayError", "ParameterError", "UserError", "UserErrors", "nearest", "one_line", "shown", "unknown_name",
]  # fmt: skip

LONGEST_LINE = 2000
"""Longest message, in characters; the user's input in it may be longer."""
LONGEST_VALUE = 100
"""Longest value in a message, in characters."""
MOST_MESSAGES = 20
"""Largest number of mistakes in one message."""
T = TypeVar("T")


class UserError(Exception):
    """A request cannot be carried out; the message is one line that says why and what is allowed."""


class CannotPlayError(UserError):
    """An agent cannot play a role; patterns that choose agents or markets leave out such pairs."""


def nearest(name: str, known: Iterable[Any]) -> list[str]:
    """Return up to three known names that are similar to ``name`` or have a word in common with it."""
    names = [str(other) for other in known]
    words = set(name.lower().split("_"))
    alike = difflib.get_close_matches(name[:LONGEST_VALUE], names, n=3, cutoff=0.6)
    return alike or [other for other in names if words & set(other.lower().split("_"))][:3]


def unknown_name(kind: str, name: str, known: Iterable[str]) -> UserError:
    """Return the error for an unknown name, with the most similar known names or all of them."""
    names = sorted(known)
    near = difflib.get_close_matches(str(name)[:LONGEST_VALUE], names, n=3, cutoff=0.5)
    hint = f"did you mean {' or '.join(near)}?" if near else f"known are {', '.join(names)}"
    return UserError(f"unknown {kind} {shown(name)!r}: {hint}")


def shown(value: Any) -> str:
    """Return a value in the form used in messages: escaped, in one line, and shortened if it is long."""
    words = {"None": "null", "True": "true", "False": "false"}
    text = _escaped(value) if isinstance(value, str) else " ".join(str(value).split())
    text = words.get(text, text) if value is None or isinstance(value, bool) else text
    return text if len(text) <= LONGEST_VALUE else f"{text[:LONGEST_VALUE]}… ({len(text)} characters)"


def one_line(message: object, longest: int = LONGEST_LINE) -> str:
    """Return a message as one line with escaped control characters, because it may contain untrusted text."""
    text = _escaped(" ".join(str(message).split()))
    return text if len(text) <= longest else f"{text[:longest]}…"


def _escaped(text: str) -> str:
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


class UserErrors:
    """Collects mistakes that are reported together."""

    def __init__(self) -> None:
        self.messages: list[str] = []

    def add(self, error: Exception) -> None:
        """Add a mistake; the same message is kept once."""
        if str(error) not in self.messages:
            self.messages.append(str(error))

    @contextmanager
    def collected(self) -> Iterator[None]:
        """Collect a mistake that is raised in the block."""
        try:
            yield
        except (UserError, ParameterError) as error:
            self.add(error)

    def tried(self, make: Callable[[], T]) -> list[T]:
        """Return the result of ``make`` in a list of one; collect its mistake and return an empty list if it fails."""
        try:
            return [make()]
        except (UserError, ParameterError) as error:
            self.add(error)
            return []

    def throw(self) -> None:
        """Raise one error with all mistakes, if there are any."""
        if self.messages:
            more = len(self.messages) - MOST_MESSAGES
            rest = f"; and {more} more" if more > 0 else ""
            raise UserError("; ".join(self.messages[:MOST_MESSAGES]) + rest)
