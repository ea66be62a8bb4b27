"""The environment of the Stackelberg pricing market.

`game` has the roles, observations and rewards, `policies` the scripted agents, `render` the pictures, `comparison` the
metrics that compare rounds with equilibria, and `mobility` those that compare them with the rounds before.
It uses `ioa_marl.markets.stackelberg` and the contracts in `ioa_marl.envs`.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
