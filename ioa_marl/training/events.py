"""Learning curves as TensorBoard events."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from tensorboard.compat.proto.event_pb2 import Event, SessionLog
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.summary.writer.event_file_writer import EventFileWriter


class Curves:
    """Writes scalars of one seed; what a killed process wrote beyond its checkpoint is withdrawn."""

    def __init__(self, folder: Path, resumed_at: int | None) -> None:
        self._writer = EventFileWriter(str(folder))
        if resumed_at is not None:
            start = SessionLog(status=SessionLog.START)
            self._writer.add_event(Event(step=resumed_at + 1, session_log=start))

    def write(self, step: int, wall_time: float, values: Mapping[str, float]) -> None:
        """Write named scalars at a training step."""
        rows = [Summary.Value(tag=tag, simple_value=value) for tag, value in values.items()]
        self._writer.add_event(Event(step=step, wall_time=wall_time, summary=Summary(value=rows)))
        self._writer.flush()

    def close(self) -> None:
        """Finish the file."""
        self._writer.close()
