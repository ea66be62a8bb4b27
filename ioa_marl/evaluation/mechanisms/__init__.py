"""Mechanisms side by side: the same bids under several mechanisms, with paired differences.

`compare_double_auctions`, `compare_single_item` and `compare_shares` run a family of mechanisms and return a
`Comparison`; `double_auctions`, `single_item` and `shares` have one family each. Double auctions are played by
`auctioneers` and misreported to by `deviations`; `bid_files` reads a user's own bids, `table` and `picture` show a
comparison. Every regret is the largest gain over the reports that were tried, and hence a **lower bound**.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
