"""A table of one's own providers: its optimum and payments in the environment, with and without a bank."""

from __future__ import annotations

import numpy as np
import pytest

from ioa_marl.envs.vcg_slicing.config import VCGSlicingConfig
from ioa_marl.envs.vcg_slicing.game import VCGSlicingGame
from ioa_marl.foundations.parameters import ParameterError
from ioa_marl.markets.vcg_slicing import clarke_payments, preset, welfare_optimum

HEAD = "worth,bandwidth,computing,cache,profit_rate\n"
TABLE = HEAD + "150,3,0,8,0.7\n90,6,2,0.5,1.2\n240,1,9,4,1\n"
WORTH, RATES = np.array([150.0, 90.0, 240.0]), np.array([[3.0, 0.0, 8.0], [6.0, 2.0, 0.5], [1.0, 9.0, 4.0]])


def play(config, roles=("slice",), markets=4, episodes=2):
    game = VCGSlicingGame(config, markets, roles)
    observations, _ = game.reset(np.arange(markets, dtype=np.uint64))
    for _ in range(episodes * config.rounds * len(roles)):
        assert all(np.all((seen >= 0) & (seen <= 1)) for seen in observations.values())
        actions = {"slice": np.full((markets, 3, 3), config.hold)}
        if "vsp" in roles:
            actions["vsp"] = np.full((markets, 3), config.truth)
        step = game.step({role: action for role, action in actions.items() if role in roles})
        observations = step.observations
    return game, step.metrics


def test_every_episode_has_the_optimum_and_the_payments_of_the_table():
    best, clarke = welfare_optimum(WORTH, RATES), clarke_payments(WORTH, RATES)
    game, metrics = play(VCGSlicingConfig(data=TABLE, rounds=3))
    assert game.config.providers == 3
    assert metrics["optimal_welfare"] == pytest.approx([best.welfare] * 4, rel=1e-9)
    assert len(set(metrics["welfare"])) == 4  # the shares at the start are drawn
    keys = np.arange(2, dtype=np.uint64)
    assert game.reference(game.config, keys, keys, keys)["slice"] == pytest.approx([best.welfare] * 2, rel=1e-9)
    # At the optimum the payments are those of the plain function.
    steered = VCGSlicingGame(VCGSlicingConfig(data=TABLE, rounds=60), 1)
    steered.reset(np.zeros(1, np.uint64))
    oracle = steered.scripted("oracle", "slice")
    for _ in range(59):
        steered.step({"slice": oracle()})
    steered.optima.solve(np.ones(1, np.bool_))
    others = steered.market.others[0] - (steered.market.utility[0].sum() - steered.market.utility[0])
    assert others == pytest.approx(clarke.payments, rel=0.02, abs=0.01)


def test_a_bank_takes_the_profit_rates_of_the_table():
    game, metrics = play(VCGSlicingConfig(data=TABLE, mechanism="dual_currency", rounds=3), ("slice", "vsp"))
    assert game.bank.bank.profit_rate.tolist() == [[0.7, 1.2, 1.0]] * 4
    assert np.isfinite(metrics["net_profit"]).all()
    drawn = VCGSlicingGame(VCGSlicingConfig(data=TABLE.replace(",profit_rate", "").replace(",0.7\n", "\n")
                           .replace(",1.2\n", "\n").replace("4,1\n", "4\n"), mechanism="dual_currency"), 1)  # fmt: skip
    drawn.reset(np.zeros(1, np.uint64))
    rates = drawn.bank.bank.profit_rate[0]
    assert np.all((rates >= 0.5) & (rates <= 1.5))
    assert len(set(rates)) == 3


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"data": TABLE.replace("150,3", "-150,3")}, "data.worth=-150 (row 1)"),
        ({"data": TABLE.replace(",8,", ",1e-9,")}, "data.cache=1e-09 (row 1)"),
        ({"data": TABLE.replace("cache", "storage")}, "the column storage"),
        ({"data": TABLE.replace("1.2", "")}, "data.profit_rate=empty (row 2)"),
        ({"data": HEAD + "1,0,0,0,1\n2,0,0,0,1\n"}, "rate=(0.0, 0.0)"),
        ({"data": TABLE, "providers": 5}, "providers=5"), ({"data": TABLE, "worth": [1, 2]}, "worth="),
        ({"data": TABLE, "redraw": "episode", "observation": "extended"}, "redraw=episode"),
        ({"data": TABLE, "instance": 2}, "instance=2"), ({"data": TABLE, "fewest_providers": 2}, "fewest_providers=2"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_refused_in_a_line(settings, told):
    with pytest.raises(ParameterError) as caught:
        VCGSlicingConfig(**{"mechanism": "dual_currency", **settings})
    assert told in str(caught.value)
    assert "\n" not in str(caught.value)


def test_plain_functions_read_the_same_file(tmp_path):
    (tmp_path / "vsps.csv").write_text(TABLE)
    params = preset("dual_currency", data=str(tmp_path / "vsps.csv"))
    worth, rates, alpha = params.own_types()
    assert (worth.tolist(), rates.tolist(), alpha.tolist()) == (WORTH.tolist(), RATES.tolist(), [0.7, 1.2, 1.0])
