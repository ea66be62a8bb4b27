"""The greedy agent is trained only where it is a bandit."""

from ioa_marl.agents.baselines.greedy import GreedyAgent
from ioa_marl.envs.double_dutch.game import DoubleDutchGame
from ioa_marl.envs.two_tier.game import TwoTierGame
from ioa_marl.envs.vcg_slicing.game import VCGSlicingGame


def test_a_rule_of_the_market_needs_no_training():
    assert not GreedyAgent.learns_in(VCGSlicingGame, ["slice"])
    assert not GreedyAgent.learns_in(TwoTierGame, ["mobile", "fixed"])


def test_one_role_without_a_rule_makes_it_a_learner():
    assert GreedyAgent.learns_in(DoubleDutchGame, ["auctioneer"])
    assert GreedyAgent.learns_in(TwoTierGame, ["mobile", "fixed", "auctioneer"])
