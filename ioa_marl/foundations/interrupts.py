"""Handling of the signals that ask a command to stop: all of them end it in the same way as Ctrl-C.

Terminals send SIGINT, schedulers SIGTERM, and a terminal that is closed SIGHUP.
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
"""Signals that stop a command in an orderly way. A signal that is ignored at the start stays ignored, for `nohup`."""
ECHO = 0.5
"""Time in which a second signal counts as the same request [s], because GNU timeout sends each signal twice."""
AGAIN = 0.05
"""Time after which an interruption that was lost is raised again [s]."""


class Interrupted(KeyboardInterrupt):
    """A signal asked the process to stop.

    Parameters
    ----------
    number : int
        Number of the signal.
    """

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number

    def __str__(self) -> str:
        return signal.Signals(self.number).name


_callbacks: list[Callable[[], None]] = []
_installed = False
_received: int | None = None


@contextmanager
def raised(*, kill_by_another: bool) -> Iterator[None]:
    """Raise `Interrupted` in the main thread at the first signal; signals with other handlers keep them.

    Parameters
    ----------
    kill_by_another : bool
        Whether a second signal during the clean-up ends the process at once; otherwise it is ignored.
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
    """Do the same as `raised`, until the returned function is called."""
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
            undone.callback(_exit_on_second_signal())
        for callback in _callbacks:
            callback()
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
def preceded_by(callback: Callable[[], None]) -> Iterator[None]:
    """Call ``callback`` when a signal arrives in the block, before `Interrupted` is raised."""
    _callbacks.append(callback)
    try:
        yield
    finally:
        _callbacks.remove(callback)


def installed() -> bool:
    """Whether this process already turns signals into `Interrupted`."""
    return _installed


def received() -> int | None:
    """Return the signal that was received, or None; it is known even if `Interrupted` was caught somewhere."""
    return _received


def _nothing(number: int, frame: FrameType | None) -> None:
    """Ignore a signal; Python still writes it to the wake-up file descriptor, see `_exit_on_second_signal`."""


def _raise_again_if_lost(number: int) -> Callable[[], None]:
    """Raise the interruption again if Python could not propagate it, as in callbacks from C during compilation.

    Returns a function that undoes this.
    """
    usual = sys.unraisablehook

    def hook(unraisable: sys.UnraisableHookArgs) -> None:
        if isinstance(unraisable.exc_value, Interrupted):
            signal.setitimer(signal.ITIMER_REAL, AGAIN)
        else:
            usual(unraisable)

    def handle(_: int, frame: FrameType | None) -> None:
        raise Interrupted(number)

    def undo() -> None:
        signal.setitimer(signal.ITIMER_REAL, 0.0)
        signal.signal(signal.SIGALRM, former)
        sys.unraisablehook = usual

    former = signal.signal(signal.SIGALRM, handle)
    sys.unraisablehook = hook
    return undo


def _exit_on_second_signal() -> Callable[[], None]:
    """End this process silently at the next signal, even while the main thread waits for a disk.

    Returns a function that undoes this.
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
