"""Learning curves as TensorBoard events, written record by record in this thread.

TensorBoard's own writer has a thread for each file; in it a full disk or a removed folder ends in a traceback.
"""

from __future__ import annotations

import itertools
import os
import socket
import time
from collections.abc import Mapping
from pathlib import Path

from tensorboard.compat.proto.event_pb2 import Event, SessionLog
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.summary.writer.record_writer import RecordWriter

from ioa_marl.foundations.errors import UserError

_numbers = itertools.count()


class Curves:
    """Writes scalars of one seed.

    Parameters
    ----------
    folder : Path
        Folder of the seed.
    resumed_at : int, optional
        Environment steps of the checkpoint that training resumes from. A session log withdraws the scalars that a
        killed process wrote after that checkpoint.
    """

    def __init__(self, folder: Path, resumed_at: int | None) -> None:
        now = time.time()
        name = f"events.out.tfevents.{int(now):010d}.{socket.gethostname()}.{os.getpid()}.{next(_numbers)}"
        self._path = folder / name
        try:
            self._file = self._path.open("wb")
        except OSError as error:
            raise self._unwritable(error) from error
        self._records = RecordWriter(self._file)
        self._write(Event(wall_time=now, file_version="brain.Event:2"))
        if resumed_at is not None:
            self._write(Event(step=resumed_at + 1, session_log=SessionLog(status=SessionLog.START)))

    def write(self, step: int, wall_time: float, values: Mapping[str, float]) -> None:
        """Write named scalars at a training step; ``wall_time`` is in seconds since the epoch."""
        rows = [Summary.Value(tag=tag, simple_value=value) for tag, value in values.items()]
        self._write(Event(step=step, wall_time=wall_time, summary=Summary(value=rows)))

    def close(self) -> None:
        """Finish the file."""
        try:
            self._file.close()
        except OSError as error:
            raise self._unwritable(error) from error

    def _write(self, event: Event) -> None:
        try:
            self._records.write(event.SerializeToString())
            self._records.flush()
        except OSError as error:
            raise self._unwritable(error) from error

    def _unwritable(self, error: OSError) -> UserError:
        return UserError(f"cannot write {self._path}: {error.strerror or error}")
