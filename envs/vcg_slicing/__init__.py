"""The environment of the VCG slicing market.

`game` has the roles, observations and rewards, `policies` the scripted agents, `render` the pictures.
It uses `ioa_marl.markets.vcg_slicing` and the contracts in `ioa_marl.envs`. `dual_currency` is the
auction in which providers bid a second currency.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
