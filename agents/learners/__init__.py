"""Learning agents, one file each, in this order: settings, networks, acting, learning.

Code that several of them share is in `ioa_marl.agents.common`, `networks` and `replay`.
"""
