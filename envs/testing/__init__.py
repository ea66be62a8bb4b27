"""`check_market`: whether a market keeps the promises of `Game`, on which agents, runner and wrappers rely."""

from ioa_marl.envs.testing.check import check_market

__all__ = ["check_market"]
