"""A contestant in a process of its own, which runs only when it is told to: so even another interpreter takes turns.

The parent writes a number of steps, the child does them and answers with the processor seconds that they took. The
child's side is `peer_child`.
"""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
from pathlib import Path
from typing import IO, Any

ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS"), "1")
"""Environment of every contestant."""


class PeerError(Exception):
    """The other process ended or said what is no answer; the message has its last words."""


class Peer:
    """The parent's side of a contestant; a context manager that ends it.

    Parameters
    ----------
    python : str or Path
        Interpreter.
    script : str
        File beside this one.
    settings : dict
        What the script is to run, as JSON.
    """

    def __init__(self, python: str | Path, script: str, settings: dict[str, Any]) -> None:
        self._errors: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115 - closed in `close`
        self._folder = tempfile.TemporaryDirectory()
        self._process = subprocess.Popen(
            [str(python), str(Path(__file__).with_name(script)), json.dumps(settings)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._errors, text=True,
            env={**os.environ, **ONE_THREAD}, cwd=self._folder.name,
        )  # fmt: skip
        try:
            self.about: dict[str, Any] = self._answer()
        except BaseException:
            self.close()
            raise

    def _answer(self) -> Any:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            self._process.wait()
            self._errors.seek(0)
            words = self._errors.read().decode(errors="replace").strip().splitlines()
            raise PeerError(words[-1] if words else f"it ended with status {self._process.returncode}")
        return json.loads(line)

    def start(self, steps: int) -> None:
        """Let it do that many steps; `finish` waits for them."""
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(f"{steps}\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            self._answer()

    def finish(self) -> float:
        """Return the processor seconds that it took."""
        return float(self._answer())

    def turn(self, steps: int) -> float:
        """Let it do that many steps and return the processor seconds that it took."""
        self.start(steps)
        return self.finish()

    def close(self) -> None:
        """End it."""
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                pipe.close()
        try:
            self._process.wait(timeout=5)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._errors.close()
        self._folder.cleanup()

    def __enter__(self) -> Peer:
        """Return itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """End it."""
        self.close()
