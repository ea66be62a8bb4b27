"""A setting of MKL: the rounding of matrix products must not depend on the memory alignment of the matrices.

The products of a stack are one batch, in which the alignment of a member's matrix depends on the other members. MKL
guarantees results that are independent of alignment only in its strict mode. In this mode, products take 20 % more
time, and three times as long with few columns.

The guarantee is not always needed. On an Intel processor with AVX-512, and on the same processor restricted to AVX2,
none of about 200 000 products of random shapes depended on the alignment in any mode (`tests/agents/test_rounding.py`
tries some on the present processor). Restricted to SSE4.2, products of a single row did depend on it except in strict
mode. Strict mode is therefore used on all processors except Intel's with AVX2 or AVX-512.
"""

from __future__ import annotations

import os
from pathlib import Path

import torch


def set_reproducible_products() -> str:
    """Set MKL's mode, unless the user has set one, and return it. MKL reads it before its first product."""
    return os.environ.setdefault("MKL_CBWR", "AUTO" if _ignores_alignment() else "AUTO,STRICT")


def _ignores_alignment() -> bool:
    """Return whether the processor is of a kind on which products did not depend on the alignment."""
    try:
        intel = "GenuineIntel" in Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        return False
    return intel and torch.backends.cpu.get_cpu_capability() in ("AVX2", "AVX512")
