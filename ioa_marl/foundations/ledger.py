"""Rounding of a market's accounts, so that payments are exactly equal to receipts."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ioa_marl.foundations.compile import kernel

Array = NDArray[Any]


@kernel
def balance(b: int, ledger: Array) -> float:
    """Round the receipts of market ``b`` so that they sum to exactly 0 in any order; the last account balances.

    Receipts become multiples of a power of two whose sums are all exact in floating point.

    Parameters
    ----------
    b : int
        Index of the market.
    ledger : ndarray of float64, shape (batch, accounts)
        Receipts of every account [money]; row ``b`` is overwritten.

    Returns
    -------
    float
        Receipt of the last account [money].
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
    """Balance the ledgers, float64 (batch, accounts) [money], of the markets in ``mask``, bool (batch,)."""
    for b in range(mask.shape[0]):
        if mask[b]:
            balance(b, ledger)
