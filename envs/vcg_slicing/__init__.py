"""The environment of the VCG slicing market.

`config` has the settings, `game` the roles, observations and rewards, `optima` the exact optima, `policies` the
scripted agents, and `render` the pictures. `dual_currency` is the auction with a bank, and `estimators` has the
interfaces of the estimators that the bank uses. The package uses `ioa_marl.markets.vcg_slicing` and the contracts in
`ioa_marl.envs`.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
