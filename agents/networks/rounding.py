"""Matrix products that round alike wherever in memory their matrices lie.

A stack's products are one batch, and where a member's matrix lies in it depends on its neighbours. MKL promises not to
look at that only in its strict mode, in which products take a fifth longer, with few columns three times as long. On
an Intel processor with AVX-512, and on the same one told to use AVX2, none of some 200 000 products of random shapes
depended on it in any mode (`tests/agents/test_rounding.py` tries some on the processor at hand); told to use SSE4.2,
products of a single row did but in strict mode. Other processors are told to be strict.
"""

from __future__ import annotations

import os
from pathlib import Path

import torch


def round_alike() -> str:
    """Set MKL's mode, which it reads before its first product; one that the user has set stays. Returns it."""
    return os.environ.setdefault("MKL_CBWR", "AUTO" if _indifferent() else "AUTO,STRICT")


def _indifferent() -> bool:
    """Return whether the processor is one of those that were tried."""
    try:
        intel = "GenuineIntel" in Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        return False
    return intel and torch.backends.cpu.get_cpu_capability() in ("AVX2", "AVX512")
