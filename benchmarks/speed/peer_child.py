"""The child's side of `peer_process`. Import this first: what libraries print must not get between the answers."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable
from typing import Any

_answers = os.fdopen(os.dup(1), "w")
os.dup2(2, 1)

settings: dict[str, Any] = json.loads(sys.argv[1])
"""What the parent wants to be run."""
sys.path[:0] = settings.get("folders", [])


def say(answer: Any) -> None:
    """Send one answer."""
    _answers.write(json.dumps(answer) + "\n")
    _answers.flush()


def next_turn() -> int | None:
    """Wait for the next number of steps; None where there is no more to do."""
    line = sys.stdin.readline()
    return int(line) if line.strip() else None


def serve(about: dict[str, Any], run: Callable[[int], None]) -> None:
    """Say that it is ready, and run whenever told to."""
    say(about)
    while (steps := next_turn()) is not None:
        start = time.process_time()
        run(steps)
        say(time.process_time() - start)
