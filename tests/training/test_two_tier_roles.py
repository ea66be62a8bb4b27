"""Leaders and auctioneer of the two-tier market can be played by different agents in one run, with a score for each."""

import numpy as np
import pyarrow.parquet as pq
import pytest

from ioa_marl import registry
from ioa_marl.training.config import resolve
from ioa_marl.training.seeds import train_seeds
from ioa_marl.training.store import SeedFolder

SMALL = {"wireless": 6, "mobile": 3, "fixed": 3, "aerial": 4, "capacity": [0.5, 12.0], "rounds": 4}
SAC = {"name": "sac", "learning_starts": 64, "batch_size": 32, "width": 16}
PPO = {"name": "ppo", "rollout_size": 128, "n_epochs": 1}
SIZE = {"budget": 640, "num_envs": 16, "evaluation": {"points": 2, "episodes": 4}, "device": "cpu"}


def scripted(policy, **settings):
    return {"name": policy, "policy": policy, "settings": settings}


@pytest.fixture(scope="module", autouse=True)
def registered():
    if "two_tier" not in registry.env_names():
        registry.register_env("two_tier", "ioa_marl.envs.two_tier.game:TwoTierGame")


def trained(runs, seeds=1, agent=None, **roles):
    """Train, and return for every seed its scores and the metrics of its evaluation episodes."""
    asked = {"env": {"name": "two_tier", "preset": "paper", **SMALL}, **SIZE, "seeds": seeds, "runs": str(runs)}
    if agent is not None:
        asked["agent"] = agent
    asked["roles"] = {role: {"agent": choice} for role, choice in roles.items()}
    spec = resolve(asked)
    train_seeds(spec, spec.seeds)
    out = []
    for seed in spec.seeds:
        folder = spec.seed_folder(seed)
        result = SeedFolder(folder).result()
        assert result["status"] == "done"
        out.append((result["scores"], pq.read_table(folder / "evaluation.parquet").to_pydict()))
    return out


def test_three_roles_learn_with_three_different_agents_and_each_has_its_score(tmp_path):
    ((scores, table),) = trained(tmp_path, mobile=PPO, fixed=SAC, auctioneer={"name": "greedy"})
    assert set(scores) == {"mobile", "fixed", "auctioneer"}
    assert all(np.isfinite(score) and score <= 1.0 for score in scores.values())
    for metric in ("mobile_regret", "fixed_regret", "auction_regret"):
        assert np.isfinite(table[metric]).all(), "evaluation looks at what training leaves out"


def test_learners_and_scripted_policies_share_a_market(tmp_path):
    chosen = {"mobile": scripted("best_response"), "auctioneer": scripted("fixed_pair", buyer_step=1.25)}
    ((scores, _),) = trained(tmp_path, fixed=SAC, **chosen)
    assert set(scores) == {"mobile", "fixed", "auctioneer"}


def test_one_agent_plays_the_roles_that_are_not_given_to_others(tmp_path):
    ((scores, _),) = trained(tmp_path, agent={"name": "random"}, auctioneer=scripted("oracle"))
    assert scores["auctioneer"] == pytest.approx(1.0, abs=1e-9)
    assert scores["mobile"] < 0.0, "random prices are far worse than cost plus 50%"


def test_references_stand_where_they_belong_on_each_scale(tmp_path):
    ((oracle, _),) = trained(tmp_path / "oracle", agent=scripted("oracle"))
    assert oracle["auctioneer"] == pytest.approx(1.0, abs=1e-9)
    zero = {"mobile": scripted("cost_plus", margin=0.5), "fixed": scripted("cost_plus", margin=0.25)}
    ((scores, _),) = trained(tmp_path / "zero", auctioneer={"name": "random"}, **zero)
    # The leaders are the zero itself; which steps chance chooses matters a little.
    assert abs(scores["mobile"]) < 0.25
    assert abs(scores["fixed"]) < 0.25


def test_a_seed_among_others_is_the_seed_alone(tmp_path):
    together = trained(tmp_path / "two", seeds=[3, 4], mobile=SAC, fixed=SAC, auctioneer=SAC)
    ((alone, table),) = trained(tmp_path / "one", seeds=[4], mobile=SAC, fixed=SAC, auctioneer=SAC)
    assert together[1][0] == alone
    assert together[1][1] == table
