"""Agents that train no network: random, greedy, the market's scripted policies, and policies of other runs."""
