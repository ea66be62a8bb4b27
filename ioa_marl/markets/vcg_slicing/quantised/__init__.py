"""Slicing in whole quanta: the quantised VCG auction (QVCG) of bundles, solved by column generation.

`auction` is what users call, `programme` the linear programme over the bundles that matter, `kernels` find the best
bundles of a provider at given prices. SciPy's solvers, which are slow to load, come with `programme`.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
