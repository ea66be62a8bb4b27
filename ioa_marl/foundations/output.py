"""Standard streams that may lack characters, be full or be closed: a failure to print must not stop the work."""

from __future__ import annotations

import ctypes
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
    """Standard output or error as text; after the first failure, output is dropped.

    Characters that the encoding lacks are replaced.
    """

    failure: OSError | None = None
    """The first failure, or None."""

    def write(self, text: str) -> int:
        """Write a text, or drop it."""
        if self.failure is None:
            try:
                return super().write(text)
            except OSError as error:
                self.failure = error
        return len(text)

    def flush(self) -> None:
        """Write buffered text, or drop it."""
        if self.failure is None:
            try:
                super().flush()
            except OSError as error:
                self.failure = error


class _Messages(logging.Handler):
    """Prints log messages of the package in one line on standard error, in the style of the command."""

    def emit(self, record: logging.LogRecord) -> None:
        """Print a line on the current standard error, which a progress bar may have replaced."""
        print(f"ioa-marl: {record.getMessage()}", file=sys.stderr, flush=True)  # noqa: T201


def prepare() -> None:
    """Replace the standard streams by ones that cannot fail, and print log messages of the package."""
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:  # closed by the caller: the next file that is opened would get its number, and the output
            os.open(os.devnull, os.O_RDWR)
    sys.stdout, sys.stderr = _prepared(sys.stdout, "replace"), _prepared(sys.stderr, "backslashreplace")
    _logger.handlers = [_Messages()]
    _logger.propagate = False


@contextmanager
def without_messages(quiet: bool) -> Iterator[None]:
    """Suppress log messages of the package, except for errors, if ``quiet``."""
    before = _logger.level
    if quiet:
        _logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        _logger.setLevel(before)


@contextmanager
def without_library_output() -> Iterator[None]:
    """Drop what libraries in C or C++ print on standard output, such as remarks of the solver HiGHS on its own errors.

    What Python prints there meanwhile is dropped too.
    """
    libc = ctypes.CDLL(None)
    sys.stdout.flush()
    libc.fflush(None)
    try:
        kept = os.dup(1)
    except OSError:  # there is no standard output
        yield
        return
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    os.close(nowhere)
    try:
        yield
    finally:
        libc.fflush(None)
        os.dup2(kept, 1)
        os.close(kept)


def status(work_status: int) -> int:
    """Return the exit status: ``work_status``, or 1 if that is 0 and output was lost, which is reported if possible."""
    sys.stdout.flush()
    sys.stderr.flush()
    failure = sys.stdout.failure if isinstance(sys.stdout, Stream) else None
    if failure is None:
        return work_status
    if failure.errno != errno.EPIPE:  # a reader that closes the pipe needs no message
        print(f"ioa-marl: the output cannot be written: {failure.strerror}", file=sys.stderr, flush=True)  # noqa: T201
    return work_status or 1


def _prepared(stream: TextIO | None, errors: str) -> TextIO:
    if isinstance(stream, Stream):
        return stream
    if not isinstance(stream, io.TextIOWrapper):
        return Stream(open(os.devnull, "wb"), encoding="utf-8") if stream is None else stream  # noqa: PTH123
    encoding, buffered = stream.encoding, stream.line_buffering
    return Stream(stream.detach(), encoding=encoding, errors=errors, line_buffering=buffered)
