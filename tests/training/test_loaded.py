"""A policy that one run has trained plays a role in another run, and its weights become part of that run."""

import json
import shutil

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from ioa_marl import registry
from ioa_marl.agents.base import AgentContext
from ioa_marl.agents.baselines.loaded import LoadedAgent, LoadedConfig
from ioa_marl.cli import app
from ioa_marl.envs.vector import VectorGame
from ioa_marl.evaluation.playing import play_episodes
from ioa_marl.foundations import checkpoint
from ioa_marl.foundations.errors import ParameterError, UserError
from ioa_marl.training.check import evaluate_checkpoint
from ioa_marl.training.config import resolve
from ioa_marl.training.play import load_agents
from ioa_marl.training.runner import Trainer
from ioa_marl.training.seeds import train_seeds

SMALL = {"stations": 3, "tasks": 4}
SIZE = {"budget": 320, "num_envs": 8, "evaluation": {"points": 2, "episodes": 4}, "device": "cpu"}
LEARNERS = {
    "sac": {"name": "sac", "learning_starts": 32, "batch_size": 16, "width": 8},
    "ppo": {"name": "ppo", "rollout_size": 128, "n_epochs": 1, "hidden": [8]},
}


def run(runs, seeds=1, agent=None, env=None, size=SIZE, **roles):
    """Train, and return the run."""
    market = env if env and "name" in env else {"name": "second_bid", "preset": "paper", **SMALL, **(env or {})}
    asked = {"env": market, **size, "seeds": seeds}
    asked |= {"runs": str(runs), "roles": {role: {"agent": choice} for role, choice in roles.items()}}
    spec = resolve(asked if agent is None else {**asked, "agent": agent})
    train_seeds(spec, spec.seeds)
    return spec


def loaded(path, **settings):
    return {"name": "loaded", "path": str(path), **settings}


def result(spec, seed=0):
    return json.loads((spec.seed_folder(seed) / "result.json").read_text())


def likeliest(result):
    """Return the metrics of the likeliest actions, which alone a loaded policy plays."""
    return {name: value for name, value in result["metrics"].items() if not name.startswith("sampled_")}


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """Seed folders of runs in which stations and the auctioneer have learnt, by learner."""
    folder = tmp_path_factory.mktemp("trained")
    specs = {name: run(folder, agent=choice, station=choice) for name, choice in LEARNERS.items()}
    return {name: spec.seed_folder(0) for name, spec in specs.items()}


@pytest.mark.parametrize("name", LEARNERS)
def test_a_loaded_policy_does_what_the_checkpoint_does(name, trained, tmp_path):
    """With both roles loaded, every episode equals that of the original's evaluation."""
    again = run(tmp_path, agent=loaded(trained[name]), station=loaded(trained[name]))
    original = json.loads((trained[name] / "result.json").read_text())
    assert result(again)["metrics"] == likeliest(original)
    assert result(again)["env_steps"] == 0, "nothing learns, nothing is trained"


@pytest.mark.parametrize("sample", [False, True])
def test_a_run_is_evaluated_to_the_bit_when_the_file_is_gone(sample, trained, tmp_path):
    held = tmp_path / "held"
    shutil.copytree(trained["sac"], held)
    spec = run(tmp_path, 2, LEARNERS["sac"], station=loaded(held, sample=sample))
    shutil.rmtree(held)
    for seed in (0, 1):
        assert evaluate_checkpoint(spec.seed_folder(seed)).confirmed is True


def test_a_killed_run_goes_on_to_the_bit_where_actions_are_drawn(trained, tmp_path, monkeypatch):
    """The random stream of the loaded policy is part of the checkpoint."""
    opponent = loaded(trained["sac"], sample=True)
    whole = run(tmp_path / "whole", 1, LEARNERS["sac"], station=opponent)
    saves, save = [], Trainer._save

    def dying(self):
        save(self)
        saves.append(self.iteration)
        if len(saves) == 1:
            raise KeyboardInterrupt

    monkeypatch.setattr(Trainer, "_save", dying)
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "killed", 1, LEARNERS["sac"], station=opponent)
    killed = run(tmp_path / "killed", 1, LEARNERS["sac"], station=opponent)
    assert saves == [20, 40]
    assert result(killed)["metrics"] == result(whole)["metrics"]
    latest = [checkpoint.load(spec.seed_folder(0) / checkpoint.LATEST) for spec in (killed, whole)]
    assert checkpoint.digest(latest[0]["agents"][1]) == checkpoint.digest(latest[1]["agents"][1])
    assert torch.equal(_flat(latest[0]["agents"]), _flat(latest[1]["agents"]))


def _flat(tree):
    """Return all numbers of nested values in one vector."""
    if isinstance(tree, dict):
        return torch.cat([torch.zeros(0, dtype=torch.float64), *(_flat(tree[key]) for key in sorted(tree))])
    if isinstance(tree, list):
        return torch.cat([torch.zeros(0, dtype=torch.float64), *map(_flat, tree)])
    if isinstance(tree, (torch.Tensor, np.ndarray)):
        return torch.as_tensor(tree).to(torch.float64).reshape(-1)
    return torch.tensor([float(tree)] if isinstance(tree, (int, float)) else [], dtype=torch.float64)


def test_the_run_is_known_by_what_the_file_holds_not_by_its_place(trained, tmp_path):
    def spec(path):
        asked = {"env": {"name": "second_bid", "preset": "paper", **SMALL}, **SIZE, "seeds": 1, "runs": str(tmp_path)}
        return resolve({**asked, "agent": {"name": "random"}, "roles": {"station": {"agent": loaded(path)}}})

    first = spec(trained["sac"])
    shutil.copytree(trained["sac"], tmp_path / "here")
    assert spec(tmp_path / "here").digest == first.digest
    assert spec(tmp_path / "here" / checkpoint.LATEST).digest == first.digest
    assert spec(f"{tmp_path}/h*e").digest == first.digest
    tree = checkpoint.load(tmp_path / "here" / checkpoint.LATEST)
    tree["policies"][1]["station"]["biases.0"][0, 0, 0] += 1e-7
    checkpoint.save(tmp_path / "here" / checkpoint.LATEST, tree)
    assert spec(tmp_path / "here").digest != first.digest


def test_a_fingerprint_that_is_given_refuses_another_policy(trained):
    role = registry.load_env("second_bid").make_roles(registry.load_env("second_bid").make_config(**SMALL))["station"]
    found = LoadedAgent.prepared(LoadedConfig(str(trained["sac"])), [role], [role])
    assert LoadedAgent.prepared(found, [role], [role]) == found
    with pytest.raises(ParameterError, match=f"content=abc is not allowed: use null, or {found.content}"):
        LoadedAgent.prepared(LoadedConfig(str(trained["sac"]), content="abc"), [role], [role])


def agents_of(path, stations, seeds=(0,), num_envs=5, **settings):
    """Return a loaded station role and the game that it plays."""
    game_class = registry.load_env("second_bid")
    game = VectorGame(game_class, game_class.make_config(stations=stations, tasks=4), seeds, num_envs, ("station",))
    game.reset()
    role = game.game.roles["station"]
    setting = AgentContext((role,), (role,), tuple(seeds), num_envs, 1, torch.device("cpu"))
    agent = LoadedAgent(setting, LoadedConfig(str(path), **settings))
    agent.attach(game.game)
    return agent, game


@pytest.mark.parametrize("name", LEARNERS)
def test_one_agent_of_it_plays_for_any_number(name, trained):
    """Each of seven stations acts as station 1 of the three would with the same observation, for both seeds."""
    many, game = agents_of(trained[name], 7, seeds=(3, 8), member=1)
    seen = game.observations["station"]
    done = many.act(game.observations, deterministic=True)["station"]
    assert done.shape == (2, 5, 7)
    own, _ = agents_of(trained[name], 3)
    for station in range(7):
        alone = np.repeat(seen[:, :, station].reshape(1, -1, 1, seen.shape[-1]), 3, axis=2)
        wanted = own.act({"station": alone}, deterministic=True)["station"][0, :, 1]
        np.testing.assert_array_equal(done[:, :, station].reshape(-1), wanted)


def test_a_policy_that_agents_share_plays_any_number_of_them(tmp_path):
    agent = {**LEARNERS["sac"], "learning_starts": 8}
    short = {**SIZE, "budget": 32, "num_envs": 2}
    spec = run(tmp_path, env={"stations": 65}, size=short, station=agent)
    other = run(tmp_path, env={"stations": 70}, size=short, station=loaded(spec.seed_folder(0)))
    assert result(other)["status"] == "done"
    with pytest.raises(UserError, match=r"roles\.station\.agent\.member=null is not allowed: use 0 to 64"):
        run(tmp_path, size=short, station=loaded(spec.seed_folder(0)))


def test_drawn_actions_follow_the_policy_and_repeat_in_every_evaluation(trained, tmp_path):
    spec = run(tmp_path, station=loaded(trained["ppo"], sample=True), agent={"name": "random"})
    (tree,) = [checkpoint.load(spec.seed_folder(0) / checkpoint.LATEST)]
    agents = load_agents(spec, tree)
    once, again = (
        play_episodes(spec.game_class, spec.env_config, agents, spec.controlled_roles, 1, 4) for _ in range(2)
    )
    for name in once:
        np.testing.assert_array_equal(once[name], again[name])
    agent, game = agents_of(trained["ppo"], 3, num_envs=4000, sample=True)
    same = np.repeat(game.observations["station"][:, :1], 4000, axis=1)
    drawn = agent.act({"station": same}, deterministic=False)["station"][0, :, 0]
    policy = agent._players["station"].agent._learners[0]["station"].learners[0].ppo.policy
    index = np.eye(3, dtype=np.float32)[0]
    seen = torch.as_tensor(np.concatenate([same[0, 0, 0], index]))[None]
    expected = policy.get_distribution(seen).distribution.probs.detach().numpy()[0]
    shares = np.bincount(drawn, minlength=16) / 4000
    assert np.abs(shares - expected).max() < 5 * np.sqrt(0.25 / 4000)
    assert (shares > 0).sum() > 8, "an untrained policy is far from deterministic"


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ([], ["path= is not allowed", "folder of a seed"]),
        (["path=nowhere"], ["path=nowhere is not allowed", "folder of a seed, or a checkpoint file", "no checkpoint"]),
        (["path=text"], ["path=text", "cannot be read"]),
        (["path=other.safetensors"], ["path=other.safetensors", "not a checkpoint of a run"]),
        (["path=s*"], ["path=s*", "one path matches: 2 do"]),
        (["path=seed", "role=uav"], ["role=uav", "auctioneer, station"]),
        (["path=seed", "member=3"], ["member=3", "0 to 2"]),
        (["path=seed", "member=-1"], ["member=-1", "0 to"]),
        (["path=seed", "role=auctioneer"], ["path=seed", "observation space"]),
        (["path=seed", "member=0", "content=abc"], ["content=abc", "null, or policy-"]),
        (["path=seed"], ["member=null", "0 to 2", "here station has 5"]),
        (["path=old"], ["path=old", "versions"]),
        (["path=scripted"], ["role=station", "oracle", "another checkpoint"]),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else None,
)
def test_what_cannot_be_loaded_is_refused_in_one_line(settings, said, trained, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    shutil.copytree(trained["sac"], "seed")
    (tmp_path / "text").write_text("no checkpoint")
    checkpoint.save(tmp_path / "other.safetensors", {"weights": np.zeros(3)})
    tree = checkpoint.load(trained["sac"] / checkpoint.LATEST)
    checkpoint.save(tmp_path / "old" / checkpoint.LATEST, _aged(tree))
    checkpoint.save(tmp_path / "scripted" / checkpoint.LATEST, _scripted(tree))
    before = sorted(tmp_path.rglob("*"))
    given = [f"roles.station.agent.{setting}" for setting in settings]
    done = CliRunner().invoke(app, ["train", "env=second_bid", "agent=random", "roles.station.agent=loaded", *given])
    assert done.exit_code == 2, done.output
    (line,) = done.stderr.strip().splitlines()
    assert line.startswith("ioa-marl: roles.station.agent.")
    for part in said:
        assert part in line
    assert sorted(tmp_path.rglob("*")) == before


def _aged(tree):
    versions = {**tree["spec"]["versions"], "env": -1}
    return {**tree, "spec": {**tree["spec"], "versions": versions}}


def _scripted(tree):
    """The same with stations that an oracle played."""
    agents = {"station": {"name": "oracle", "policy": "oracle", "settings": {}}}
    versions = {**tree["spec"]["versions"], "agents": {"oracle": 0}}
    spec = {**tree["spec"], "agents": agents, "versions": versions}
    return {**tree, "spec": spec, "policies": tree["policies"][1:]}


def test_a_policy_plays_its_role_where_other_roles_are_not_controlled(tmp_path):
    """Actors see what their own role observes, those of mean_field_ac the mean of it as well, and no other role."""
    market = {"name": "stackelberg", "preset": "city", "wireless": 4, "mobile": 2, "fixed": 2, "rounds": 3}
    short = {**SIZE, "budget": 64}

    def play(name, **roles):
        tiny = {"name": name, "width": 8, "learning_starts": 16, "batch_size": 8}
        trained = run(tmp_path / name, agent=tiny, env=market, size=short)
        place = loaded(trained.seed_folder(0))
        return trained, run(tmp_path / name, env=market, size=short, **dict.fromkeys(roles or ("mobile",), place))

    both = {"mobile": True, "fixed": True}
    for name in ("sac", "mean_field_ac"):
        trained, again = play(name, **both)
        assert result(again)["metrics"] == likeliest(result(trained))
        assert result(play(name)[1])["status"] == "done"
