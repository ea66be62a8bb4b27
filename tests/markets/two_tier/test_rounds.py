"""One trading round of the two-tier market, followed by hand; what holds in every round; independence and symmetry."""

import dataclasses
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ioa_marl.foundations.records import plain_view
from ioa_marl.markets.double_dutch.auction import simulate
from ioa_marl.markets.stackelberg.drivers import reshape_markets
from ioa_marl.markets.stackelberg.kernels import list_members
from ioa_marl.markets.two_tier import drivers
from ioa_marl.markets.two_tier.params import PRESETS, TwoTierParams, draw_markets, preset, start_episodes

LEVELS = 51
PAPER = TwoTierParams()


def play(params, market, mobile, fixed, pairs):
    """Play one round; price indices (batch, leaders), pairs (batch, 2)."""
    kernel_settings, size = params.settings(), len(market.pricing.seed)
    everywhere, terminated = np.ones(size, np.bool_), np.zeros(size, np.bool_)
    prices = [
        np.ascontiguousarray(np.broadcast_to(x, (size, n)), np.int64)
        for x, n in ((mobile, params.mobile), (fixed, params.fixed))
    ]
    drivers.post_prices(market, kernel_settings, everywhere, LEVELS, *prices)
    chosen = np.ascontiguousarray(np.broadcast_to(pairs, (size, 2)), np.int64)[:, None]
    drivers.hold_auctions(market, kernel_settings, everywhere, chosen, terminated)
    return terminated


def random_round(params, market, rng):
    size = len(market.pricing.seed)
    mobile = rng.integers(3, 25, size=(size, params.mobile))
    fixed = rng.integers(8, 30, size=(size, params.fixed))
    return play(params, market, mobile, fixed, rng.integers(len(params.steps), size=(size, 2)))


def utility(params, market, n, share, passed, aerial_pace, mobile_price, fixed_price):
    """Eqs. 3, 6-8 and 13 of one wireless agent when all its load is served, for shares of any shape."""
    s, (load, qoe, slack, exponent, mobile_energy, fixed_energy, _) = market.pricing, market.pricing.traits[0, n]
    i, j = s.reach[0, :, n]
    own = share * load * s.time_per_mbit[0, 0, i]
    rest = (1 - share) * load * (1 - passed) * s.time_per_mbit[0, 1, j]
    far = s.relay_time[0, n] + (1 - share) * load * passed * aerial_pace if passed > 0 else 0.0
    latency = np.maximum(np.maximum(own, rest), far)
    energy = mobile_energy * (np.exp(exponent * share) - 1)
    energy = energy + fixed_energy * (math.exp(exponent) - np.exp(exponent * share))
    paid = load * (share * mobile_price + (1 - share) * fixed_price)
    return qoe * np.log(slack - latency) - energy - paid, qoe * np.log(slack - latency), energy


def accounts(params):
    """Names of everybody who pays or is paid, in the order of the books."""
    counts = {"wireless": params.wireless, "mobile": params.mobile, "fixed": params.fixed, "aerial": params.aerial}
    return [(role, x) for role, count in counts.items() for x in range(count)] + [("auctioneer", 0)]


def received(market):
    return np.concatenate([market.pricing.accounts[0, :-1], market.tier.accounts[0]])


def loads_by_hand(params, market):
    wants, s = [0.0] * params.fixed, market.pricing
    for n in range(params.wireless):
        if s.buys[0, n]:
            wants[s.reach[0, 1, n]] += (1 - s.share[0, n]) * s.traits[0, n].load
    return wants


def follow_by_hand(params, market, wants):
    """Recompute payments, costs and utilities of one market's last round in plain Python, from shares and trades."""
    s, t = market.pricing, market.tier
    price = float(market.auction.totals[0].price)
    partner = {j: int(t.partner[0, j]) for j in range(params.fixed) if t.partner[0, j] >= 0}
    money, cost = dict.fromkeys(accounts(params), 0.0), dict.fromkeys(accounts(params), 0.0)
    welfare = [0.0] * params.wireless
    for n in np.flatnonzero(s.buys[0]):
        i, j, share, load = s.reach[0, 0, n], s.reach[0, 1, n], s.share[0, n], s.traits[0, n].load
        unserved = max(0.0, wants[j] - t.capacity[0, j]) - (params.lot if j in partner else 0.0)
        served = 1.0 if wants[j] == 0.0 else 1.0 - unserved / wants[j]
        to_mobile = share * load * s.price[0, 0, i]
        to_fixed = (1 - share) * load * served * s.price[0, 1, j]
        money["wireless", n] -= to_mobile + to_fixed
        money["mobile", i] += to_mobile
        money["fixed", j] += to_fixed
        cost["mobile", i] += share * load * s.cost[0, 0, i]
        passed, pace = (params.lot / wants[j], t.time_per_mbit[0, partner[j]]) if j in partner else (0.0, 0.0)
        _, qoe, energy = utility(params, market, n, share, passed, pace, 0.0, 0.0)
        welfare[n] = qoe * (share + (1 - share) * served) - energy - to_mobile - to_fixed
    for j in range(params.fixed):
        cost["fixed", j] += min(wants[j], t.capacity[0, j]) * s.cost[0, 1, j]
    for j, k in partner.items():
        money["fixed", j] -= price
        money["aerial", k] += price
        cost["fixed", j] += params.relay_cost
        hover = params.hover_energy_price * (sum(params.relay_time) / 2 + t.time_per_mbit[0, k] * params.lot)
        cost["aerial", k] += t.unit_cost[0, k] * params.lot + hover * t.hover_power[0, k]
    return money, cost, welfare


@pytest.mark.parametrize("name", ["paper", "city"])
@pytest.mark.parametrize("seed", range(4))
def test_every_payment_of_three_rounds_is_followed_by_hand(name, seed):
    params, rng = preset(name), np.random.default_rng(seed)
    market = draw_markets(params, [seed])
    trades = 0
    for _ in range(3):
        before = received(market)
        random_round(params, market, rng)
        wants = loads_by_hand(params, market)
        money, cost, welfare = follow_by_hand(params, market, wants)
        assert sum(money.values()) == pytest.approx(0.0, abs=1e-9)
        found = received(market) - before
        assert dict(zip(money, found.tolist(), strict=True)) == pytest.approx(money, abs=1e-9)
        profit = np.array([money[who] - cost[who] for who in money])[params.wireless : -1]
        booked = [market.pricing.profit[0, 0, : params.mobile], market.pricing.profit[0, 1, : params.fixed]]
        np.testing.assert_allclose(np.concatenate([*booked, market.tier.aerial_profit[0]]), profit, atol=1e-9)
        np.testing.assert_allclose(market.pricing.utility[0], welfare, atol=1e-9)
        trades += int(market.auction.totals[0].trades)
    assert trades > 0, "rounds without a trade prove little"


def test_who_is_short_of_a_lot_buys_and_passes_it_on():
    market, rng = draw_markets(PAPER, [8]), np.random.default_rng(8)
    for _ in range(5):
        random_round(PAPER, market, rng)
        wants = np.array(loads_by_hand(PAPER, market))
        np.testing.assert_allclose(market.tier.load[0], wants, atol=1e-12)
        buyers = np.flatnonzero(wants - market.tier.capacity[0] >= PAPER.lot)
        assert sorted(market.auction.order[0, 0, : market.auction.size[0, 0]]) == buyers.tolist()
        trades = market.tier.partner[0] >= 0
        assert set(np.flatnonzero(trades)) <= set(buyers)
        np.testing.assert_allclose(market.pricing.offloading_ratio[0] * wants, PAPER.lot * trades, atol=1e-12)


def test_a_buyer_values_a_lot_by_equation_33_and_a_seller_by_equation_34():
    market = draw_markets(PAPER, [3])
    random_round(PAPER, market, np.random.default_rng(0))
    s, t = market.pricing, market.tier
    for j in market.auction.order[0, 0, : market.auction.size[0, 0]]:
        computing = t.time_per_mbit[0].mean() * PAPER.lot  # the partner is not known yet
        value = s.price[0, 1, j] * PAPER.lot - PAPER.fixed_delay_weight * math.log(computing + 1) - PAPER.relay_cost
        assert t.bids[0, 0, 0, j] == pytest.approx(max(value, 0.0))
    for k in market.auction.order[0, 1, : market.auction.size[0, 1]]:
        energy = t.hover_power[0, k] * (0.1 + t.time_per_mbit[0, k] * PAPER.lot)
        delay = (s.time_per_mbit[0, 1].mean() * PAPER.lot) ** 2
        value = t.unit_cost[0, k] * PAPER.lot + PAPER.hover_energy_price * energy + PAPER.aerial_delay_weight * delay
        assert t.bids[0, 0, 1, k] == pytest.approx(value)


def test_sellers_stay_away_exactly_where_no_fixed_agent_earns_their_valuation_with_a_lot():
    market = draw_markets(PAPER, np.arange(40))
    play(PAPER, market, 8, 12, (4, 4))  # nobody earns more than 4.8 with a lot
    away = market.tier.bids[:, 0, 1] < 0.0
    np.testing.assert_array_equal(away, market.tier.ask > 2.4 * PAPER.lot)
    assert 0.05 < away.mean() < 0.95


def test_with_one_step_for_both_clocks_the_auction_is_the_double_dutch_auction():
    market, rng = draw_markets(PAPER, np.arange(30)), np.random.default_rng(1)
    for step in (0, 3, 7, 9):
        play(PAPER, market, rng.integers(3, 20, (30, 10)), rng.integers(8, 30, (30, 10)), (step, step))
        r, traded = int(market.pricing.round[0]) - 1, 0
        for b in range(30):
            bids, asks = (market.tier.bids[b, r, side] for side in range(2))
            buyers, sellers = (np.flatnonzero(x >= 0.0) for x in (bids, asks))
            if len(buyers) == 0 or len(sellers) == 0:
                assert market.auction.totals[b].trades == 0.0
                continue
            wanted = simulate(
                bids[buyers], asks[sellers], PAPER.steps[step], tick=PAPER.tick, buyer_clock=20.0, seller_clock=0.0
            )
            if wanted.trades:  # without a trade there is no price
                assert market.auction.totals[b].price == pytest.approx(wanted.price)
            assert market.auction.totals[b].welfare == pytest.approx(wanted.welfare)
            pairs = dict(zip(buyers[wanted.buyers], sellers[wanted.sellers], strict=True))
            assert pairs == {j: k for j, k in enumerate(market.tier.partner[b]) if k >= 0}
            traded += wanted.trades
        assert traded > 10


def test_each_clock_moves_by_its_own_step():
    market = draw_markets(PAPER, np.arange(50))
    play(PAPER, market, 9, 14, (8, 5))
    fallen = 20.0 - market.auction.clock[:, 0] * PAPER.tick
    risen = market.auction.clock[:, 1] * PAPER.tick
    np.testing.assert_allclose(fallen % PAPER.steps[8], 0.0)
    np.testing.assert_allclose(risen % PAPER.steps[5], 0.0)
    assert (risen % PAPER.steps[8] > 0.0).any()


@pytest.mark.parametrize("seed", range(3))
def test_followers_expect_last_rounds_shares_and_answer_better_than_any_of_ten_thousand(seed):
    market, rng = draw_markets(PAPER, [seed]), np.random.default_rng(seed)
    shares, expecting = np.linspace(0.0, 1.0, 10_001), []
    for _ in range(4):
        expected = market.pricing.offloading_ratio[0].copy()
        expecting.append(bool((expected > 0.0).any()))
        random_round(PAPER, market, rng)
        s = market.pricing
        for n in range(PAPER.wireless):
            i, j = s.reach[0, :, n]
            aerial = market.tier.time_per_mbit[0].mean()
            known = (expected[j], aerial, s.price[0, 0, i], s.price[0, 1, j])
            best = utility(PAPER, market, n, shares, *known)[0].max()
            if s.buys[0, n]:
                found = utility(PAPER, market, n, s.share[0, n], *known)[0]
                assert found >= best - 1e-9
                assert found >= 0.0
            else:
                assert best < 1e-9
    assert not expecting[0]
    assert any(expecting)


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    prices=st.lists(st.integers(0, LEVELS - 1), min_size=20, max_size=20),
    pair=st.tuples(st.integers(0, 9), st.integers(0, 9)),
)
def test_money_is_conserved_resources_suffice_and_nobody_trades_at_a_loss(seed, prices, pair):
    market = draw_markets(PAPER, [seed])
    for _ in range(2):
        play(PAPER, market, np.array([prices[:10]]), np.array([prices[10:]]), pair)
        s, t = market.pricing, market.tier
        assert s.accounts[0, :-1].sum() + t.accounts[0].sum() == pytest.approx(0.0, abs=1e-9)
        assert s.accounts[0, -1] == pytest.approx(0.0, abs=1e-9)
        assert t.accounts[0, -1] == 0.0  # the auctioneer keeps nothing: strong budget balance
        assert ((s.share[0] >= 0.0) & (s.share[0] <= 1.0)).all()
        assert ((s.offloading_ratio[0] >= 0.0) & (s.offloading_ratio[0] <= 1.0)).all()
        trades = t.partner[0] >= 0
        computed = t.served_fraction[0] * t.load[0] - PAPER.lot * trades
        assert (computed <= t.capacity[0] + 1e-9).all()
        assert len(set(t.partner[0][trades])) == trades.sum() == market.auction.totals[0].trades
        price = market.auction.totals[0].price
        assert (t.aerial_profit[0] >= 0.0).all()
        # A lot brings its buyer at least what it costs: p w − γ E_up − r* ≥ 0.
        assert (s.price[0, 1, :10][trades] * PAPER.lot - PAPER.relay_cost - price >= -1e-12).all()
        # Curves have infinite ends where a segment is empty.
        others = s._replace(curve=np.zeros(1), segments=np.zeros(1))
        assert all(np.isfinite(plain_view(x)).all() for x in (*others, *t, *market.auction))


def test_each_auction_keeps_the_double_dutch_invariants():
    market, rng = draw_markets(PAPER, np.arange(200)), np.random.default_rng(4)
    random_round(PAPER, market, rng)
    auction, trades = market.auction, market.auction.totals["trades"]
    assert (trades == np.minimum(auction.winners[:, 0], auction.winners[:, 1])).all()
    held = trades > 0
    price = auction.totals["price"][held] / PAPER.tick
    for b, r in zip(np.flatnonzero(held), price, strict=True):
        traders = [auction.order[b, side, : int(trades[b])] for side in range(2)]
        accepted = [auction.accepted_at[b, side, traders[side]] for side in range(2)]
        assert accepted[1].max() <= r <= accepted[0].min()
        # A valuation is the accepted clock and the regret of having accepted it.
        values, costs = (auction.valuation[b, side, traders[side]] for side in range(2))
        assert auction.totals[b].welfare == pytest.approx(values.sum() - costs.sum())
        regret = abs(values - accepted[0] * PAPER.tick).sum() + abs(costs - accepted[1] * PAPER.tick).sum()
        assert auction.totals[b].welfare == pytest.approx(auction.totals[b].clock_surplus + regret)


def copied(market):
    return type(market)(*(type(part)(*(array.copy() for array in part)) for part in market))


def test_renumbering_the_aerial_agents_renumbers_the_outcome():
    market = draw_markets(PAPER, [11])
    other, order = copied(market), np.random.default_rng(0).permutation(10)
    for name in ("time_per_mbit", "unit_cost", "hover_power", "cost", "ask"):
        getattr(other.tier, name)[:] = getattr(market.tier, name)[:, order]
    for one in (market, other):
        play(PAPER, one, 9, np.tile([13, 14], 5), (3, 5))
    assert market.auction.totals[0].trades > 1
    sold = market.tier.partner[0] >= 0
    np.testing.assert_array_equal(order[other.tier.partner[0][sold]], market.tier.partner[0][sold])
    np.testing.assert_allclose(other.tier.aerial_profit[0], market.tier.aerial_profit[0][order], atol=1e-12)
    np.testing.assert_allclose(other.pricing.profit, market.pricing.profit, atol=1e-12)


def test_renumbering_the_fixed_agents_renumbers_the_outcome():
    market = draw_markets(PAPER, [11])
    other, order = copied(market), np.random.default_rng(1).permutation(10)
    other.tier.capacity[:] = market.tier.capacity[:, order]
    for name in ("time_per_mbit", "cost"):
        getattr(other.pricing, name)[:, 1] = getattr(market.pricing, name)[:, 1, order]
    other.pricing.reach[0, 1] = np.argsort(order)[market.pricing.reach[0, 1]]
    list_members(0, 1, 10, other.pricing)
    everywhere, kernel_settings = np.ones(1, np.bool_), PAPER.settings()
    reshape_markets(other.pricing, kernel_settings.pricing, everywhere)
    # With different prices and the finest step no two buyers accept in one tick, where the lower index would go first.
    prices, trades = np.array([13, 14, 15, 12, 16, 17, 18, 11, 19, 10]), 0
    for _ in range(3):
        play(PAPER, market, 9, prices, (0, 5))
        play(PAPER, other, 9, prices[order], (0, 5))
        trades += int(market.auction.totals[0].trades)
        for name in ("profit", "sales"):
            one, two = getattr(market.pricing, name), getattr(other.pricing, name)
            np.testing.assert_allclose(two[0, 1], one[0, 1, order], atol=1e-12)
            np.testing.assert_allclose(two[0, 0], one[0, 0], atol=1e-12)
        np.testing.assert_array_equal(other.tier.partner[0], market.tier.partner[0, order])
        np.testing.assert_allclose(other.pricing.utility, market.pricing.utility, atol=1e-12)
    assert trades > 1


def test_a_market_of_a_batch_is_the_same_market_alone_bit_for_bit():
    together, alone = draw_markets(PAPER, [5, 6, 7]), draw_markets(PAPER, [6], [1])
    for prices in (8, 15):
        play(PAPER, together, prices, prices + 5, (4, 2))
        play(PAPER, alone, prices, prices + 5, (4, 2))
    for part, own in zip(together, alone, strict=True):
        for array, one in zip(part, own, strict=True):
            np.testing.assert_array_equal(array[1], one[0])


def test_the_instance_fixes_capacities_and_the_episode_only_costs():
    market = draw_markets(PAPER, [1, 2, 3], instances=[4, 4, 9])
    t = market.tier
    np.testing.assert_array_equal(t.capacity[0], t.capacity[1])
    np.testing.assert_array_equal(t.time_per_mbit[0], t.time_per_mbit[1])
    assert (t.capacity[0] != t.capacity[2]).any()
    assert (t.ask[0] != t.ask[1]).all()
    before = t.ask.copy(), t.capacity.copy()
    market.pricing.episode[:] = 1
    start_episodes(PAPER, market, np.ones(3, np.bool_))
    assert (t.ask != before[0]).all()
    np.testing.assert_array_equal(t.capacity, before[1])


def test_an_episode_ends_after_its_rounds():
    params = dataclasses.replace(PAPER, rounds=3)
    market = draw_markets(params, [0, 1])
    assert [play(params, market, 8, 14, (4, 4)).tolist() for _ in range(3)] == [[False] * 2, [False] * 2, [True] * 2]


@pytest.mark.parametrize("name", PRESETS)
def test_every_preset_trades(name):
    params = preset(name)
    market = draw_markets(params, [0])
    for _ in range(3):
        play(params, market, 9, 14, (7, 5))
    assert market.tier.totals["trades"][0] >= 3
