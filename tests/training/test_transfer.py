"""A policy that agents share is trained with few of them and plays with more: each seed of a run by its own number."""

import json
import shutil

import numpy as np
import pytest
from typer.testing import CliRunner

from ioa_marl.agents.baselines.loaded import LoadedAgent, LoadedConfig
from ioa_marl.agents.saved.by_seed import PoliciesBySeed
from ioa_marl.cli import app
from ioa_marl.envs.vcg_slicing import VCGSlicingGame
from ioa_marl.foundations import checkpoint
from ioa_marl.foundations.errors import ParameterError, UserError
from ioa_marl.leaderboard.query import read_store
from ioa_marl.leaderboard.rows import arrange
from ioa_marl.training.check import evaluate_checkpoint

TINY = ["env=vcg_slicing/transfer_10", "env.rounds=3", "num_envs=2", "evaluation.points=1", "evaluation.episodes=4"]
LEARNER = ["agent=ppo", "agent.rollout_size=96", "agent.n_epochs=1", "agent.hidden=[8]", "budget=64"]


def train(*arguments):
    """Run the command; returns what it says of a mistake, or nothing."""
    done = CliRunner().invoke(app, ["train", "--quiet", *TINY, *arguments])
    assert done.exit_code in (0, 2), done.output
    return done.stderr.strip() if done.exit_code else ""


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    """A store with policies of three providers that know their index, and others that do not."""
    runs = tmp_path_factory.mktemp("transfer")
    common = [f"runs={runs / 'trained'}", "env.providers=3", *LEARNER]
    assert train(*common, "seeds=2", "agent.agent_index=false") == ""
    (plain,) = (runs / "trained" / "vcg_slicing-custom" / "ppo").iterdir()
    assert train(*common, "seeds=1") == ""
    (indexed,) = {*plain.parent.iterdir()} - {plain}
    assert train(f"runs={runs}", "env.providers=7", "seeds=2", "agent=loaded", f"agent.path={plain}") == ""
    (played,) = (runs / "vcg_slicing-custom" / "loaded").iterdir()
    return {"runs": runs, "plain": plain, "indexed": indexed, "played": played}


def result(folder, seed):
    return json.loads((folder / f"seed_{seed}" / "result.json").read_text())


def test_each_seed_of_a_run_of_three_providers_plays_its_own_policy_with_seven(store, tmp_path):
    both = [result(store["played"], seed) for seed in (0, 1)]
    assert all(np.isfinite(found["scores"]["slice"]) and found["env_steps"] == 0 for found in both)
    assert both[0]["metrics"]["welfare"] != both[1]["metrics"]["welfare"]
    one = ["env.providers=7", "seeds=1", "agent=loaded", f"agent.path={store['plain'] / 'seed_1'}"]
    assert train(f"runs={tmp_path}", *one) == ""
    (alone,) = (tmp_path / "vcg_slicing-custom" / "loaded").iterdir()
    assert result(alone, 0)["metrics"] == both[1]["metrics"], "providers are new in every episode, whatever the seed"


def test_a_row_is_named_after_what_the_policy_is_and_can_be_renamed(store):
    (board,) = arrange(read_store(store["runs"] / "vcg_slicing-custom")).boards
    assert [row.run.label for row in board.rows] == ["ppo of 3 slice agents, 64 steps"]
    assert board.rows[0].run.agent == "loaded"
    roles = VCGSlicingGame.make_roles(VCGSlicingGame.make_config("transfer_10", providers=7))
    found = LoadedAgent.prepared(LoadedConfig(str(store["plain"]), shown_as="mine"), [roles["slice"]], [roles["slice"]])
    assert found.shown_as == "mine"
    one = PoliciesBySeed.read(str(store["plain"] / "seed_1"), {"slice": "slice"})
    assert one.description() == "ppo of 3 slice agents, 64 steps, seed 1"


def test_a_board_of_seeds_is_evaluated_to_the_bit_without_the_run_that_was_played(store, tmp_path):
    moved = tmp_path / "trained"
    shutil.move(store["plain"], moved)
    try:
        for seed in (0, 1):
            assert evaluate_checkpoint(store["played"] / f"seed_{seed}").confirmed is True
    finally:
        shutil.move(moved, store["plain"])


def test_a_policy_of_another_seed_in_the_state_is_refused(store, tmp_path):
    folder = shutil.copytree(store["played"] / "seed_0", tmp_path / store["played"].name / "seed_0")
    tree, other = (checkpoint.load(place / checkpoint.LATEST) for place in (folder, store["played"] / "seed_1"))
    tree["policies"][0]["policies"] = other["policies"][0]["policies"]
    tree["policies"][0]["policies"]["slice"]["spec"]["seed"] = 0
    checkpoint.save(folder / checkpoint.LATEST, tree)
    with pytest.raises(UserError, match="its fingerprints are not those of its policies"):
        evaluate_checkpoint(folder)


@pytest.mark.parametrize(
    ("which", "settings", "said"),
    [
        ("plain", ["seeds=3"], ["a run that has seed 2, or seeds=[0, 1]"]),
        ("plain", ["env.changes=[-0.1,0.0,0.1]"], ["a policy for the action space", "[3 3 3]", "[7 7 7]"]),
        ("plain", ["env.redraw=never", "env.observation=paper"], ["for the observation space", "(6,)", "(12,)"]),
        ("plain", ["agent.shown_as=''"], ["shown_as", "1 to 80 characters"]),
        ("indexed", ["seeds=1"], ["member=null", "here slice has 7", "agent_index=false"]),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else value,
)  # fmt: skip
def test_what_does_not_fit_is_refused_in_one_line_and_nothing_is_written(which, settings, said, store, tmp_path):
    asked = ["env.providers=7", "seeds=2", "agent=loaded", f"agent.path={store[which]}", f"runs={tmp_path}"]
    line = train(*asked, *settings)
    assert len(line.splitlines()) == 1
    for part in said:
        assert part in line
    assert list(tmp_path.iterdir()) == []


def test_seeds_that_were_trained_differently_are_no_run(store, tmp_path):
    mixed = shutil.copytree(store["plain"], tmp_path / "mixed")
    tree = checkpoint.load(mixed / "seed_1" / checkpoint.LATEST)
    checkpoint.save(mixed / "seed_1" / checkpoint.LATEST, {**tree, "steps": 32})
    with pytest.raises(ParameterError, match="same settings and steps of training, unlike 0 and 1"):
        PoliciesBySeed.read(str(mixed), {"slice": "slice"})


def test_boards_of_size_transfer_differ_in_nothing_but_the_size_and_a_reward_that_no_score_uses():
    for n in (10, 50, 200, 1000):
        reward = "increment" if n == 1000 else "difference"
        changes = {"providers": n, "slice_reward": reward, "redraw": "episode", "observation": "extended"}
        assert VCGSlicingGame.make_config(f"transfer_{n}") == VCGSlicingGame.make_config("paper", **changes)
