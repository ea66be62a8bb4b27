"""Processes that work off the jobs of a sweep: they end with the command that started them, in good order."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import filelock

from ioa_marl.foundations import interrupts, output

PATIENCE = 10.0
"""Seconds in which a worker records that it was interrupted; then it is killed."""
_LOOK = 0.5
"""Seconds between two looks at whether the command is still there."""

_watching = threading.Event()
_idle = threading.Event()


@contextmanager
def working(folder: Path | None) -> Iterator[None]:
    """Do a job: in a process of its own, be known to the command by a locked file in ``folder``, and end with it.

    In the process of the command itself, which sees to signals and output, this does nothing.

    Raises
    ------
    Interrupted
        When a signal comes, or came before in this process: joblib gives the next job to a worker that was stopped.
    """
    if interrupts.installed() or folder is None or not folder.is_dir():
        yield
        return
    output.prepare()
    stopped = interrupts.received()
    if stopped is not None:
        raise interrupts.Interrupted(stopped)
    if not _watching.is_set():
        _watching.set()
        threading.Thread(target=_end_without, args=(os.getppid(),), daemon=True, name="parent").start()
    undo = interrupts.install(kill_by_another=False)
    try:
        _idle.clear()
        with filelock.FileLock(folder / f"{os.getpid()}.worker"):
            yield
    finally:
        _idle.set()
        if interrupts.received() is None:  # else it waits to be ended, and a signal that is sent twice is no harm
            undo()


def prepare() -> None:
    """Start the processes that joblib cleans up with, deaf to a session that is closed: they end with the command."""
    import multiprocessing.resource_tracker

    from joblib.externals.loky.backend import resource_tracker

    deaf = (signal.SIGHUP,)  # as they are to SIGINT and SIGTERM by themselves
    signal.pthread_sigmask(signal.SIG_BLOCK, deaf)
    try:
        resource_tracker.ensure_running()
        multiprocessing.resource_tracker.ensure_running()
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, deaf)


def stop(folder: Path) -> None:
    """Ask all workers to stop, and wait until they have."""
    waiting = list(folder.glob("*.worker"))
    for path in list(waiting):
        if _at_work(path):
            with suppress(ProcessLookupError):
                os.kill(int(path.stem), signal.SIGTERM)
    deadline = time.monotonic() + PATIENCE
    while waiting and time.monotonic() < deadline:
        waiting = [path for path in waiting if _at_work(path)]
        time.sleep(0.02)


def _at_work(path: Path) -> bool:
    """Whether the process whose number is the file's name is alive and has a job: it holds the lock then."""
    lock = filelock.FileLock(path)
    try:
        lock.acquire(timeout=0)
    except filelock.Timeout:
        return True
    lock.release()
    return False


def _end_without(parent: int) -> None:
    """Interrupt this process when its parent is gone; a command that was killed leaves nobody at work."""
    while os.getppid() == parent:
        time.sleep(_LOOK)
    os.kill(os.getpid(), signal.SIGTERM)
    _idle.wait(PATIENCE)
    os._exit(128 + signal.SIGTERM)
