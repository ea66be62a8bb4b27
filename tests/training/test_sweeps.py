"""Any combination of swept and fixed groups, settings, roles and evaluation is a sweep of complete jobs."""

import itertools
import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from ioa_marl.cli import app
from ioa_marl.foundations.errors import UserError
from ioa_marl.training import sweep
from ioa_marl.training.compose import planned

ENVS = {
    "one market": (["env=double_dutch"], 1),
    "one preset": (["env=double_dutch/calm"], 1),
    "two markets": (["env=double_dutch,second_bid"], 2),
    "two presets": (["env=double_dutch/calm,double_dutch/mixed"], 2),
}
AGENTS = {
    "one agent": (["agent=sac"], 1),
    "two agents": (["agent=ppo,sac"], 2),
    "presets": (["agent=sac/double_dutch,sac/second_bid,maddpg"], 3),
}
SETTINGS = {
    "none": ([], 1),
    "fixed": (["agent.gamma=0.5", "env.max_cycles=7", "evaluation.points=3"], 1),
    "swept": (["agent.gamma=0.5,0.6", "evaluation.points=3,4"], 4),
    "both": (["agent.gamma=0.5,0.6", "env.max_cycles=7", "budget=5000,6000", "evaluation.points=3"], 4),
}
ORDERS = {"groups first": lambda *parts: parts, "groups last": lambda *parts: parts[::-1]}
FORMS = [*itertools.product(ENVS, AGENTS, SETTINGS, ORDERS)]


def check(env, agent, setting, order):
    parts = ORDERS[order](ENVS[env][0], AGENTS[agent][0], SETTINGS[setting][0])
    plan = planned(["-m", *itertools.chain(*parts)])
    assert len(plan.jobs) == len(plan.specs) == ENVS[env][1] * AGENTS[agent][1] * SETTINGS[setting][1]
    assert len({spec.digest for spec in plan.specs}) == len(plan.jobs), "every job is another run"
    if setting in ("fixed", "both"):
        assert {spec.env_config.max_cycles for spec in plan.specs} == {7}
        assert {spec.evaluation.points for spec in plan.specs} == {3}
    if setting != "none":
        assert {spec.agents[0].config.gamma for spec in plan.specs} <= {0.5, 0.6}


@pytest.mark.parametrize(("env", "agent", "setting", "order"), FORMS[::7])
def test_a_mix_of_swept_and_fixed_is_composed(env, agent, setting, order):
    check(env, agent, setting, order)


def chosen(*settings):
    """Return the agents' settings of each run, by market and name of the agent."""
    return {
        (spec.game_class.name, spec.agents[0].name): spec.agents[0].config for spec in planned(["-m", *settings]).specs
    }


def test_tuned_settings_are_those_of_the_market_at_hand():
    one = chosen("env=double_dutch,second_bid/resident", "agent=sac/tuned,ppo/tuned", "agent.gamma=0.25")
    assert len(one) == 4
    for market in ("double_dutch", "second_bid"):
        alone = chosen(f"env={market}", f"agent=sac/{market},ppo/{market}", "agent.gamma=0.25")
        assert alone == {key: config for key, config in one.items() if key[0] == market}
    assert one["double_dutch", "sac"] != one["second_bid", "sac"]
    assert chosen("env=double_dutch", "agent=sac") != chosen("env=double_dutch", "agent=sac/tuned")
    digests = {spec.digest for spec in planned(["env=second_bid", "agent=ppo/tuned"]).specs}
    assert digests == {spec.digest for spec in planned(["env=second_bid", "agent=ppo/second_bid"]).specs}


def test_tuned_settings_are_found_for_roles_and_by_patterns():
    (spec,) = planned(["env=second_bid", "agent=ppo/tuned", "roles.station.agent=sac/tuned"]).specs
    expected = planned(["env=second_bid", "agent=ppo/second_bid", "roles.station.agent=sac/second_bid"]).specs[0]
    assert spec.agents == expected.agents
    names = {name for _, name in chosen("env=vcg_slicing", "agent=glob(*/tuned)")}
    assert {"mappo", "maddpg", "mean_field_ac", "independent_ac"} <= names


def test_settings_of_the_preset_go_before_those_of_its_market(tmp_path):
    folder = tmp_path / "agent" / "sac"
    folder.mkdir(parents=True)
    (folder / "second_bid_resident.yaml").write_text("defaults: [/agent/sac@_here_, _self_]\ngamma: 0.125\n")
    arguments = ["--config-dir", str(tmp_path), "agent=sac/tuned"]
    for env, gamma in (("second_bid/resident", 0.125), ("second_bid", 0.0)):
        assert planned([*arguments, f"env={env}"]).specs[0].agents[0].config.gamma == gamma


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        (["env=second_bid", "agent=greedy/tuned"], "agent=greedy/tuned has no settings for env=second_bid: use greedy"),
        (["agent=sac/tuned"], "agent=sac/tuned needs a market: set env=NAME"),
        (["env=second_bid", "agent=sacc/tuned"], "unknown agent 'sacc': did you mean sac"),
    ],
)
def test_tuned_settings_that_do_not_exist_are_refused(settings, told):
    with pytest.raises(UserError, match=told):
        planned(settings)


@pytest.mark.slow
@pytest.mark.parametrize(("env", "agent", "setting", "order"), FORMS)
def test_every_mix_of_swept_and_fixed_is_composed(env, agent, setting, order):
    check(env, agent, setting, order)


@pytest.mark.parametrize("role", ["buyer", "seller"])
@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        (["roles.{}.agent=sac", "roles.{}.agent.gamma=0.5"], {("sac", 0.5)}),
        (["roles.{}.agent=sac,ppo", "roles.{}.agent.gamma=0.5"], {("sac", 0.5), ("ppo", 0.5)}),
        (["roles.{}.agent=sac", "roles.{}.agent.gamma=0.5,0.6"], {("sac", 0.5), ("sac", 0.6)}),
        (["roles.{}.agent.gamma=0.5", "roles.{}.agent=sac/second_bid,maddpg"], {("sac", 0.5), ("maddpg", 0.5)}),
    ],
)
def test_settings_of_a_role_go_to_each_agent_that_plays_it(role, settings, expected):
    plan = planned(["-m", "env=double_dutch", "agent=random,two_phase", *(s.format(role) for s in settings)])
    learners = [next(a for a in spec.agents if a.roles == (role,)) for spec in plan.specs]
    assert {(a.name, a.config.gamma) for a in learners} == expected
    assert len(plan.specs) == 2 * len(expected)


def test_a_role_may_be_left_to_its_script_in_a_sweep():
    plan = planned(["-m", "env=double_dutch", "agent=random", "roles.buyer.agent=null,random"])
    assert [spec.agent_label for spec in plan.specs] == ["random", "random,buyer=random"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["env=double_dutch", "agent=ppo,sac", "agent.rollout_size=512"],
         "agent.rollout_size is not a setting of sac (swept: ppo, sac)"),
        (["env=double_dutch", "agent=sac,ppo,maddpg", "agent.batch_size=64", "agent.tau=0.1,0.2"],
         "agent.tau is not a setting of ppo (swept: sac, ppo, maddpg)"),
        (["env=double_dutch,stackelberg", "agent=random", "env.buyers=5"],
         "env.buyers is not a setting of stackelberg (swept: double_dutch, stackelberg)"),
        (["env=double_dutch", "agent=random", "roles.buyer.agent=sac,ppo", "roles.buyer.agent.n_epochs=3"],
         "roles.buyer.agent.n_epochs is not a setting of sac (swept: sac, ppo)"),
        (["env=double_dutch", "agent=two_phase,oracle", "agent.settings.coarse=5"],
         "agent.settings.coarse is not a setting of oracle (swept: two_phase, oracle)"),
        (["env=double_dutch", "agent=ppo,sac", "agent.nothing=1"], "unknown key agent.nothing: known are"),
    ],
)  # fmt: skip
def test_who_of_a_sweep_lacks_a_setting_is_told(arguments, said):
    with pytest.raises(UserError) as refused:
        planned(["-m", *arguments])
    assert said in str(refused.value)


def test_a_pattern_runs_the_agents_that_can_play_and_names_the_others():
    plan = planned(["-m", "env=double_dutch", "agent=glob(t*)"])
    assert [spec.agent_label for spec in plan.specs] == ["traditional", "two_phase"]
    assert plan.notes == ["left out, because they cannot play: agent=threshold, agent=truthful"]
    everywhere = planned(["-m", "env=glob(*_*)", "agent=glob([two_*,threshold])"])
    assert {(spec.game_class.name, spec.agent_label) for spec in everywhere.specs} == {
        ("double_dutch", "two_phase"), ("second_bid", "threshold"),
    }  # fmt: skip


def test_a_pattern_over_presets_and_exclusions():
    plan = planned(["-m", "env=double_dutch", "agent=glob(sac/*,exclude=[*/two_tier,*/vcg*])"])
    assert [job[1] for job in plan.jobs] == [f"agent=sac/{m}" for m in ("double_dutch", "second_bid", "stackelberg")]


def test_a_large_sweep_is_checked_in_every_value_and_every_pair_of_groups(monkeypatch):
    monkeypatch.setattr(sweep, "CHECKED_JOBS", 8)
    budget = "budget=" + ",".join(str(10_000 + i) for i in range(10))
    with pytest.raises(UserError, match="threshold cannot play auctioneer: double_dutch"):
        planned(["-m", "env=second_bid,double_dutch", "agent=ppo,threshold", budget])
    with pytest.raises(UserError, match="gamma=2"):
        planned(["-m", "env=second_bid,double_dutch", "agent=ppo,sac", budget, "agent.gamma=0.9,2"])
    assert len(planned(["-m", "env=second_bid,double_dutch", "agent=ppo,sac", budget]).jobs) == 40


TINY = [
    "agent.width=4", "agent.learning_starts=64", "agent.batch_size=8", "budget=128", "evaluation.episodes=2",
    "evaluation.points=1", "seeds=1",
]  # fmt: skip


def written(folder):
    """Return market, agent and configuration of every run of a store."""
    files = sorted(Path(folder).glob("runs/*/*/*/seed_*/config.yaml"))
    return {(f.parts[-5], f.parts[-4]): yaml.safe_load(f.read_text()) for f in files}


def test_a_sweep_with_fixed_settings_trains(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    sweep = ["train", "-m", "env=double_dutch,second_bid", "agent=maddpg,independent_ac", "env.max_cycles=9", *TINY]
    done = CliRunner().invoke(app, sweep)
    assert done.exit_code == 0, done.stderr
    runs = written(tmp_path)
    assert len(runs) == 4
    for config in runs.values():
        assert config["env"]["max_cycles"] == 9
        assert config["agents"]["auctioneer"]["width"] == 4
    again = CliRunner().invoke(app, sweep)
    assert again.stderr.count("already done") == 4
    assert sorted(p.name for p in tmp_path.iterdir()) == ["runs"]


@pytest.mark.slow  # several processes import torch
def test_a_sweep_with_fixed_settings_trains_under_joblib(tmp_path):
    command = [sys.executable, "-P", "-m", "ioa_marl", "train", "-m", "env=double_dutch", "agent=maddpg,sac", *TINY,
               "agent.gamma=0.5", "hydra/launcher=joblib", "hydra.launcher.n_jobs=2"]  # fmt: skip
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False, env=os.environ)
    assert done.returncode == 0, done.stderr
    assert {label: config["agents"]["auctioneer"]["gamma"] for (_, label), config in written(tmp_path).items()} == {
        "maddpg": 0.5, "sac": 0.5,
    }  # fmt: skip
    assert sorted(p.name for p in tmp_path.iterdir()) == ["runs"]


@pytest.fixture
def own_folder(tmp_path):
    """A folder of configuration files: a sweep, an agent, and an experiment with a second role."""
    files = {
        "experiment/sweep.yaml": "# @package _global_\ndefaults: [override /env: double_dutch, override /agent: sac]\n"
        "agent: {gamma: 0.5}\nhydra: {sweeper: {params: {agent: 'sac,maddpg', env.max_cycles: '7,8'}}}\n",
        "experiment/pair.yaml": "# @package _global_\ndefaults: [/agent@roles.buyer.agent: random, "
        "override /env: double_dutch, override /agent: mine]\nbudget: 640\n",
        "agent/mine.yaml": "name: two_phase\npolicy: two_phase\nsettings: {coarse: 5.0}\n",
    }
    for name, text in files.items():
        path = tmp_path / "own" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return tmp_path / "own"


def test_a_sweep_kept_in_a_file_runs_and_can_be_changed(own_folder):
    plan = planned(["-m", f"--config-dir={own_folder}", "+experiment=sweep"])
    assert [(s.agents[0].name, s.env_config.max_cycles) for s in plan.specs] == [
        ("sac", 7), ("sac", 8), ("maddpg", 7), ("maddpg", 8),
    ]  # fmt: skip
    assert {s.agents[0].config.gamma for s in plan.specs} == {0.5}
    changed = planned(["-m", "--config-dir", str(own_folder), "experiment=sweep", "env.max_cycles=9", "seeds=2"])
    assert [(s.agents[0].name, s.env_config.max_cycles) for s in changed.specs] == [("sac", 9), ("maddpg", 9)]


def test_a_sweep_kept_in_a_file_is_no_single_run(own_folder):
    with pytest.raises(UserError, match=r"a file has a sweep over agent, env\.max_cycles: add -m"):
        planned([f"--config-dir={own_folder}", "+experiment=sweep"])
    with pytest.raises(UserError, match="has a sweep of its own"):
        planned(["-m", f"--config-dir={own_folder}", "+experiment=sweep,pair"])


def test_an_experiment_of_a_file_may_choose_roles_and_own_agents(own_folder):
    spec = planned([f"--config-dir={own_folder}", "+experiment=pair"]).specs[0]
    assert spec.agent_label == "two_phase,buyer=random"
    assert spec.agents[0].config.settings == {"coarse": 5.0}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a: [1\n", "expected ',' or ']'"),
        ("# @package _global_\nagent: sac\n", "agent=sac is not allowed: choose one with agent=NAME"),
        ("# @package _global_\nroles: {buyer: {agent: sac}}\n", "roles.buyer"),
        ("# @package _global_\ndefaults: [override /agent: nobody]\n", "nobody"),
        ("# @package _global_\nbudget: many\n", "budget=many"),
        ("# @package _global_\nhydra: {sweeper: {params: {agent: 'sac,nobody'}}}\n", "add -m"),
        ("&a [*a]\n", ""),
        ("- 1\n", ""),
    ],
)
def test_a_file_that_is_wrong_is_one_line(own_folder, text, said):
    (own_folder / "experiment" / "wrong.yaml").write_text(text)
    done = CliRunner().invoke(
        app, ["train", f"--config-dir={own_folder}", "+experiment=wrong", "env=double_dutch", "agent=random"]
    )
    assert done.exit_code == 2, done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
    assert said in done.stderr


@pytest.mark.parametrize(
    ("name", "said"), [("agent/sac.yaml", "as the package has"), ("runs/x.yaml", "would hide the setting")]
)
def test_a_file_that_hydra_would_not_see_is_refused(own_folder, name, said):
    (own_folder / name).parent.mkdir(exist_ok=True)
    (own_folder / name).write_text("name: sac\n")
    with pytest.raises(UserError, match=said):
        planned([f"--config-dir={own_folder}", "env=double_dutch", "agent=sac"])
