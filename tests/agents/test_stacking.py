"""Members of a stack never influence each other, and what is frozen stays frozen."""

from __future__ import annotations

import copy
import itertools

import numpy as np
import pytest
import torch
from learners import LEARNERS, every
from probes import Bazaar, Crowd, ProbeGame, Target, TargetConfig, make_role
from sessions import Session, bazaar, differing, flat
from torch import nn

from ioa_marl.agents.base import AgentContext
from ioa_marl.agents.baselines.greedy import GreedyAgent, GreedyConfig
from ioa_marl.agents.baselines.random import RandomAgent, RandomConfig
from ioa_marl.agents.networks.diffusion import ACTIVATIONS
from ioa_marl.agents.networks.optimiser import StackedAdam, clipping
from ioa_marl.agents.networks.stacked import (
    StackedMLP,
    gradient_step,
    load_optimiser_state,
    optimiser_state,
    polyak_update,
)
from ioa_marl.envs.vector import VectorGame


@every()
def test_seed_trained_among_ten_equals_the_one_trained_alone_to_the_bit(learner):
    """Networks, optimisers, replay buffers, random streams and markets."""
    among = bazaar(learner, range(10)).run(32)
    assert among.metrics, "it has learnt something meanwhile"
    for seed in (0, 9):
        alone = bazaar(learner, [seed]).run(32)
        assert differing(among.agent.state_dict(seed), alone.agent.state_dict(0)) == []
        assert differing(among.game.save(seed), alone.game.save(0)) == []
        for several, single in zip(among.metrics, alone.metrics, strict=True):
            assert {k: v[seed] for k, v in several.items()} == {k: v[0] for k, v in single.items()}


@every()
def test_seeds_differ(learner):
    session = bazaar(learner, [0, 1])
    one, other = (session.agent.policy_state(i) for i in (0, 1))
    weights = [path for path in flat(one) if "weight" in path]
    assert set(weights) <= set(differing(one, other))


@every()
def test_deterministic_play_of_a_seed_does_not_depend_on_the_seeds_beside_it_or_on_training_randomness(learner):
    among, alone = bazaar(learner, range(5)).run(30), bazaar(learner, [3]).run(30)
    before = [among.agent.state_dict(i) for i in range(5)]
    seen = np.random.default_rng(0).random((1, 7, 2, 3), np.float32)
    rival = np.random.default_rng(1).random((1, 7, 1, 3), np.float32)
    played = [
        s.agent.act({"player": np.repeat(seen, n, 0), "rival": np.repeat(rival, n, 0)}, deterministic=True)
        for s, n in ((among, 5), (alone, 1))
    ]
    for role in ("player", "rival"):
        assert np.array_equal(played[0][role][3], played[1][role][0])
    assert differing(before, [among.agent.state_dict(i) for i in range(5)]) == []


SHAPES = {
    "usual": ((6, 64, 64, 10), 256),
    "critic": ((27, 64, 64, 1), 256),
    "narrow": ((6, 16, 10), 5),
    "odd": ((3, 5, 7, 3), 9),
    "wide": ((20, 256, 256, 1), 128),
}
"""Widths of the layers, and rows of a batch."""


@pytest.mark.parametrize("members", [1, 2, 3, 10, 36])
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("activation", [*ACTIVATIONS.values(), torch.tanh], ids=[*ACTIVATIONS, "tanh"])
def test_network_descends_the_same_path_in_a_stack_of_any_size_and_at_any_place_in_it(shape, members, activation):
    largest, steps = 37, 3
    sizes, rows = SHAPES[shape]
    generator = torch.Generator().manual_seed(0)
    inputs, aims = (torch.randn(steps, largest, rows, n, generator=generator) for n in (sizes[0], sizes[-1]))
    draws = np.random.default_rng(0)
    starts = [draws.random((largest, k)) for a, b in itertools.pairwise(sizes) for k in (a * b, b)]

    def trained(mask):
        given = iter(starts)
        network = StackedMLP(len(mask), sizes, lambda k: next(given)[mask], activation)
        target, optimiser = copy.deepcopy(network), StackedAdam(network.parameters(), 0.01)
        for x, y in zip(inputs[:, mask], aims[:, mask], strict=True):
            gradient_step(optimiser, network, (network(x) - y).square().mean((1, 2)), 0.5)
            polyak_update(target, network, 0.3)
        everyone = slice(0, len(mask))
        return network.member_state(everyone), target.member_state(everyone)

    whole = trained(list(range(largest)))
    for mask in (list(range(members)), list(range(largest - members, largest))):
        for part, all_of_it in zip(trained(mask), whole, strict=True):
            for name, values in part.items():
                assert torch.equal(values, all_of_it[name][mask]), name


@pytest.mark.parametrize("members", [2, 10, 20, 65, 130])
def test_clipping_of_a_member_does_not_depend_on_how_many_there_are(members):
    gradients = [
        torch.randn(131, *shape, generator=torch.Generator().manual_seed(i))
        for i, shape in enumerate([(6, 64), (1, 64), (64, 64), (1, 64), (64, 10), (1, 10)])
    ]

    def clipped(mask):
        return clipping([g[mask].clone() for g in gradients], 0.5)

    whole = clipped(slice(0, 131))
    for mask in (slice(0, members), slice(131 - members, 131)):
        assert torch.equal(clipped(mask), whole[mask])


def spoil(tree, path=""):
    """Make the parameters of all networks in a state NaN; return how many tensors that were."""
    inner = tree.items() if isinstance(tree, dict) else enumerate(tree) if isinstance(tree, list) else ()
    spoilt = sum(spoil(below, f"{path}/{key}") for key, below in inner)
    if isinstance(tree, torch.Tensor) and tree.is_floating_point() and "weights." in path:
        tree.fill_(torch.nan)
        spoilt += 1
    return spoilt


@every(stacked=True)
@pytest.mark.parametrize("broken", [0, 1, 2])
def test_member_that_becomes_nan_leaves_the_others_alone_to_the_bit(learner, broken):
    sessions = [bazaar(learner, range(3)).run(30) for _ in range(2)]
    healthy, poisoned = sessions
    state = poisoned.agent.state_dict(broken)
    assert spoil(state) > 0
    poisoned.agent.load_state_dict(broken, state)
    for session in sessions:
        session.run(30)
    for i in range(3):
        different = differing(healthy.agent.state_dict(i), poisoned.agent.state_dict(i))
        assert bool(different) == (i == broken)


@every(stacked=True)
def test_rewards_that_are_nan_for_one_seed_leave_the_others_alone_to_the_bit(learner):
    class Spoiled(Bazaar):
        def play(self, actions):
            rewards, *ends = super().play(actions)
            return {k: np.where(self.arrays["seed"][:, None] == 1, np.nan, r) for k, r in rewards.items()}, *ends

    healthy, spoiled = (bazaar(learner, range(3), game_class=g).run(60) for g in (Bazaar, Spoiled))
    assert differing(healthy.agent.state_dict(1), spoiled.agent.state_dict(1))
    for i in (0, 2):
        assert differing(healthy.agent.state_dict(i), spoiled.agent.state_dict(i)) == []


class Looped:
    """One member of a SAC learner, in plain PyTorch."""

    def __init__(self, stack, member, alpha):
        self.alpha, config = alpha, stack.config

        def plain(network, index):
            layers = []
            for weight, bias in zip(network.weights, network.biases, strict=True):
                layer = nn.Linear(*weight.shape[1:], dtype=torch.float64)
                layer.weight.data = weight.detach()[index].T.double().clone()
                layer.bias.data = bias.detach()[index, 0].double().clone()
                layers += [layer, nn.ReLU()]
            return nn.Sequential(*layers[:-1])

        self.actor = plain(stack.actor, member)
        self.critics = nn.ModuleList([plain(stack.critics, 2 * member + twin) for twin in (0, 1)])
        self.targets = copy.deepcopy(self.critics)
        self.actor_optimiser = torch.optim.Adam(self.actor.parameters(), config.actor_lr)
        self.critic_optimiser = torch.optim.Adam(self.critics.parameters(), config.critic_lr)
        self.config = config

    def policy(self, seen):
        return torch.distributions.Categorical(logits=self.actor(seen))

    def update(self, batch, member):
        seen, after = batch.observations[member].double(), batch.next_observations[member].double()
        with torch.no_grad():
            policy = self.policy(after)
            least = torch.minimum(*(target(after) for target in self.targets))
            soft = (policy.probs * least).sum(-1) + self.alpha * policy.entropy()
            aim = batch.returns[member].double() + batch.discounts[member].double() * soft
        loss = sum(
            nn.functional.mse_loss(critic(seen).gather(1, batch.actions[member]).squeeze(1), aim)
            for critic in self.critics
        )
        self.critic_optimiser.zero_grad()
        loss.backward()
        for critic in self.critics:  # a twin is a member of the stack of critics
            nn.utils.clip_grad_norm_(critic.parameters(), self.config.max_grad_norm)
        self.critic_optimiser.step()
        policy = self.policy(seen)
        least = torch.minimum(*(critic(seen) for critic in self.critics)).detach()
        loss = -((policy.probs * least).sum(-1) + self.alpha * policy.entropy()).mean()
        self.actor_optimiser.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(self.actor.parameters(), self.config.max_grad_norm)
        self.actor_optimiser.step()
        for target, source in zip(self.targets.parameters(), self.critics.parameters(), strict=True):
            target.data += self.config.tau * (source.data - target.data)


def test_stack_equals_a_loop_over_plain_networks():
    """Fifty updates of three agents' actors, critics and targets; the loop is in double precision."""
    session = Session(
        "sac", Crowd, seeds=[0], learning_starts=10**9, alpha_start=0.1, alpha_end=0.1, actor_lr=1e-3,
        critic_lr=1e-3, max_grad_norm=0.5,
    ).run(40)  # fmt: skip
    stack = session.stack("rival")
    assert stack.members.count == 3
    loops = [Looped(stack, member, 0.1) for member in range(3)]
    for _ in range(50):
        before = stack.sampling.counters.copy()
        uniforms = stack.sampling.uniform(3, stack.config.batch_size).reshape(3, -1)
        batch = stack.buffer.sample(uniforms)
        stack.sampling.counters[:] = before
        stack.update(0.1)
        for member, loop in enumerate(loops):
            loop.update(batch, member)
    seen = torch.full((3, 1, 1), 0.5)
    with torch.no_grad():
        logits = stack.logits(seen)[:, 0, 0]
        values, targets = (stack.values(n, seen)[:, :, 0, 0] for n in (stack.critics, stack.targets))
        for member, loop in enumerate(loops):
            x = seen[member].double()
            assert torch.allclose(logits[member].double(), loop.actor(x)[0], rtol=0, atol=1e-6)
            for twin in (0, 1):
                assert torch.allclose(values[member, twin].double(), loop.critics[twin](x)[0], rtol=0, atol=1e-6)
                assert torch.allclose(targets[member, twin].double(), loop.targets[twin](x)[0], rtol=0, atol=1e-6)


def test_clipping_bounds_the_norm_of_each_member_and_leaves_small_gradients_as_they_are():
    gradients = [
        torch.stack([torch.full((2, 2), 2.0), torch.full((2, 2), 0.1), torch.zeros(2, 2)]),
        torch.stack([torch.full((1, 2), 1.0), torch.full((1, 2), 0.1), torch.zeros(1, 2)]),
    ]
    factors = clipping(gradients, 1.0)
    assert factors[0] * torch.cat([g[0].flatten() for g in gradients]).norm() == pytest.approx(1.0, abs=1e-5)
    assert factors[1:].tolist() == [1.0, 1.0]


def test_optimiser_is_pytorchs_adam_after_clipping_each_member():
    generator = torch.Generator().manual_seed(0)
    shapes, members, norm = [(5, 7), (1, 7), (7, 1)], 3, 2.0
    starts = [torch.randn(members, *shape, generator=generator, dtype=torch.float64) for shape in shapes]
    ours = [nn.Parameter(start.clone()) for start in starts]
    theirs = [[nn.Parameter(start[m].clone()) for start in starts] for m in range(members)]
    stacked = StackedAdam(ours, 0.01, weight_decay=0.1)
    single = [torch.optim.Adam(parameters, 0.01, weight_decay=0.1) for parameters in theirs]
    for step in range(30):
        drawn = [torch.randn(members, *shape, generator=generator, dtype=torch.float64) for shape in shapes]
        for m in range(members):
            for p, g in zip(theirs[m], drawn, strict=True):
                p.grad = g[m] * (m * step / 30.0)  # some are clipped, some are not
            nn.utils.clip_grad_norm_(theirs[m], norm)
            single[m].step()
        for p, g in zip(ours, drawn, strict=True):
            p.grad = g * (torch.arange(members)[:, None, None] * step / 30.0)
        if step == 20:
            stacked, before = StackedAdam(ours, 0.01, weight_decay=0.1), stacked
            load_optimiser_state(stacked, slice(0, members), optimiser_state(before, slice(0, members)), members)
        stacked.gradient_step(norm)
    for m in range(members):
        for p, q in zip(ours, theirs[m], strict=True):
            torch.testing.assert_close(p[m], q, rtol=0.0, atol=1e-7)  # of clipping's 1e-6 beside the norm


def sac_stack(**changes):
    session = Session("sac", Target, TargetConfig((2, 3), seen=True), learning_starts=10**9, **changes)
    return session.run(20).stack()


def sampled(stack):
    return stack.buffer.sample(stack.sampling.uniform(1, stack.config.batch_size).reshape(stack.members.count, -1))


def everything(network):
    return {name: p.detach().clone() for name, p in network.named_parameters()}


def moved(network, before):
    return [name for name, p in network.named_parameters() if not torch.equal(p, before[name])]


def test_targets_get_no_gradient():
    stack = sac_stack(tau=0.0)
    before = everything(stack.targets)
    stack.update(0.1)
    assert all(p.grad is None and not p.requires_grad for p in stack.targets.parameters())
    assert moved(stack.targets, before) == [], "and with τ=0 they stay where they are"
    assert moved(stack.critics, before) != []


def test_targets_with_tau_one_are_copies_of_the_critics():
    stack = sac_stack(tau=1.0)
    stack.update(0.1)
    assert moved(stack.targets, everything(stack.critics)) == []


def test_targets_start_as_copies_and_follow_by_tau():
    stack = sac_stack(tau=0.25)
    start = everything(stack.targets)
    assert moved(stack.critics, start) == []
    stack.update(0.1)
    for name, p in stack.targets.named_parameters():
        expected = 0.75 * start[name] + 0.25 * dict(stack.critics.named_parameters())[name]
        assert torch.allclose(p, expected, rtol=0, atol=1e-6)


def test_actor_loss_gives_the_critics_no_gradient_and_the_critic_loss_none_to_the_actor():
    stack = sac_stack()
    batch = sampled(stack)
    critics, actor = everything(stack.critics), everything(stack.actor)
    stack._update_actor(batch, 0.1)
    assert all(p.grad is None for p in stack.critics.parameters())
    assert moved(stack.critics, critics) == []
    assert set(moved(stack.actor, actor)) == set(actor)
    stack.actor_optimiser.zero_grad(set_to_none=True)
    actor = everything(stack.actor)
    stack._update_critics(batch, 0.1)
    assert all(p.grad is None for p in stack.actor.parameters())
    assert moved(stack.actor, actor) == []
    assert set(moved(stack.critics, critics)) == set(critics)


def big_crowd(agents, roles=("player",)):
    class BigCrowd(Crowd):
        default_controlled_roles = roles
        counts = dict.fromkeys(roles, agents)

        @classmethod
        def make_roles(cls, config):
            return {name: make_role(name, agents, 1, 2) for name in cls.counts}

        def play(self, actions):
            over = np.ones(self.num_envs, np.bool_)
            return {name: done == 1 for name, done in actions.items()}, over, ~over

    return BigCrowd


@pytest.mark.parametrize(("agents", "networks"), [(64, 64), (65, 1)])
def test_more_than_64_agents_of_a_role_share_their_networks(agents, networks):
    session = Session("sac", big_crowd(agents), seeds=(0, 1), num_envs=2, learning_starts=10**9)
    stack = session.run(3).stack()
    assert stack.members.separate == networks
    assert stack.members.count == 2 * networks
    before = everything(stack.actor)
    metrics = stack.update(0.1)
    assert set(moved(stack.actor, before)) == set(before)
    assert all(values.shape == (2,) and torch.isfinite(values).all() for values in metrics.values())
    per_network = sum(p[0].numel() for p in stack.actor.parameters())
    assert session.agent.parameters_count() == 3 * per_network * networks, "an actor and two critics each"
    played = session.best_actions([[0.5]])
    assert played.shape == (2, 1, agents)
    if networks == 1:
        assert np.all(played == played[..., :1]), "who sees the same does the same"


def test_shared_networks_learn_from_every_agent():
    session = Session("sac", big_crowd(65), seeds=(0, 1, 2), num_envs=2, learning_starts=20, update_every=1)
    session.run(60)
    assert np.all(session.best_actions([[0.5]]) == 1)
    assert session.stack().buffer.size.tolist() == [60 * 2 * 65] * 3, "every agent's step is a row"


def test_buffer_takes_all_that_the_end_of_an_episode_completes_at_once():
    """When an episode ends an agent completes its last n actions, and the one before them at the same step."""

    class Two(ProbeGame):
        name = "two"

        @classmethod
        def make_roles(cls, config):
            return {"player": make_role("player", 65, 1, 2)}

        def look(self):
            return {"player": np.full((self.num_envs, 65, 1), 0.5)}

        def play(self, actions):
            over = self.time == 1
            return {"player": actions["player"]}, over, np.zeros_like(over)

    Session("sac", Two, num_envs=2, budget=2, n_step=1).run(2)


KINDS = {
    **{name: (it.agent, it.config) for name, it in LEARNERS.items()},
    "random": (RandomAgent, RandomConfig()),
    "greedy": (GreedyAgent, GreedyConfig(epsilon=1.0)),
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("apart", [False, True])
def test_agents_of_one_kind_on_different_roles_draw_different_random_numbers(kind, apart):
    """Whether one agent plays both roles or each role has an agent of its own, what they try is independent."""
    game = VectorGame(big_crowd(2, ("player", "rival")), None, [0], 50, with_state=True)
    game.reset()
    roles = tuple(game.game.roles.values())
    agent_class, config = KINDS[kind]
    done = {}
    for plays in [roles[:1], roles[1:]] if apart else [roles]:
        context = AgentContext(plays, roles, (0,), 50, 1000, torch.device("cpu"), game.state.shape[-1])
        agent = agent_class(context, config)
        done |= agent.act(game.observations, deterministic=False)
    assert not np.array_equal(done["player"], done["rival"])
