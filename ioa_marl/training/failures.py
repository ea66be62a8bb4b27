"""Failures that concern single seeds of a run and leave the others alone."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

from ioa_marl.errors import UserError

Notify = Callable[[str], None]
"""Called with what a person should know, in one line."""


class SeedsFailedError(UserError):
    """Some seeds of a run cannot go on; the others can.

    Parameters
    ----------
    reasons : mapping of int to str
        Why, by seed.
    """

    def __init__(self, reasons: Mapping[int, str]) -> None:
        super().__init__("; ".join(dict.fromkeys(reasons.values())))
        self.reasons = dict(reasons)


@contextmanager
def blamed(seed: int) -> Iterator[None]:
    """Say that a mistake concerns one seed only."""
    try:
        yield
    except UserError as error:
        raise SeedsFailedError({seed: str(error)}) from error
