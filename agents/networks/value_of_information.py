"""Small networks that learn from bills what utility a change of an allocation leads to: the VoI networks f_i.

One network per provider of every market, all trained as one batch. The registry has `ValueNetworks` under the name
``value_of_information``, by which the bank of the slicing market asks for its `VoIEstimator`.

Source: Eqs. 29 and 35 of "An Enhanced Dual-Currency VCG Auction Mechanism for Resource Allocation in IoV: A Value of
Information Perspective". The paper samples batches from a replay memory; a bank keeps few bills, so every step here
uses all of them, and nothing is left to chance but the initial weights.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

import ioa_marl.agents.networks.stacked  # noqa: F401  - sets how products are rounded, before the first one

Floats = NDArray[np.float64]

FEATURES = 6
"""Shares of three resources before the change, and the three relative changes."""
WIDTH = 16
"""Hidden units."""
LEARNING_RATE = 0.01
FORGET, FORGET_SQUARES, SMALL = 0.9, 0.999, 1e-8
"""Adam's β1, β2 and ε (Kingma and Ba, "Adam: a method for stochastic optimization", 2015)."""
INITIAL = 420
"""Purpose of the random draws: initial weights."""
SHAPES = {"w1": (FEATURES, WIDTH), "b1": (1, WIDTH), "w2": (WIDTH, 1), "b2": (1, 1)}


class ValueNetworks:
    """Networks of all providers of a batch of markets, with their optimiser.

    `torch.optim.Adam` counts its steps for all parameters together; here each market starts anew at a time of its own,
    so the moments and the count are kept per market.

    Parameters
    ----------
    batch : int
        Markets.
    providers : int
        Networks per market.
    """

    def __init__(self, batch: int, providers: int) -> None:
        def room() -> dict[str, Tensor]:
            return {name: torch.zeros(batch, providers, *shape) for name, shape in SHAPES.items()}

        self._weights, self._means, self._squares = room(), room(), room()
        self._steps = torch.zeros(batch, dtype=torch.int64)
        self._providers = providers

    def arrays(self) -> dict[str, NDArray[np.generic]]:
        """Return weights, moments and steps, leading axis batch; writing into them changes the networks."""
        parts = {"weight": self._weights, "mean": self._means, "square": self._squares}
        named = {f"{part}_{name}": x.numpy() for part, tensors in parts.items() for name, x in tensors.items()}
        return {**named, "steps": self._steps.numpy()}

    def open(self, rows: NDArray[np.intp], keys: NDArray[np.uint64]) -> None:
        """Initialise the networks of the markets ``rows`` as `torch.nn.Linear` does, each market from its own key."""
        for b, (seed, stream, episode) in zip(rows, keys, strict=True):
            counter = np.array([0, episode, INITIAL, 0], np.uint64)
            rng = np.random.Generator(np.random.Philox(key=np.array([seed, stream], np.uint64), counter=counter))
            for name, (n_in, n_out) in SHAPES.items():
                bound = 1.0 / np.sqrt(FEATURES if name.endswith("1") else WIDTH)
                drawn = rng.uniform(-bound, bound, (self._providers, n_in, n_out))
                self._weights[name][b] = torch.from_numpy(drawn).to(torch.float32)
                self._means[name][b] = 0.0
                self._squares[name][b] = 0.0
            self._steps[b] = 0

    def learn(
        self,
        rows: NDArray[np.intp],
        before: Floats,
        change: Floats,
        utility: Floats,
        valid: NDArray[np.bool_],
        steps: int,
    ) -> None:
        """Make some steps of regression on all bills of the markets ``rows``; see `VoIEstimator.learn`."""
        mask = torch.from_numpy(rows)
        x = _features(before, change).transpose(1, 2)  # (rows, providers, bills, features)
        target = torch.from_numpy(utility).to(torch.float32).transpose(1, 2)[..., None]
        weight = torch.from_numpy(valid).to(torch.float32)[:, None, :, None]
        weight = weight / weight.sum(dim=2, keepdim=True).clamp(min=1.0)
        for _ in range(steps):
            parameters = {name: w[mask].requires_grad_() for name, w in self._weights.items()}
            loss = (weight * (_forward(parameters, x) - target).square()).sum()
            gradients = torch.autograd.grad(loss, list(parameters.values()))
            self._steps[mask] += 1
            count = self._steps[mask].to(torch.float64)[:, None, None, None]
            rate = LEARNING_RATE * (1.0 - FORGET_SQUARES**count).sqrt() / (1.0 - FORGET**count)
            for (name, w), gradient in zip(parameters.items(), gradients, strict=True):
                mean = self._means[name][mask].lerp_(gradient, 1.0 - FORGET)
                square = self._squares[name][mask].lerp_(gradient.square(), 1.0 - FORGET_SQUARES)
                self._means[name][mask], self._squares[name][mask] = mean, square
                move = rate.to(torch.float32) * mean / (square.sqrt() + SMALL)
                self._weights[name][mask] = w.detach() - move

    def estimate(self, rows: NDArray[np.intp], before: Floats, change: Floats) -> Floats:
        """Return what one change in each market leads to, (rows, providers)."""
        mask = torch.from_numpy(rows)
        x = _features(before, change)[:, :, None]
        with torch.no_grad():
            utility = _forward({name: w[mask] for name, w in self._weights.items()}, x)
        return utility[..., 0, 0].numpy().astype(np.float64)


def _features(shares: Floats, change: Floats) -> Tensor:
    """Return shares over the equal share, mapped to [0, 1), and changes, float32 (…, 6)."""
    return torch.from_numpy(np.concatenate([shares / (1.0 + shares), change], axis=-1)).to(torch.float32)


def _forward(weights: dict[str, Tensor], x: Tensor) -> Tensor:
    """Map (rows, providers, bills, features) to (rows, providers, bills, 1)."""
    members, (bills, features) = x.shape[:2], x.shape[2:]

    def layer(inputs: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        return torch.baddbmm(bias.flatten(0, 1), inputs, weight.flatten(0, 1))

    hidden = torch.tanh(layer(x.reshape(-1, bills, features), weights["w1"], weights["b1"]))
    out: Tensor = layer(hidden, weights["w2"], weights["b2"]).unflatten(0, members)
    return out
