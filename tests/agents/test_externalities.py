"""What the critics of the actor–critics tell of the welfare that the others could have without an agent."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from joint import each
from probes import make_role
from sessions import differing

from ioa_marl.agents.base import AgentContext
from ioa_marl.agents.learners.independent_ac import IndependentACAgent, IndependentACConfig
from ioa_marl.agents.learners.maddpg import MADDPGAgent, MADDPGConfig
from ioa_marl.agents.learners.mean_field_ac import MeanFieldACAgent, MeanFieldACConfig
from ioa_marl.foundations.errors import UserError

CLASSES = {
    "maddpg": (MADDPGAgent, MADDPGConfig),
    "mean_field_ac": (MeanFieldACAgent, MeanFieldACConfig),
    "independent_ac": (IndependentACAgent, IndependentACConfig),
}
FEATURES, WIDTH = 2, 6
HOLD = np.array([1, 0])
FREE = {"hold": HOLD, "largest": np.full((2, 3), np.inf)}


def agent_of(learner, counts, share_above=64, *, absences=False, **changes):
    """Return an agent of two seeds that plays only slice, with random networks."""
    roles = tuple(
        dataclasses.replace(make_role(name, n, FEATURES, (3, 2)), can_be_absent=absences) for name, n in counts.items()
    )
    agent_class, config_class = CLASSES[learner]
    config = config_class(width=8, gamma=0.7, reward_scale=0.5, share_above=share_above, **changes)
    return agent_class(AgentContext(roles[:1], roles, (0, 1), 3, 10, torch.device("cpu")), config)


def make_critics_linear(stack, coefficients):
    """Set target critics to a linear function of their inputs, which are not negative."""
    with torch.no_grad():
        for p in stack.target_critics.parameters():
            p.zero_()
        first, *others = stack.target_critics.weights
        first[:, :, 0] = coefficients
        for weight in others:
            weight[:, 0, 0] = 1.0


def drawn_moment(counts, seed=0):
    """Return observations of all roles and actions of the other roles, of two seeds and three markets."""
    draws = np.random.default_rng(seed)
    seen = {n: draws.random((2, 3, c, FEATURES), np.float32) for n, c in counts.items()}
    done = {n: np.stack([draws.integers(k, size=(2, 3, c)) for k in (3, 2)], axis=-1) for n, c in counts.items()}
    del done["slice"]
    return seen, done


def estimates(agent, moments):
    """Return estimates without bounds, (seeds, markets, agents)."""
    count = agent.roles["slice"].count
    return agent.externality("slice", *moments, largest_of_others=np.full((2, 3, count), -np.inf), **FREE)


def one_hot(choice):
    out = np.zeros(WIDTH)
    out[[choice[0], 3 + choice[1]]] = 1.0
    return out


def critic_sees(learner, shared, i, seen, done, rivals):
    """Return the inputs of the critic of agent i: ``seen`` and ``done`` of all slices, and what the rivals do."""
    nothing = np.zeros(FEATURES)
    if learner == "independent_ac":
        return [nothing, done[i]]
    rivals_seen, rivals_done = rivals
    others = [j for j in range(len(seen)) if j != i]
    if learner == "mean_field_ac":
        means = [seen[others].mean(0), rivals_seen.mean(0), done[others].mean(0), rivals_done.mean(0)]
        return [nothing, done[i], *means]
    everything = [*seen, *rivals_seen, *rivals_done]
    if not shared:
        return [*everything, *done]
    return [nothing, done[i], *everything, *(np.zeros(WIDTH) if j == i else done[j] for j in range(len(seen)))]


@each
@pytest.mark.parametrize("share_above", [1, 64])
@pytest.mark.parametrize("chunk", [1, 2**17])
def test_externality_is_what_the_equations_say_for_every_agent(learner, share_above, chunk, monkeypatch):
    """A critic with known coefficients; agent by agent in plain Python, with a second role that also acts."""
    monkeypatch.setattr("ioa_marl.agents.common.externalities.LARGEST_PASS", chunk)
    counts, shared = {"slice": 4, "vsp": 2}, share_above == 1
    agent = agent_of(learner, counts, share_above)
    stack = agent._learners["slice"]
    coefficients = torch.rand(stack.critic_features(), generator=torch.Generator().manual_seed(3))
    make_critics_linear(stack, coefficients)
    moments = [drawn_moment(counts, seed=k) for k in (0, 1)]
    found = estimates(agent, moments)
    weights = coefficients.double().numpy()

    def best(seed, seen_by_actor, i):
        with torch.no_grad():
            x = torch.zeros(stack.members.count, 1, len(seen_by_actor))
            x[:] = torch.as_tensor(seen_by_actor, dtype=torch.float32)
            logits = stack.target_actor(x)[seed if shared else seed * 4 + i, 0].numpy()
        return one_hot((logits[:3].argmax(), logits[3:5].argmax()))

    def absent_value(seed, market, i, moment, action):
        seen, done = moment
        mine = seen["slice"][seed, market].astype(float).copy()
        mine[i] = 0.0
        # The mean that an actor sees is over those present: not over itself, and not over the absent agent.
        means = [mine[[k for k in range(4) if k not in (i, j)]].mean(0) for j in range(4)]
        shown = np.concatenate([mine, means], axis=1) if learner == "mean_field_ac" else mine
        acts = np.stack([best(seed, x, j) for j, x in enumerate(shown)])
        if action is not None:
            acts[i] = one_hot(action)
        rivals = seen["vsp"][seed, market].astype(float), np.stack([one_hot(a) for a in done["vsp"][seed, market]])
        return weights @ np.concatenate(critic_sees(learner, shared, i, mine, acts, rivals))

    for seed, market, i in np.ndindex(2, 3, 4):
        current = absent_value(seed, market, i, moments[0], HOLD)
        following = absent_value(seed, market, i, moments[1], None)
        assert found[seed, market, i] == pytest.approx((current - 0.7 * following) / 0.5, abs=1e-5)


@pytest.mark.parametrize(("learner", "share_above"), [("maddpg", 1), ("maddpg", 64), ("mean_field_ac", 64)])
def test_externality_of_a_critic_of_the_others_welfare_is_their_welfare(learner, share_above):
    """Q' = the sum of what the others observe first / (1 − γ): the value of a market that stays as it is."""
    agent = agent_of(learner, {"slice": 3}, share_above)
    stack = agent._learners["slice"]
    coefficients, value = torch.zeros(stack.critic_features()), 0.5 / 0.3  # reward × 0.5
    own = FEATURES + WIDTH
    if learner == "mean_field_ac":
        coefficients[own] = 2 * value  # two others, of whom the critic sees the mean
    else:
        first = own if share_above == 1 else 0
        coefficients[first : first + 3 * FEATURES : FEATURES] = value
    make_critics_linear(stack, coefficients)
    seen, _ = drawn_moment({"slice": 3})
    utility = seen["slice"][..., 0].astype(float)
    others = utility.sum(-1, keepdims=True) - utility
    found = estimates(agent, [(seen, {}), (seen, {})])
    np.testing.assert_allclose(found, others, atol=1e-5)
    low, high = np.full((2, 3, 3), 0.9), np.full((2, 3), 1.1)
    clipped = agent.externality("slice", (seen, {}), (seen, {}), hold=HOLD, largest=high, largest_of_others=low)
    np.testing.assert_allclose(clipped, np.clip(others, 0.9, 1.1), atol=1e-5)
    assert (clipped == 0.9).any()
    assert (clipped == 1.1).any()


@pytest.mark.parametrize("absences", [False, True])
@pytest.mark.parametrize("share_above", [1, 64])
@each
def test_estimates_depend_on_the_others_where_the_critic_sees_them_and_never_on_the_agent(
    learner, share_above, absences
):
    """An independent critic sees nobody else, so that its estimate is a constant of the policy."""
    agent = agent_of(learner, {"slice": 4}, share_above, absences=absences)
    (first, _), (second, _) = drawn_moment({"slice": 4}), drawn_moment({"slice": 4}, seed=1)
    before = estimates(agent, [(first, {}), (first, {})])
    changed = {"slice": first["slice"].copy()}
    changed["slice"][:, :, 2] = second["slice"][:, :, 2]
    after = estimates(agent, [(changed, {}), (changed, {})])
    np.testing.assert_array_equal(after[..., 2], before[..., 2])
    others, others_matter = [0, 1, 3], learner != "independent_ac"
    assert (after[..., others] != before[..., others]).all() == others_matter
    assert (after[..., others] == before[..., others]).all() != others_matter


@each
@pytest.mark.parametrize("share_above", [1, 64])
def test_who_is_really_absent_is_not_there_for_the_estimate_either(learner, share_above):
    """Where agents can be absent, the view without agent 0 has agent 3, whose observation is 0, idle; agent 0 acts."""
    agent = agent_of(learner, {"slice": 4}, share_above, absences=True)
    stack = agent._learners["slice"]
    seen = {"slice": torch.from_numpy(drawn_moment({"slice": 4})[0]["slice"])}
    seen["slice"][:, :, 3] = 0.0
    view = stack.view_in_absence(seen, {}, torch.from_numpy(HOLD), torch.tensor([0, 2]))
    done = view.actions["slice"].unflatten(1, (3, 2))
    assert not done[:, :, :, 3].any()
    assert torch.equal(done[:, :, 0, 0], torch.from_numpy(one_hot(HOLD)).float().expand(2, 3, -1))
    assert torch.equal(done[:, :, 1, 2], done[:, :, 0, 0])
    assert (done[:, :, :, 1].sum(-1) == 2).all()
    observed = view.observations["slice"].unflatten(1, (3, 2))
    assert not observed[:, :, 0, 0].any()
    assert torch.equal(observed[:, :, 0, 1:], seen["slice"][:, :, 1:])


@each
def test_two_critics_tell_the_smaller_value(learner):
    agent = agent_of(learner, {"slice": 3}, twin_critics=True)
    stack = agent._learners["slice"]
    with torch.no_grad():
        stack.target_critics.weights[-1].zero_()
        stack.target_critics.biases[-1].copy_(torch.arange(12.0).view(12, 1, 1))
    moment = {"slice": torch.rand(2, 3, 3, FEATURES)}
    found = stack.value_in_absence(moment, {}, None)
    assert torch.equal(found, torch.arange(0.0, 12.0, 2.0).view(2, 1, 3).expand(2, 3, 3))


@each
def test_externality_changes_nothing_in_training_and_is_refused_for_roles_of_others(learner):
    agent = agent_of(learner, {"slice": 3})
    seen, _ = drawn_moment({"slice": 3})
    before = [agent.state_dict(i) for i in (0, 1)]
    estimates(agent, [(seen, {}), (seen, {})])
    assert differing(before, [agent.state_dict(i) for i in (0, 1)]) == []
    with pytest.raises(UserError, match="this agent does not play vsp: it plays slice"):
        agent.externality("vsp", (seen, {}), (seen, {}), largest_of_others=np.ones((2, 3, 3)), **FREE)


class Bank:
    """A market that asks for externalities, as far as an agent sees it."""

    config = None

    def __init__(self):
        self.told = {}

    def requirements(self, config):
        asked = type("Requirement", (), {"role": "slice", "protocol": object})
        return (asked,)

    def supply(self, role, provider):
        self.told[role] = provider


@pytest.mark.parametrize(("learner", "fits"), [("maddpg", False), ("mean_field_ac", True), ("independent_ac", True)])
def test_critics_of_all_agents_tell_nothing_where_their_number_differs(learner, fits):
    """Shared actors play any number of agents; what the critics of maddpg see depends on it."""
    trained, played = agent_of(learner, {"slice": 3}, 1), agent_of(learner, {"slice": 4}, 1)
    trained.attach(Bank())
    policy = trained.policy_state(0)
    assert set(policy["slice"]["targets"]) == {"actor", "critics"}
    for seed in (0, 1):
        played.load_policy_state(seed, policy)
    bank = Bank()
    if not fits:
        with pytest.raises(UserError, match="without the critics that tell them here: train it again in this market"):
            played.attach(bank)
        return
    played.attach(bank)
    seen, _ = drawn_moment({"slice": 4})
    flat = {"slice": seen["slice"].reshape(6, 4, FEATURES)}
    bounds = {"largest": np.full(6, np.inf), "largest_of_others": np.full((6, 4), -np.inf)}
    found = bank.told["slice"](flat, flat, hold=HOLD, **bounds)
    np.testing.assert_array_equal(found.reshape(2, 3, 4), estimates(played, [(seen, {}), (seen, {})]))
