"""The environment of the two-tier market.

`game` has the roles, observations and rewards, `bidding` what buyers and sellers do if they choose their bids,
`policies` the scripted agents, `render` the pictures.
It uses `ioa_marl.markets.two_tier` and the contracts in `ioa_marl.envs`.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
