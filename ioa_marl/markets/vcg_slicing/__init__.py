"""Slicing of three resources among service providers by a VCG auction, with the exact welfare optimum and payments.

The package uses `ioa_marl.foundations` only. `params` holds the parameters, `records` the records and the state of the
kernels, `kernels` the equations of one market and the drivers, `draws` its random numbers, `observations` what the
agents observe, and `measures` metrics and receipts. `optimum` returns the welfare optimum and Clarke payments with
certificates. They are computed by `solver`, which uses `interior_point` from scratch and `parametric_simplex` (with
`corners`) from the prices of a similar market, both in the arrays of `workspace`. `baselines` are divisions that are
not optimal, `quantised` is the auction of bundles, and `dual_currency` the market with bids, loans and interest.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
