"""Worker processes for the jobs of a sweep, which stop in an orderly way together with the command."""

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
"""Time for a worker to record that it was interrupted, before it is killed [s]."""
_POLL = 0.5
"""Interval at which a worker checks that the command is still running [s]."""

_watching = threading.Event()
_idle = threading.Event()


@contextmanager
def working(folder: Path | None) -> Iterator[None]:
    """Run a job in a worker, which locks a file in ``folder`` to be found by the command, and stops with the command.

    In the process of the command itself, which handles signals and output, this does nothing.

    Raises
    ------
    Interrupted
        If a signal arrives, or arrived earlier in this process: joblib gives the next job even to a stopped worker.
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
        threading.Thread(target=_end_after_parent, args=(os.getppid(),), daemon=True, name="parent").start()
    undo = interrupts.install(kill_by_another=False)
    try:
        _idle.clear()
        with filelock.FileLock(folder / f"{os.getpid()}.worker"):
            yield
    finally:
        _idle.set()
        if interrupts.received() is None:  # else the process is about to end, and a second signal must do no harm
            undo()


def prepare() -> None:
    """Start joblib's resource trackers with SIGHUP blocked, so that closing the terminal does not end them early."""
    import multiprocessing.resource_tracker

    from joblib.externals.loky.backend import resource_tracker

    blocked = (signal.SIGHUP,)  # the trackers themselves ignore SIGINT and SIGTERM
    signal.pthread_sigmask(signal.SIG_BLOCK, blocked)
    try:
        resource_tracker.ensure_running()
        multiprocessing.resource_tracker.ensure_running()
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, blocked)


def stop(folder: Path) -> None:
    """Ask all workers to stop, and wait until they have stopped."""
    waiting = list(folder.glob("*.worker"))
    for path in list(waiting):
        if _is_working(path):
            with suppress(ProcessLookupError):
                os.kill(int(path.stem), signal.SIGTERM)
    deadline = time.monotonic() + PATIENCE
    while waiting and time.monotonic() < deadline:
        waiting = [path for path in waiting if _is_working(path)]
        time.sleep(0.02)


def _is_working(path: Path) -> bool:
    """Whether the process whose number is the file's name has a job: it holds the lock while it does."""
    lock = filelock.FileLock(path)
    try:
        lock.acquire(timeout=0)
    except filelock.Timeout:
        return True
    lock.release()
    return False


def _end_after_parent(parent: int) -> None:
    """Interrupt this process when its parent has ended, so that a killed command leaves no workers behind."""
    while os.getppid() == parent:
        time.sleep(_POLL)
    os.kill(os.getpid(), signal.SIGTERM)
    _idle.wait(PATIENCE)
    os._exit(128 + signal.SIGTERM)
