"""The modified second-bid auction of edge computing: price scaling, critical payments, thresholds and bounds.

Uses `ioa_marl.foundations` and `ioa_marl.markets.common`. `auction` holds the parameters and allocates one task,
`kernels` has the equations of one task, `drivers` run batches, `references` hold the optima and calibrations.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
