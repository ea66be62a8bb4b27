"""The double Dutch auction of computing: two clocks, truthful bidders, exact optima, and published rival mechanisms.

The package uses `ioa_marl.foundations` only. `params` holds the parameters, `auction` plays one auction over known
bids, `state` defines the records and the state of a batch, `kernels` has the equations of one auction, `draws` its
random numbers, `drivers` the loops over a batch, `observations` what the agents observe, `clairvoyant` and `references`
the optima, `step_tables` a good simple policy, and `rivals` other double auctions, whose
kernels are in `sealed_bids`.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
