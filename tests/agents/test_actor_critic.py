"""Actor–critics of joint steps: the inputs of their networks, and which parameters each update changes."""

from __future__ import annotations

import copy
import dataclasses
import warnings

import numpy as np
import pytest
import torch
from joint import each, played, sampled, weights_of
from learners import LEARNERS
from probes import Bazaar, Crowd, ProbeGame, make_role
from sessions import Session, differing

from ioa_marl.agents.base import AgentContext
from ioa_marl.agents.common.actor_critic_config import ActorCriticConfig
from ioa_marl.agents.learners.maddpg import MANY_AGENTS, MADDPGAgent, MADDPGConfig
from ioa_marl.agents.replay.joint_views import View
from ioa_marl.envs.vector import VectorGame
from ioa_marl.foundations.errors import UserError
from ioa_marl.foundations.parameters import ParameterError


def everything(network):
    return {name: p.detach().clone() for name, p in network.named_parameters()}


def moved(network, before):
    return [name for name, p in network.named_parameters() if not torch.equal(p, before[name])]


# Which parameters an update changes.


@each
def test_one_pass_of_each_roles_target_actors_serves_the_critics_of_all_agents(learner):
    agent = played(learner).agent
    passes = dict.fromkeys(agent._learners, 0)

    def counted(name):
        def count(module, inputs, output):
            passes[name] += 1

        return count

    for name, stack in agent._learners.items():
        stack.target_actor.register_forward_hook(counted(name))
    agent.update(0.1)
    assert passes == {"player": 1, "rival": 1}


@each
def test_actor_loss_gives_the_critics_no_gradient_and_the_critic_loss_none_to_the_actor(learner):
    agent = played(learner).agent
    batch, view, next_view = sampled(agent)
    for stack in agent._learners.values():
        weights = weights_of(batch, stack)
        critics, actor = everything(stack.critics), everything(stack.actor)
        stack._update_actor(batch, view, None, weights, 0.1)
        assert all(p.grad is None and p.requires_grad for p in stack.critics.parameters())
        assert moved(stack.critics, critics) == []
        assert set(moved(stack.actor, actor)) == set(actor)
        stack.actor_optimiser.zero_grad(set_to_none=True)
        actor = everything(stack.actor)
        stack._update_critics(batch, view, next_view, None, weights)
        assert all(p.grad is None for p in stack.actor.parameters())
        assert moved(stack.actor, actor) == []
        assert set(moved(stack.critics, critics)) == set(critics)


@each
@pytest.mark.parametrize("tau", [0.0, 0.25, 1.0])
def test_targets_start_as_copies_get_no_gradient_and_follow_by_tau(learner, tau):
    agent = played(learner, tau=tau).agent
    pairs = [
        pair
        for stack in agent._learners.values()
        for pair in ((stack.target_actor, stack.actor), (stack.target_critics, stack.critics))
    ]
    before = [everything(target) for target, _ in pairs]
    assert all(moved(source, start) == [] for (_, source), start in zip(pairs, before, strict=True))
    agent.update(0.1)
    for (target, source), start in zip(pairs, before, strict=True):
        assert moved(source, start) != []
        for (name, p), q in zip(target.named_parameters(), source.parameters(), strict=True):
            assert p.grad is None
            assert not p.requires_grad
            assert torch.allclose(p, (1 - tau) * start[name] + tau * q, rtol=0, atol=1e-6)
            assert tau != 0.0 or torch.equal(p, start[name])


@each
def test_actor_learns_nothing_from_steps_in_which_its_agent_does_not_act(learner):
    agent = played(learner).agent
    batch, view, _ = sampled(agent)
    batch.active["player"][:, ::2] = False
    twin = copy.deepcopy(agent)
    changed = {name: x.clone() for name, x in view.observations.items()}
    changed["player"][:, ::2] = 0.123
    for it, seen in ((agent, view.observations), (twin, changed)):
        stack = it._learners["player"]
        stack._update_actor(batch, View(seen, view.actions), None, weights_of(batch, stack), 0.1)
    one, other = (it._learners["player"].actor for it in (agent, twin))
    assert moved(one, everything(other)) == []
    batch.active["player"][...] = False
    stack = agent._learners["player"]
    before = everything(stack.actor)
    loss, entropy = stack._update_actor(batch, view, None, weights_of(batch, stack), 0.1)
    assert loss.abs().max() == 0.0
    assert entropy.abs().max() == 0.0
    for p in stack.actor.parameters():
        assert torch.all(p.grad == 0.0)
    assert all(torch.isfinite(p).all() for p in before.values())


@each
def test_successor_that_is_not_a_number_counts_nothing_after_a_termination(learner):
    agents = [played(learner).agent for _ in range(2)]
    fields = agents[1]._buffer.rows.fields
    over = fields["discounts/player"][:, :, 0] == 0.0
    assert over.any()
    for role in agents[1].roles:
        fields[f"next_observations/{role}"][over] = torch.nan
    for _ in range(3):
        metrics = [agent.update(0.1) for agent in agents]
    assert all(torch.isfinite(v).all() for v in metrics[1].values())
    for it in (0, 1):
        networks = [agent.state_dict(it)["learners"] for agent in agents]
        assert differing(*networks) == [], "the rows of other successors are as they were"


# The inputs of the networks.


@each
def test_own_action_in_place_of_the_stored_one_replaces_it_everywhere(learner):
    agent = played(learner).agent
    _, view, _ = sampled(agent)
    for name, stack in agent._learners.items():
        mine = stack.stacked(view.actions[name])
        assert torch.equal(stack.critic_inputs(view, mine, None), stack.critic_inputs(view, None, None))
        other = mine.roll(1, dims=1)
        shifted = View(view.observations, {**view.actions, name: view.actions[name].roll(1, dims=1)})
        replaced = stack.critic_inputs(view, other, None)
        difference = replaced != stack.critic_inputs(view, None, None)
        assert difference.sum() == (other != mine).sum(), "nothing else differs"
        if stack.role.count == 1 and learner != "independent_ac":
            assert torch.equal(replaced, stack.critic_inputs(shifted, None, None))


@each
def test_gradient_of_an_actor_runs_through_the_own_action_only(learner):
    """Not through m, nor through what the other agents of a stack would do."""
    agent = played(learner).agent
    _, view, _ = sampled(agent)
    stack = agent._learners["player"]
    remembered = {name: a.clone().requires_grad_() for name, a in view.actions.items()}
    seen = {name: a.clone().requires_grad_() for name, a in view.observations.items()}
    own = stack.stacked(view.actions["player"]).clone().requires_grad_()
    inputs = stack.critic_inputs(View(seen, remembered), own, None)
    stack.values(stack.critics, inputs)[0].sum().backward()  # seed 0, agent 0
    assert own.grad[0].abs().sum() > 0
    assert own.grad[1:].abs().sum() == 0
    if learner == "mean_field_ac":
        assert all(a.grad is None for a in remembered.values())
        assert seen["player"].grad[:, :, 1].abs().sum() == 0
        assert seen["rival"].grad is None


@pytest.mark.parametrize("role", ["player", "rival"])
def test_mean_field_excludes_the_agent_itself_and_does_not_tell_the_others_apart(role):
    agent = played("mean_field_ac", game_class=Crowd, seeds=[0], n_step=1).agent
    stack, count = agent._learners[role], Crowd.counts[role]
    generator = torch.Generator().manual_seed(0)

    def draw(width):
        return {name: torch.rand(1, 5, n, width(name), generator=generator) for name, n in Crowd.counts.items()}

    view = View(draw(lambda name: 1), draw(lambda name: stack.codes[name].width))
    own = torch.zeros(count, 5, stack.heads.width)
    found = stack.critic_inputs(view, own, None)
    at = 1 + stack.heads.width  # own observation and action, then m
    for i in range(count):
        others = [j for j in range(count) if j != i]
        expected = []
        for values in (view.observations, view.actions):
            for name in Crowd.counts:
                of_role = values[name][0]
                expected.append(of_role[:, others].mean(1) if name == role else of_role.mean(1))
        torch.testing.assert_close(found[i, :, at:], torch.cat(expected, dim=1))
        actor = stack.actor_inputs(view.observations)[0, :, i]
        torch.testing.assert_close(actor[:, 0], view.observations[role][0, :, i, 0])
        torch.testing.assert_close(actor[:, 1:], view.observations[role][0][:, others].mean(1))
        order = [i if j == i else others[(others.index(j) + 1) % len(others)] for j in range(count)]
        permuted = View(
            {**view.observations, role: view.observations[role][:, :, order]},
            {**view.actions, role: view.actions[role][:, :, order]},
        )
        torch.testing.assert_close(stack.critic_inputs(permuted, own, None)[i], found[i])


@pytest.mark.parametrize("learner", ["maddpg", "mean_field_ac"])
def test_what_roles_of_another_agent_did_next_is_what_they_do_in_the_next_value(learner):
    """They have actions of zeros where an episode ended, or where they did not act."""
    game = VectorGame(Bazaar, Bazaar.config_class(), [0], 4)
    game.reset()
    roles = game.game.roles
    entry = LEARNERS[learner]
    context = AgentContext((roles["player"],), tuple(roles.values()), (0,), 4, 10_000, torch.device("cpu"))
    agent = entry.agent(context, dataclasses.replace(entry.config, n_step=1))
    history, draws = [], np.random.default_rng(0)
    for _ in range(40):
        actions = agent.act(game.observations, deterministic=False)
        actions["rival"] = np.stack([draws.integers(n, size=(1, 4, 1)) for n in (2, 3)], axis=-1)
        transition = game.step(actions)
        history.append(
            {
                "seen": transition.observations["rival"][0, :, 0].copy(),
                "done": transition.actions["rival"][0, :, 0].copy(),
                "active": transition.active["rival"][0, :, 0].copy(),
            }
        )
        agent.observe(transition)
    batch, _, next_view = sampled(agent)
    known = {tuple(x["seen"][e]): (x["done"][e], x["active"][e]) for x in history for e in range(4)}
    ends = 0
    for row in range(agent.config.batch_size):
        after = tuple(batch.next_observations["rival"][0, row, 0].tolist())
        found = next_view.actions["rival"][0, row, 0].numpy()
        expected = np.zeros(6)
        done, active = known.get(after, (None, False))
        if active:
            expected[[done[0], 3 + done[1]]] = 1.0
        ends += done is None
        assert np.array_equal(found, expected)
    assert 0 < ends < agent.config.batch_size
    assert set(agent.update(0.1)) == {"player/critic_loss", "player/actor_loss", "player/entropy"}


def big(agents, features=1):
    class Big(ProbeGame):
        name = "big"

        @classmethod
        def make_roles(cls, config):
            return {"player": make_role("player", agents, features, 3)}

        def look(self):
            drawn = [self.draw(100 + i) for i in range(agents * features)]
            return {"player": np.stack(drawn, axis=1).reshape(self.num_envs, agents, features)}

        def play(self, actions):
            over = np.ones(self.num_envs, np.bool_)
            return {"player": actions["player"] == 1}, over, ~over

    return Big


@each
def test_shared_network_learns_from_some_agents_of_every_step(learner):
    session = Session(
        learner, big(5), share_above=4, agents_per_row=2, num_envs=2, learning_starts=20, update_every=2,
        entropy_start=0.02, entropy_end=0.02,
    )  # fmt: skip
    stack = session.stack()
    assert (stack.members.separate, stack.actor.members) == (1, 3)
    chosen = stack.sample_agents(500)
    assert chosen.shape == (3, 500, 2)
    assert torch.all((chosen[..., 1] - chosen[..., 0]) % 5 == 1), "nobody twice"
    assert all(len(np.unique(c)) == 5 for c in chosen.numpy())
    session.run(150)
    assert np.all(session.best_actions([[0.2], [0.8]]) == 1)


def test_shared_centralised_critic_knows_whose_value_is_asked_and_sees_the_own_action_once():
    session = Session("maddpg", big(5), share_above=4, agents_per_row=3, num_envs=2, learning_starts=10**9).run(10)
    agent, stack = session.agent, session.stack()
    _, view, _ = sampled(agent)
    chosen = stack.sample_agents(agent.config.batch_size)
    inputs = stack.critic_inputs(view, None, chosen).unflatten(1, (-1, 3))
    seen, done = view.observations["player"], view.actions["player"]
    for seed, row, k in np.ndindex(3, 4, 3):
        i = int(chosen[seed, row, k])
        others = done[seed, row].clone()
        others[i] = 0.0
        expected = torch.cat([seen[seed, row, i], done[seed, row, i], seen[seed, row].flatten(), others.flatten()])
        assert torch.equal(inputs[seed, row, k], expected)
    own = torch.rand(*inputs.flatten(1, 2).shape[:2], 3)
    replaced = stack.critic_inputs(view, own, chosen)
    assert torch.equal(replaced[..., 1:4], own)
    assert torch.equal(replaced[..., 4:], inputs.flatten(1, 2)[..., 4:])


# Another number of agents.


@pytest.mark.parametrize("learner", ["mean_field_ac", "independent_ac"])
def test_policy_of_few_agents_plays_many_if_its_network_is_shared(learner):
    few, many = (
        Session(learner, big(n, 2), share_above=1, seeds=[0], num_envs=2, learning_starts=20).run(60 if n == 3 else 0)
        for n in (3, 200)
    )
    for name, values in few.agent.policy_state(0)["player"].items():
        assert values.shape == many.agent.policy_state(0)["player"][name].shape
    many.agent.load_policy_state(0, few.agent.policy_state(0))
    pattern = np.random.default_rng(0).random((40, 2), np.float32)
    small = np.repeat(pattern[:, None], 3, axis=1)
    assert np.array_equal(few.best_actions(small)[:, :, 0], many.best_actions(np.repeat(small[:, :1], 200, 1))[:, :, 9])
    assert len(np.unique(few.agent.act({"player": small[None]}, deterministic=False)["player"])) == 3


def test_networks_of_single_agents_play_no_other_number_of_them():
    few, many = (Session("mean_field_ac", big(n), seeds=[0], num_envs=2) for n in (3, 4))
    with pytest.raises(UserError, match="3 networks cannot play 4 agents of player, which have 4"):
        many.agent.load_policy_state(0, few.agent.policy_state(0))


@pytest.mark.parametrize(("agents", "warned"), [(MANY_AGENTS, 0), (MANY_AGENTS + 1, 1)])
def test_maddpg_of_many_agents_suggests_the_mean_field(agents, warned):
    role = make_role("player", agents, 1, 2)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        MADDPGAgent(AgentContext((role,), (role,), (0,), 1, 1, torch.device("cpu")), MADDPGConfig(width=4))
    assert [str(w.message).endswith("mean_field_ac sees their mean") for w in caught] == [True] * warned


# Settings.


def test_entropy_and_exploration_fall_as_set():
    config = ActorCriticConfig(
        entropy_start=0.4, entropy_end=0.1, entropy_fraction=0.5, epsilon_start=0.3, epsilon_end=0.1,
        epsilon_fraction=0.5,
    )  # fmt: skip
    assert [config.entropy_weight(p) for p in (0.0, 0.25, 0.5, 1.0)] == pytest.approx([0.4, 0.2, 0.1, 0.1])
    assert [config.epsilon(p) for p in (0.0, 0.25, 0.5, 1.0)] == pytest.approx([0.3, 0.2, 0.1, 0.1])
    assert ActorCriticConfig(entropy_start=0.0, entropy_end=0.0).entropy_weight(0.5) == 0.0


@pytest.mark.parametrize(
    "changes",
    [{"entropy_end": 0.0}, {"temperature": 0.0}, {"epsilon_start": 1.5}, {"batch_size": 0}, {"share_above": 0}],
)
def test_settings_that_cannot_be_trained_with_are_refused(changes):
    with pytest.raises(ParameterError, match=next(iter(changes))):
        ActorCriticConfig(**changes)


@each
def test_training_draws_from_the_policy_mixed_with_uniform_draws(learner):
    session = Session(learner, Bazaar, seeds=[0], epsilon_start=0.4, epsilon_end=0.4)
    stack = session.stack("rival")
    with torch.no_grad():
        for p in stack.actor.parameters():
            p.zero_()
        stack.actor.biases[-1][:, 0] = torch.tensor([0.0, 3.0, 0.0, 2.0, 0.0, 0.0])
    n = 20_000
    seen = {"player": np.zeros((1, n, 2, 3), np.float32), "rival": np.zeros((1, n, 1, 3), np.float32)}
    drawn = session.agent.act(seen, deterministic=False)["rival"][0, :, 0]
    for head, logits in enumerate(([0.0, 3.0], [2.0, 0.0, 0.0])):
        policy = np.exp(logits) / np.exp(logits).sum()
        expected = 0.6 * policy + 0.4 / len(policy)
        found = np.bincount(drawn[:, head], minlength=len(policy)) / n
        np.testing.assert_allclose(found, expected, atol=0.015)
    best = session.agent.act(seen, deterministic=True)["rival"][0, :, 0]
    assert np.all(best == [1, 0])
