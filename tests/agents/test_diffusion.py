"""Denoising chains: their steps have a closed form, their stack is a loop over plain networks, and one of the two
agents follows its temperature."""

from __future__ import annotations

import copy
import dataclasses

import numpy as np
import pytest
import torch
from learners import GAMMA, LEARNERS, Learner, soft_values
from probes import Bandit, BanditConfig, Crowd, Target, TargetConfig
from scipy import stats
from sessions import Session, differing
from torch import nn

from ioa_marl.agents.base import check_playable
from ioa_marl.agents.common.streams import Streams
from ioa_marl.agents.learners.diffusion_sac import check_compiler
from ioa_marl.agents.learners.diffusion_sac_ref import DiffusionSACRefAgent, DiffusionSACRefConfig
from ioa_marl.agents.networks.diffusion import ACTIVATIONS, denoised, sinusoidal, variance_preserving
from ioa_marl.agents.replay.buffers import Batch
from ioa_marl.foundations.errors import UserError
from ioa_marl.foundations.parameters import ParameterError

BOTH = ("diffusion_sac", "diffusion_sac_ref")
both = pytest.mark.parametrize("learner", BOTH)


@pytest.fixture(autouse=True)
def published(monkeypatch):
    """The published agent plays single agents only, and is not among those that solve every probe."""
    config = DiffusionSACRefConfig(
        width=16, actor_lr=1e-2, critic_lr=1e-2, gamma=GAMMA, n_step=1, tau=0.1, batch_size=32, update_every=8,
        learning_starts=64,
    )  # fmt: skip
    monkeypatch.setitem(
        LEARNERS, "diffusion_sac_ref",
        Learner(DiffusionSACRefAgent, config, 400, 200, soft_values, {}, action_values=True, stacked=True, soft=True),
    )  # fmt: skip


@pytest.mark.parametrize("steps", [1, 5, 50])
def test_noise_that_is_left_at_the_end_of_the_chain_does_not_depend_on_its_steps(steps):
    """The mean noise rate is (0.1 + 10)/2: logits begin 12.5 times too large, whatever H is."""
    schedule = variance_preserving(steps, 0.1, 10.0)
    assert schedule.clean_from_noisy[-1] == pytest.approx(np.exp((0.1 + 10.0) / 4.0))
    assert schedule.deviation[0] == 0.0


@pytest.mark.parametrize("variance", [0.0, 0.4])
def test_chain_with_the_exact_noise_recovers_gaussian_data(variance):
    """Mean and variance of every step, where the noise to predict is known.

    Of x_t = √ᾱ x_0 + √(1−ᾱ) ε with x_0 normal, E[ε|x_t] is linear. The chain's variance lacks what x_t leaves open
    about x_0, times the estimate's weight squared; for data of one value nothing is lacking.
    """
    mean, steps = 1.7, 5
    schedule = variance_preserving(steps, 0.1, 10.0)
    bar = np.array([1.0, *(1.0 / np.square(schedule.clean_from_noisy))])
    for t in range(steps, 0, -1):
        spread = bar[t] * variance + 1.0 - bar[t]

        def step(x, t=t, spread=spread):
            x = torch.tensor(x, dtype=torch.float64)
            noise = np.sqrt(1.0 - bar[t]) * (x - np.sqrt(bar[t]) * mean) / spread
            after, deviation = denoised(schedule, t, x, noise, None)
            return float(after), deviation

        centre, deviation = step(np.sqrt(bar[t]) * mean)
        slope = step(1.0)[0] - step(0.0)[0]
        open_about_clean = variance * (1.0 - bar[t]) / spread
        lacking = schedule.mean_from_clean[t - 1] ** 2 * open_about_clean
        assert centre == pytest.approx(np.sqrt(bar[t - 1]) * mean)
        assert slope**2 * spread + deviation**2 + lacking == pytest.approx(bar[t - 1] * variance + 1.0 - bar[t - 1])


def test_estimate_of_the_clean_logits_is_bounded_smoothly():
    schedule = variance_preserving(5, 0.1, 10.0)
    x = torch.linspace(-100.0, 100.0, 2001)
    clean, _ = denoised(schedule, 1, x, torch.zeros_like(x), 5.0)
    assert clean.abs().max() <= 5.0
    small = x.abs() < 0.1
    assert torch.allclose(clean[small], x[small] * schedule.clean_from_noisy[0], atol=1e-3)


class PlainChain(nn.Module):
    """One member's chain as Du et al. write it: noisy logits, time and state side by side, in double precision."""

    def __init__(self, stack, member):
        super().__init__()
        actor, self.bound = stack.actor, stack.bound
        self.schedule, self.activation = actor.schedule, ACTIVATIONS[stack.config.activation]

        def layers(network):
            out = nn.ModuleList()
            for weight, bias in zip(network.weights, network.biases, strict=True):
                layer = nn.Linear(*weight.shape[1:], dtype=torch.float64)
                layer.weight.data = weight.detach()[member].T.double().clone()
                layer.bias.data = bias.detach()[member, 0].double().clone()
                out.append(layer)
            return out

        self.time, self.body = layers(actor.time), nn.ModuleList([*layers(actor.first), *layers(actor.rest)])

    def through(self, layers, x):
        for layer in layers[:-1]:
            x = self.activation(layer(x))
        return layers[-1](x)

    def forward(self, seen, noise):
        x, steps = noise[0], self.schedule.steps
        bars = 1.0 / np.square(self.schedule.clean_from_noisy)
        for k, t in enumerate(range(steps, 0, -1)):
            embedding = sinusoidal(steps)[t - 1].double().expand(len(seen), -1)
            predicted = self.through(self.body, torch.cat([x, self.through(self.time, embedding), seen], dim=1))
            predicted = torch.tanh(predicted) if self.bound is None else predicted
            bar, before = bars[t - 1], bars[t - 2] if t > 1 else 1.0
            clean = (x - np.sqrt(1.0 - bar) * predicted) / np.sqrt(bar)
            clean = clean if self.bound is None else self.bound * torch.tanh(clean / self.bound)
            beta = 1.0 - bar / before
            x = (np.sqrt(before) * beta * clean + np.sqrt(1.0 - beta) * (1.0 - before) * x) / (1.0 - bar)
            if t > 1:
                x = x + np.sqrt(beta * (1.0 - before) / (1.0 - bar)) * noise[k + 1]
        return x


class Looped:
    """One member of a learner, in plain PyTorch."""

    def __init__(self, stack, member, alpha):
        self.alpha, self.config, self.soft = alpha, stack.config, stack.bound is not None
        decay = getattr(stack.config, "weight_decay", 0.0)
        self.actor = PlainChain(stack, member)

        def critic(row):
            layers = []
            for weight, bias in zip(stack.critics.weights, stack.critics.biases, strict=True):
                layer = nn.Linear(*weight.shape[1:], dtype=torch.float64)
                layer.weight.data = weight.detach()[row].T.double().clone()
                layer.bias.data = bias.detach()[row, 0].double().clone()
                layers += [layer, {"relu": nn.ReLU, "mish": nn.Mish}[self.config.activation]()]
            return nn.Sequential(*layers[:-1])

        self.critics = nn.ModuleList([critic(2 * member + twin) for twin in (0, 1)])
        self.targets, self.target_actor = copy.deepcopy(self.critics), copy.deepcopy(self.actor)
        self.actor_optimiser = torch.optim.Adam(self.actor.parameters(), self.config.actor_lr, weight_decay=decay)
        self.critic_optimiser = torch.optim.Adam(self.critics.parameters(), self.config.critic_lr, weight_decay=decay)

    def update(self, batch, member, noise_after, noise_now):
        seen, after = batch.observations[member].double(), batch.next_observations[member].double()
        with torch.no_grad():
            least = torch.minimum(*(target(after) for target in self.targets))
            actor = self.actor if self.soft else self.target_actor
            policy = torch.distributions.Categorical(logits=actor(after, noise_after))
            worth = (policy.probs * least).sum(-1)
            worth = worth + self.alpha * policy.entropy() if self.soft else worth
            aim = batch.returns[member].double() + batch.discounts[member].double() * worth
        loss = sum(
            nn.functional.mse_loss(critic(seen).gather(1, batch.actions[member]).squeeze(1), aim)
            for critic in self.critics
        )
        self.critic_optimiser.zero_grad()
        loss.backward()
        for critic in self.critics:
            nn.utils.clip_grad_norm_(critic.parameters(), self.config.max_grad_norm)
        self.critic_optimiser.step()
        least = torch.minimum(*(critic(seen) for critic in self.critics)).detach()
        policy = torch.distributions.Categorical(logits=self.actor(seen, noise_now))
        loss = -((policy.probs * least).sum(-1) + self.alpha * policy.entropy()).mean()
        self.actor_optimiser.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(self.actor.parameters(), self.config.max_grad_norm)
        self.actor_optimiser.step()
        for target, source in ((self.targets, self.critics), (self.target_actor, self.actor)):
            for old, new in zip(target.parameters(), source.parameters(), strict=True):
                old.data += self.config.tau * (new.data - old.data)


@both
def test_stack_equals_a_loop_over_plain_networks(learner):
    """Fifty updates of three seeds' chains, critics and targets; the loop is in double precision."""
    session = Session(
        learner, Target, TargetConfig((3,), seen=True), learning_starts=10**9, alpha_start=0.1, alpha_end=0.1,
        actor_lr=1e-3, critic_lr=1e-3, max_grad_norm=0.5,
    ).run(40)  # fmt: skip
    stack = session.stack()
    loops = [Looped(stack, member, 0.1) for member in range(3)]
    for _ in range(50):
        before = stack.sampling.counters.copy(), stack.noise.counters.copy()
        batch = stack.buffer.sample(stack.sampling.uniform(1, stack.config.batch_size).reshape(3, -1))
        next_noise, noise = (stack.chain_noise(stack.noise, stack.config.batch_size).double() for _ in range(2))
        stack.sampling.counters[:], stack.noise.counters[:] = before
        stack.update(0.1)
        for member, loop in enumerate(loops):
            loop.update(batch, member, next_noise[member], noise[member])
    seen = torch.eye(3).expand(3, -1, -1)
    noise = stack.chain_noise(stack.noise, 3)
    with torch.no_grad():
        chains, values = stack.actor(seen, noise), stack.values(stack.critics, seen)[..., 0, :]
        for member, loop in enumerate(loops):
            x, z = seen[member].double(), noise[member].double()
            assert torch.allclose(chains[member].double(), loop.actor(x, z), rtol=0, atol=2e-5)
            for twin in (0, 1):
                assert torch.allclose(values[member, twin].double(), loop.critics[twin](x), rtol=0, atol=1e-6)
            plain = dict(loop.actor.named_parameters())
            assert torch.allclose(stack.actor.rest.weights[-1][member].T.double(), plain["body.2.weight"], atol=1e-6)
            if learner == "diffusion_sac_ref":
                target = stack.target_actor(seen, noise)[member].double()
                assert torch.allclose(target, loop.target_actor(x, z), rtol=0, atol=2e-5)


def variation_from_the_softmax(learner, alpha, updates):
    """Return the total variation between the policy that is played and softmax(rewards/α), (seeds,)."""
    config = BanditConfig()
    session = Session(
        learner, Bandit, config, alpha_start=alpha, alpha_end=alpha, learning_starts=10**9, actor_lr=1e-3,
        denoising_steps=5, width=32, batch_size=64,
    )  # fmt: skip
    stack = session.run(200).stack()
    for _ in range(updates):
        stack.update(alpha)
    with torch.no_grad():
        policy = stack.logits(torch.full((3, 4096, 1), 0.5)).softmax(-1)[:, :, 0].mean(1).double().numpy()
        metrics = [stack.entropy_of_policy(torch.full((3, 8, 1), 0.5)).numpy() for _ in range(30)]
    weights = np.exp(np.array(config.rewards) / alpha)
    entropy = -(policy * np.log(policy)).sum(1)
    np.testing.assert_allclose(np.mean(metrics, axis=0), entropy, atol=0.08, err_msg="what is logged")
    return 0.5 * np.abs(policy - weights / weights.sum()).sum(axis=1)


@pytest.mark.parametrize("alpha", [0.05, 0.5])
def test_policy_averaged_over_the_noise_is_the_softmax_of_known_rewards_over_the_temperature(alpha):
    variation = variation_from_the_softmax("diffusion_sac", alpha, 1000)
    assert np.all(variation < 0.03), variation


@pytest.mark.parametrize(("alpha", "how_many"), [(0.05, 1), (0.5, 3)])
def test_policy_of_the_published_code_is_not(alpha, how_many):
    """It is as greedy at either temperature: at the lower one a softmax over these rewards is nearly so too."""
    variation = variation_from_the_softmax("diffusion_sac_ref", alpha, 600)
    assert np.sum(variation > 0.1) >= how_many, variation


ARMS = np.linspace(0.0, 1.0, 20)


def trained_on_known_values(learner, alpha, updates=240):
    """Return what an actor whose critics are exact expects to be paid, (seeds,); the best arm pays 1."""
    config = BanditConfig(tuple(ARMS.tolist()))
    session = Session(learner, Bandit, config, width=32, batch_size=64, actor_lr=1e-3, denoising_steps=5)
    stack = session.stack()
    exact = torch.tensor(ARMS, dtype=torch.float32)
    stack.values = lambda network, seen: exact.expand(3, 2, seen.shape[1], 1, len(ARMS))
    seen = torch.full((3, 64, 1), 0.5)
    batch = Batch(seen, None, None, seen, None, torch.ones(3, 1))
    for _ in range(updates):
        stack._update_actor(batch, alpha)
    with torch.no_grad():
        policy = stack.logits(torch.full((3, 2048, 1), 0.5)).softmax(-1)[:, :, 0].mean(1).double().numpy()
    return policy @ ARMS


def best_soft(alpha):
    weights = np.exp(ARMS / alpha)
    return weights @ ARMS / weights.sum()


def test_chain_with_bounded_noise_saturates_whatever_the_temperature_and_one_with_bounded_logits_does_not():
    cold, warm = (trained_on_known_values("diffusion_sac", alpha) for alpha in (0.02, 0.5))
    assert np.all(cold > 0.98), cold
    np.testing.assert_allclose(warm, best_soft(0.5), atol=0.03)
    cold, warm = (trained_on_known_values("diffusion_sac_ref", alpha) for alpha in (0.02, 0.5))
    assert np.all(cold < 0.95), cold
    np.testing.assert_allclose(warm, cold, atol=0.05)
    assert np.all(warm > best_soft(0.5) + 0.1), "far from what the temperature asks for"


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_published_seed_trained_among_ten_equals_the_one_trained_alone_to_the_bit(activation):
    changes = {"n_step": 3, "batch_size": 9, "activation": activation}
    among, alone = (
        Session("diffusion_sac_ref", Target, TargetConfig((2, 3), True), seeds=seeds, num_envs=3, **changes).run(40)
        for seeds in (range(10), [9])
    )
    assert among.metrics
    assert differing(among.agent.state_dict(9), alone.agent.state_dict(0)) == []


def test_published_agent_goes_on_from_its_state_to_the_bit():
    def session():
        return Session("diffusion_sac_ref", Target, TargetConfig((2, 3), True), n_step=3)

    first = session().run(30)
    saved = copy.deepcopy(first.tree())
    second = session().run(3).load(saved)
    assert differing(first.run(30).tree(), second.run(30).tree()) == []


@both
def test_deterministic_play_is_repeatable_and_takes_nothing_from_training(learner):
    session = Session(learner, Target, TargetConfig((3,), True)).run(30)
    before = copy.deepcopy(session.tree()["agent"])
    seen = {"player": np.random.default_rng(0).random((3, 200, 1, 3), np.float32)}
    first, second = (session.agent.act(seen, deterministic=True)["player"] for _ in range(2))
    assert np.array_equal(first, second)
    assert differing(before, session.tree()["agent"]) == []


@both
def test_chain_is_noisy_in_evaluation_only_in_the_published_code(learner):
    agent = Session(learner, Bandit).agent
    same = agent.act({"player": np.full((3, 500, 1, 1), 0.5, np.float32)}, deterministic=True)["player"]
    assert (len(np.unique(same[0])) > 1) == (learner == "diffusion_sac_ref")


@both
def test_successor_that_is_not_a_number_leaves_the_loss_finite_where_the_episode_is_over(learner):
    stack = Session(learner, Target, TargetConfig((2, 3), True)).run(20).stack()
    batch = stack.buffer.sample(stack.sampling.uniform(1, 32).reshape(3, -1))
    assert torch.all(batch.discounts == 0.0)
    spoiled = dataclasses.replace(batch, next_observations=torch.full_like(batch.next_observations, torch.nan))
    assert torch.isfinite(stack._update_critics(spoiled, 0.1)).all()
    assert all(torch.isfinite(p).all() for p in stack.critics.parameters())


def test_outcomes_that_a_shorter_head_does_not_have_are_never_played_by_the_published_agent():
    session = Session("diffusion_sac_ref", Target, TargetConfig((2, 3), True)).run(40)
    seen = {"player": np.zeros((3, 500, 1, 5), np.float32)}
    for deterministic in (True, False):
        played = session.agent.act(seen, deterministic=deterministic)["player"]
        assert played[..., 0].max() <= 1
        assert played[..., 1].max() <= 2


def test_published_agent_refuses_a_role_of_several():
    player = Session("diffusion_sac", Crowd).agent.context.plays[0]
    with pytest.raises(UserError, match=r"DiffusionSACRefAgent cannot play player: .* one agent, and player has 2"):
        check_playable(DiffusionSACRefAgent, player)


def test_compilation_is_refused_where_there_is_no_compiler(monkeypatch):
    monkeypatch.setenv("PATH", "")
    monkeypatch.delenv("CXX", raising=False)
    with pytest.raises(ParameterError, match="compile=True is not allowed"):
        check_compiler(torch.device("cpu"))


def test_normal_numbers_are_normal_and_each_seeds_own():
    numbers = Streams([3, 4], 7).normal(10_001)
    for column in numbers:
        assert stats.kstest(column, "norm").pvalue > 0.01
    assert abs(np.corrcoef(numbers)[0, 1]) < 0.05
    assert np.array_equal(Streams([4], 7).normal(10_001)[0], numbers[1])


def test_normal_numbers_of_an_observation_depend_on_seed_observation_and_place_only():
    streams = Streams([3, 4], 7)
    seen = np.random.default_rng(0).random((2, 500, 4), np.float32)
    numbers = streams.normal_of(seen, 21)
    assert np.array_equal(streams.counters, [0, 0])
    assert np.array_equal(numbers[:, :9], streams.normal_of(seen[:, :9], 21))
    assert np.array_equal(numbers[1:], Streams([4], 7).normal_of(seen[1:], 21))
    assert stats.kstest(numbers.ravel(), "norm").pvalue > 0.01
    same = streams.normal_of(np.full((2, 500, 4), 0.5, np.float32), 21)
    assert len(np.unique(same)) > 0.999 * same.size
