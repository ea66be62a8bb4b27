"""Softmax over the outcomes of an action, of which there are few.

PyTorch takes six times as long for a last axis of fewer numbers than a vector holds.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

VECTOR = 16
"""Numbers that the widest registers of a processor hold."""


def softmax(logits: Tensor) -> Tensor:
    """Return the softmax over the last axis; an outcome of −inf has none of it."""
    if _left_to_pytorch(logits):
        return logits.softmax(-1)
    found: Tensor = _Softmax.apply(logits)  # type: ignore[no-untyped-call]
    return found


def log_softmax(logits: Tensor) -> Tensor:
    """Return the logarithm of the softmax over the last axis; an outcome of −inf stays so."""
    if _left_to_pytorch(logits):
        return logits.log_softmax(-1)
    found: Tensor = _LogSoftmax.apply(logits)  # type: ignore[no-untyped-call]
    return found


def _left_to_pytorch(logits: Tensor) -> bool:
    return logits.shape[-1] >= VECTOR or not logits.is_cpu or torch.compiler.is_compiling()


class _Softmax(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, logits: Tensor) -> Tensor:
        out = (logits - logits.amax(-1, keepdim=True)).exp_()
        out.div_(out.sum(-1, keepdim=True))
        ctx.save_for_backward(out)
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        (out,) = ctx.saved_tensors
        weighted = gradient * out
        found: Tensor = weighted.sub_(out * weighted.sum(-1, keepdim=True))
        return found


class _LogSoftmax(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, logits: Tensor) -> Tensor:
        out = logits - logits.amax(-1, keepdim=True)
        shares = out.exp()
        total = shares.sum(-1, keepdim=True)
        ctx.save_for_backward(shares.div_(total))
        return out.sub_(total.log_())

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        (shares,) = ctx.saved_tensors
        found: Tensor = gradient - shares * gradient.sum(-1, keepdim=True)
        return found
