"""Stacks of networks: parameters have the shape (members, in, out), and a layer is computed for all members at once.

The members are independent. The loss is summed over them, gradients are clipped for each member, and the optimiser
works elementwise. A member that is trained with nine others therefore equals the same member trained alone, to the bit.
"""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ioa_marl.agents.networks.allocation import keep_freed_memory
from ioa_marl.agents.networks.layers import Activation, perceptron
from ioa_marl.agents.networks.optimiser import StackedAdam
from ioa_marl.agents.networks.rounding import set_reproducible_products

set_reproducible_products()
keep_freed_memory()


class StackedModule(nn.Module):
    """Networks of several members; the first axis of every parameter is that of the members."""

    members: int
    """Number of networks. The parameters of a single network are followed by a padding copy; see `StackedMLP`."""

    @functools.cached_property
    def all_parameters(self) -> list[Tensor]:
        """All parameters; cached, because PyTorch collects them anew at every call."""
        return list(self.parameters())

    def member_state(self, members: slice) -> dict[str, Tensor]:
        """Return copies of the parameters of some members, (members, …) each."""
        return {name: p.detach()[members].clone() for name, p in self.named_parameters()}

    def load_member_state(self, members: slice, state: dict[str, Tensor]) -> None:
        """Set the parameters of some members."""
        with torch.no_grad():
            for name, p in self.named_parameters():
                put_members(p, members, state[name], self.members)


class StackedMLP(StackedModule):
    """Multilayer perceptrons of equal shape, one per member.

    If there is a single member, its parameters are stored twice. Without this padding copy, PyTorch would take another
    routine for its matrix products than for several members, and round differently.

    Parameters
    ----------
    members : int
        Number of networks.
    sizes : sequence of int
        Widths of input, hidden and output layers.
    uniforms : callable
        ``uniforms(k)`` returns uniform numbers in [0, 1), (members, k), with which the weights are initialised.
    activation : callable, default `torch.relu_`
        Activation of the hidden layers.
    """

    def __init__(
        self,
        members: int,
        sizes: Sequence[int],
        uniforms: Callable[[int], NDArray[Any]],
        activation: Activation = torch.relu_,
    ) -> None:
        super().__init__()
        self.members, self.activation = members, activation
        self.weights, self.biases = nn.ParameterList(), nn.ParameterList()
        for n_in, n_out in itertools.pairwise(sizes):
            bound = 1.0 / math.sqrt(n_in)  # as torch.nn.Linear
            for shape, parameters in (((n_in, n_out), self.weights), ((1, n_out), self.biases)):
                u = torch.from_numpy(uniforms(shape[0] * shape[1])).to(torch.float32)
                values = ((2.0 * u - 1.0) * bound).reshape(members, *shape)
                parameters.append(nn.Parameter(torch.cat([values, values]) if members == 1 else values.contiguous()))
        # Iterating over a ParameterList takes longer than computing a small layer.
        self._layers = list(zip(self.weights, self.biases, strict=True))

    def forward(self, x: Tensor, first: int = 0) -> Tensor:
        """Evaluate the networks.

        Parameters
        ----------
        x : Tensor
            (members, batch, in): inputs of layer ``first``.
        first : int, default 0
            Index of the first layer that is computed.

        Returns
        -------
        Tensor
            (members, batch, out).
        """
        return perceptron(x, self._layers[first:], self.activation)


def stack_bytes(members: int, sizes: Sequence[int]) -> int:
    """Return the size [bytes] of the weights of a `StackedMLP`."""
    return 4 * members * sum(n_in * n_out for n_in, n_out in itertools.pairwise(sizes))


def put_members(target: Tensor, members: slice, values: Tensor, count: int) -> None:
    """Set the rows of some of ``count`` members in a tensor (members, …), and the padding copy of a single member."""
    target[members] = values.to(target.device)
    if count == 1 and target.shape[0] == 2:
        target[1] = target[0]


@torch.no_grad()
def polyak_update(target: StackedModule, source: StackedModule, tau: float) -> None:
    """Move the target's parameters towards those of the source: θ' ← τ θ + (1 − τ) θ'."""
    torch._foreach_lerp_(target.all_parameters, source.all_parameters, tau)


def gradient_step(optimiser: StackedAdam, network: StackedModule, losses: Tensor, max_norm: float) -> None:
    """Make a gradient step of every member on its own loss, (members,), with the gradient clipped to ``max_norm``."""
    parameters = network.all_parameters
    # `backward` would copy the gradients.
    for p, gradient in zip(parameters, torch.autograd.grad(losses.sum(), parameters), strict=True):
        p.grad = gradient.contiguous()
    optimiser.gradient_step(max_norm)


@contextmanager
def unchanged(network: nn.Module, members: Tensor) -> Iterator[None]:
    """Leave the parameters of some members unchanged by a step, which would move them by momentum without a gradient.

    Parameters
    ----------
    network : Module
        Networks whose parameters are (members, …).
    members : Tensor
        int64 (n,): indices of the members.
    """
    before = [p.detach()[members] for p in network.parameters()] if len(members) else []
    yield
    with torch.no_grad():
        for p, values in zip(network.parameters(), before, strict=False):
            p[members] = values


def optimiser_state(optimiser: torch.optim.Optimizer, members: slice) -> list[dict[str, Tensor]]:
    """Return a copy of the optimiser's state for some members: a dict for each parameter, tensors (members, …)."""
    rows = []
    for group in optimiser.param_groups:
        for p in group["params"]:
            state = optimiser.state.get(p, {})
            rows.append({key: (v[members].clone() if v.dim() else v.clone()) for key, v in state.items()})
    return rows


def load_optimiser_state(
    optimiser: torch.optim.Optimizer, members: slice, rows: Sequence[dict[str, Tensor]], count: int
) -> None:
    """Set the optimiser's state for some of ``count`` members to ``rows``, from `optimiser_state`."""
    parameters = [p for group in optimiser.param_groups for p in group["params"]]
    for p, row in zip(parameters, rows, strict=True):
        state = optimiser.state[p]
        for key, value in row.items():
            if value.dim() == 0:
                state[key] = value.clone()
                continue
            if key not in state:
                state[key] = torch.zeros_like(p)
            put_members(state[key], members, value, count)
