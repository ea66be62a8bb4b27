"""Learning agents, one file each: settings, networks, how it acts and how it learns, in this order.

What several of them share is in `ioa_marl.agents.common`, `networks` and `replay`.
"""
