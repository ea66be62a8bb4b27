"""The learners that are tested on the probes: each has an entry in `LEARNERS`, whose flags select its tests."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from typing import Any

import numpy as np
import pytest
import torch

from ioa_marl.agents.base import Agent, action_heads
from ioa_marl.agents.learners.diffusion_sac import DiffusionSACAgent, DiffusionSACConfig
from ioa_marl.agents.learners.independent_ac import IndependentACAgent
from ioa_marl.agents.learners.maddpg import MADDPGAgent
from ioa_marl.agents.learners.mappo import MAPPOAgent, MAPPOConfig
from ioa_marl.agents.learners.mean_field_ac import MeanFieldACAgent
from ioa_marl.agents.learners.ppo import PPOAgent, PPOConfig
from ioa_marl.agents.learners.sac import SACAgent, SACConfig
from ioa_marl.agents.replay.joint_views import View

GAMMA = 0.8
"""Discount of every learner in the probes."""


@dataclass(frozen=True)
class Learner:
    """A learner, its settings in the probes, and the properties by which its tests are selected."""

    agent: type[Agent]
    """Its class."""
    config: Any
    """Its hyper-parameters in the probes, with which it learns fast and is nearly greedy."""
    enough: int
    """Steps of the eight markets after which its values have converged."""
    soon: int
    """Steps after which it chooses the right action."""
    values: Callable[..., np.ndarray]
    """``values(session, observations, role)`` returns the agents' values of the observations (n, features), which all
    agents of the role have. Action values are (seeds, agents, n, critics, actions), where the outcomes of the first
    head vary slowest and the other agents take their best actions. Values of the policy are (seeds, agents, n)."""
    bazaar: Mapping[str, Any]
    """Hyper-parameters for `sessions.bazaar`, with which the replay buffer is soon full."""
    changes: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """Hyper-parameters by the name of the probe; also ``num_envs``, ``enough``, ``soon``, ``budget``."""
    action_values: bool = False
    """Whether it learns values of actions rather than of its policy."""
    on_policy: bool = False
    """Whether it learns from rollouts."""
    stacked: bool = False
    """Whether all seeds and agents are one stack of networks."""
    soft: bool = False
    """Whether it is a discrete soft actor-critic, which adds the entropy to the reward."""
    noisy: bool = False
    """Whether the logits of its actor are random."""
    exploring: Mapping[str, Any] = field(default_factory=dict)
    """Hyper-parameters with which it explores uniformly all the time."""
    one_step: Mapping[str, Any] = field(default_factory=dict)
    """Hyper-parameters with which it bootstraps after each action."""
    long_returns: Mapping[str, Any] = field(default_factory=dict)
    """Hyper-parameters with which it learns from the rewards of several steps."""
    bidder: bool = False
    """Whether settings are known with which it learns in seconds to bid in a sealed-bid auction."""
    auctioneer: bool = False
    """Whether settings are known with which it learns in seconds to hold the smallest double Dutch auction."""
    joint_values: Callable[..., np.ndarray] | None = None
    """``joint_values(session, observations, actions, role)`` of a critic with the inputs of several agents returns its
    values of observations {role: (n, agents, features)} and actions {role: (n, agents[, heads])}. They are (seeds,
    agents, n, critics), or (seeds, agents, n) if it has no action values."""

    @property
    def centralised(self) -> bool:
        """Whether its critic uses the observations of other agents, and their actions if it has action values."""
        return self.agent.centralised_critic

    @property
    def n_step(self) -> bool:
        """Whether it can sum the rewards of several steps."""
        return "n_step" in {f.name for f in fields(self.config)}


def soft_values(session, observations, role):
    """Return the values of twin critics of the own observation, summed over the heads."""
    stack = session.stack(role)
    seen = torch.as_tensor(np.asarray(observations, np.float32))
    with torch.no_grad():
        found = stack.values(stack.critics, seen.expand(stack.members.count, -1, -1))
    heads = action_heads(stack.role.action_space)
    whole = found[..., 0, : heads[0]]
    for h, outcomes in list(enumerate(heads))[1:]:
        whole = (whole[..., :, None] + found[..., None, h, :outcomes]).flatten(-2)
    return whole.unflatten(0, (len(session.seeds), -1)).transpose(2, 3).numpy()


def sb3_values(session, observations, role):
    """Return the values of the value network of every seed."""
    seen = np.asarray(observations, np.float32)
    out = []
    for learner in session.learners(role):
        each = np.repeat(seen[:, None], learner.role.count, axis=1)
        with torch.no_grad():
            found = learner.ppo.policy.predict_values(torch.as_tensor(learner._inputs(each)))
        out.append(found.reshape(len(seen), -1).T)
    return np.stack(out)


def state_values(session, observations, role):
    """Return the values of the state in which all agents of the role have the same observation, and others have 0.5."""
    seen = np.asarray(observations, np.float32)
    count = session.game.game.roles[role].count
    return state_joint_values(session, {role: np.repeat(seen[:, None], count, axis=1)}, {}, role)


def state_joint_values(session, observations, actions, role):
    """Return the values of the state, (seeds, agents, n). In the probes the state is the observations of all agents."""
    roles, n, stack = session.game.game.roles, len(observations[role]), session.stack(role)
    everybody = {
        name: np.asarray(observations.get(name, np.full((n, r.count, *r.observation_space.shape), 0.5)), np.float32)
        for name, r in roles.items()
    }
    state = torch.as_tensor(np.concatenate([seen.reshape(n, -1) for seen in everybody.values()], axis=1))
    own = torch.as_tensor(everybody[role]).transpose(0, 1).repeat(len(session.seeds), 1, 1)
    with torch.no_grad():
        found = stack.values(state.expand(len(session.seeds), -1, -1), own, torch.arange(n).expand(len(own), -1))
    return found.unflatten(0, (len(session.seeds), -1)).numpy()


def _view(session, observations, actions, active):
    """Return a view of {role: (n, agents, features)}, {role: (seeds, n, agents[, heads])}, {role: bool (n, agents)}."""
    agent, seeds = session.agent, len(session.seeds)
    seen, done = {}, {}
    for name in agent.roles:
        x = torch.from_numpy(np.array(observations[name], np.float32))
        seen[name] = x.expand(seeds, *x.shape)
        shape = seen[name].shape[:-1]
        taken = torch.as_tensor(np.ascontiguousarray(actions[name])).reshape(*shape, -1)
        done[name] = agent._codes[name](taken, torch.as_tensor(active[name]).expand(shape))
    return View(seen, done)


def _critic_values(session, view, own, role):
    """Return the values of a role's critics for a view, (seeds, agents, n, critics)."""
    learner = session.agent._learners[role]
    with torch.no_grad():
        found = learner.values(learner.critics, learner.critic_inputs(view, own, None))
    return found.unflatten(0, (len(session.seeds), -1)).transpose(2, 3).numpy()


def actor_critic_joint_values(session, observations, actions, role):
    """Return the values of critics of joint actions; an independent critic uses only its own part of them."""
    everybody = {name: np.ones(seen.shape[:2], np.bool_) for name, seen in observations.items()}
    of_every_seed = {name: np.broadcast_to(done, (len(session.seeds), *done.shape)) for name, done in actions.items()}
    return _critic_values(session, _view(session, observations, of_every_seed, everybody), None, role)


def actor_critic_values(session, observations, role):
    """Return the critics' values of each own action; the other agents that act take their best actions."""
    agent, n = session.agent, len(observations)
    seen, done, active = {}, {}, {}
    for name, it in agent.roles.items():
        given = np.asarray(observations, np.float32)[:, None] if name == role else np.float32(0.5)
        seen[name] = np.broadcast_to(given, (n, it.count, *it.observation_space.shape))
        done[name] = session.best_actions(seen[name], name)
        active[name] = np.ones((n, it.count), np.bool_)
    active[role] = session.game.game.active_when(observations, agent.roles[role].count)
    view = _view(session, seen, done, active)
    learner = agent._learners[role]
    out = []
    for joint in np.ndindex(*learner.heads.sizes):
        own = learner.heads.one_hot(torch.tensor(joint)).expand(learner.members.count, n, -1)
        out.append(_critic_values(session, view, own, role))
    return np.stack(out, axis=-1)


PAIR = {"critic_lr": 5e-3, "tau": 1.0, "batch_size": 128, "width": 32}
"""Hyper-parameters for critics in `Pair`, whose reward is noisy for a critic that has only one agent's inputs."""
MANY = {"num_envs": 32, "update_every": 32, "learning_starts": 256, "batch_size": 256}
"""Hyper-parameters for probes with very noisy rewards: more markets, and larger batches."""
ACTOR_CRITIC = {
    "width": 32, "actor_lr": 3e-3, "critic_lr": 5e-3, "gamma": GAMMA, "n_step": 1, "tau": 0.1, "batch_size": 64,
    "update_every": 8, "learning_starts": 64, "temperature": 2.0, "entropy_start": 0.2, "entropy_end": 0.2,
    "epsilon_start": 0.5, "epsilon_end": 0.5, "reward_scale": 1.0,
}  # fmt: skip
"""Hyper-parameters of the actor–critics in the probes: one update per step of the eight markets."""


def actor_critic(agent, **flags):
    """Return the entry of an actor–critic with a replay buffer of joint steps."""
    return Learner(
        agent=agent,
        config=agent.config_class(**ACTOR_CRITIC),
        enough=250,
        soon=100,
        values=actor_critic_values,
        joint_values=actor_critic_joint_values,
        bazaar={"n_step": 3, "buffer_size": 64, "entropy_end": 0.01, "epsilon_end": 0.1},
        changes={
            "target": {"soon": 200},
            "pair": {"batch_size": 128, "entropy_start": 0.3, "entropy_end": 0.3},
            "hand_over": {"batch_size": 128, "entropy_start": 0.3, "entropy_end": 0.3},
            # the reward of an action comes while its agent waits, and no observation predicts it
            "turns": {
                "enough": 200,
                "n_step": 2,
                "actor_lr": 2e-3,
                "batch_size": 128,
                "entropy_start": 0.1,
                "entropy_end": 0.1,
            },
            # the gradient of sampled actions is too noisy for bids with nearly equal values
            "bidding": {
                **MANY,
                "enough": 300,
                "actor_gradient": "expected",
                "entropy_start": 0.02,
                "entropy_end": 0.02,
                "critic_lr": 3e-3,
            },
            "double_dutch": {
                **MANY,
                "budget": 600,
                "enough": 600,
                "gamma": 1.0,
                "n_step": 3,
                "width": 64,
                "actor_gradient": "expected",
                "entropy_start": 1.0,
                "entropy_end": 0.02,
                "actor_lr": 3e-3,
                "critic_lr": 3e-3,
                "epsilon_end": 0.05,
            },
        },
        action_values=True,
        stacked=True,
        exploring={"epsilon_start": 1.0, "epsilon_end": 1.0},
        one_step={"n_step": 1},
        long_returns={"n_step": 3, "epsilon_start": 0.2, "epsilon_end": 0.2},
        **flags,
    )


LEARNERS = {
    "sac": Learner(
        agent=SACAgent,
        # one update per step of the eight markets
        config=SACConfig(
            width=16, actor_lr=1e-2, critic_lr=1e-2, gamma=GAMMA, n_step=1, tau=0.1, batch_size=32, update_every=8,
            learning_starts=64, alpha_start=1e-3, alpha_end=1e-3, reward_scale=1.0,
        ),
        enough=250,
        soon=150,
        values=soft_values,
        bazaar={"n_step": 3, "buffer_size": 64, "alpha_start": 0.2},
        changes={
            "target": {"alpha_start": 0.1, "alpha_end": 0.1},
            "chain": {"enough": 400},
            "pair": {**PAIR, "enough": 400, "alpha_start": 0.1, "alpha_end": 0.1},
            "hand_over": {"enough": 400, "alpha_start": 0.1, "alpha_end": 0.1},
            "bidding": {**MANY, "enough": 400, "alpha_start": 0.02, "alpha_end": 0.02},
            "double_dutch": {
                **MANY, "budget": 900, "enough": 600, "gamma": 1.0, "n_step": 3, "width": 64, "alpha_start": 1.0,
                "alpha_end": 0.02, "actor_lr": 3e-3, "critic_lr": 3e-3,
            },
        },
        action_values=True,
        stacked=True,
        soft=True,
        bidder=True,
        auctioneer=True,
        exploring={"alpha_start": 10.0, "alpha_end": 10.0},
        one_step={"n_step": 1},
        long_returns={"n_step": 3},
    ),
    "diffusion_sac": Learner(
        agent=DiffusionSACAgent,
        # a chain that learns as fast as the other actors gives up rare actions for good
        config=DiffusionSACConfig(
            width=16, actor_lr=3e-3, critic_lr=1e-2, gamma=GAMMA, n_step=1, tau=0.1, batch_size=32, update_every=8,
            learning_starts=64, alpha_start=1e-3, alpha_end=1e-3, reward_scale=1.0, denoising_steps=3,
        ),
        enough=300,
        soon=250,
        values=soft_values,
        bazaar={"n_step": 3, "buffer_size": 64, "alpha_start": 0.2},
        changes={
            "target": {"soon": 350, "alpha_start": 0.1, "alpha_end": 0.1},
            "pair": {**PAIR, "enough": 400, "alpha_start": 0.1, "alpha_end": 0.1},
            "hand_over": {"alpha_start": 0.1, "alpha_end": 0.1, "width": 32, "enough": 1000},
            "bidding": {**MANY, "enough": 450, "width": 32, "alpha_start": 0.03, "alpha_end": 0.03},
        },
        action_values=True,
        stacked=True,
        soft=True,
        noisy=True,
        bidder=True,
        exploring={"alpha_start": 10.0, "alpha_end": 10.0},
        one_step={"n_step": 1},
        long_returns={"n_step": 3},
    ),
    "ppo": Learner(
        agent=PPOAgent,
        config=PPOConfig(
            learning_rate=1e-2, rollout_size=64, batch_size=64, n_epochs=8, gamma=GAMMA, hidden=(16,),
            max_grad_norm=10.0,
        ),
        enough=120,
        soon=96,
        values=sb3_values,
        bazaar={"rollout_size": 40, "batch_size": 16, "n_epochs": 2, "normalize_advantage": True},
        changes={
            "target": {"ent_coef": 0.01},
            "pair": {"enough": 160},
            "hand_over": {"enough": 160, "ent_coef": 0.1, "ent_coef_end": 0.1},
            "double_dutch": {
                "num_envs": 64, "enough": 640, "gamma": 1.0, "gae_lambda": 1.0, "rollout_size": 1024,
                "batch_size": 256, "n_epochs": 4, "hidden": (64,), "learning_rate": 3e-3, "ent_coef": 0.1,
            },
            "crowd": {"rollout_size": 192, "batch_size": 192},
            "turns": {"num_envs": 16, "rollout_size": 128, "batch_size": 128},
        },
        on_policy=True,
        auctioneer=True,
        one_step={"gae_lambda": 0.0},
        long_returns={"gae_lambda": 1.0},
    ),
    "mappo": Learner(
        agent=MAPPOAgent,
        config=MAPPOConfig(
            width=16, depth=1, actor_lr=1e-2, critic_lr=1e-2, rollout_size=64, minibatches=1, n_epochs=8, gamma=GAMMA,
            ent_coef_start=1e-3, ent_coef_end=1e-3, max_grad_norm=10.0,
        ),
        enough=120,
        soon=96,
        values=state_values,
        bazaar={"rollout_size": 40, "minibatches": 3, "n_epochs": 2, "ent_coef_start": 0.1},
        changes={
            "target": {"ent_coef_start": 0.01, "ent_coef_end": 0.01},
            "turns": {"num_envs": 16, "rollout_size": 256},
            "bidding": {
                "num_envs": 64, "budget": 320, "enough": 320, "rollout_size": 512, "width": 32, "actor_lr": 5e-3,
                "ent_coef_start": 0.05, "ent_coef_end": 0.005,
            },
            "double_dutch": {
                "num_envs": 64, "budget": 800, "enough": 800, "gamma": 1.0, "gae_lambda": 0.95, "rollout_size": 1024,
                "minibatches": 4, "n_epochs": 4, "width": 64, "actor_lr": 3e-3, "ent_coef_start": 0.5,
                "ent_coef_end": 0.01,
            },
            # at first half of the doors are passed, and only further exploration improves on this
            "hand_over": {"ent_coef_start": 0.5, "ent_coef_end": 0.5, "enough": 180},
        },
        on_policy=True,
        stacked=True,
        bidder=True,
        auctioneer=True,
        joint_values=state_joint_values,
        one_step={"gae_lambda": 0.0},
        long_returns={"gae_lambda": 1.0},
    ),
    "maddpg": actor_critic(MADDPGAgent),
    "mean_field_ac": actor_critic(MeanFieldACAgent),
    "independent_ac": actor_critic(IndependentACAgent, bidder=True, auctioneer=True),  # alone, all three are the same
}  # fmt: skip
"""By registry name."""


def names(**flags):
    """Return the names of the learners with these flags."""
    return [name for name, it in LEARNERS.items() if all(getattr(it, key) == value for key, value in flags.items())]


SLOW = ("diffusion_sac",)
"""Learners whose trainings take several times as long as those of the others: they are in the slow tier."""


def tiered(learners):
    """Return the names as parameters, those of slow learners marked."""
    return [pytest.param(name, marks=pytest.mark.slow) if name in SLOW else name for name in learners]


def every(**flags):
    """Parametrise a test over the learners with these flags."""
    return pytest.mark.parametrize("learner", tiered(names(**flags)))
