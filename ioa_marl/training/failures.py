"""Failures that concern single seeds of a run and leave the others alone."""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from ioa_marl.foundations.errors import UserError
from ioa_marl.training.store import RunGoneError

_OF_THE_DISK = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)
"""What is no fault of a single seed's folder."""

Notify = Callable[[str], None]
"""Called with what a person should know, in one line."""


class SeedsFailedError(UserError):
    """Some seeds of a run cannot go on; the others can.

    Parameters
    ----------
    reasons : mapping of int to str
        Why, by seed, as it is said.
    records : mapping of int to mapping, optional
        What ``result.json`` gets of a seed; by default ``error``, the reason.
    """

    def __init__(self, reasons: Mapping[int, str], records: Mapping[int, Mapping[str, Any]] | None = None) -> None:
        super().__init__("; ".join(dict.fromkeys(reasons.values())))
        self.reasons = dict(reasons)
        self.records: dict[int, Mapping[str, Any]] = {
            seed: {"error": reason} for seed, reason in reasons.items()
        } | dict(records or {})

    def and_also(self, other: SeedsFailedError) -> SeedsFailedError:
        """Return the error for the seeds of both."""
        return SeedsFailedError({**self.reasons, **other.reasons}, {**self.records, **other.records})


@contextmanager
def blamed(seed: int) -> Iterator[None]:
    """Say that a mistake concerns one seed only."""
    try:
        yield
    except RunGoneError:
        raise
    except UserError as error:
        if isinstance(error.__cause__, OSError) and error.__cause__.errno in _OF_THE_DISK:
            raise
        raise SeedsFailedError({seed: str(error)}) from error
