"""The affine layer of stacked networks, and its gradient, as the matrix routines that are fastest for its shape.

Which routine is taken depends on the shape of one member's matrices and not on how many members there are, so that a
member has the same bits alone as among others.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

WIDE = 2**23
"""Multiplications of a product from which on every member has one of its own: a batched one is no faster then, and a
lone member need not compute as two."""


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
    if torch.compiler.is_compiling():  # which makes its own choice of routines
        out = torch.baddbmm(bias[: len(x)], x, weight[: len(x)])
        return torch.relu(out) if relu else out
    found: Tensor = _Affine.apply(x, weight, bias, relu)  # type: ignore[no-untyped-call]
    return found


def _both(x: Tensor, stack: Tensor) -> Tensor:
    """Show a lone member twice where its parameters have a shadow."""
    # A batched product of one takes another routine than one of several, and rounds differently.
    return x if len(x) == len(stack) else x.expand(len(stack), -1, -1)


def _product(x: Tensor, y: Tensor, rows: int) -> Tensor:
    """Return x · y of the first ``rows`` members; those behind are shadows and get a copy."""
    if x.is_cpu and x.shape[1] * x.shape[2] * y.shape[2] >= WIDE:
        out = x.new_empty(max(len(x), len(y)), x.shape[1], y.shape[2])
        for i in range(rows):
            torch.mm(x[i], y[i], out=out[i])
        out[rows:] = out[:1]
        return out
    return torch.bmm(x, y)


class _Affine(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, relu: bool) -> Tensor:
        members = len(x)
        if weight.shape[2] == 1:  # a batched product with a column takes four times as long
            x = x.contiguous()  # sums of another layout round differently
            out = (x * weight[:members].mT).sum(-1, keepdim=True).add_(bias[:members])
        elif x.is_cpu and x.shape[1] * weight.shape[1] * weight.shape[2] >= WIDE:
            out = x.new_empty(members, x.shape[1], weight.shape[2])
            for i in range(members):
                torch.addmm(bias[i], x[i], weight[i], out=out[i])
        else:
            out = torch.baddbmm(_both(bias, weight), _both(x, weight), weight)[:members]
        if relu:
            torch.relu_(out)
        ctx.save_for_backward(x, weight, out if relu else None)
        ctx.bias_shape = bias.shape
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, Tensor | None, Tensor | None, None]:
        x, weight, out = ctx.saved_tensors
        of_x, of_weight, of_bias, _ = ctx.needs_input_grad
        members = len(x)
        g = gradient.contiguous()
        if out is not None:
            g = torch.ops.aten.threshold_backward(g, out, 0)
        d_x = d_weight = d_bias = None
        column = weight.shape[2] == 1
        if of_x:
            d_x = g * weight[:members].mT if column else _product(_both(g, weight), weight.mT, members)[:members]
        if of_weight:
            both, seen = _both(g, weight), _both(x, weight)
            d_weight = (torch.bmm(both.mT, seen) if column else _product(seen.mT, both, members)).reshape(weight.shape)
        if of_bias:
            d_bias = g.sum(1, keepdim=True) if ctx.bias_shape[1] == 1 else g
            if len(d_bias) < ctx.bias_shape[0]:
                d_bias = torch.cat([d_bias, d_bias])
        return d_x, d_weight, d_bias, None
