"""Networks of many members in one: a parameter has the shape (members, in, out), and a layer computes all members.

Members never mix: the loss is summed over them, gradients are clipped per member, and the optimiser works
elementwise, so a member trained among ten equals the one trained alone to the bit.
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
from ioa_marl.agents.networks.rounding import round_alike

round_alike()
keep_freed_memory()


class StackedModule(nn.Module):
    """Networks of many members: every parameter has the members in front."""

    members: int
    """Number of networks; a lone one has a shadow behind it."""

    @functools.cached_property
    def all_parameters(self) -> list[Tensor]:
        """All parameters, looked up once."""
        return list(self.parameters())

    def member_state(self, members: slice) -> dict[str, Tensor]:
        """Return copies of some members' parameters."""
        return {name: p.detach()[members].clone() for name, p in self.named_parameters()}

    def load_member_state(self, members: slice, state: dict[str, Tensor]) -> None:
        """Set some members' parameters."""
        with torch.no_grad():
            for name, p in self.named_parameters():
                put_members(p, members, state[name], self.members)


class StackedMLP(StackedModule):
    """Multilayer perceptrons of equal shape, one per member.

    Parameters
    ----------
    members : int
        Number of networks.
    sizes : sequence of int
        Widths of input, hidden and output layers.
    uniforms : callable
        ``uniforms(k)`` returns numbers in [0, 1) of shape (members, k), a member's own; used to initialise.
    activation : callable, default `torch.relu_`
        Between layers.
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
            for shape, into in (((n_in, n_out), self.weights), ((1, n_out), self.biases)):
                u = torch.from_numpy(uniforms(shape[0] * shape[1])).to(torch.float32)
                values = ((2.0 * u - 1.0) * bound).reshape(members, *shape)
                # A lone member has a shadow, since it would otherwise take another matrix routine than among several.
                into.append(nn.Parameter(torch.cat([values, values]) if members == 1 else values.contiguous()))
        # A ParameterList takes longer to walk through than a small layer to compute.
        self._layers = list(zip(self.weights, self.biases, strict=True))

    def forward(self, x: Tensor, first: int = 0) -> Tensor:
        """Map (members, batch, in) to (members, batch, out); the input is what layer ``first`` sees."""
        return perceptron(x, self._layers[first:], self.activation)


def stack_bytes(members: int, sizes: Sequence[int]) -> int:
    """Return how many bytes the weights of a `StackedMLP` take."""
    return 4 * members * sum(n_in * n_out for n_in, n_out in itertools.pairwise(sizes))


def put_members(target: Tensor, members: slice, values: Tensor, count: int) -> None:
    """Write members' rows of a tensor; the shadow of a lone member follows."""
    target[members] = values.to(target.device)
    if count == 1 and target.shape[0] == 2:
        target[1] = target[0]


@torch.no_grad()
def polyak_update(target: StackedModule, source: StackedModule, tau: float) -> None:
    """Move target parameters towards the source: τ = 1 copies."""
    torch._foreach_lerp_(target.all_parameters, source.all_parameters, tau)


def gradient_step(optimiser: StackedAdam, network: StackedModule, losses: Tensor, max_norm: float) -> None:
    """Make a gradient step of every member on its own loss, (members,), clipped per member."""
    parameters = network.all_parameters
    # Not by `backward`, which would copy gradients.
    for p, gradient in zip(parameters, torch.autograd.grad(losses.sum(), parameters), strict=True):
        p.grad = gradient.contiguous()
    optimiser.gradient_step(max_norm)


@contextmanager
def kept(network: nn.Module, members: Tensor) -> Iterator[None]:
    """Keep some members, given by their indices, as they are: with no gradient they would still move by momentum."""
    before = [p.detach()[members] for p in network.parameters()] if len(members) else []
    yield
    with torch.no_grad():
        for p, values in zip(network.parameters(), before, strict=False):
            p[members] = values


def optimiser_state(optimiser: torch.optim.Optimizer, members: slice) -> list[dict[str, Tensor]]:
    """Return copies of some members' rows of an optimiser's state, in the order of its parameters."""
    rows = []
    for group in optimiser.param_groups:
        for p in group["params"]:
            held = optimiser.state.get(p, {})
            rows.append({key: (v[members].clone() if v.dim() else v.clone()) for key, v in held.items()})
    return rows


def load_optimiser_state(
    optimiser: torch.optim.Optimizer, members: slice, rows: Sequence[dict[str, Tensor]], count: int
) -> None:
    """Set some members' rows of an optimiser's state."""
    parameters = [p for group in optimiser.param_groups for p in group["params"]]
    for p, row in zip(parameters, rows, strict=True):
        held = optimiser.state[p]
        for key, value in row.items():
            if value.dim() == 0:
                held[key] = value.clone()
                continue
            if key not in held:
                held[key] = torch.zeros_like(p)
            put_members(held[key], members, value, count)
