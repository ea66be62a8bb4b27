"""Types and import contracts, on the installed package: static tools cannot follow the folder mapping."""

import os
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
FOLDERS = ("ioa_marl", "envs", "agents", "conf")


def run(*command, cwd):
    # Tools must see the installed package, not the editable one or the folder of the same name in the repository.
    environment = {**os.environ, "PYTHONPATH": str(cwd)}
    done = subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, check=False)
    return done.returncode, done.stdout + done.stderr


def test_everything_is_typed_strictly(installed):
    cache = ROOT / ".mypy_cache" / "installed"
    status, output = run(
        sys.executable, "-P", "-m", "mypy", "--config-file", ROOT / "pyproject.toml", "--cache-dir", cache,
        "-p", "ioa_marl", cwd=installed,
    )  # fmt: skip
    assert status == 0, output
    checked = int(re.search(r"no issues found in (\d+) source files", output)[1])
    modules = sum(len(list((ROOT / folder).rglob("*.py"))) for folder in FOLDERS)
    # The folders of settings are packages without a file of their own, and are counted as well.
    settings = {file.parent for file in (ROOT / "conf").rglob("*.yaml")} - {ROOT / "conf"}
    assert checked == modules + len(settings)


def test_layers_import_only_downwards(installed):
    status, output = run(
        Path(sys.executable).with_name("lint-imports"), "--config", ROOT / ".importlinter", "--no-cache", cwd=installed
    )
    assert status == 0, output
    assert "0 broken" in output
