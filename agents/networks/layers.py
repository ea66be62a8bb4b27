"""The layers of stacked networks and their gradients, with the fastest routine for each shape of matrices.

A whole multilayer perceptron is one node of PyTorch's graph. Members are computed in groups, all layers of a group
after each other, so that the output of a layer is still in the processor's cache when the next layer or the gradient
needs it. The gradients of activations are computed in place.

The routine depends on the shape of one member's matrices and not on the number of members. A member therefore has the
same result, to the bit, in every stack. Most batched routines treat a single matrix differently: a stack of one member
contains a second copy of it, the padding copy, whose results are ignored (see `StackedMLP`).
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
"""Weight (members, in, out) and bias (members, 1, out); of a single member, both include its padding copy."""

WIDE = 2**23
"""Number of multiplications in a matrix product from which on every member has a product of its own.

A batched product is no faster then, and the padding copy need not be computed.
"""
CACHE = 2**17
"""Approximate size of a layer's output [numbers] of the members that are computed together on a CPU."""


def affine(x: Tensor, weight: Tensor, bias: Tensor, *, relu: bool = False) -> Tensor:
    """Return x · weight + bias of every member, or its positive part with ``relu``.

    Parameters
    ----------
    x : Tensor
        (members, rows, in).
    weight : Tensor
        (members, in, out); of a single member, with its padding copy.
    bias : Tensor
        (members, 1, out), of a single member with its padding copy; or (members, rows, out).
    relu : bool
        Whether negative numbers become 0.

    Returns
    -------
    Tensor
        (members, rows, out).
    """
    return perceptron(x, [(weight, bias)], torch.relu_, to_last=relu)


def perceptron(x: Tensor, layers: Sequence[Layer], activation: Activation, *, to_last: bool = False) -> Tensor:
    """Return the output of a multilayer perceptron for every member.

    Parameters
    ----------
    x : Tensor
        (members, rows, in).
    layers : sequence of (Tensor, Tensor)
        Weight and bias of each layer.
    activation : callable
        Activation of the hidden layers.
    to_last : bool
        Whether the last layer has the activation as well.

    Returns
    -------
    Tensor
        (members, rows, out).
    """
    compiling = torch.compiler.is_compiling()  # PyTorch's compiler then chooses the routines
    if activation in IN_PLACE and not compiling:
        parameters = itertools.chain.from_iterable(layers)
        out: Tensor = _Perceptron.apply(x, activation, to_last, *parameters)  # type: ignore[no-untyped-call]
        return out
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
"""In-place activations and their gradients, which are functions of the activation's output."""


class _Perceptron(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, activation: Activation, to_last: bool, *layers: Tensor) -> Tensor:
        weights, biases = layers[::2], layers[1::2]
        members, stack, rows, count = len(x), len(weights[0]), x.shape[1], len(weights)
        outs = [x.new_empty(stack, rows, weight.shape[2]) for weight in weights]
        widest = rows * max(weight.shape[2] for weight in weights)
        groups = _together(stack, widest) if x.is_cpu else [stack]
        inputs, *split = (_parts(t, groups) for t in (x.expand(stack, -1, -1), *weights, *biases, *outs))
        for b in range(len(groups)):
            h = inputs[b]
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
        if len(outs) == count:  # the last layer has an activation
            above, g = g, torch.empty_like(g)
            undo(above, outs[-1], g)
        d_x = x.new_empty(stack, *x.shape[1:]) if of_x else None
        d_weights = [weight.new_empty(weight.shape) for weight in weights]
        d_biases = [weight.new_empty(stack, 1, weight.shape[2]) for weight in weights]
        # Gradients of the hidden layers of one group, which all groups use in turn so that they stay in the cache.
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
        if bias_shapes[0][1] > 1:  # a single layer with a bias for every row, see `affine`
            d_biases = [g]
        # A bias for every row has no padding copy.
        d_biases = [d_bias[: shape[0]] for d_bias, shape in zip(d_biases, bias_shapes, strict=True)]
        d_layers = itertools.chain.from_iterable(zip(d_weights, d_biases, strict=True))
        return None if d_x is None else d_x[:members], None, None, *(d_layers if of_layers else [None] * 2 * count)


def _together(stack: int, numbers: int) -> list[int]:
    """Return the sizes of groups of members that are computed together; a layer's output has ``numbers`` per member."""
    # At least two, because a single matrix would take another routine and round differently.
    count = max(1, stack // max(2, CACHE // max(1, numbers)))
    return [stack * (i + 1) // count - stack * i // count for i in range(count)]


def _parts(x: Tensor, groups: list[int]) -> Sequence[Tensor]:
    return (x,) if len(groups) == 1 else x.split(groups)


def _product(x: Tensor, y: Tensor, out: Tensor, members: int) -> None:
    """Write x · y of each member to ``out``; matrices after the first ``members`` are padding copies."""
    if y.shape[2] == 1:  # a batched product with a column is several times slower than one with a row
        torch.bmm(y.mT, x.mT, out=out.mT)
    elif x.shape[2] == 1:
        torch.mul(x, y, out=out)
    elif x.is_cpu and x.shape[1] * x.shape[2] * y.shape[2] >= WIDE:
        for i in range(min(members, len(x))):
            torch.mm(x[i], y[i], out=out[i])
        out[members:] = out[:1]
    else:
        torch.bmm(x, y, out=out)
