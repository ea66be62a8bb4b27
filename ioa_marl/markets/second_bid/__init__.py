"""The modified second-bid auction of edge computing: price scaling, critical payments, thresholds and bounds.

The package uses `ioa_marl.foundations` and `ioa_marl.markets.common`. `auction` holds the parameters and the auction of
one task over known bids, `state` defines the records and the state of a batch, `kernels` has the equations of one task,
`drivers` has the loops over a batch and the observations, `valuation` the values of one's own figures, and
`references` the optima and calibrations.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
