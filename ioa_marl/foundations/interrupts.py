"""Signals that ask a command to stop: it ends as by Ctrl-C, whoever sends which of them.

Terminals send SIGINT, schedulers SIGTERM, and a session that is closed SIGHUP.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from types import FrameType

STOPPING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
"""Signals that end a command in good order. One that is ignored at the start stays ignored, as `nohup` wants it."""
ECHO = 0.5
"""Seconds in which another signal is taken for the same request: GNU timeout sends each one twice."""
AGAIN = 0.05
"""Seconds after which an interruption that got lost is raised again."""


class Interrupted(KeyboardInterrupt):
    """A signal asked for the end.

    Parameters
    ----------
    number : int
        The signal.
    """

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number

    def __str__(self) -> str:
        return signal.Signals(self.number).name


_last_acts: list[Callable[[], None]] = []
_installed = False
_received: int | None = None


@contextmanager
def raised(*, kill_by_another: bool) -> Iterator[None]:
    """Turn the first signal into `Interrupted`, raised in the main thread; what was handled otherwise stays so.

    Parameters
    ----------
    kill_by_another : bool
        Whether one more signal, while the first one is cleaned up after, ends the process at once; else it is ignored.
    """
    if _installed or threading.current_thread() is not threading.main_thread():
        yield  # Python handles signals in the main thread only
        return
    undo = install(kill_by_another=kill_by_another)
    try:
        yield
    finally:
        undo()


def install(*, kill_by_another: bool) -> Callable[[], None]:
    """Do what `raised` does, until the function that is returned is called."""
    global _installed, _received
    usual = (signal.SIG_DFL, signal.default_int_handler)
    former = {number: handler for number in STOPPING if (handler := signal.getsignal(number)) in usual}
    undone = ExitStack()

    def handle(number: int, frame: FrameType | None) -> None:
        global _received
        _received = number
        for other in former:
            signal.signal(other, _nothing)
        if kill_by_another:
            undone.callback(_die_by_another())
        for act in _last_acts:
            act()
        undone.callback(_raise_again_if_lost(number))
        raise Interrupted(number)

    def undo() -> None:
        global _installed
        _installed = False
        for number, handler in former.items():
            signal.signal(number, handler)
        undone.close()

    _installed, _received = True, None
    for number in former:
        signal.signal(number, handle)
    return undo


@contextmanager
def preceded_by(act: Callable[[], None]) -> Iterator[None]:
    """Call ``act`` when a signal has come, before `Interrupted` is raised."""
    _last_acts.append(act)
    try:
        yield
    finally:
        _last_acts.remove(act)


def installed() -> bool:
    """Whether this process turns signals into `Interrupted` already."""
    return _installed


def received() -> int | None:
    """Return the signal that asked for the end, also where `Interrupted` was taken for something else on its way."""
    return _received


def _nothing(number: int, frame: FrameType | None) -> None:
    """Ignore a signal, but for what Python does with it before: see `_die_by_another`."""


def _raise_again_if_lost(number: int) -> Callable[[], None]:
    """Raise the interruption once more where Python cannot pass it on: in callbacks from C, as while compiling.

    Returns what undoes it.
    """
    usual = sys.unraisablehook

    def lost(what: sys.UnraisableHookArgs) -> None:
        if isinstance(what.exc_value, Interrupted):
            signal.setitimer(signal.ITIMER_REAL, AGAIN)
        else:
            usual(what)

    def handle(_: int, frame: FrameType | None) -> None:
        raise Interrupted(number)

    def undo() -> None:
        signal.setitimer(signal.ITIMER_REAL, 0.0)
        signal.signal(signal.SIGALRM, former)
        sys.unraisablehook = usual

    former = signal.signal(signal.SIGALRM, handle)
    sys.unraisablehook = lost
    return undo


def _die_by_another() -> Callable[[], None]:
    """End this process without a word when one more signal comes, even while the main thread waits for a disk.

    Returns what undoes it.
    """
    first = time.monotonic()
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    former = signal.set_wakeup_fd(writer, warn_on_full_buffer=False)

    def watch() -> None:
        while number := os.read(reader, 1):
            if number[0] in STOPPING and time.monotonic() - first > ECHO:
                os._exit(128 + number[0])
        os.close(reader)

    def undo() -> None:
        signal.set_wakeup_fd(former)
        os.close(writer)
        thread.join()

    thread = threading.Thread(target=watch, daemon=True, name="another signal")
    thread.start()
    return undo
