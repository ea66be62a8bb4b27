"""The grid of prices from which the leaders choose."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ioa_marl.markets.two_tier.params import TwoTierParams


def cost_plus_indices(
    params: TwoTierParams, levels: int, cost: NDArray[np.float64], margin: float
) -> NDArray[np.int64]:
    """Return the indices of the grid prices nearest to unit cost times 1 + ``margin``.

    Parameters
    ----------
    params : TwoTierParams
        Parameters of the market.
    levels : int
        Number of grid prices, from 0 to ``price_cap``.
    cost : ndarray of float64, shape (batch, leaders of a side)
        Unit costs [units/Mbit].
    margin : float
        Margin over the unit cost.

    Returns
    -------
    ndarray of int64, shape (batch, leaders of a side)
    """
    share = np.clip(cost * (1.0 + margin) / params.price_cap, 0.0, 1.0)
    return np.ascontiguousarray(np.rint(share * (levels - 1)), dtype=np.int64)
