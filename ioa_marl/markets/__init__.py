"""The economics, a room for each market: parameters, kernels, drivers and exact references.

A room may use `ioa_marl.foundations`, `common` and what is inside itself; only `two_tier`, which joins two markets,
uses other rooms. Markets know no environment, no agent and no torch.
"""
