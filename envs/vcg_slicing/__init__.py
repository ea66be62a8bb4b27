"""The environment of the VCG slicing market.

`config` has the settings, `game` the roles, observations and rewards, `optima` the exact optima that it needs,
`policies` the scripted agents, `render` the pictures. `dual_currency` is the auction in which providers bid a second
currency, `estimators` what its bank has others estimate. It uses `ioa_marl.markets.vcg_slicing` and the contracts in
`ioa_marl.envs`.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
