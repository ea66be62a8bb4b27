"""Comparison with a new process."""

from __future__ import annotations

import hashlib
import os
import pickle
import subprocess
import sys
from itertools import zip_longest
from pathlib import Path

from ioa_marl.envs.testing.case import Case
from ioa_marl.envs.testing.play import play


def _hashes(case: Case, episodes: int) -> list[str]:
    """Return for every step a hash of all arrays up to this step."""
    chain, hashes = hashlib.sha256(), []
    for record in play(case, case.game(), episodes):
        for name, array in {**record.current, **record.results}.items():
            chain.update(f"{name} {array.dtype} {array.shape}".encode() + array.tobytes())
        hashes.append(chain.hexdigest())
    return hashes


def check_process(case: Case, episodes: int) -> None:
    """Play in a new process, in which sets have another order, and compare the hashes of the arrays."""
    # The new process has to find every module that this one can import.
    path = os.pathsep.join(entry or str(Path.cwd()) for entry in sys.path)
    program = "from ioa_marl.envs.testing.processes import answer; answer()"
    try:
        request = pickle.dumps((case, episodes))
    except (pickle.PicklingError, AttributeError) as error:
        raise _unimportable(case, str(error)) from error
    salt = "7" if os.environ.get("PYTHONHASHSEED") != "7" else "8"
    environment = {**os.environ, "PYTHONPATH": path, "PYTHONHASHSEED": salt}
    command = [sys.executable, "-P", "-c", program]
    done = subprocess.run(command, input=request, capture_output=True, check=False, env=environment)
    last_line = (done.stderr.decode().strip().splitlines() or ["it says nothing"])[-1]
    if done.returncode == 3:
        raise _unimportable(case, last_line)
    case.ensure(done.returncode == 0, f"another process fails: {last_line}")
    for t, (here, there) in enumerate(zip_longest(_hashes(case, episodes), done.stdout.decode().split())):
        case.ensure(here == there, "another process gives other numbers", t)


def _unimportable(case: Case, reason: str) -> ValueError:
    return ValueError(
        f"another process cannot import {case.game_class.__qualname__} ({reason}): "
        "define it in a module that can be imported, or pass processes=False"
    )


def answer() -> None:
    """Write the hashes that `check_process` asks for; its pickled arguments are on the standard input."""
    try:
        case, episodes = pickle.load(sys.stdin.buffer)
    except (ImportError, AttributeError) as error:
        sys.stderr.write(str(error))
        sys.exit(3)
    sys.stdout.write("\n".join(_hashes(case, episodes)))
