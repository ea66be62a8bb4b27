"""A learnt best response gains against a policy far from the optimum, at most what is possible, and nothing else."""

import numpy as np
import pytest
import torch

from ioa_marl.evaluation.audits.running import run_audit
from ioa_marl.evaluation.audits.subject import AuditSettings, scripted_subject
from ioa_marl.evaluation.playing import play_episodes
from ioa_marl.foundations.errors import UserError
from ioa_marl.training.best_response import _rewards, _Seat, learnt_best_response
from ioa_marl.training.check import open_checkpoint
from ioa_marl.training.compose import specification
from ioa_marl.training.config import resolve
from ioa_marl.training.seeds import train_seeds

TINY = {"rollout_size": 256, "batch_size": 256, "hidden": [16], "learning_rate": 1e-2, "n_epochs": 4}


@pytest.fixture(autouse=True)
def one_thread():
    torch.set_num_threads(1)


def run_of(*arguments):
    return specification([*arguments, "seeds=1", "num_envs=16", "budget=4096"])


def test_a_learner_undercuts_the_cap_and_gains_nearly_what_the_exact_best_response_does():
    spec = run_of("env=stackelberg", "env.rounds=5", "agent=posted_pair", "agent.settings.price=10.0")
    found = learnt_best_response(spec, None, "mobile", budget=2048, settings=TINY, episodes=4)
    exact = run_audit(
        scripted_subject(spec.game_class, spec.env_config, "posted_pair", price=10.0), AuditSettings(markets=2)
    )
    most = 5 * next(gain.value for gain in exact.gains if gain.who == "mobile_0") / 10.0  # per Mbit, five rounds
    gain = found.value("best_response_mobile")
    assert 0.95 * most < gain <= most + 1e-5
    finding = found.finding("best_response_mobile")
    assert finding.kind == "lower bound"
    assert finding.unit == "reward per episode"
    assert finding.column is None
    assert "no better response" not in finding.meaning


def test_against_a_second_price_auction_a_truthful_station_has_no_better_response():
    """The truth is dominant there, so what is learnt gains nothing; the result says so and is not set to 0."""
    spec = run_of("env=second_bid", "env.stations=3", "env.tasks=4", "agent=second_price")
    found = learnt_best_response(spec, None, "station", budget=512, settings=TINY, episodes=60)
    finding = found.finding("best_response_station")
    assert finding.value < 1e-6
    assert "no better response, which does not show that there is none" in finding.meaning
    assert "all 3 agents of station together" in finding.meaning


def test_of_several_seeds_the_one_that_is_best_on_other_episodes_is_measured():
    spec = run_of("env=stackelberg", "env.rounds=3", "agent=posted_pair", "agent.settings.price=10.0")
    found = learnt_best_response(spec, None, "fixed", budget=512, seeds=3, settings=TINY, episodes=3)
    values = [gain.value for gain in found.gains]
    assert [gain.how for gain in found.gains] == [f"training seed {seed}" for seed in range(3)]
    # Episodes of this preset are all the same, so the best on others is the best on these.
    assert found.value("best_response_fixed") == max(values)
    assert len(set(values)) > 1


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """Checkpoint of a run in which both sides of leaders have learnt a little, on instance 4."""
    runs = tmp_path_factory.mktemp("runs")
    spec = resolve(
        {
            "env": {"name": "stackelberg", "preset": "city", "wireless": 4, "mobile": 2, "fixed": 2, "rounds": 3},
            "agent": {"name": "sac", "width": 8, "learning_starts": 16, "batch_size": 8},
            "budget": 64, "num_envs": 8, "device": "cpu", "seeds": [4], "runs": str(runs),
            "evaluation": {"points": 1, "episodes": 4},
        }
    )  # fmt: skip
    train_seeds(spec, spec.seeds)
    return open_checkpoint(spec.seed_folder(4))


def test_frozen_policies_are_those_of_the_checkpoint_on_its_own_instance(trained):
    seat = _Seat(trained.spec, trained.file, "mobile", 64, 8)
    run = seat.frozen()
    assert [agent.name for agent in run.agents] == ["loaded", "loaded"]
    own = seat.agents(run)
    for role in ("mobile", "fixed"):
        frozen = _rewards(run, own, role, 1, 5, 3)[0]
        spec = trained.spec
        original = play_episodes(
            spec.game_class, spec.env_config, trained.agents(), spec.controlled_roles, 1, 5, 3, instances=[4]
        )
        np.testing.assert_allclose(frozen, original[f"reward_{role}"][0], rtol=1e-6)


def test_a_learner_trains_against_a_checkpoint_and_writes_nothing(trained, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    shares = []
    found = learnt_best_response(
        trained.spec, trained.file, "mobile", budget=256, num_envs=8, settings=TINY, episodes=3,
        progress=lambda what, share: shares.append(share),
    )  # fmt: skip
    assert np.isfinite(found.value("best_response_mobile"))
    assert shares == sorted(shares)
    assert shares[-1] == 1.0
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("role", "learner", "budget", "said"),
    [
        ("mobil", "ppo", 4096, "did you mean mobile"),
        ("mobile", "pppo", 4096, "did you mean ppo"),
        ("mobile", "oracle", 4096, "use an agent that learns"),
        ("mobile", "ppo", 100, "budget=100 is not allowed: use at least"),
    ],
)
def test_what_cannot_be_trained_is_refused_in_one_line(role, learner, budget, said):
    spec = run_of("env=stackelberg", "agent=cost_plus")
    with pytest.raises(UserError, match=said):
        learnt_best_response(spec, None, role, learner, budget)


def test_a_run_with_learners_needs_its_checkpoint(trained):
    with pytest.raises(UserError, match="sac learns in this run: name a checkpoint"):
        learnt_best_response(trained.spec, None, "mobile")


@pytest.mark.slow
@pytest.mark.parametrize("learner", ["ppo", "sac"])
def test_in_a_market_with_several_leaders_a_learner_gains_against_high_prices(learner):
    spec = run_of("env=stackelberg/city", "env.rounds=5", "agent=posted_pair", "agent.settings.price=8.0")
    found = learnt_best_response(spec, None, "mobile", learner, 20_000, episodes=20)
    finding = found.finding("best_response_mobile")
    assert finding.value > 10 * finding.standard_error > 0.0
