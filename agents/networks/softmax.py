"""Softmax over few outcomes.

PyTorch's softmax takes six times as long if the last axis is shorter than a vector register of the processor.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

VECTOR = 16
"""Number of float32 values in the widest vector register of a processor."""


def softmax(logits: Tensor) -> Tensor:
    """Return the softmax of ``logits`` (…, outcomes) over the last axis; 0 for a logit of −inf."""
    if _left_to_pytorch(logits):
        return logits.softmax(-1)
    out: Tensor = _Softmax.apply(logits)  # type: ignore[no-untyped-call]
    return out


def log_softmax(logits: Tensor) -> Tensor:
    """Return the logarithm of the softmax of ``logits`` (…, outcomes); −inf for a logit of −inf."""
    if _left_to_pytorch(logits):
        return logits.log_softmax(-1)
    out: Tensor = _LogSoftmax.apply(logits)  # type: ignore[no-untyped-call]
    return out


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
        d_logits: Tensor = weighted.sub_(out * weighted.sum(-1, keepdim=True))
        return d_logits


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
        d_logits: Tensor = gradient - shares * gradient.sum(-1, keepdim=True)
        return d_logits
