"""What everything else stands on: compilation, Philox, seeds, checks of settings, errors, files, checkpoints.

Nothing here knows a market, an environment or an agent, and every other package may use it. Importing it is cheap:
NumPy and Numba are loaded by the modules that need them.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
