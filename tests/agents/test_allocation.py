"""Large arrays reuse freed memory of the process."""

from __future__ import annotations

import subprocess
import sys

import pytest

from ioa_marl.agents.networks.allocation import keep_freed_memory

COUNT = """
import resource
import numpy as np
import torch
from ioa_marl.agents.networks.stacked import StackedMLP

torch.set_num_threads(1)
rng = np.random.default_rng(0)
network = StackedMLP(50, [20, 64, 64, 1], lambda k: rng.random((50, k)))
inputs = torch.zeros(50, 256, 20)

def passes(times):
    for _ in range(times):
        network.zero_grad()
        network(inputs).sum().backward()

passes(20)
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
passes(40)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""
LAYER_PAGES = 50 * 256 * 64 * 4 // 4096
"""Number of memory pages of one hidden layer's output."""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the C library is another one")
def test_passes_through_a_large_stack_do_not_get_new_pages_from_the_system():
    if not keep_freed_memory():
        pytest.skip("the C library cannot be asked to keep memory")
    done = subprocess.run([sys.executable, "-c", COUNT], capture_output=True, text=True, check=True)
    # Without it, what one or two layers return is mapped anew in every pass.
    assert int(done.stdout) < 40 * LAYER_PAGES / 5
