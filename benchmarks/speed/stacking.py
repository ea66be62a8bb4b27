"""Figures h: a stack of critics against a Python loop over agents, each with a network and an optimiser of its own.

One step of a turn is one update of all critics: target, loss, backward pass, clipping, Adam, target networks. The loop
is plain PyTorch and computes the same numbers, which is checked before anything is timed.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass

import numpy as np
import torch
from measure import Effort, Figure, Run, interleave, micro, ratios
from single_thread import limit_torch
from torch import Tensor, nn

from ioa_marl.agents.networks.optimiser import StackedAdam
from ioa_marl.agents.networks.stacked import StackedMLP, gradient_step, polyak_update

limit_torch()

LR, TAU, MAX_NORM = 1e-3, 0.01, 10.0
BATCHES = 4
"""Batches are drawn beforehand and used in turn."""
AGREEMENT = 1e-9
"""Largest difference of a parameter, in double precision, after `CHECKED` updates."""
CHECKED = 20


@dataclass(frozen=True)
class Case:
    """Critics of equal shape, one per agent."""

    key: str
    name: str
    agents: int
    inputs: int
    """Numbers that a critic sees."""
    width: int
    batch: int
    joint: bool
    """Whether all critics see the same numbers, as centralised ones do."""
    target: float


CASES = (
    # Ten slices of the slicing market: 6 observed numbers and three choices of seven each.
    Case("h1", "centralised critics", agents=10, inputs=10 * (6 + 21), width=64, batch=256, joint=True, target=2.5),
    Case("h2", "local critics", agents=50, inputs=6 + 21, width=64, batch=256, joint=False, target=4.0),
)


@dataclass(frozen=True)
class Data:
    """Batches of transitions, leading axes (agents, batch)."""

    inputs: Tensor
    next_inputs: Tensor
    rewards: Tensor
    discounts: Tensor


def draw(case: Case, dtype: torch.dtype = torch.float32) -> list[Data]:
    """Return batches of random transitions."""
    generator = torch.Generator().manual_seed(0)

    def uniform(*shape: int) -> Tensor:
        return torch.rand(*shape, generator=generator, dtype=torch.float64).to(dtype)

    def inputs() -> Tensor:
        return uniform(1 if case.joint else case.agents, case.batch, case.inputs).expand(case.agents, -1, -1)

    each = (case.agents, case.batch)
    return [Data(inputs(), inputs(), uniform(*each), 0.99 * uniform(*each).round()) for _ in range(BATCHES)]


class Stack:
    """All critics in one `StackedMLP`, with one optimiser: the pieces of which every learner here is made."""

    def __init__(self, case: Case, dtype: torch.dtype = torch.float32) -> None:
        rng = np.random.default_rng(0)
        sizes = [case.inputs, case.width, case.width, 1]
        self.critics = StackedMLP(case.agents, sizes, lambda k: rng.random((case.agents, k))).to(dtype)
        self.targets = copy.deepcopy(self.critics).requires_grad_(False)
        self.optimiser = StackedAdam(self.critics.parameters(), LR)

    def update(self, data: Data) -> None:
        """Make one gradient step of every critic."""
        with torch.no_grad():
            aims = data.rewards + data.discounts * self.targets(data.next_inputs).squeeze(-1)
        losses = (self.critics(data.inputs).squeeze(-1) - aims).square().mean(-1)
        gradient_step(self.optimiser, self.critics, losses, MAX_NORM)
        polyak_update(self.targets, self.critics, TAU)

    def parameters_of(self, agent: int) -> list[Tensor]:
        """Return one critic's weights and biases, layer by layer, (in, out) and (out,)."""
        layers = zip(self.critics.weights, self.critics.biases, strict=True)
        return [values for w, b in layers for values in (w[agent].detach(), b[agent, 0].detach())]


class Loop:
    """A network and an optimiser for each agent; starts with a stack's parameters.

    Parameters
    ----------
    stack : Stack
        Where the parameters come from.
    fused : bool
        Whether Adam is PyTorch's fused one, or the one it takes if nothing is said.
    """

    def __init__(self, stack: Stack, fused: bool) -> None:
        self.critics: list[nn.Sequential] = []
        self.targets: list[nn.Module] = []
        self.optimisers: list[torch.optim.Adam] = []
        for agent in range(stack.critics.members):
            values = stack.parameters_of(agent)
            layers: list[nn.Module] = []
            for weight, bias in zip(values[::2], values[1::2], strict=True):
                linear = nn.Linear(*weight.shape, dtype=weight.dtype)
                with torch.no_grad():
                    linear.weight.copy_(weight.T)
                    linear.bias.copy_(bias)
                layers += [linear, nn.ReLU()]
            critic = nn.Sequential(*layers[:-1])
            self.critics.append(critic)
            self.targets.append(copy.deepcopy(critic).requires_grad_(False))
            self.optimisers.append(torch.optim.Adam(critic.parameters(), lr=LR, fused=fused or None))

    def update(self, data: Data) -> None:
        """Make one gradient step of every critic, one after the other."""
        for i, (critic, target, optimiser) in enumerate(zip(self.critics, self.targets, self.optimisers, strict=True)):
            with torch.no_grad():
                aims = data.rewards[i] + data.discounts[i] * target(data.next_inputs[i]).squeeze(-1)
            loss = nn.functional.mse_loss(critic(data.inputs[i]).squeeze(-1), aims)
            optimiser.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(critic.parameters(), MAX_NORM)
            optimiser.step()
            with torch.no_grad():
                torch._foreach_lerp_(list(target.parameters()), list(critic.parameters()), TAU)

    def parameters_of(self, agent: int) -> list[Tensor]:
        """Return one critic's weights and biases as `Stack` does."""
        return [p.detach().T if p.dim() == 2 else p.detach() for p in self.critics[agent].parameters()]


def assert_agreement(case: Case) -> None:
    """Refuse to compare what does not compute the same, in double precision so that rounding does not count."""
    data = draw(case, torch.float64)
    stack = Stack(case, torch.float64)
    loops = [Loop(stack, fused) for fused in (False, True)]
    before = [values.clone() for values in stack.parameters_of(0)]
    for step in range(CHECKED):
        for side in (stack, *loops):
            side.update(data[step % BATCHES])
    moved = max(float((a - b).abs().max()) for a, b in zip(before, stack.parameters_of(0), strict=True))
    if not moved > 1e3 * AGREEMENT:
        raise AssertionError("the critics have not learnt anything: agreement would say nothing")
    for loop in loops:
        for agent in range(case.agents):
            for ours, theirs in zip(stack.parameters_of(agent), loop.parameters_of(agent), strict=True):
                torch.testing.assert_close(theirs, ours, rtol=0.0, atol=AGREEMENT)


def products(case: Case) -> Run:
    """Return a loop over nothing but the matrix products of an update of the stack."""
    data = draw(case)[0]
    layers = [(case.inputs, case.width), (case.width, case.width), (case.width, 1)]
    weights = [torch.rand(case.agents, *shape) for shape in layers]
    inputs = [data.inputs, *(torch.rand(case.agents, case.batch, n) for n, _ in layers[1:])]
    outputs = [torch.rand(case.agents, case.batch, n) for _, n in layers]

    @torch.no_grad()
    def run(steps: int) -> None:
        for _ in range(steps):
            for i, (x, weight, gradient) in enumerate(zip(inputs, weights, outputs, strict=True)):
                if weight.shape[2] == 1:  # a batched product with a column takes several times as long
                    torch.bmm(weight.mT, x.mT)
                    torch.bmm(weight.mT, x.mT)
                    torch.bmm(gradient.mT, x)
                    gradient * weight.mT
                    continue
                torch.bmm(x, weight)  # the targets
                torch.bmm(x, weight)
                torch.bmm(x.mT, gradient)
                if i:
                    torch.bmm(gradient, weight.mT)

    return run


def updates(side: Stack | Loop, data: list[Data]) -> Run:
    """Return a loop over updates."""

    def run(steps: int) -> None:
        for i in range(steps):
            side.update(data[i % BATCHES])

    return run


def stacked_critics(effort: Effort) -> list[Figure]:
    """Figures h: updates per second of a stack against those of a loop, of whichever Adam is faster in a loop."""
    figures = []
    for case in CASES:
        assert_agreement(case)
        data = draw(case)
        stack = Stack(case)
        sides = (Loop(stack, fused=False), Loop(stack, fused=True), stack)
        runs = [*(updates(side, data) for side in sides), products(case)]
        plain, fused, ours, arithmetic = interleave(runs, effort)
        rival = min(plain, fused, key=micro)
        share = micro(arithmetic) / micro(ours)
        figures.append(
            Figure(
                key=case.key,
                title=f"update of {case.agents} {case.name} in one stack against a loop over agents, width "
                f"{case.width}, batch {case.batch}, updates/s",
                unit="×",
                target=case.target,
                values=ratios(rival, ours),
                absolute={
                    "stack [µs]": micro(ours),
                    "loop, fused Adam [µs]": micro(fused),
                    "loop, usual Adam [µs]": micro(plain),
                    "matrix products of the stack alone [µs]": micro(arithmetic),
                },
                note=f"{share:.0%} of the stack's time are its matrix products, of which the loop has as many.",
            )
        )
    return figures
