"""Settings of the actor–critics for discrete actions, and the schedules of their entropy weight and exploration."""

from __future__ import annotations

from dataclasses import dataclass

from ioa_marl.agents.common.members import MAX_SEPARATE_AGENTS
from ioa_marl.agents.common.schedules import geometric, linear
from ioa_marl.foundations.parameters import check_number, require

ACTOR_GRADIENTS = ("straight_through", "expected")


@dataclass(frozen=True)
class ActorCriticConfig:
    """Hyper-parameters of an actor–critic."""

    width: int = 64
    """Units of each hidden layer."""
    depth: int = 2
    """Hidden layers."""
    actor_lr: float = 1e-3
    """Learning rate of the actors."""
    critic_lr: float = 1e-3
    """Learning rate of the critics."""
    gamma: float = 0.99
    """Discount per decision of the agent."""
    n_step: int = 5
    """Number of environment steps whose rewards are summed before the critic bootstraps. It should cover the delay
    between an action and its reward, unless the observations in between show the effect of the action."""
    tau: float = 0.01
    """Step τ of the Polyak averaging of the target actors and target critics at each update."""
    batch_size: int = 128
    """Number of sampled market steps per update. Every agent learns from each of them."""
    agents_per_row: int = 8
    """Number of agents from which a shared network learns at each of these steps."""
    buffer_size: int = 100_000
    """Capacity of the replay buffer [market steps]; at most the budget is used."""
    update_every: int = 16
    """Number of environment steps per update."""
    learning_starts: int = 1000
    """Number of environment steps before the first update."""
    twin_critics: bool = False
    """Whether each actor has two critics, of which the smaller value is used."""
    share_above: int = MAX_SEPARATE_AGENTS
    """Largest number of agents of a role that have networks of their own; a larger role shares one network."""
    actor_gradient: str = "straight_through"
    """Estimator of the actor's gradient. ``straight_through`` samples an action whose gradient is that of a softmax
    with Gumbel noise. ``expected`` takes the mean of the critic's value over all outcomes of each head, which needs no
    gradient of the critic in the action."""
    temperature: float = 1.0
    """Temperature of the softmax that gives the sampled actions their gradient."""
    logit_penalty: float = 1e-3
    """Weight of the mean squared logit in the actor's loss."""
    entropy_start: float = 0.05
    """Weight of the policy's entropy in the actor's loss at the beginning, in units of scaled reward; 0 for none."""
    entropy_end: float = 0.005
    """Weight of the entropy at the end, in units of scaled reward."""
    entropy_fraction: float = 0.8
    """Fraction of the budget over which the weight of the entropy falls geometrically."""
    epsilon_start: float = 0.2
    """Probability of a uniformly random outcome of each head at the beginning of training."""
    epsilon_end: float = 0.02
    """Probability of a uniformly random outcome at the end."""
    epsilon_fraction: float = 0.5
    """Fraction of the budget over which this probability falls linearly."""
    reward_scale: float = 0.1
    """Factor by which all rewards are multiplied."""
    max_grad_norm: float = 10.0
    """Largest norm of the gradient of one network."""

    def __post_init__(self) -> None:
        """Refuse values with which no training is possible."""
        for name in ("actor_lr", "critic_lr", "temperature", "reward_scale", "max_grad_norm"):
            check_number(self, name, low=0.0, open_low=True)
        for name in ("logit_penalty", "entropy_start", "entropy_end"):
            check_number(self, name, low=0.0)
        for name in ("gamma", "tau", "entropy_fraction", "epsilon_start", "epsilon_end", "epsilon_fraction"):
            check_number(self, name, low=0.0, high=1.0)
        for name, high in (
            ("width", 65536), ("depth", 64), ("n_step", 10_000), ("batch_size", 10**6), ("agents_per_row", 10**6),
            ("buffer_size", 10**8), ("update_every", 10**9), ("share_above", 10**6),
        ):  # fmt: skip
            check_number(self, name, low=1, high=high)
        check_number(self, "learning_starts", low=0)
        require(
            self.actor_gradient in ACTOR_GRADIENTS, "actor_gradient", self.actor_gradient, " or ".join(ACTOR_GRADIENTS)
        )
        require(
            (self.entropy_start > 0) == (self.entropy_end > 0),
            "entropy_end", self.entropy_end, "above 0 where entropy_start is, and 0 where it is 0",
        )  # fmt: skip

    def entropy_weight(self, progress: float) -> float:
        """Return the weight of the entropy [scaled reward per nat] when a fraction ``progress`` of training is over."""
        if self.entropy_start == 0:
            return 0.0
        return geometric(self.entropy_start, self.entropy_end, self.entropy_fraction, progress)

    def epsilon(self, progress: float) -> float:
        """Return the probability of a random outcome when a fraction ``progress`` of training is over."""
        return linear(self.epsilon_start, self.epsilon_end, self.epsilon_fraction, progress)
