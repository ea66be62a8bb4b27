"""The same bids under every double auction: known truths, agreement with independent estimates, pairing."""

from __future__ import annotations

import numpy as np
import pytest

from ioa_marl.agents.baselines.scripted import ScriptedAgent, ScriptedConfig
from ioa_marl.envs.double_dutch.game import DoubleDutchConfig, DoubleDutchGame
from ioa_marl.evaluation.audits.double_dutch import double_dutch_mechanism, incentive_regret
from ioa_marl.evaluation.mechanisms import Auctioneer, DoubleAuctionBids, compare_double_auctions
from ioa_marl.evaluation.mechanisms.deviations import candidates, near_margin
from ioa_marl.evaluation.playing import make_agent
from ioa_marl.foundations.errors import UserError
from ioa_marl.foundations.parameters import ParameterError
from ioa_marl.markets.double_dutch import k_double_auction, mcafee, preset, sorted_matching
from ioa_marl.markets.double_dutch.step_tables import drawn_markets

FIXTURE = DoubleAuctionBids.of([([10, 8, 6, 3], [1, 2, 5, 7])])


def sides(bids, market):
    n, m = bids.size[market]
    return bids.valuations[market, 0, :n], bids.valuations[market, 1, :m]


def scripted(policy, **settings):
    """Return a scripted policy of the environment as an auctioneer that plays as a trained one does."""
    config = DoubleDutchConfig()
    game = DoubleDutchGame(config, 1)
    agent = make_agent(ScriptedAgent, ScriptedConfig(policy, settings), game, ["auctioneer"], 1)
    return Auctioneer(config, agent, policy)


@pytest.fixture(scope="module")
def paper():
    return compare_double_auctions(markets=40)


@pytest.mark.parametrize("name", ["mcafee", "trade_reduction", "sbba", "vcg"])
def test_nobody_gains_by_misreporting_to_a_truthful_auction(paper, name):
    assert paper[name].figures["regret"].tolist() == [0.0] * 40
    assert paper.reports > 60


@pytest.mark.parametrize("name", ["fixed_step", "traditional", "two_phase", "step_table", "k_double"])
def test_somebody_gains_by_misreporting_to_the_others_in_nearly_every_market(paper, name):
    assert np.mean(paper[name].figures["regret"] > 0.01) > 0.8


def test_more_is_gained_by_misreporting_to_the_double_dutch_auction_than_to_the_k_double_auction(paper):
    """Measured, and the opposite of what was expected; between one buyer and one seller both are the same."""
    for name in ("fixed_step", "traditional", "two_phase", "step_table"):
        assert paper.mean(name, "regret")[0] > 3.0 * paper.mean("k_double", "regret")[0]
    rng = np.random.default_rng(0)
    pairs = DoubleAuctionBids.of([(rng.uniform(0, 80, 1), rng.uniform(0, 80, 1)) for _ in range(50)])
    found = compare_double_auctions(pairs, mechanisms=["traditional", "k_double"])
    clocked, sealed = (found[name].figures["regret"] for name in ("traditional", "k_double"))
    assert np.abs(clocked - sealed).max() < 3 * 0.25
    assert sealed.max() > 10.0


def test_regrets_are_those_of_the_audit_that_runs_every_auction_by_itself():
    bids = DoubleAuctionBids.drawn(markets=3, seed=7)
    found = compare_double_auctions(bids, mechanisms=["fixed_step", "traditional", "k_double"])
    clocks = {"buyer_clock": 80.0, "seller_clock": 0.0}
    step = float(found["fixed_step"].setting.split()[-1])
    rules = {
        "fixed_step": double_dutch_mechanism(step, 0.25, **clocks),
        "traditional": double_dutch_mechanism(0.25, 0.25, **clocks),
        "k_double": k_double_auction,
    }
    for market in range(3):
        values, costs = sides(bids, market)
        tried = candidates(values, costs, near_margin(values, costs), 11, 0.25)
        for name, rule in rules.items():
            audited = incentive_regret(rule, values, costs, grid=tried, epsilon=0.25).max
            assert found[name].figures["regret"][market] == pytest.approx(audited, abs=1e-9), (name, market)


@pytest.mark.parametrize("policy", ["two_phase", "fixed_step", "step_table"])
def test_a_policy_plays_in_the_environment_as_by_its_table(policy):
    bids = DoubleAuctionBids.drawn(markets=12)
    found = compare_double_auctions(bids, mechanisms=[policy, "learnt"], auctioneer=scripted(policy))
    for figure, values in found[policy].figures.items():
        np.testing.assert_allclose(found["learnt"].figures[figure], values, atol=1e-9, err_msg=figure)


def test_psi_reaches_every_double_dutch_auction_and_nothing_else():
    names = ["step_table", "learnt", "two_phase", "mcafee"]
    arguments = {"markets": 60, "grid": 2, "mechanisms": names, "auctioneer": scripted("fixed_step", step=3.0)}
    low, high = (compare_double_auctions(**arguments, psi=psi) for psi in (0.0, 1.0))
    for name in ("step_table", "learnt"):
        assert low.mean(name, "revenue")[0] < high.mean(name, "revenue")[0]
        assert low.mean(name, "welfare") == high.mean(name, "welfare")
    # Steps of 5 and 1 let the clocks meet, so that both ends of the price are the same.
    for name in ("two_phase", "mcafee"):
        assert low.mean(name, "revenue")[0] == pytest.approx(high.mean(name, "revenue")[0])


def test_all_mechanisms_have_the_bids_of_the_draw(paper):
    params = preset("paper")
    bids = DoubleAuctionBids.drawn(markets=40)
    best = np.array([sorted_matching(*sides(bids, market)).welfare for market in range(40)])
    for name in ("vcg", "k_double"):
        np.testing.assert_allclose(paper[name].figures["welfare"], best)
    of_mcafee = [mcafee(*sides(bids, market)).welfare(*sides(bids, market)) for market in range(40)]
    np.testing.assert_allclose(paper["mcafee"].figures["welfare"], of_mcafee)
    state = drawn_markets(params, 40, 2**61)
    assert bids.size.tolist() == state.size.tolist()
    assert np.all(paper["step_table"].figures["efficiency"] <= 1.0 + 1e-12)


def test_differences_are_paired(paper):
    ours, base = paper["mcafee"].figures["welfare"], paper["fixed_step"].figures["welfare"]
    found = paper.difference("mcafee")
    assert paper.base == "fixed_step"
    assert found.value == pytest.approx(ours.mean() - base.mean())
    assert found.low < found.value < found.high
    # Bids differ far more between markets than mechanisms do: unpaired, the interval would be several times as wide.
    unpaired = 2 * 1.96 * np.hypot(ours.std(ddof=1), base.std(ddof=1)) / np.sqrt(40)
    assert found.high - found.low < 0.5 * unpaired


def test_lies_and_truth_have_the_same_lottery():
    first, again = (compare_double_auctions(markets=30, seed=3, mechanisms=["sbba"]) for _ in range(2))
    assert first["sbba"].figures["welfare"].tolist() == again["sbba"].figures["welfare"].tolist()
    assert first.mean("sbba", "regret") == (0.0, 0.0)


def test_nobody_loses_and_no_money_is_lost(paper):
    for row in paper.mechanisms:
        assert not row.figures["ir_violations"].any(), row.name
        budget = row.figures["budget_surplus"]
        if row.name in ("mcafee", "trade_reduction"):
            assert budget.min() >= 0.0
            assert budget.max() > 0.0
        elif row.name == "vcg":
            assert budget.max() <= 1e-12
        else:
            assert np.abs(budget).max() < 1e-9, row.name


def test_messages_are_those_of_the_clocks_or_one_of_each_bidder(paper):
    bids = DoubleAuctionBids.drawn(markets=40)
    assert paper["vcg"].figures["messages"].tolist() == bids.size.sum(axis=1).tolist()
    assert paper.mean("traditional", "messages")[0] > 5 * paper.mean("two_phase", "messages")[0]


def test_own_bids_in_other_units_have_the_same_figures_in_those_units():
    rng = np.random.default_rng(5)
    pairs = [(rng.uniform(10, 60, 5), rng.uniform(5, 55, 4)) for _ in range(10)]
    euros = DoubleAuctionBids.of(pairs)
    cents = DoubleAuctionBids.of([(100 * values, 100 * costs) for values, costs in pairs])
    names = ["fixed_step", "two_phase", "mcafee", "k_double", "learnt"]
    small, large = (
        compare_double_auctions(bids, mechanisms=names, auctioneer=scripted("two_phase")) for bids in (euros, cents)
    )
    for name in names:
        for figure in ("welfare", "revenue", "regret", "budget_surplus"):
            found = large[name].figures[figure]
            np.testing.assert_allclose(found, 100 * small[name].figures[figure], rtol=1e-6, atol=1e-6)
        assert large.mean(name, "messages") == small.mean(name, "messages")


def test_in_a_large_market_the_bidders_at_the_margin_are_tried():
    values, costs = np.arange(100.0, 0.0, -1.0), np.arange(1.0, 101.0)
    buyers, sellers = near_margin(values, costs)
    trades = len(sorted_matching(values, costs).buyers)
    assert trades == 50
    assert buyers.tolist() == sellers.tolist() == list(range(45, 55))
    assert near_margin(values[:3], costs[:2])[0].tolist() == [0, 1, 2]


def test_the_fixture_of_the_double_dutch_auction_is_found_out():
    found = compare_double_auctions(FIXTURE, mechanisms=["traditional", "mcafee"])
    # With clocks from 10 to 1, a tick is 9/320: the seller with cost 5 gains almost 1 by asking almost 6.
    assert found.mean("traditional", "regret")[0] > 0.8
    assert np.isnan(found.mean("traditional", "regret")[1])
    assert found.mean("mcafee", "regret")[0] == 0.0


def test_bids_that_are_all_equal_have_nothing_to_gain():
    found = compare_double_auctions(DoubleAuctionBids.of([([5.0, 5.0], [5.0])]))
    for row in found.mechanisms:
        assert row.figures["welfare"][0] == pytest.approx(0.0), row.name
        assert row.figures["efficiency"][0] == 1.0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"mechanisms": ["mcaffee"]}, "unknown mechanism 'mcaffee': did you mean mcafee"),
        ({"mechanisms": ["vcg", "vcg"]}, "mechanism=vcg, vcg is not allowed: use every name once"),
        ({"mechanisms": ["learnt"]}, "mechanism=learnt is not allowed: use it with a checkpoint"),
        ({"psi": 1.5}, r"psi=1\.5 is not allowed: use 0 to 1"),
        ({"k": float("nan")}, "k=nan is not allowed: use 0 to 1"),
        ({"grid": 1}, "grid=1 is not allowed: use 2 to 1000"),
        ({"markets": 0}, "markets=0 is not allowed: use 1 to 100000"),
        ({"seed": -1}, "seed=-1 is not allowed: use 0 to"),
        ({"preset": "papre"}, "preset=papre is not allowed: use paper"),
    ],
)
def test_what_is_not_allowed_is_refused_in_one_line(arguments, message):
    with pytest.raises((ParameterError, UserError), match=message):
        compare_double_auctions(**arguments)


def test_bids_that_a_trained_auctioneer_cannot_have_are_refused():
    crowd = DoubleAuctionBids.of([(np.arange(1.0, 13.0), [1.0])])
    with pytest.raises(ParameterError, match="buyers=12 is not allowed: use at most 10"):
        compare_double_auctions(crowd, mechanisms=["learnt"], auctioneer=scripted("two_phase"))
    with pytest.raises(ParameterError, match="values="):
        DoubleAuctionBids.of([([-1.0], [1.0])])
    with pytest.raises(ParameterError, match="costs="):
        DoubleAuctionBids.of([([1.0], [])])
