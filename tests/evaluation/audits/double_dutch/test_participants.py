"""Misreports in markets from which some sellers stay away: they are no bidders, and all others keep their places."""

from __future__ import annotations

import numpy as np
import pytest

from ioa_marl.envs.double_dutch.game import DoubleDutchGame
from ioa_marl.evaluation.audits.double_dutch.branches import misreport_gains
from ioa_marl.evaluation.audits.double_dutch.play import Auctions, set_reports
from ioa_marl.evaluation.audits.double_dutch.reports import Replays, false_name_gains
from ioa_marl.evaluation.audits.subject import Subject, scripted_subject


def of_preset(policy="two_phase", preset="thin", **changes) -> Subject:
    return scripted_subject(DoubleDutchGame, DoubleDutchGame.make_config(preset, **changes), policy)


FEW_BUYERS = {"buyers": 2, "min_sellers": 2, "sellers": 6}
"""Settings with which a seller stays away from every sixth market or so."""
MARKETS = 30


def brute_force(subject: Subject, markets: int) -> np.ndarray:
    """Return the best gain of every participant over all reports, each auction played from the beginning."""
    clocks = np.arange(-1, int(subject.config.buyer_clock / subject.config.tick) + 1)
    auctions = Auctions(subject, markets * len(clocks))
    every = np.arange(auctions.capacity)
    auctions.open(0, markets)
    state = auctions.state
    valuations, order, size = state.valuation.copy(), state.order.copy(), state.size.copy()
    auctions.play_out(every)
    truth = auctions.all_utilities(valuations)
    best = np.zeros((markets, *truth.shape[1:]))
    for side in range(2):
        for place in range(truth.shape[2]):
            rows = np.flatnonzero(place < size[:, side])
            who = order[rows, side, place].astype(np.int64)
            auctions.open(0, markets)
            set_reports(state, rows, np.full(len(rows), side), who, clocks[rows // markets])
            auctions.play_out(every)
            gain = (auctions.all_utilities(valuations) - truth)[rows, side, who]
            np.maximum.at(best, (rows % markets, side, who), gain)
    return best


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"psi": 0.0},
        {"ending": "next_loser"},
        {"ending": "next_loser", "policy": "scripted_step"},
        {"psi": 1.0, "welfare_paid": "at_end"},
        {"observation": "extended"},
        {"steps": [5.0, 8.0, 12.0, 40.0], "scripted_step": 40.0, "tick": 1.0, "policy": "scripted_step"},
    ],
)
def test_gains_are_those_of_playing_every_report_although_sellers_stay_away(changes):
    changes = dict(changes)
    subject = of_preset(changes.pop("policy", "two_phase"), **FEW_BUYERS, **changes)
    found = misreport_gains(subject, MARKETS)
    sellers = (found.valuations[:, 1] > 0).sum(axis=1)
    assert (found.present[:, 1].sum(axis=1) < sellers).any()
    assert np.allclose(found.gains, brute_force(subject, MARKETS), rtol=0, atol=1e-9)


def test_replays_have_the_bidders_of_the_evaluation_markets():
    subject = of_preset(**FEW_BUYERS)
    replays, found = Replays(subject, MARKETS, side_by_side=True), misreport_gains(subject, MARKETS)
    assert np.array_equal(replays.present, found.present)
    assert np.array_equal(replays.truthful, found.truthful)
    ((trades, prices),) = replays.played([lambda reports, present: None])
    assert np.array_equal(replays.utilities(trades, prices), found.truthful)
    assert not (trades & ~found.present).any()
    played = subject.play(MARKETS)
    welfare = np.where(trades[:, 0], found.valuations[:, 0], 0).sum(axis=1)
    welfare -= np.where(trades[:, 1], found.valuations[:, 1], 0).sum(axis=1)
    assert np.allclose(welfare, played["welfare"])


def test_nobody_has_two_names_on_a_side_from_which_all_stay_away():
    subject = of_preset(buyers=1, min_sellers=1, sellers=1, cost_spread=[-2.0, 1.0])
    replays = Replays(subject, MARKETS, side_by_side=True)
    buyers, sellers = false_name_gains(replays, 5)
    nobody = ~replays.present[:, 1].any(axis=1)
    assert 0 < nobody.sum() < MARKETS
    assert np.array_equal(np.isnan(sellers.gains), nobody)
    assert not np.isnan(buyers.gains).any()
