"""Slicing of three resources among service providers by a VCG auction, with the exact welfare optimum and payments.

Uses `ioa_marl.foundations` only. `params` holds the parameters, `records` what kernels read and write by name,
`kernels` the equations of one market, `optimum` the welfare optimum and Clarke payments with certificates. `solver`
finds them: `interior_point` from scratch and `parametric_simplex` (with its `corners`) from the prices of a similar
market, both in the arrays of `workspace`. `baselines` are divisions that are not optimal. `quantised` is the auction of
bundles, `dual_currency` the market with bids, loans and interest.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
