"""The Stackelberg pricing market of offloading: leaders post prices, followers split their work.

Uses `ioa_marl.foundations` and `ioa_marl.markets.common`. `params` holds the parameters, `follower` the utility and
the best share of a follower, `kernels` the answers and profits of one market, `draws` its random numbers, `search`
best responses of leaders, `drivers` batches, `equilibrium` what users call, `references` optima on a grid.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
