"""A role is scored among reference partners: what the agents do in other roles does not matter for its score."""

from typing import ClassVar

import numpy as np
import pytest
from haggle import HaggleConfig, HaggleGame

from ioa_marl.agents.baselines.random import RandomAgent, RandomConfig
from ioa_marl.agents.baselines.scripted import ScriptedAgent, ScriptedConfig
from ioa_marl.envs.testing import check_market
from ioa_marl.envs.two_tier.game import TwoTierGame
from ioa_marl.evaluation import external, protocol
from ioa_marl.evaluation.partners import evaluate_agents
from ioa_marl.evaluation.playing import make_agent

ROUNDS = 3
EPISODES = 40


class Both(HaggleGame):
    """Both roles learn: buyers are scored beside a seller who takes every offer, the seller beside offers of 3."""

    name = "haggle_beside"
    default_controlled_roles = ("buyer", "seller")
    objectives: ClassVar = {"buyer": "paid", "seller": "paid"}
    constant_baseline: ClassVar = {"buyer": "always", "seller": "always"}
    reference_partners: ClassVar = {"buyer": ("always", {"action": 3}), "seller": ("always", {"action": 1})}

    @classmethod
    def reference(cls, config, seeds, streams, instances=None):
        best = {"buyer": 4.0, "seller": 3.0}
        return {key: np.full(len(seeds), best[key] * config.rounds) for key in cls.objectives}


class Together(Both):
    """A group of roles is scored, which leaves nobody to be a partner."""

    name = "haggle_together"
    objectives: ClassVar = {"trade": "paid"}
    objective_roles: ClassVar = {"trade": ("buyer", "seller")}

    @classmethod
    def reference(cls, config, seeds, streams, instances=None):
        return {"trade": np.full(len(seeds), 4.0 * config.rounds)}


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("IOA_MARL_CACHE", str(tmp_path))


def always(game_class, **actions):
    probe = game_class(HaggleConfig(), 1)
    return [
        make_agent(ScriptedAgent, ScriptedConfig("always", {"action": action}), probe, [role], 1)
        for role, action in actions.items()
    ]


def played(game_class, agents, **more):
    return evaluate_agents(game_class, HaggleConfig(), agents, ("buyer", "seller"), [0], EPISODES, **more)


def test_each_role_is_played_beside_its_partners_and_figures_of_the_joint_play_stay():
    figures = played(Both, always(Both, buyer=4, seller=0))
    assert np.all(figures["paid"] == 0.0)  # the seller refuses
    assert np.all(figures["scored_buyer"] == 4 * ROUNDS)  # the partner takes
    assert np.all(figures["scored_seller"] == 0.0)
    figures = played(Both, always(Both, buyer=0, seller=1))
    assert np.all(figures["scored_seller"] == 3 * ROUNDS)
    assert np.all(figures["scored_buyer"] == 0.0)


def test_an_agent_of_all_roles_plays_only_the_one_that_is_scored():
    probe = Both(HaggleConfig(), 1)
    random = make_agent(RandomAgent, RandomConfig(), probe, ["buyer", "seller"], 1)
    figures = played(Both, [random])
    # Offers of the larger of two uniform ones are taken; offers of 3 are taken half of the time.
    assert figures["scored_buyer"].mean() == pytest.approx(ROUNDS * 70 / 25, rel=0.1)
    assert set(np.unique(figures["scored_seller"])) <= {0.0, 3.0, 6.0, 9.0}
    assert figures["scored_seller"].mean() == pytest.approx(ROUNDS * 3 / 2, rel=0.2)


def test_zero_one_and_constant_are_computed_beside_the_same_partners():
    found = protocol.compute_references(Both, HaggleConfig(), 100)
    assert found.optimum == {"buyer": 12.0, "seller": 9.0}
    assert found.constant == {"buyer": 0.0, "seller": 0.0}  # the constant is action 0
    assert found.zero["buyer"] == pytest.approx(ROUNDS * 70 / 25, rel=0.05)
    assert found.zero["seller"] == pytest.approx(ROUNDS * 3 / 2, rel=0.05)


def test_the_partners_own_policy_scores_what_it_is_worth_beside_the_others():
    figures = played(Both, always(Both, buyer=4, seller=1))
    found = protocol.scores(Both, HaggleConfig(), figures, Both.default_controlled_roles)
    assert {key: value.tolist() for key, value in found.items()} == {"buyer": [1.0], "seller": [1.0]}
    # The same agents in joint play would make 12, a score of 1.7 on the seller's scale.
    assert figures["paid"].mean() == 12.0


def test_a_group_of_all_roles_has_no_partners():
    figures = played(Together, always(Together, buyer=4, seller=1))
    np.testing.assert_array_equal(figures["scored_trade"], figures["paid"])


def test_other_roles_than_the_usual_ones_are_not_scored():
    (buyer,) = always(Both, buyer=2)
    figures = evaluate_agents(Both, HaggleConfig(), [buyer], ("buyer",), [0], 5)
    assert not any(name.startswith("scored_") for name in figures)


def test_a_callable_is_scored_beside_the_same_partners(monkeypatch):
    monkeypatch.setattr(external, "find_game", lambda env_id: (Both, None))
    functions = {
        "buyer": lambda seen: np.full(seen.shape[:2], 4),
        "seller": lambda seen: np.zeros(len(seen), int),
    }
    result = external.score("haggle_beside", functions, episodes=5)
    assert result.scores["buyer"] == 1.0
    assert result.metrics["paid"] == result.metrics["scored_seller"] == 0.0


class TwoTier(TwoTierGame):
    reference_partners: ClassVar = {
        "mobile": ("cost_plus", {"margin": 0.3}), "fixed": ("cost_plus", {"margin": 0.2}),
        "auctioneer": ("fixed_pair", {}),
    }  # fmt: skip


def test_what_leaders_do_changes_the_joint_play_of_an_auctioneer_and_not_its_score():
    config = TwoTier.make_config(rounds=2)
    probe = TwoTier(config, 1)
    auctioneer = make_agent(RandomAgent, RandomConfig(), probe, ["auctioneer"], 1)

    def beside(margin):
        leaders = [
            make_agent(ScriptedAgent, ScriptedConfig("cost_plus", {"margin": margin}), probe, [role], 1)
            for role in ("mobile", "fixed")
        ]
        agents = [*leaders, auctioneer]
        return evaluate_agents(TwoTier, config, agents, TwoTier.default_controlled_roles, [0], 20)

    one, other = beside(0.1), beside(2.0)
    assert not np.array_equal(one["auction_regret"], other["auction_regret"])
    np.testing.assert_array_equal(one["scored_auctioneer"], other["scored_auctioneer"])
    assert not np.array_equal(one["scored_fixed"], other["scored_fixed"])


def test_check_market_holds_references_against_play_beside_the_partners():
    check_market(Both, processes=False)

    class TooLow(Both):
        name = "haggle_too_low"

        @classmethod
        def reference(cls, config, seeds, streams, instances=None):
            return {**super().reference(config, seeds, streams), "seller": np.full(len(seeds), 8.0)}

    with pytest.raises(Exception, match="beats the reference of seller"):
        check_market(TooLow, processes=False)


def test_check_market_refuses_partners_that_are_not_there():
    class Stranger(Both):
        name = "haggle_stranger"
        reference_partners: ClassVar = {"buyer": ("oracle", {}), "seller": ("native", {})}

    class OneOnly(Both):
        name = "haggle_one_only"
        reference_partners: ClassVar = {"buyer": ("always", {})}

    for game_class, what in ((Stranger, "no policy 'oracle' of buyer"), (OneOnly, "not exactly those of")):
        with pytest.raises(Exception, match=f"reference_partners.* {what}"):
            check_market(game_class, processes=False)
