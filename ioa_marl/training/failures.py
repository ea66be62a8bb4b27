"""Failures of single seeds of a run, which the other seeds survive."""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from ioa_marl.foundations.errors import UserError
from ioa_marl.training.store import RunGoneError

_DISK_ERRORS = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)
"""Error numbers that concern the whole disk and not the folder of a single seed."""

Notify = Callable[[str], None]
"""Called with a one-line message for the user."""


class SeedsFailedError(UserError):
    """Some seeds of a run cannot go on; the others can.

    Parameters
    ----------
    reasons : mapping of int to str
        The message for each seed.
    records : mapping of int to mapping, optional
        What is added to a seed's ``result.json``; default: the message, as ``error``.
    """

    def __init__(self, reasons: Mapping[int, str], records: Mapping[int, Mapping[str, Any]] | None = None) -> None:
        super().__init__("; ".join(dict.fromkeys(reasons.values())))
        self.reasons = dict(reasons)
        self.records: dict[int, Mapping[str, Any]] = {
            seed: {"error": reason} for seed, reason in reasons.items()
        } | dict(records or {})

    def and_also(self, other: SeedsFailedError) -> SeedsFailedError:
        """Return one error for the seeds of both errors."""
        return SeedsFailedError({**self.reasons, **other.reasons}, {**self.records, **other.records})


@contextmanager
def blamed(seed: int) -> Iterator[None]:
    """Turn a `UserError` into a failure of one seed, unless it concerns the whole run or the disk."""
    try:
        yield
    except RunGoneError:
        raise
    except UserError as error:
        if isinstance(error.__cause__, OSError) and error.__cause__.errno in _DISK_ERRORS:
            raise
        raise SeedsFailedError({seed: str(error)}) from error
