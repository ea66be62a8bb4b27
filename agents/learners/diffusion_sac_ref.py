"""The published diffusion SAC with the behaviour of its code, for reproduction; otherwise use `diffusion_sac`.

Du, Li, Niyato, Kang, Xiong, Huang and Mao, "Diffusion-based reinforcement learning for edge-enabled AI-generated
content services" (2024). Their public code differs from a soft actor-critic in these points:

- The predicted noise passes through a tanh. With the published schedule, the chain multiplies its initial noise by
  12.5, and the network can change the logits by 17.5 at most. Policies are therefore nearly one-hot in a direction that
  the noise decides, and the temperature has almost no effect.
- The entropy is that of π(·|s, noise), whereas the policy is the mean of this over the noise.
- The critics' target is Σ_a π'(a|s') min_k Q'_k(s', a), without entropy and with a target actor π'.
- The temperature is constant, gradients are not clipped, all weights decay, and there is no warm-up.
- The chain has noise in evaluation as well, and the most likely of the resulting actions is played. Here this noise is
  a function of the seed, the observation and its row in the batch. Evaluation is therefore repeatable and does not
  change the random streams of training, and different observations have independent noise.

The published code makes an update of 512 transitions at every step, with networks of width 256. The preset
``agent=diffusion_sac_ref/paper`` does the same, at about 5 steps per second on one core. The defaults need less time
and behave similarly. In one point this agent follows the other agents here and not the published code: a truncated
episode bootstraps from its last observation.
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
    """Hyper-parameters of the published diffusion SAC. The preset ``paper`` has the published sizes."""

    actor_lr: float = 1e-4
    """Learning rate of the actor."""
    gamma: float = 0.95
    """Discount per action."""
    n_step: int = 3
    """Number of actions whose rewards are summed before the critic bootstraps."""
    tau: float = 0.005
    """Step τ of the Polyak averaging of the target networks at each update."""
    learning_starts: int = 0
    """Number of environment steps before the first update."""
    alpha_start: float = 0.05
    """Entropy temperature α at the beginning [scaled reward per nat]."""
    alpha_end: float = 0.05
    """Entropy temperature at the end [scaled reward per nat]; the published one is constant."""
    reward_scale: float = 1.0
    """Factor by which all rewards are multiplied."""
    max_grad_norm: float = 1e30
    """Largest norm of the gradient of one network; the published code does not clip gradients."""
    activation: str = "mish"
    """Activation of actor and critics: ``relu``, ``silu`` or ``mish``. Mish is the slowest."""
    weight_decay: float = 1e-4
    """Factor with which the parameters are added to their gradients."""

    def __post_init__(self) -> None:
        """Refuse what cannot be trained with."""
        super().__post_init__()
        check_number(self, "weight_decay", low=0.0)


class DiffusionSACRefLearner(ChainLearner):
    """A soft actor-critic with a denoising chain whose predicted noise is bounded, and with a target actor."""

    bound = None

    def __init__(self, context: AgentContext, config: Any, role: Role) -> None:
        super().__init__(context, config, role)
        self.target_actor = copy.deepcopy(self.actor).requires_grad_(False)
        self.actor_optimiser = StackedAdam(self.actor.parameters(), config.actor_lr, weight_decay=config.weight_decay)
        self.critic_optimiser = StackedAdam(
            self.critics.parameters(), config.critic_lr, weight_decay=config.weight_decay
        )
        self.evaluation = Streams(context.seeds, context.stream_offset(role) + 5)

    def evaluation_noise(self, observations: Tensor) -> Tensor:
        """Return the noise in evaluation, which is a function of the observations.

        Parameters
        ----------
        observations : Tensor
            (members, batch, features).

        Returns
        -------
        Tensor
            float32 (members, steps, batch, logits).
        """
        inputs = observations.numpy(force=True).reshape(self.members.seeds, -1, self.features)
        steps, width = self.config.denoising_steps, self.heads.width
        noise = torch.from_numpy(self.evaluation.normal_of(inputs, steps * width)).to(self.device)
        return noise.reshape(self.members.count, -1, steps, width).transpose(1, 2).contiguous()

    def next_values(self, batch: Batch, alpha: float) -> Tensor:
        """Return V(s') = Σ_a π'(a|s') min_k Q'_k(s', a), (members, batch), in units of scaled reward."""
        noise = self.chain_noise(self.noise, batch.next_observations.shape[1])
        pi = softmax(self.heads.logits(self.target_actor(batch.next_observations, noise)))
        return self.heads.weighted(pi, self.values(self.targets, batch.next_observations).min(dim=1).values)

    def update(self, alpha: float) -> dict[str, Tensor]:
        """Make one gradient step of critics and actors, and move the target actor; see `SoftLearner.update`."""
        metrics = super().update(alpha)
        polyak_update(self.target_actor, self.actor, self.config.tau)
        return metrics

    def state(self, seed_index: int) -> State:
        """Return the complete state of one seed."""
        rows = self.members.rows(seed_index)
        return {**super().state(seed_index), "target_actor": self.target_actor.member_state(rows)}

    def load_state(self, seed_index: int, state: State) -> None:
        """Set the complete state of one seed."""
        super().load_state(seed_index, state)
        self.target_actor.load_member_state(self.members.rows(seed_index), state["target_actor"])


class DiffusionSACRefAgent(ChainAgent):
    """The published diffusion SAC; it plays only roles that consist of a single agent."""

    config_class: ClassVar[type[Any]] = DiffusionSACRefConfig
    learner_class: ClassVar[type[SoftLearner]] = DiffusionSACRefLearner
    single_agent: ClassVar[bool] = True
    version: ClassVar[int] = 2
