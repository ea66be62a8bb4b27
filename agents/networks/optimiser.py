"""Adam for stacks of networks, each of which has its gradient clipped by itself."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ioa_marl.foundations.compile import kernel


class StackedAdam(torch.optim.Adam):
    """PyTorch's Adam and its state; on a CPU the numbers are computed in one pass that rounds alike for all members.

    PyTorch's fused variant rounds the numbers that are left over after the last full vector differently, and what
    comes before its arithmetic takes longer than a small network's does.
    """

    @torch.no_grad()
    def gradient_step(self, max_norm: float) -> None:
        """Make a step along the parameters' gradients, each member's scaled to a norm of at most ``max_norm``.

        The gradients are contiguous. On other devices than a CPU they are scaled in place.
        """
        (group,) = self.param_groups
        gradients = [p.grad for p in group["params"]]
        scale = clipping(gradients, max_norm)
        if not scale.is_cpu:
            for gradient in gradients:
                gradient.mul_(scale.view(-1, *[1] * (gradient.dim() - 1)))
            self.step()
            return
        kind = np.dtype(str(scale.dtype).removeprefix("torch.")).type
        keep, keep_square = group["betas"]
        for p, gradient in zip(group["params"], gradients, strict=True):
            held = self.state[p]
            if not held:
                held |= {"step": torch.tensor(0.0), "exp_avg": torch.zeros_like(p), "exp_avg_sq": torch.zeros_like(p)}
            held["step"] += 1
            steps = held["step"].item()
            rate = group["lr"] / (1.0 - keep**steps)
            root = math.sqrt(1.0 - keep_square**steps)
            numbers = (1.0 - keep, keep_square, 1.0 - keep_square, rate, root, group["eps"], group["weight_decay"])
            tensors = (p.detach(), held["exp_avg"], held["exp_avg_sq"], gradient)
            values, mean, square, slope = (t.view(len(p), -1).numpy() for t in tensors)  # never of a copy
            _descend(values, mean, square, slope, scale.numpy(), *map(kind, numbers))
            torch.autograd.graph.increment_version(p)  # a graph of what it was must not be used any more


def clipping(gradients: Sequence[Tensor], max_norm: float) -> Tensor:
    """Return the factors (members,) that make each member's norm at most ``max_norm``; one for all would couple them.

    Parameters
    ----------
    gradients : sequence of Tensor
        Of each parameter, (members, …).
    max_norm : float
        Largest norm of a member's gradient over all parameters.
    """
    # One after another: a sum over a stack is ordered differently at the end of the member axis.
    squared = torch.zeros_like(gradients[0].flatten(1)[:, 0])
    for g in gradients:
        squared += torch.linalg.vector_norm(g.flatten(1), dim=1).square()
    return (max_norm / (squared.sqrt() + 1e-6)).clamp(max=1.0)


@kernel
def _descend(
    p: NDArray[Any],
    mean: NDArray[Any],
    square: NDArray[Any],
    gradient: NDArray[Any],
    scale: NDArray[Any],
    take: Any,
    keep_square: Any,
    take_square: Any,
    rate: Any,
    root: Any,
    eps: Any,
    decay: Any,
) -> None:
    for m in range(p.shape[0]):
        for i in range(p.shape[1]):
            g = gradient[m, i] * scale[m] + decay * p[m, i]
            first = mean[m, i] + take * (g - mean[m, i])
            second = keep_square * square[m, i] + take_square * g * g
            mean[m, i] = first
            square[m, i] = second
            p[m, i] -= rate * first / (math.sqrt(second) / root + eps)
