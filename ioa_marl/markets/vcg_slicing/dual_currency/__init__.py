"""The dual-currency auction: providers bid for loans of a second currency, and a bank lends, taxes and estimates.

`equations` has a function for each published equation, `bank` the books of a batch of markets, and `utility_fit` the
estimation of a provider's type from its bills.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
