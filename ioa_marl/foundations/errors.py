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
"""Characters of a message; what a person typed may be longer."""
LONGEST_VALUE = 100
"""Characters of a value in a message."""
TOLD = 20
"""Mistakes that are told at once."""
T = TypeVar("T")


class UserError(Exception):
    """Something that was asked for cannot be done; the message is one line that says what and what is allowed."""


class CannotPlayError(UserError):
    """An agent cannot play a role; a pattern that chooses agents or markets leaves such a pair out."""


def nearest(name: str, known: Iterable[Any]) -> list[str]:
    """Return up to three known names that ``name`` may have been meant for: alike, or with a word in common."""
    names = [str(other) for other in known]
    words = set(name.lower().split("_"))
    alike = difflib.get_close_matches(name[:LONGEST_VALUE], names, n=3, cutoff=0.6)
    return alike or [other for other in names if words & set(other.lower().split("_"))][:3]


def unknown_name(kind: str, name: str, known: Iterable[str]) -> UserError:
    """Return the error for a name that is not known, with the nearest known ones first."""
    names = sorted(known)
    near = difflib.get_close_matches(str(name)[:LONGEST_VALUE], names, n=3, cutoff=0.5)
    hint = f"did you mean {' or '.join(near)}?" if near else f"known are {', '.join(names)}"
    return UserError(f"unknown {kind} {shown(name)!r}: {hint}")


def shown(value: Any) -> str:
    """Return a value as messages show it: the beginning of a long one."""
    words = {"None": "null", "True": "true", "False": "false"}
    text = _escaped(value) if isinstance(value, str) else " ".join(str(value).split())
    text = words.get(text, text) if value is None or isinstance(value, bool) else text
    return text if len(text) <= LONGEST_VALUE else f"{text[:LONGEST_VALUE]}… ({len(text)} characters)"


def one_line(told: object, longest: int = LONGEST_LINE) -> str:
    """Return a message as one line that any terminal shows as it is: a stranger's words may be in it."""
    text = _escaped(" ".join(str(told).split()))
    return text if len(text) <= longest else f"{text[:longest]}…"


def _escaped(text: str) -> str:
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


class UserErrors:
    """Mistakes that are told together."""

    def __init__(self) -> None:
        self.messages: list[str] = []

    def add(self, error: Exception) -> None:
        """Keep a mistake for later; the same one is told once."""
        if str(error) not in self.messages:
            self.messages.append(str(error))

    @contextmanager
    def collected(self) -> Iterator[None]:
        """Keep a mistake that is made within."""
        try:
            yield
        except (UserError, ParameterError) as error:
            self.add(error)

    def tried(self, make: Callable[[], T]) -> list[T]:
        """Return what ``make`` returns, in a list that is empty where it makes a mistake."""
        try:
            return [make()]
        except (UserError, ParameterError) as error:
            self.add(error)
            return []

    def throw(self) -> None:
        """Raise all mistakes as one, if there are any."""
        if self.messages:
            more = len(self.messages) - TOLD
            rest = f"; and {more} more" if more > 0 else ""
            raise UserError("; ".join(self.messages[:TOLD]) + rest)
