"""The cache of compiled kernels notices an edit of anything that a kernel is made of, and of nothing else."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from ioa_marl.markets import _numba

PROGRAM = """
import sys
from pathlib import Path
from ioa_marl.markets import _numba
_numba.__file__ = str(Path(sys.argv[1]) / "_numba.py")
print(_numba._kernel_cache(Path(sys.argv[1]) / "driver.py"))
"""


@pytest.fixture
def folder_of(tmp_path):
    """Return the cache folder of a driver that imports a helper, which imports another one."""
    package = tmp_path / "markets"
    package.mkdir()
    for name, imports in {
        "_numba": "",
        "driver": "from ioa_marl.markets.helper import (\n    run,\n)\n",
        "helper": "from ioa_marl.markets import unused_name, deepest as d\n",
        "deepest": "",
        "stranger": "",
    }.items():
        (package / f"{name}.py").write_text(imports)

    def ask(edited=None):
        if edited:
            (package / f"{edited}.py").write_text((package / f"{edited}.py").read_text() + "# edited\n")
        environment = {**os.environ, "IOA_MARL_CACHE": str(tmp_path / "cache")}
        command = [sys.executable, "-c", PROGRAM, str(package)]
        return subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout

    return ask


@pytest.mark.parametrize("edited", ["driver", "helper", "deepest", "_numba"])
def test_an_edit_of_anything_that_is_called_gets_another_folder(folder_of, edited):
    assert folder_of() != folder_of(edited)


def test_an_edit_of_another_market_keeps_the_folder(folder_of):
    assert folder_of() == folder_of("stranger")


def test_what_the_real_drivers_import_is_found():
    here = Path(_numba.__file__).parent
    assert here / "double_dutch_kernels.py" in _numba._imported(here / "double_dutch_batch.py")
    assert here / "philox.py" in _numba._imported(here / "double_dutch_kernels.py")
