"""Shared foundations: compilation of kernels, random numbers, seeds, checks of settings, errors, files, checkpoints.

Modules here depend on no market, environment or agent, and every other package may use them. Importing the package is
cheap: NumPy and Numba are loaded by the modules that need them.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
