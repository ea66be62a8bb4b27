"""The two-tier market: leaders price their computing, and fixed agents buy more of it in a double Dutch auction.

The package joins `ioa_marl.markets.stackelberg` and `ioa_marl.markets.double_dutch`; it is the only market that uses
others. `params` holds the parameters, `records` the records of the kernels, `kernels` the equations of one market,
`draws` its random numbers, `course` the changes from round to round, `drivers` the loops over a batch, `bids` the bids
as decisions, `deviations` the gains by another price or another pair of steps, `equilibrium` the prices that no leader
gains by leaving, `references` the best constant prices and steps, and `grid` the grid of prices.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
