"""Errors that a person can cause; the command prints them as one line and exits with status 2."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

from ioa_marl.markets.parameters import ParameterError

__all__ = ["ParameterError", "UserError", "in_one_line", "unknown_name"]


class UserError(Exception):
    """Something that was asked for cannot be done; the message is one line that says what and what is allowed."""


def unknown_name(kind: str, name: str, known: Iterable[str]) -> UserError:
    """Return the error for a name that is not known, with the nearest known ones first."""
    names = sorted(known)
    near = difflib.get_close_matches(name, names, n=3, cutoff=0.5)
    hint = f"did you mean {' or '.join(near)}?" if near else f"known are {', '.join(names)}"
    return UserError(f"unknown {kind} {name!r}: {hint}")


def in_one_line(told: object, longest: int = 400) -> str:
    """Return what an error says in one line that any terminal can show: what a stranger wrote may be in it."""
    words = " ".join(str(told).split())
    text = "".join(c if c.isprintable() else ascii(c)[1:-1] for c in words)
    return text if len(text) <= longest else f"{text[: longest - 3]}..."
