"""What a command says goes to streams that may lack characters, be full, or be closed: none of it may stop the work."""

from __future__ import annotations

import errno
import io
import logging
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TextIO

_logger = logging.getLogger("ioa_marl")


class Stream(io.TextIOWrapper):
    """Standard output or error as text; what cannot be written is dropped from the first failure on.

    Characters that the encoding lacks are replaced.
    """

    failure: OSError | None = None
    """Why something could not be written."""

    def write(self, text: str) -> int:
        """Write a text, or drop it."""
        if self.failure is None:
            try:
                return super().write(text)
            except OSError as error:
                self.failure = error
        return len(text)

    def flush(self) -> None:
        """Write what is held back, or drop it."""
        if self.failure is None:
            try:
                super().flush()
            except OSError as error:
                self.failure = error


class _Messages(logging.Handler):
    """Says what the package logs as the command says everything else: in one line on standard error."""

    def emit(self, record: logging.LogRecord) -> None:
        """Print a line on what is standard error at present: a progress bar puts a stream of its own there."""
        print(f"ioa-marl: {record.getMessage()}", file=sys.stderr, flush=True)  # noqa: T201


def prepare() -> None:
    """Make the standard streams of this process such that nothing that is said can stop it, and say what is logged."""
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:  # closed by the caller: the next file opened would take its number, and what is printed there
            os.open(os.devnull, os.O_RDWR)
    sys.stdout, sys.stderr = _prepared(sys.stdout, "replace"), _prepared(sys.stderr, "backslashreplace")
    _logger.handlers = [_Messages()]
    _logger.propagate = False


@contextmanager
def without_messages(quiet: bool) -> Iterator[None]:
    """Say nothing that the package logs, errors excepted, if ``quiet``."""
    before = _logger.level
    if quiet:
        _logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        _logger.setLevel(before)


def status(wanted: int) -> int:
    """Return the exit status: that of the work, unless what it printed is lost; that is told if anybody listens."""
    sys.stdout.flush()
    sys.stderr.flush()
    failure = sys.stdout.failure if isinstance(sys.stdout, Stream) else None
    if failure is None:
        return wanted
    if failure.errno != errno.EPIPE:  # who closes a pipe has seen enough
        print(f"ioa-marl: the output cannot be written: {failure.strerror}", file=sys.stderr, flush=True)  # noqa: T201
    return wanted or 1


def _prepared(stream: TextIO | None, errors: str) -> TextIO:
    if isinstance(stream, Stream):
        return stream
    if not isinstance(stream, io.TextIOWrapper):
        return Stream(open(os.devnull, "wb"), encoding="utf-8") if stream is None else stream  # noqa: PTH123
    encoding, buffered = stream.encoding, stream.line_buffering
    return Stream(stream.detach(), encoding=encoding, errors=errors, line_buffering=buffered)
