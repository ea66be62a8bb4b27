"""Adam for stacks of networks, with a separate gradient clipping for each member."""

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
    """PyTorch's Adam, with a kernel of its own on a CPU, which rounds in the same way for all members.

    PyTorch's fused variant rounds the numbers after the last full vector register differently. Besides, for small
    networks its overhead is larger than the time of the arithmetic.
    """

    @torch.no_grad()
    def gradient_step(self, max_norm: float) -> None:
        """Clip the gradient of each member to a norm of at most ``max_norm``, and make a step of Adam.

        The gradients have to be contiguous. On devices other than a CPU they are scaled in place.
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
            state = self.state[p]
            if not state:
                state |= {"step": torch.tensor(0.0), "exp_avg": torch.zeros_like(p), "exp_avg_sq": torch.zeros_like(p)}
            state["step"] += 1
            steps = state["step"].item()
            rate = group["lr"] / (1.0 - keep**steps)
            root = math.sqrt(1.0 - keep_square**steps)
            numbers = (1.0 - keep, keep_square, 1.0 - keep_square, rate, root, group["eps"], group["weight_decay"])
            tensors = (p.detach(), state["exp_avg"], state["exp_avg_sq"], gradient)
            values, mean, square, slope = (
                t.view(len(p), -1).numpy() for t in tensors
            )  # `view`, because a copy would not be updated
            _descend(values, mean, square, slope, scale.numpy(), *map(kind, numbers))
            torch.autograd.graph.increment_version(p)  # autograd then refuses graphs of the old values


def clipping(gradients: Sequence[Tensor], max_norm: float) -> Tensor:
    """Return the factor of each member's gradient, with which its norm is at most ``max_norm``.

    A common factor would couple the members.

    Parameters
    ----------
    gradients : sequence of Tensor
        Gradient of each parameter, (members, …).
    max_norm : float
        Largest norm of a member's gradient over all parameters.

    Returns
    -------
    Tensor
        (members,), at most 1.
    """
    # Added one by one, because a sum over stacked gradients has another order for the last members.
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
