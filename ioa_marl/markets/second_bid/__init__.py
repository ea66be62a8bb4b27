"""The modified second-bid auction of edge computing: price scaling, critical payments, thresholds and bounds.

The package uses `ioa_marl.foundations` and `ioa_marl.markets.common`. `params` holds the parameters, `auction` the
auction of one task over known bids, `state` defines the records and the state of a batch, `draws` has the draws and
values of providers, `kernels` the rules of one task, and `drivers` the loops over a batch and the observations.
`providers` are resources that stay, drawn or of one's own; `valuation` has the values of one's own figures, `traces`
the auctions of one's own bids, and `references` the optima and calibrations.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
