"""Checks that run at every step and must be negligible in comparison."""

from __future__ import annotations

from typing import Any

from numpy.typing import NDArray

from ioa_marl.foundations.compile import kernel


@kernel
def all_below(indices: NDArray[Any], limit: int) -> bool:
    """Whether every entry of ``indices``, integers (n,), is in 0 … limit − 1."""
    for i in range(indices.shape[0]):  # noqa: SIM110 - a loop is what compiles
        if indices[i] < 0 or indices[i] >= limit:
            return False
    return True
