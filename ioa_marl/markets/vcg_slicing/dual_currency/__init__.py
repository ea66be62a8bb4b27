"""The dual-currency auction: providers bid a second currency; a bank lends, disturbs, bills and estimates.

`equations` are the published ones, one function each; `bank` keeps the books of a batch of markets; `utility_fit`
fits a provider's type to its bills.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
