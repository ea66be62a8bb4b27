import importlib.util
import os
import shutil
import sys
from pathlib import Path

import pytest

# Before torch or Numba are imported: two threads on two shared cores stall each other, and change rounding.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

ROOT = Path(__file__).parents[1]


def _share(name):
    """Make ``name.py`` beside this file importable as ``name``, whatever pytest's import mode."""
    spec = importlib.util.spec_from_file_location(name, Path(__file__).with_name(f"{name}.py"))
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)


_share("haggle")


@pytest.fixture(autouse=True, scope="session")
def one_thread():
    import torch

    from ioa_marl.agents.rounding import round_alike

    torch.set_num_threads(1)
    round_alike()  # before the first product


@pytest.fixture(scope="session")
def copy_of_the_project(tmp_path_factory):
    """A copy to build from, so that nothing is left in the repository."""
    target = tmp_path_factory.mktemp("copy") / "project"
    ignored = shutil.ignore_patterns("__pycache__", "build", "*.egg-info")
    target.mkdir()
    for folder in ("ioa_marl", "envs", "agents", "conf"):
        shutil.copytree(ROOT / folder, target / folder, ignore=ignored)
    for file in ("pyproject.toml", "setup.py", "README.md", "LICENSE"):
        shutil.copy(ROOT / file, target / file)
    return target
