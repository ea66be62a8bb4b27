"""Lets the tests of this folder import the modules that they share, whatever pytest's import mode."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import pytest
import torch


def _share(name):
    """Make ``name.py`` beside this file importable as ``name``."""
    spec = importlib.util.spec_from_file_location(name, Path(__file__).with_name(f"{name}.py"))
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)


for shared in ("probes", "team_probes", "learners", "sessions", "joint"):  # in the order in which they need each other
    pytest.register_assert_rewrite(shared)
    _share(shared)


@pytest.fixture(autouse=True)
def one_thread():
    """Small networks are fastest on one thread, and bits depend on the number of threads."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
