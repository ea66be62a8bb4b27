"""A benchmark that is only tried does not touch the results that are committed."""

from __future__ import annotations

import ast
import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[2] / "benchmarks"
PROGRAMS = {
    "slicing/qvcg.py": ("options", "results", [["--quick"], ["--instances", "2"]]),
    "slicing/transfer.py": ("options", "results", [["--quick"]]),
    "dual_currency/audits.py": ("options", "results", [["--quick"]]),
    "dual_currency/table_iii.py": (
        "options",
        "results",
        [["--rounds", "50"], ["--auctions", "1"], ["--providers", "10"]],
    ),
    "speed/run.py": ("chosen_options", "out", [["--quick"], ["--only", "a,b"], ["--quick", "--only", "learners"]]),
    "soak.py": ("options", "results", [["--quick"], ["--minutes", "5"], ["--updates", "10"]]),
    "speed/audits.py": ("options", "results", [["--markets", "100"]]),
    "best_known/double_dutch.py": ("options", "results", [["--markets", "100"]]),
    "stackelberg/observations.py": ("options", "results", [["--quick"], ["--instances", "1"], ["--iterations", "5"]]),
    "kills.py": ("options", "results", [["--quick"], ["--kills", "3"], ["--only", "kills"]]),
}
"""Programs with what reads their arguments, and arguments for less than everything."""
LIKE_EVERYTHING = {"speed/run.py": [["--only", "learners"], ["--only", "markets,h"]]}
"""Arguments for a part that has files of its own."""
SIZES = ("quick", "instances", "rounds", "auctions", "kills", "minutes", "updates", "inputs", "episodes")
pytestmark = pytest.mark.skipif(not FOLDER.is_dir(), reason="the benchmarks are not beside the tests")


def options(name, arguments, monkeypatch):
    function, attribute, _ = PROGRAMS[name]
    path = FOLDER / name
    monkeypatch.syspath_prepend(path.parent)
    spec = importlib.util.spec_from_file_location(f"program_{path.stem}", path)
    module = importlib.util.module_from_spec(spec)
    before = set(sys.modules)
    sys.modules[spec.name] = module
    try:
        spec.loader.exec_module(module)
        return getattr(getattr(module, function)(arguments), attribute)
    finally:
        for imported in set(sys.modules) - before:
            if Path(getattr(sys.modules[imported], "__file__", None) or "/").parent == path.parent:
                del sys.modules[imported]


@pytest.mark.parametrize("name", PROGRAMS)
def test_less_than_everything_is_written_beside_what_is_committed(name, monkeypatch):
    everything = options(name, [], monkeypatch)
    assert everything.name == "results"
    for arguments in PROGRAMS[name][2]:
        assert options(name, arguments, monkeypatch) == everything / "quick", arguments
    for arguments in LIKE_EVERYTHING.get(name, []):
        assert options(name, arguments, monkeypatch) == everything, arguments
    ignored = subprocess.run(["git", "check-ignore", "-q", everything / "quick" / "x.csv"], cwd=FOLDER, check=False)
    assert ignored.returncode in (0, 128), "128: no repository"


def test_every_program_that_can_be_made_smaller_is_among_them():
    found = set()
    for path in FOLDER.rglob("*.py"):
        flags = {
            node.args[0].value.lstrip("-")
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
            if isinstance(node, ast.Call) and getattr(node.func, "attr", "") == "add_argument"
            if node.args and isinstance(node.args[0], ast.Constant)
        }
        if flags & set(SIZES):
            found.add(path.relative_to(FOLDER).as_posix())
    assert found - {"robustness.py"} <= set(PROGRAMS)
