"""Receipts of the accounts of a market, rounded so that what some pay is exactly what others receive."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ioa_marl.foundations.compile import kernel

Array = NDArray[Any]


@kernel
def balance(b: int, ledger: Array) -> float:
    """Round the receipts of market ``b`` so that they sum to 0 exactly, and in any order; the last account balances.

    They become multiples of a power of two, of which all sums fit into a floating-point number; ``ledger`` is float64
    (batch, accounts). Returns what the last account received.
    """
    last = ledger.shape[1] - 1
    volume = 0.0
    for i in range(last):
        volume += abs(ledger[b, i])
    unit = math.ldexp(1.0, max(math.frexp(volume)[1], -900) - 51)
    received = 0.0
    for i in range(last):
        ledger[b, i] = np.rint(ledger[b, i] / unit) * unit
        received -= ledger[b, i]
    ledger[b, last] = received
    return received


@kernel
def balance_ledgers(ledger: Array, mask: Array) -> None:
    """Balance the ledgers of the markets ``mask``, bool (batch,)."""
    for b in range(mask.shape[0]):
        if mask[b]:
            balance(b, ledger)
