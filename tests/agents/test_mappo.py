"""Multi-agent PPO: advantages, minibatches and gradient steps against plain definitions, and what it refuses."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
import torch
from gymnasium import spaces
from hypothesis import given, settings
from hypothesis import strategies as st
from learners import LEARNERS
from probes import Bandit, Bazaar, Crowd, ProbeGame, Steady, make_role
from sessions import Session, bazaar
from torch import nn

from ioa_marl.agents.base import AgentContext
from ioa_marl.agents.learners.mappo import MAPPOAgent, MAPPOConfig
from ioa_marl.agents.replay.masked_rollout import MaskedRolloutBuffer
from ioa_marl.agents.replay.rollouts import generalised_advantages, split_minibatches
from ioa_marl.envs.vector import VectorGame
from ioa_marl.foundations.errors import UserError
from ioa_marl.foundations.parameters import ParameterError

GAMMA, LAMBDA = 0.9, 0.7


@st.composite
def histories(draw):
    """Return what `generalised_advantages` takes, for some columns."""
    steps, columns = draw(st.integers(1, 12)), draw(st.integers(1, 4))
    rng = np.random.default_rng(draw(st.integers(0, 10**6)))
    rewards, values, next_values = rng.normal(size=(3, steps, columns)).astype(np.float32)
    chances = [draw(st.sampled_from([0.0, 0.2, 0.6, 1.0])) for _ in range(4)]
    active, terminated, truncated = (rng.random((steps, columns)) < p for p in chances[:3])
    return rewards, values, next_values, active, terminated, truncated, rng.random(columns) < chances[3]


def by_definition(rewards, values, next_values, active, terminated, truncated, waiting):
    """One column: cut it into episodes, collect each decision's reward, and sum the residuals, all in plain Python."""
    advantages, decided, steps = [0.0] * len(rewards), [False] * len(rewards), len(rewards)
    start = 0
    while start < steps:
        end = next((t for t in range(start, steps) if terminated[t] or truncated[t]), None)
        stop = steps if end is None else end + 1
        decisions = [t for t in range(start, stop) if active[t]]
        beyond = 0.0 if end is not None and terminated[end] else float(next_values[stop - 1])
        residuals = []
        for t, after in zip(decisions, [*decisions, stop][1:], strict=True):
            what_follows = beyond if after == stop else float(values[after])
            residuals.append(sum(map(float, rewards[t:after])) + GAMMA * what_follows - float(values[t]))
        if end is None and waiting:
            decisions = decisions[:-1]
            residuals = residuals[:-1]
        for i, t in enumerate(decisions):
            advantages[t] = sum((GAMMA * LAMBDA) ** k * d for k, d in enumerate(residuals[i:]))
            decided[t] = True
        start = stop
    return advantages, decided


@given(histories())
@settings(max_examples=150, deadline=None)
def test_advantages_are_those_of_the_definition_on_each_agents_own_time(history):
    found, decided = generalised_advantages(*history, GAMMA, LAMBDA)
    for column in range(found.shape[1]):
        wanted, known = by_definition(*(array[..., column] for array in history))
        np.testing.assert_allclose(found[:, column], wanted, atol=1e-5)
        assert decided[:, column].tolist() == known


@given(histories())
@settings(max_examples=100, deadline=None)
def test_ppos_buffer_which_adds_the_value_beyond_a_truncation_to_the_reward_finds_the_same_advantages(history):
    rewards, values, next_values, active, terminated, truncated, waiting = history
    steps, columns = rewards.shape
    box = spaces.Box(0.0, 1.0, (1,), np.float32)
    buffer = MaskedRolloutBuffer(steps, box, spaces.Discrete(2), "cpu", LAMBDA, GAMMA, n_envs=columns)
    starts, ended = np.ones(columns), terminated | truncated
    for t in range(steps):
        cut = truncated[t] & ~terminated[t]
        paid = rewards[t] + np.where(cut, np.float32(GAMMA) * next_values[t], np.float32(0.0))
        nothing = np.zeros((columns, 1), np.float32)
        buffer.active[t] = active[t]
        buffer.add(nothing, nothing, paid, starts.astype(np.float32), torch.tensor(values[t]), torch.zeros(columns))
        starts = ended[t]
    buffer.open_decision = waiting
    buffer.compute_returns_and_advantage(torch.tensor(next_values[-1]), ended[-1])
    found, decided = generalised_advantages(*history, GAMMA, LAMBDA)
    np.testing.assert_allclose(found, buffer.advantages, atol=1e-5)
    assert np.array_equal(decided, buffer.active)


@given(histories())
@settings(max_examples=100, deadline=None)
def test_what_follows_a_termination_does_not_matter_even_if_it_is_not_a_number(history):
    rewards, values, next_values, active, terminated, truncated, waiting = history
    wanted = generalised_advantages(*history, GAMMA, LAMBDA)
    spoilt = np.where(terminated, np.nan, next_values)
    found = generalised_advantages(
        rewards, values, spoilt, active, terminated, truncated, waiting, GAMMA, LAMBDA
    )  # fmt: skip
    assert all(np.array_equal(a, b) for a, b in zip(found, wanted, strict=True))


@given(
    st.integers(1, 5), st.integers(1, 40), st.integers(1, 9), st.sampled_from([0.0, 0.1, 0.5, 1.0]), st.integers(0, 99)
)
@settings(max_examples=150, deadline=None)
def test_every_decision_is_in_one_minibatch_and_all_have_nearly_the_same_number(members, rows, parts, share, seed):
    rng = np.random.default_rng(seed)
    decided = rng.random((members, rows)) < share
    minibatches = split_minibatches(rng.random((members, rows)), decided, parts)
    assert len(minibatches) == parts
    assert len({batch.shape for batch, _ in minibatches}) == 1, "all members and minibatches are of one size"
    for member in range(members):
        counted = [batch[member, : n[member]].tolist() for batch, n in minibatches]
        assert sorted(row for batch in counted for row in batch) == np.flatnonzero(decided[member]).tolist()
        sizes = [len(batch) for batch in counted]
        assert max(sizes) - min(sizes) <= 1


def test_minibatches_are_drawn_anew_and_for_each_member_by_its_own_numbers():
    decided = np.ones((2, 1000), np.bool_)
    uniforms = np.random.default_rng(0).random((2, 1000))
    (first, _), (second, _) = split_minibatches(uniforms, decided, 2)
    assert not np.array_equal(first[0], first[1])
    assert abs(np.mean(first[0]) - np.mean(second[0])) < 60, "neither has the earlier rows"
    again = split_minibatches(uniforms[:1], decided[:1], 2)[0][0]
    assert np.array_equal(again[0], first[0]), "and does not depend on the others"


class Looped:
    """One member in plain PyTorch, in double precision."""

    def __init__(self, stack, member):
        def plain(network):
            layers = []
            for weight, bias in zip(network.weights, network.biases, strict=True):
                layer = nn.Linear(*weight.shape[1:], dtype=torch.float64)
                layer.weight.data = weight.detach()[member].T.double().clone()
                layer.bias.data = bias.detach()[member, 0].double().clone()
                layers += [layer, nn.Tanh()]
            return nn.Sequential(*layers[:-1])

        self.config, self.sizes = stack.config, stack.heads.sizes
        self.actor, self.critic = plain(stack.actor), plain(stack.critic)
        self.optimisers = [
            torch.optim.Adam(self.actor.parameters(), self.config.actor_lr),
            torch.optim.Adam(self.critic.parameters(), self.config.critic_lr),
        ]

    def policies(self, seen):
        logits = self.actor(seen).unflatten(-1, (len(self.sizes), -1))
        return [torch.distributions.Categorical(logits=logits[:, h, :n]) for h, n in enumerate(self.sizes)]

    def step(self, state, seen, actions, log_probs, advantages, returns, ent_coef):
        """Make one gradient step on decisions alone."""
        policies = self.policies(seen)
        ratio = (sum(p.log_prob(a) for p, a in zip(policies, actions.T, strict=True)) - log_probs).exp()
        if len(advantages) > 1:
            advantages = (advantages - advantages.mean()) / (advantages.std() + 1e-8)
        clip = self.config.clip_range
        surrogate = torch.minimum(ratio * advantages, ratio.clamp(1 - clip, 1 + clip) * advantages)
        loss = -surrogate.mean() - ent_coef * sum(p.entropy() for p in policies).mean()
        value_loss = nn.functional.mse_loss(self.critic(torch.cat([state, seen], 1)).squeeze(1), returns)
        for network, optimiser, each in zip(
            (self.actor, self.critic), self.optimisers, (loss, value_loss), strict=True
        ):
            optimiser.zero_grad()
            each.backward()
            nn.utils.clip_grad_norm_(network.parameters(), self.config.max_grad_norm)
            optimiser.step()


@pytest.mark.parametrize("role", ["player", "rival"])
def test_update_equals_a_loop_over_plain_networks(role):
    """Two agents that sometimes wait, and one with heads of unequal size; the loop gets only decisions."""
    session = Session(
        "mappo", Bazaar, seeds=[0, 1], num_envs=4, rollout_size=84, minibatches=5, n_epochs=10, actor_lr=1e-3,
        critic_lr=1e-3, max_grad_norm=0.5, ent_coef_start=0.1, ent_coef_end=0.1,
    )  # fmt: skip
    for _ in range(21):
        session.agent.observe(session.game.step(session.agent.act(session.game.observations, deterministic=False)))
    stack = session.stack(role)
    assert stack.rollout.full
    e, count = stack._experience(), stack.members.count
    assert 0 < e.valid.sum() < e.valid.size
    loops = [Looped(stack, member) for member in range(count)]
    counters = stack.sampling.counters.copy()
    for _ in range(10):
        uniforms = stack.sampling.uniform(stack.members.separate, e.valid.shape[1]).reshape(count, -1)
        for rows, counted in split_minibatches(uniforms, e.valid, 5):
            for member, loop in enumerate(loops):
                at = rows[member, : counted[member]]
                loop.step(
                    e.states[member // stack.members.separate, at].double(), e.observations[member, at].double(),
                    e.actions[member, at], e.log_probs[member, at].double(), e.advantages[member, at].double(),
                    e.returns[member, at].double(), 0.1,
                )  # fmt: skip
    stack.sampling.counters[:] = counters
    before = [p.detach().clone() for p in stack.actor.parameters()]
    stack.update(0.5)
    assert all(not torch.equal(p, b) for p, b in zip(stack.actor.parameters(), before, strict=True))
    for member, loop in enumerate(loops):
        for network, plain in ((stack.actor, loop.actor), (stack.critic, loop.critic)):
            layers = [layer for layer in plain if isinstance(layer, nn.Linear)]
            for weight, bias, layer in zip(network.weights, network.biases, layers, strict=True):
                torch.testing.assert_close(weight[member].double(), layer.weight.T, rtol=0, atol=1e-6)
                torch.testing.assert_close(bias[member, 0].double(), layer.bias, rtol=0, atol=1e-6)


def test_experience_is_that_of_the_policy_and_values_that_made_it():
    """Log-probabilities are of the actions done, states and observations of the moment in which they were done."""
    session = bazaar("mappo", [0, 1])
    stack, moments = session.stack("rival"), []
    for _ in range(stack.rollout.steps):
        state, seen = session.game.state.copy(), session.game.observations["rival"].copy()
        transition = session.game.step(session.agent.act(session.game.observations, deterministic=False))
        session.agent.observe(transition)
        moments.append((state, seen, transition.actions["rival"].copy(), transition.active["rival"].copy()))
    e = stack._experience()
    rows = [(t, market) for t in range(stack.rollout.steps) for market in range(4)]
    for seed in (0, 1):
        for r, (t, market) in enumerate(rows):
            state, seen, done, active = (array[seed, market] for array in moments[t])
            assert np.array_equal(e.states[seed, r], state)
            assert np.array_equal(e.observations[seed, r], seen[0])
            assert np.array_equal(e.actions[seed, r], done[0])
            assert active[0] or not e.valid[seed, r]
    loops = [Looped(stack, member) for member in (0, 1)]
    for member, loop in enumerate(loops):
        with torch.no_grad():
            policies = loop.policies(e.observations[member].double())
            wanted = sum(p.log_prob(a) for p, a in zip(policies, e.actions[member].T, strict=True))
        torch.testing.assert_close(e.log_probs[member].double(), wanted, rtol=0, atol=1e-6)


def test_first_policy_is_nearly_uniform_whatever_is_seen():
    stack = Session("mappo", Bazaar).stack("player")
    seen = torch.rand(stack.members.count, 50, 3, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        torch.testing.assert_close(stack.log_policy(seen).exp(), torch.full((6, 50, 1, 3), 1 / 3), rtol=0, atol=0.01)


def test_entropy_bonus_falls_over_its_share_of_the_budget_and_the_policy_with_it():
    session = Session(
        "mappo", Bandit, budget=320, ent_coef_start=1e3, ent_coef_end=1e-3, ent_fraction=0.5, actor_lr=3e-3
    )
    session.run(24)
    assert np.all(session.metrics[-1]["player/entropy"] > 0.98 * math.log(5))
    session.run(296)
    assert np.all(session.metrics[-1]["player/entropy"] < 0.5 * math.log(5))


class Retiring(Crowd):
    """The second agent does not act any more after the first sixteen episodes of a market."""

    name = "retiring"
    default_controlled_roles = ("player",)
    counts = {"player": 2}  # noqa: RUF012

    def acting(self):
        active = np.ones((self.num_envs, 2), np.bool_)
        active[:, 1] = self.arrays["episode"] < 16
        return {"player": active}


def test_agent_that_decides_nothing_stays_as_it_is_whatever_momentum_it_has():
    session = Session("mappo", Retiring, seeds=[3, 4]).run(16)
    assert len(session.metrics) == 1
    stack = session.stack()
    before = {name: p.detach().clone() for name, p in stack.actor.named_parameters()}
    before |= {f"critic {name}": p.detach().clone() for name, p in stack.critic.named_parameters()}
    session.run(16)
    assert len(session.metrics) == 2
    after = dict(stack.actor.named_parameters())
    after |= {f"critic {name}": p for name, p in stack.critic.named_parameters()}
    for name, p in after.items():
        for seed in (0, 1):
            assert not torch.equal(p[2 * seed], before[name][2 * seed]), name
            assert torch.equal(p[2 * seed + 1], before[name][2 * seed + 1]), name
    assert all(np.isfinite(values).all() for values in session.metrics[-1].values())


class NothingAfterwards(Bazaar):
    """Observations and states after a termination are NaN."""

    def step(self, actions):
        step = super().step(actions)
        for array in (*step.final_observations.values(), step.final_state):
            array[step.terminated] = np.nan
        return step


def test_what_follows_a_termination_reaches_neither_loss_nor_weights():
    sessions = [bazaar("mappo", game_class=g).run(60) for g in (Bazaar, NothingAfterwards)]
    for one, other in zip(*(s.metrics for s in sessions), strict=True):
        assert all(np.isfinite(other[key]).all() and np.array_equal(one[key], other[key]) for key in one)


@pytest.mark.parametrize(("agents", "networks"), [(64, 64), (65, 1)])
def test_more_than_64_agents_share_a_network_that_tells_them_apart_by_what_they_see(agents, networks):
    class Many(ProbeGame):
        """Paid for the action that is seen; the first half sees 0, the others 1."""

        name = "many"

        @classmethod
        def make_roles(cls, config):
            return {"player": make_role("player", agents, 1, 2)}

        def seen(self):
            return np.broadcast_to(np.arange(agents) >= agents // 2, (self.num_envs, agents))

        def look(self):
            return {"player": self.seen()[..., None]}

        def play(self, actions):
            over = np.ones(self.num_envs, np.bool_)
            return {"player": actions["player"] == self.seen()}, over, ~over

    session = Session("mappo", Many, seeds=(0, 1), num_envs=2, rollout_size=64, width=8)
    stack = session.stack()
    assert stack.members.count == 2 * networks
    assert stack.rollout.steps == (32 if networks > 1 else 16), "never less than 16 where agents may wait"
    session.run(10 * stack.rollout.steps)
    per_network = sum(p[0].numel() for n in (stack.actor, stack.critic) for p in n.parameters())
    assert session.agent.parameters_count() == networks * per_network
    for right, where in ((0, slice(0, agents // 2)), (1, slice(agents // 2, None))):
        assert np.all(session.best_actions([[float(right)]])[..., where] == right)
    assert all(values.shape == (2,) for values in session.metrics[-1].values())


def test_market_that_does_not_say_in_which_state_an_episode_ends_is_refused_in_one_line():
    class Silent(Steady):
        def step(self, actions):
            return dataclasses.replace(super().step(actions), final_state=None)

    with pytest.raises(UserError, match=r"steady does not say in which state an episode ends") as refused:
        Session("mappo", Silent).run(1)
    assert "\n" not in str(refused.value)
    game = VectorGame(Silent, Silent.config_class(), [0], 2)
    game.reset()
    done = {"player": np.zeros((1, 2, 1), np.int64)}
    assert game.step(done).next_state is None, "who does not need the state does not need it"


def test_setting_without_the_state_is_refused():
    roles = tuple(Steady.make_roles(None).values())
    with pytest.raises(UserError, match="global state"):
        MAPPOAgent(AgentContext(roles, roles, (0,), 2, 100, torch.device("cpu")), MAPPOConfig())


@pytest.mark.parametrize(
    "changes",
    [{"minibatches": 0}, {"rollout_size": 1}, {"gamma": 1.1}, {"clip_range": 0.0}, {"ent_coef_end": 0.0},
     {"ent_coef_start": 0.0}, {"actor_lr": math.nan}],
    ids=str,
)  # fmt: skip
def test_settings_that_cannot_be_trained_with_are_refused(changes):
    with pytest.raises(ParameterError, match=next(iter(changes)) if "ent_coef_start" not in changes else "ent_coef"):
        dataclasses.replace(LEARNERS["mappo"].config, **changes)


def test_no_entropy_bonus_is_allowed():
    session = Session("mappo", Bandit, ent_coef_start=0.0, ent_coef_end=0.0).run(16)
    assert np.isfinite(session.metrics[-1]["player/policy_loss"]).all()
