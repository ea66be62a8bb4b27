"""The Stackelberg pricing market of offloading: leaders post prices, followers split their work.

The package uses `ioa_marl.foundations` and `ioa_marl.markets.common`. `params` holds the parameters, `records` the
records of the kernels, `follower` the utility and the best share of a follower, `kernels` the answers and profits of
one market, `draws` its random numbers, `mobility` what changes between rounds, `search` the best responses of leaders,
`drivers` the loops over a batch, `observations` what the agents observe, `equilibrium` the functions for users,
`results` what they return, `instances` markets from one's own figures, and `references` optima on a price grid.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
