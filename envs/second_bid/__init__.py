"""The environment of the modified second-bid auction.

`game` has the roles, observations and rewards, `policies` the scripted policies, and `render` the pictures.
The package uses `ioa_marl.markets.second_bid` and the contracts in `ioa_marl.envs`.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
