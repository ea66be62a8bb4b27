"""The published diffusion SAC as its code behaves, for reproduction: see `diffusion_sac` for what to use.

Du, Li, Niyato, Kang, Xiong, Huang and Mao, "Diffusion-based reinforcement learning for edge-enabled AI-generated
content services" (2024), as their public code has it. What sets it apart from a soft actor-critic:

- The predicted noise goes through a tanh. With the published schedule the chain multiplies what it begins with by 12.5,
  and the network can move the logits by 17.5 at most: policies are nearly one-hot, whichever way the noise has it, and
  the temperature has next to no effect.
- The entropy is that of π(·|s, noise); the policy that is played is the mean over the noise.
- The critics' target has no entropy in it: Σ π'(a|s') min Q'(s', a), with a target actor that follows like the critics.
- The temperature stays what it is, gradients are not clipped, all weights decay, and nothing warms up.
- The chain is noisy in evaluation too, the likeliest of the resulting actions is played. Here the noise of evaluation
  is a function of the seed, the observation and its place in the batch: evaluation is repeatable and takes nothing from
  the streams of training, and different steps and markets have independent noise wherever they look different.

The published code makes an update at every step, of 512 transitions and networks of width 256: ``agent=
diffusion_sac_ref/paper``, some 5 steps a second on a core. The defaults behave alike and are affordable.
One thing is as in all agents here and not as there: a truncated episode bootstraps from its last observation.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from ioa_marl.agents.base import AgentContext, State
from ioa_marl.agents.common.soft_actor_critic import SoftLearner
from ioa_marl.agents.common.streams import Streams
from ioa_marl.agents.learners.diffusion_sac import ChainAgent, ChainConfig, ChainLearner
from ioa_marl.agents.networks.optimiser import StackedAdam
from ioa_marl.agents.networks.softmax import softmax
from ioa_marl.agents.networks.stacked import polyak_update
from ioa_marl.agents.replay.buffers import Batch
from ioa_marl.envs.core import Role
from ioa_marl.foundations.parameters import check_number


@dataclass(frozen=True)
class DiffusionSACRefConfig(ChainConfig):
    """Hyper-parameters of the published diffusion SAC; its sizes are in the preset ``paper``."""

    actor_lr: float = 1e-4
    """Learning rate of the actor."""
    gamma: float = 0.95
    """Discount per action."""
    n_step: int = 3
    """Actions whose rewards are summed before the value is bootstrapped."""
    tau: float = 0.005
    """Share of the networks that their targets take over at each update."""
    learning_starts: int = 0
    """Environment steps before the first update."""
    alpha_start: float = 0.05
    """Entropy temperature α at the beginning, in units of scaled reward."""
    alpha_end: float = 0.05
    """Entropy temperature at the end; the published one is constant."""
    reward_scale: float = 1.0
    """Factor of all rewards."""
    max_grad_norm: float = 1e30
    """Largest norm of a member's gradient; the published ones are not clipped."""
    activation: str = "mish"
    """Between layers of actor and critics: relu, silu or mish, which is the slowest."""
    weight_decay: float = 1e-4
    """Share of the parameters in their gradients."""

    def __post_init__(self) -> None:
        """Refuse what cannot be trained with."""
        super().__post_init__()
        check_number(self, "weight_decay", low=0.0)


class DiffusionSACRefLearner(ChainLearner):
    """A chain whose predicted noise is bounded, with a target of its own."""

    bound = None

    def __init__(self, context: AgentContext, config: Any, role: Role) -> None:
        super().__init__(context, config, role)
        self.target_actor = copy.deepcopy(self.actor).requires_grad_(False)
        self.actor_optimiser = StackedAdam(self.actor.parameters(), config.actor_lr, weight_decay=config.weight_decay)
        self.critic_optimiser = StackedAdam(
            self.critics.parameters(), config.critic_lr, weight_decay=config.weight_decay
        )
        self.evaluation = Streams(context.seeds, context.stream_offset(role) + 5)

    def resting_noise(self, observations: Tensor) -> Tensor:
        """Return the noise of evaluation, a function of what is seen."""
        seen = observations.numpy(force=True).reshape(self.members.seeds, -1, self.features)
        steps, width = self.config.denoising_steps, self.heads.width
        noise = torch.from_numpy(self.evaluation.normal_of(seen, steps * width)).to(self.device)
        return noise.reshape(self.members.count, -1, steps, width).transpose(1, 2).contiguous()

    def next_values(self, batch: Batch, alpha: float) -> Tensor:
        """Return what the targets hold the next observations to be worth, (members, batch); no entropy."""
        noise = self.drawn(self.noise, batch.next_observations.shape[1])
        pi = softmax(self.heads.logits(self.target_actor(batch.next_observations, noise)))
        return self.heads.weighted(pi, self.values(self.targets, batch.next_observations).min(dim=1).values)

    def update(self, alpha: float) -> dict[str, Tensor]:
        """Make one gradient step of critics and actor; returns figures (seeds,)."""
        figures = super().update(alpha)
        polyak_update(self.target_actor, self.actor, self.config.tau)
        return figures

    def state(self, seed_index: int) -> State:
        """Return everything of one seed."""
        rows = self.members.rows(seed_index)
        return {**super().state(seed_index), "target_actor": self.target_actor.member_state(rows)}

    def load_state(self, seed_index: int, state: State) -> None:
        """Set everything of one seed."""
        super().load_state(seed_index, state)
        self.target_actor.load_member_state(self.members.rows(seed_index), state["target_actor"])


class DiffusionSACRefAgent(ChainAgent):
    """The published diffusion SAC: it plays roles of a single agent."""

    config_class: ClassVar[type[Any]] = DiffusionSACRefConfig
    learner_class: ClassVar[type[SoftLearner]] = DiffusionSACRefLearner
    single_agent: ClassVar[bool] = True
    version: ClassVar[int] = 2
