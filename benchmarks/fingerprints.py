"""What the whole suite computes, as digests of values: recorded before code is moved about, and compared afterwards.

``python benchmarks/fingerprints.py record FILE`` plays every market, calls the plain functions and trains every learner
for a moment; ``compare FILE`` does the same again, lists what differs by a bit, and ends with exit status 1 if anything
does.

``--part markets`` (with the plain functions) or ``--part learners`` (with the files of settings) does one half, and
``--only TEXT`` what has that text in its name, such as ``stackelberg``. Values are compared, not names: fields, metrics
and keys may be renamed, and modules may move once `fingerprinting/doors.py` says where to. Another processor or other
versions of the libraries may round otherwise; a warning says so.

Kernels run as the cache has them; ``--cold`` compiles them anew, which takes minutes.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any

for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS"):
    os.environ[_name] = "1"  # read once, by NumPy, Numba and torch; with more of them sums are ordered otherwise

from fingerprinting.doors import door  # noqa: E402
from fingerprinting.values import Entry, differences  # noqa: E402

PARTS = {"markets": ("markets", "functions"), "learners": ("learners", "settings")}
"""What the names of the entries of each part begin with."""
FORMAT = 1
LIBRARIES = ("numpy", "numba", "scipy", "torch", "stable_baselines3", "gymnasium", "pettingzoo")


def wanted(name: str, part: str, only: str) -> bool:
    """Whether an entry is of a part, or any for ``all``, and has the text ``only`` in its name."""
    return only in name and (part == "all" or name.split("/")[0] in PARTS[part])


def items(part: str, only: str) -> dict[str, Callable[[], Entry]]:
    """Return what makes each entry that is wanted, by name."""
    from fingerprinting import functions, learners, markets

    sources = (markets.items, functions.items, learners.items)
    return {name: make for source in sources for name, make in source() if wanted(name, part, only)}


@contextmanager
def fresh_results(cold: bool) -> Iterator[None]:
    """Keep nothing but compiled kernels from the cache, and not even these if ``cold``.

    The references of a market are cached as well, and those of older code would hide that newer code gives others.
    """
    logging.disable(logging.WARNING)
    kernels = door("cache_folder")() / "numba"
    before = os.environ.get("IOA_MARL_CACHE")
    with tempfile.TemporaryDirectory() as folder:
        if not cold:
            kernels.mkdir(parents=True, exist_ok=True)
            (Path(folder) / "numba").symlink_to(kernels.resolve())
        os.environ["IOA_MARL_CACHE"] = folder
        try:
            yield
        finally:
            os.environ.pop("IOA_MARL_CACHE")
            if before is not None:
                os.environ["IOA_MARL_CACHE"] = before


def made(wanted_items: Mapping[str, Callable[[], Entry]]) -> Iterator[tuple[str, Entry | Exception]]:
    """Yield each entry as it is made, or what went wrong; says on the way how long each group took."""
    previous, began = "", time.process_time()
    for name, make in wanted_items.items():
        group = "/".join(name.split("/")[:2])
        if group != previous:
            _tell(previous, began)
            previous, began = group, time.process_time()
        try:
            entry: Entry | Exception = make()
        except Exception as error:  # whatever it is, the other entries can still be compared
            entry = error
        yield name, entry
    _tell(previous, began)


def _tell(group: str, began: float) -> None:
    if group:
        print(f"{group}: {time.process_time() - began:.1f} s", file=sys.stderr, flush=True)


def machine() -> dict[str, str]:
    """Return what values may depend on besides the code."""
    return {
        "processor": _processor(), "python": platform.python_version(), **{name: version(name) for name in LIBRARIES}
    }  # fmt: skip


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "")


def _commit() -> str:
    command = ["git", "-C", str(Path(__file__).parent), "describe", "--always", "--dirty", "--abbrev=40"]
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()


def record(file: Path, part: str, only: str, cold: bool) -> int:
    """Write the fingerprint."""
    entries: dict[str, Entry] = {}
    with fresh_results(cold):
        for name, entry in made(items(part, only)):
            if isinstance(entry, Exception):
                raise RuntimeError(f"{name} cannot be made") from entry
            entries[name] = entry
    about = {"format": FORMAT, "commit": _commit(), "machine": machine(), "part": part, "only": only}
    file.write_text(json.dumps({**about, "entries": entries}, indent=0) + "\n", encoding="utf-8")
    values = sum(len(tokens) for entry in entries.values() for tokens in entry.values())
    print(f"{len(entries)} entries with {values} values are in {file}")
    return 0


def compare(file: Path, part: str, only: str, cold: bool) -> int:
    """Print what differs from a recorded fingerprint, as far as that goes; returns the exit status."""
    recorded: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    if recorded["format"] != FORMAT:
        raise SystemExit(f"{file} has format {recorded['format']}: record it anew")
    was = {name: entry for name, entry in recorded["entries"].items() if wanted(name, part, only)}
    if not was:
        raise SystemExit(f"{file} holds nothing of that")
    here = machine()
    for name, value in recorded["machine"].items():
        if here[name] != value:
            print(f"warning: {name} was {value} and is {here[name]}, which may change values")
    count = 0
    with fresh_results(cold):
        now = {n: make for n, make in items(part, only).items() if wanted(n, recorded["part"], recorded["only"])}
        for difference in differences(was, made(now)):
            count += 1
            print(difference, flush=True)
    print(f"{count} differences" if count else f"all {len(was)} entries are the same, to the bit")
    return 1 if count else 0


def main() -> int:
    """Run the command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("command", choices=("record", "compare"))
    parser.add_argument("file", type=Path)
    parser.add_argument("--part", choices=(*PARTS, "all"), default="all")
    parser.add_argument("--only", default="", metavar="TEXT", help="what has this text in its name")
    parser.add_argument("--cold", action="store_true", help="compile all kernels anew, whatever the cache holds")
    given = parser.parse_args()
    command = {"record": record, "compare": compare}[given.command]
    return command(given.file, given.part, given.only, given.cold)


if __name__ == "__main__":
    raise SystemExit(main())
