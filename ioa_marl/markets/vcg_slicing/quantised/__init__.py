"""Slicing in whole quanta: the quantised VCG auction (QVCG) of bundles, solved by column generation.

`auction` has the functions for users, `programme` the linear programme over the relevant bundles, and `kernels` the
search for the best bundles of a provider at given prices. `programme` imports SciPy's solvers, which load slowly.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
