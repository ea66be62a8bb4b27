import importlib.util
import os
import shutil
import subprocess
import sys
from pathlib import Path

import filelock
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
_share("every_market")


def pytest_collection_modifyitems(items):
    """Begin with what takes longest, so that no worker is left alone with it at the end."""
    items.sort(key=lambda item: item.get_closest_marker("slow") is None and item.path.parent.name != "static")


@pytest.fixture(autouse=True, scope="session")
def one_thread():
    import torch

    from ioa_marl.agents.networks.rounding import set_reproducible_products

    torch.set_num_threads(1)
    set_reproducible_products()  # before the first product


@pytest.fixture(scope="session")
def made_once(tmp_path_factory):
    """Return a function that makes a folder once for all workers: the first one makes it, the others wait for it."""
    shared = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        shared = shared.parent

    def folder(name, fill):
        made = shared / name
        with filelock.FileLock(shared / f"{name}.lock"):
            if not made.exists():
                unfinished = tmp_path_factory.mktemp(name)
                fill(unfinished)
                unfinished.rename(made)
        return made

    return folder


@pytest.fixture(scope="session")
def copy_of_the_project(made_once):
    """A copy to build from, so that nothing is left in the repository."""

    def fill(target):
        ignored = shutil.ignore_patterns("__pycache__", "build", "*.egg-info")
        for folder in ("ioa_marl", "envs", "agents", "conf"):
            shutil.copytree(ROOT / folder, target / folder, ignore=ignored, symlinks=True)
        for file in ("pyproject.toml", "setup.py", "README.md", "LICENSE"):
            shutil.copy(ROOT / file, target / file)

    return made_once("project", fill)


@pytest.fixture(scope="session")
def wheel(copy_of_the_project, made_once):
    """The wheel that is built from the project."""

    def fill(target):
        pip = [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "--no-build-isolation", "-w", target]
        subprocess.run([*pip, copy_of_the_project], check=True)

    (found,) = made_once("wheel", fill).glob("*.whl")
    return found


@pytest.fixture(scope="session")
def installed(wheel, made_once):
    """A folder in which the wheel is installed, and nothing else."""

    def fill(target):
        pip = [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--target", target]
        subprocess.run([*pip, wheel], check=True)

    return made_once("installed", fill)
