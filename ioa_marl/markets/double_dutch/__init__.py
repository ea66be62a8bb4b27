"""The double Dutch auction of computing: two clocks, truthful bidders, exact optima, and its published rivals.

Uses `ioa_marl.foundations` only. `auction` holds the parameters and plays whole auctions, `kernels` has the equations
of one auction, `state` what they read and write, `drivers` run batches of auctions, `clairvoyant` and `references` hold
the optima, `rivals` other double auctions.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
