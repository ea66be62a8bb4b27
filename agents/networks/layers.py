"""The layers of stacked networks, and their gradients, as the routines that are fastest for their shapes.

A whole network is one step of differentiation. Members are computed some at a time, all layers one after another,
so that what a layer returns is still in the processor's cache when the next one, or the gradient, needs it; and
gradients pass through activations in place.

Which routine is taken depends on the shape of one member's matrices and not on how many members there are, so that a
member has the same bits alone as among others.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

Activation = Callable[[Tensor], Tensor]
Layer = tuple[Tensor, Tensor]
"""Weight (members, in, out) and bias (members, 1, out), with a row for the shadow of a lone member."""

WIDE = 2**23
"""Multiplications of a product from which on every member has one of its own: a batched one is no faster then, and a
lone member need not compute as two."""
CACHE = 2**17
"""Numbers that a layer of the members computed together returns, about, on a CPU."""


def affine(x: Tensor, weight: Tensor, bias: Tensor, *, relu: bool = False) -> Tensor:
    """Return x · weight + bias of every member, and only what is positive of it with ``relu``.

    Parameters
    ----------
    x : Tensor
        (members, rows, in).
    weight : Tensor
        (members, in, out), with a row for the shadow of a lone member.
    bias : Tensor
        (members, 1, out), with a row for the shadow of a lone member; or (members, rows, out).
    relu : bool
        Whether numbers below 0 become 0.

    Returns
    -------
    Tensor
        (members, rows, out).
    """
    return perceptron(x, [(weight, bias)], torch.relu_, to_last=relu)


def perceptron(x: Tensor, layers: Sequence[Layer], activation: Activation, *, to_last: bool = False) -> Tensor:
    """Return what all layers of every member make of its input.

    Parameters
    ----------
    x : Tensor
        (members, rows, in).
    layers : sequence of (Tensor, Tensor)
        Weight and bias of each.
    activation : callable
        Between layers.
    to_last : bool
        Whether the last layer has an activation as well.

    Returns
    -------
    Tensor
        (members, rows, out).
    """
    compiling = torch.compiler.is_compiling()  # PyTorch makes its own choice of routines then
    if activation in IN_PLACE and not compiling:
        parameters = itertools.chain.from_iterable(layers)
        found: Tensor = _Perceptron.apply(x, activation, to_last, *parameters)  # type: ignore[no-untyped-call]
        return found
    for i, (weight, bias) in enumerate(layers):
        x = torch.baddbmm(bias[: len(x)], x, weight[: len(x)]) if compiling else affine(x, weight, bias)
        if to_last or i < len(layers) - 1:
            x = activation(x)
    return x


def _relu_gradient(g: Tensor, out: Tensor, into: Tensor) -> None:
    torch.ops.aten.threshold_backward.grad_input(g, out, 0, grad_input=into)


def _tanh_gradient(g: Tensor, out: Tensor, into: Tensor) -> None:
    torch.ops.aten.tanh_backward.grad_input(g, out, grad_input=into)


IN_PLACE: dict[Activation, tuple[Activation, Callable[[Tensor, Tensor, Tensor], None]]] = {
    torch.relu_: (torch.relu_, _relu_gradient),
    torch.tanh: (torch.tanh_, _tanh_gradient),
}
"""Activations whose gradient is known from what they return, and both without another array."""


class _Perceptron(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, activation: Activation, to_last: bool, *layers: Tensor) -> Tensor:
        weights, biases = layers[::2], layers[1::2]
        members, stack, rows, count = len(x), len(weights[0]), x.shape[1], len(weights)
        outs = [x.new_empty(stack, rows, weight.shape[2]) for weight in weights]
        widest = rows * max(weight.shape[2] for weight in weights)
        groups = _together(stack, widest) if x.is_cpu else [stack]
        seen, *split = (_parts(t, groups) for t in (x.expand(stack, -1, -1), *weights, *biases, *outs))
        for b in range(len(groups)):
            h = seen[b]
            for i in range(count):
                weight, bias, out = split[i][b], split[count + i][b], split[2 * count + i][b]
                _product(h, weight, out, members)
                h = out.add_(bias)
                if to_last or i < count - 1:
                    IN_PLACE[activation][0](h)
        ctx.save_for_backward(x, *weights, *(outs if to_last else outs[:-1]))
        ctx.rest = activation, groups, [bias.shape for bias in biases]
        return outs[-1][:members]

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        activation, groups, bias_shapes = ctx.rest
        count = len(bias_shapes)
        x, *saved = ctx.saved_tensors
        weights, outs = saved[:count], saved[count:]
        members, stack = len(x), len(weights[0])
        of_x, of_layers = ctx.needs_input_grad[0], any(ctx.needs_input_grad[3:])
        undo = IN_PLACE[activation][1]
        g = gradient.expand(stack, -1, -1).contiguous()
        if len(outs) == count:  # activated as well
            above, g = g, torch.empty_like(g)
            undo(above, outs[-1], g)
        d_x = x.new_empty(stack, *x.shape[1:]) if of_x else None
        d_weights = [weight.new_empty(weight.shape) for weight in weights]
        d_biases = [weight.new_empty(stack, 1, weight.shape[2]) for weight in weights]
        # Of one group after the other, so that it stays in the cache.
        below = [out.new_empty(max(groups), *out.shape[1:]) for out in outs[: count - 1]]
        parts, *split = (
            _parts(t, groups) for t in (g, x.expand(stack, -1, -1), *outs[: count - 1], *weights, *d_weights, *d_biases)
        )
        for b, size in enumerate(groups):
            d = parts[b]
            for i in reversed(range(count)):
                h, weight, d_weight, d_bias = (split[k * count + i][b] for k in range(4))
                if of_layers:
                    _product(h.mT, d, d_weight, members)
                    torch.sum(d, 1, keepdim=True, out=d_bias)
                if i > 0:
                    into = below[i - 1][:size]
                    _product(d, weight.mT, into, members)
                    undo(into, h, into)
                    d = into
                elif d_x is not None:
                    _product(d, weight.mT, _parts(d_x, groups)[b], members)
        if bias_shapes[0][1] > 1:  # the only layer's, with a row for every input
            d_biases = [g]
        # A lone member's shadow is no row of a bias that was made without one.
        d_biases = [d_bias[: shape[0]] for d_bias, shape in zip(d_biases, bias_shapes, strict=True)]
        found = itertools.chain.from_iterable(zip(d_weights, d_biases, strict=True))
        return None if d_x is None else d_x[:members], None, None, *(found if of_layers else [None] * 2 * count)


def _together(stack: int, numbers: int) -> list[int]:
    """Return how many members are computed together, one group after another; a layer of one has so many numbers."""
    # At least two, since a lone one would take another routine and round differently.
    count = max(1, stack // max(2, CACHE // max(1, numbers)))
    return [stack * (i + 1) // count - stack * i // count for i in range(count)]


def _parts(x: Tensor, groups: list[int]) -> Sequence[Tensor]:
    return (x,) if len(groups) == 1 else x.split(groups)


def _product(x: Tensor, y: Tensor, out: Tensor, members: int) -> None:
    """Write x · y of each member; those behind the last one are shadows."""
    if y.shape[2] == 1:  # a batched product with a column takes several times as long as one with a row
        torch.bmm(y.mT, x.mT, out=out.mT)
    elif x.shape[2] == 1:
        torch.mul(x, y, out=out)
    elif x.is_cpu and x.shape[1] * x.shape[2] * y.shape[2] >= WIDE:
        for i in range(min(members, len(x))):
            torch.mm(x[i], y[i], out=out[i])
        out[members:] = out[:1]
    else:
        torch.bmm(x, y, out=out)
