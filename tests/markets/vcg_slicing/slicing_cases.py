"""Random and adversarial slicing markets for the tests."""

from __future__ import annotations

import numpy as np

KINDS = (
    "plain", "worths of 16 decades", "rates of 12 decades", "both unequal", "small whole rates", "equal ratios",
    "most rates zero", "all alike", "a resource nobody wants",
)  # fmt: skip


def plain_market(providers, seed):
    """A market as the preset ``paper`` draws it."""
    rng = np.random.default_rng(seed)
    return rng.uniform(100, 200, providers), rng.uniform(0, 10, (providers, 3))


def hard_market(kind, seed):
    """A market of 1 to 100 providers that is degenerate or badly scaled in the way ``kind`` says."""
    rng = np.random.default_rng([KINDS.index(kind), seed])
    n = int(rng.choice([1, 2, 3, 5, 10, 30, 100]))
    worth, rates = rng.uniform(100, 200, n), rng.uniform(0, 10, (n, 3))
    if kind == "worths of 16 decades":
        worth = 10 ** rng.uniform(-8, 8, n)
    elif kind == "rates of 12 decades":
        rates = 10 ** rng.uniform(-6, 6, (n, 3))
    elif kind == "both unequal":
        worth, rates = 10 ** rng.uniform(-6, 6, n), 10 ** rng.uniform(-3, 3, (n, 3))
    elif kind == "small whole rates":
        rates = rng.integers(0, 3, (n, 3)).astype(float)
    elif kind == "equal ratios":
        rates = rng.uniform(0.1, 10, (1, 3)) * rng.uniform(0.5, 2, (n, 1))
    elif kind == "most rates zero":
        rates *= rng.random((n, 3)) < 0.3
    elif kind == "all alike":
        worth, rates = np.full(n, 150.0), np.full((n, 3), 10 ** rng.uniform(-4, 4))
    elif kind == "a resource nobody wants":
        rates *= rng.random((n, 3)) < 0.3
        rates[:, rng.integers(3)] = 0.0
    return worth, rates
