"""An untrusted checkpoint is played or refused in one line, quickly and with little memory."""

import copy
import importlib.util
import json
import random
import resource
import time
from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy
import torch
from typer.testing import CliRunner

from ioa_marl.agents.saved.restoring import load_exactly
from ioa_marl.cli import app
from ioa_marl.foundations import checkpoint
from ioa_marl.foundations.errors import UserError
from ioa_marl.foundations.trees import pack
from ioa_marl.training.check import open_checkpoint
from ioa_marl.training.config import resolve
from ioa_marl.training.seeds import train_seeds

_spec = importlib.util.spec_from_file_location("strangers", Path(__file__).with_name("strangers.py"))
strangers = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(strangers)

SIZE = {"budget": 64, "num_envs": 4, "evaluation": {"points": 1, "episodes": 3}, "device": "cpu", "seeds": 1}
MARKET = {"name": "second_bid", "preset": "paper", "stations": 3, "tasks": 4}
LEARNERS = {
    "sac": {"name": "sac", "learning_starts": 8, "batch_size": 8, "width": 8},
    "ppo": {"name": "ppo", "rollout_size": 16, "n_epochs": 1, "batch_size": 8, "hidden": [8]},
}


def train(runs, agent, **roles):
    asked = {"env": MARKET, "agent": agent, **SIZE, "runs": str(runs)}
    spec = resolve({**asked, "roles": {role: {"agent": choice} for role, choice in roles.items()}})
    train_seeds(spec, spec.seeds)
    return checkpoint.load(spec.seed_folder(0) / checkpoint.LATEST), spec.seed_folder(0)


@pytest.fixture(scope="module")
def trees(tmp_path_factory):
    """Spec and policies in the checkpoints of runs, one for each learner and one with a loaded policy."""
    folder = tmp_path_factory.mktemp("runs")
    found = {}
    for name, agent in LEARNERS.items():
        found[name], place = train(folder, agent, station=agent)
    found["loaded"], _ = train(folder, {"name": "random"}, station={"name": "loaded", "path": str(place)})
    return {name: {key: tree[key] for key in ("spec", "steps", "policies")} for name, tree in found.items()}


def told(*arguments):
    """Run a command that may fail with one line and status 2; return the line, or None on success."""
    started = time.process_time()
    done = CliRunner().invoke(app, [str(argument) for argument in arguments])
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        raise done.exception
    assert time.process_time() - started < 5.0
    if done.exit_code == 0:
        return None
    assert done.exit_code == 2, done.output
    (line,) = done.stderr.split("\n")[:-1]
    assert line.startswith("ioa-marl: ")
    assert line.isprintable()
    assert len(line) < 2000
    return line


def peak():
    """Return the peak memory of this process [MiB]."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def changed(tree, path, value):
    """Return a copy with a value set, or removed if it is `...`."""
    tree = copy.deepcopy(tree)
    holder = strangers.reached(tree, path[:-1])
    if value is ...:
        del holder[path[-1]]
    else:
        holder[path[-1]] = value
    return tree


@pytest.mark.parametrize("name", ["sac", "ppo", "loaded"])
def test_what_is_as_it_was_is_played(name, trees, tmp_path):
    checkpoint.save(tmp_path / "some", trees[name])
    assert told("evaluate", tmp_path / "some") is None


def first_format(tree):
    """Return a file in the first format, without a checksum."""
    packed, arrays = pack(tree, exact=False)
    header = {"format": "ioa_marl checkpoint 1", "tree": json.dumps(packed)}
    return safetensors.numpy.save(arrays, metadata=header)


@pytest.mark.parametrize("name", ["sac", "ppo", "loaded"])
def test_a_checkpoint_of_the_first_format_is_played(name, trees, tmp_path):
    (tmp_path / "some").write_bytes(first_format(trees[name]))
    assert checkpoint.seal(tmp_path / "some") is None
    assert told("evaluate", tmp_path / "some") is None


def test_a_policy_with_tuples_and_numbers_as_keys_is_taken_over_from_the_first_format(tmp_path):
    class Plain:
        def load_policy_state(self, seed_index, state):
            self.held = {"pair": tuple(state["pair"]), "table": {int(k): v for k, v in state["table"].items()}}

        def policy_state(self, seed_index):
            return self.held

    policy = {"pair": (1, 2.5), "table": {0: torch.ones(2), 7: None}}
    (tmp_path / "some").write_bytes(first_format(policy))
    load_exactly(Plain(), 0, checkpoint.load(tmp_path / "some"), "plain")
    with pytest.raises(UserError, match="the policy of plain does not fit its settings: "):
        load_exactly(Plain(), 0, {"pair": [1, 2.5], "table": {"0": torch.ones(2), "7": None, 7: None}}, "plain")


SIZES = [
    ("sac", ("spec", "agents", "station", "width"), 30_000),
    ("sac", ("spec", "agents", "station", "width"), 65_536),
    ("sac", ("spec", "agents", "auctioneer", "depth"), 64),
    ("ppo", ("spec", "agents", "station", "hidden"), [30_000, 30_000]),
    ("ppo", ("spec", "agents", "station", "hidden"), [8] * 5000),
    ("ppo", ("spec", "agents", "station", "rollout_size"), 10**8),
    ("ppo", ("spec", "env", "stations"), 1000),
    ("ppo", ("spec", "env", "stations"), 10**9),
    ("ppo", ("spec", "agents", "station", "hidden"), [8] * 500_000),
    ("sac", ("spec", "evaluation", "episodes"), 10**9),
    ("sac", ("spec", "evaluation", "episodes"), -1),
    ("sac", ("spec", "num_envs"), 10**9),
    ("sac", ("spec", "budget"), 10**30),
    ("sac", ("spec", "seed"), 2**70),
    ("sac", ("spec", "seed"), -1),
    ("sac", ("steps",), float("nan")),
    ("sac", ("steps",), -4),
    ("loaded", ("policies", 1, "policies", "station", "spec", "agents", "station", "hidden"), [30_000, 30_000]),
    ("loaded", ("spec", "agents", "station", "content"), "policy-0123456789abcdef"),
]


@pytest.mark.parametrize(("name", "path", "value"), SIZES, ids=lambda value: str(value)[:60])
def test_sizes_that_the_file_does_not_bear_out_are_refused_quickly_in_little_memory(name, path, value, trees, tmp_path):
    checkpoint.save(tmp_path / "some", changed(trees[name], path, value))
    before = peak()
    line = told("evaluate", tmp_path / "some")
    assert line is not None
    assert str(tmp_path / "some") in line
    assert peak() - before < 1100


KINDS = {
    "cast": lambda t: t.double(),
    "half": lambda t: t.half(),
    "broadcast over one": lambda t: t[..., :1],
    "broadcast over all": lambda t: t.reshape(-1)[:1],
    "a number": lambda t: t.reshape(-1)[0].clone(),
    "more": lambda t: torch.cat([t, t], dim=-1),
    "none": lambda t: t[:0],
    "an array": lambda t: t.numpy(),
    "a parameter": torch.nn.Parameter,
    "a list": lambda t: t.tolist(),
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", ["sac", "ppo", "loaded"])
def test_weights_that_only_look_alike_are_refused(name, kind, trees, tmp_path):
    place = ("policies", 1) if name != "loaded" else ("policies", 1, "policies", "station", "policy")
    inside = strangers.reached(trees[name], place)["station"]
    for key in list(inside)[:2]:
        tree = changed(trees[name], (*place, "station", key), KINDS[kind](inside[key].clone()))
        checkpoint.save(tmp_path / "some", tree)
        for command in ("evaluate", "watch"):
            line = told(command, tmp_path / "some")
            assert line is not None
            assert "cannot be played" in line


@pytest.mark.parametrize("name", ["sac", "ppo"])
@pytest.mark.parametrize(
    "extra", [("policies", 1, "another"), ("policies", 1, "station", "another"), ("policies", 1, 3)]
)
def test_a_key_that_nobody_looks_at_is_refused(name, extra, trees, tmp_path):
    checkpoint.save(tmp_path / "some", changed(trees[name], extra, torch.zeros(2)))
    assert "another" in told("evaluate", tmp_path / "some") or "key 3" in told("evaluate", tmp_path / "some")


@pytest.mark.parametrize(
    ("path", "value", "said"),
    [
        (("spec",), [], "env is missing"), (("spec", "env"), ..., "env is missing"), (("spec", "agents"), {}, "agents"),
        (("spec", "agents"), [1], "agents is wrong"), (("spec", "versions"), ..., "versions is missing"),
        (("spec", "versions", "env"), "2", "versions is wrong"),
        (("spec", "versions", "agents"), 3, "versions is wrong"),
        (("spec", "versions", "env"), 99, "other versions"), (("spec", "env", "name"), "nowhere", "nowhere"),
        (("spec", "env", "name"), ["second_bid"], "name"), (("spec", "env", 7), 1, "no text"),
        (("spec", "agents", "station", "name"), "nobody", "nobody"), (("spec", "seed"), True, "seed=True"),
        (("spec", "agents", "station", "width"), torch.tensor(8), "a Tensor"),
        (("policies",), {}, "one policy for each"),
        (("policies",), [], "one policy for each"), (("policies", 1), ..., "one policy for each"),
        (("policies", 1), None, "does not fit"), (("steps",), "64", "steps='64'"),
        (("steps",), 10**6, "steps=1000000"),
        (("spec", "evaluation"), 5, "evaluation is missing or wrong"),
        (("spec", "env", "tasks"), float("nan"), "tasks"),
        (("spec", "env", "preset"), "\x1b[31mred\n", None),
    ],
    ids=lambda value: "/".join(map(str, value)) if isinstance(value, tuple) else "",
)  # fmt: skip
def test_a_description_that_is_none_is_refused_for_every_command(path, value, said, trees, tmp_path):
    checkpoint.save(tmp_path / "some", changed(trees["sac"], path, value))
    before = sorted(tmp_path.iterdir())
    for command in (["evaluate", tmp_path / "some"], ["watch", tmp_path / "some", "--no-window"]):
        if said is None:  # a name of settings that nobody looks up: it is shown as what it is
            with pytest.MonkeyPatch.context() as patch:
                patch.chdir(tmp_path)
                assert told(*command) is None
            continue
        assert said in told(*command)
        assert sorted(tmp_path.iterdir()) == before
    settings = ["env=second_bid", "env.stations=3", "env.tasks=4", "agent=random", "roles.station.agent=loaded"]
    if path[0] in ("spec", "policies") and path[1:2] not in (("evaluation",), ("seed",)) and said is not None:
        line = told(
            "train", *settings, f"roles.station.agent.path={tmp_path / 'some'}", "budget=64", f"runs={tmp_path}"
        )
        assert line.startswith("ioa-marl: roles.station.agent.path=")
        assert sorted(tmp_path.iterdir()) == before


def test_a_preset_is_what_the_settings_are_not_what_the_file_claims(trees, tmp_path):
    tree = changed(trees["sac"], ("spec", "env", "preset"), "../../elsewhere")
    checkpoint.save(tmp_path / "some", tree)
    assert open_checkpoint(tmp_path / "some").spec.env_label == "second_bid-custom"


def test_the_limit_of_memory_is_lifted_again(trees, tmp_path):
    limits = resource.getrlimit(resource.RLIMIT_AS)
    checkpoint.save(tmp_path / "some", changed(trees["sac"], ("spec", "agents", "station", "width"), 30_000))
    with pytest.raises(UserError, match=r"sac would take more than .* bytes with these settings, and its policy has"):
        open_checkpoint(tmp_path / "some").agents()
    assert resource.getrlimit(resource.RLIMIT_AS) == limits
    assert np.ones(2**28, np.uint8).sum() == 2**28


def played(tree):
    """Return the parts that determine actions; of source runs of loaded policies, only the agents that learnt them."""
    tree = copy.deepcopy(tree["policies"])
    for policy in tree:
        for held in policy.get("policies", {}).values():
            agents, versions = held["spec"]["agents"], held["spec"]["versions"]
            own = {roles: agent for roles, agent in agents.items() if held["role"] in roles.split("+")}
            names = {agent["name"] for agent in own.values()}
            # Versions of the runner, the protocol and other agents do not say how a policy acts.
            made = {name: version for name, version in versions["agents"].items() if name in names}
            held["spec"] = {"agents": own, "versions": {"env": versions["env"], "agents": made}}
    return tree


def attacked(trees, folder, seed):
    """Try one random change of a checkpoint; the seed determines the change."""
    chosen = random.Random(seed)
    name = chosen.choice(sorted(trees))
    within = chosen.choice([(), ("spec",), ("spec", "agents"), ("policies",), ("policies",)])
    tree, what = strangers.mutated(trees[name], chosen, within)
    checkpoint.save(folder / "some", tree)
    command = chosen.choice(["evaluate", "evaluate", "train"])
    if command == "train":
        settings = ["env=second_bid", "env.stations=3", "env.tasks=4", "agent=random", "roles.station.agent=loaded"]
        short = ["budget=64", "seeds=1", "evaluation.episodes=2", "evaluation.points=1", f"runs={folder / 'runs'}"]
        line = told("train", *settings, f"roles.station.agent.path={folder / 'some'}", *short)
    else:
        line = told("evaluate", folder / "some")
        harmless = line is not None or checkpoint.difference(played(tree), played(trees[name])) is None
        assert harmless, f"{name}: {what} was played"
    return name, what, line


@pytest.mark.parametrize("seed", range(25))
def test_any_change_is_played_as_it_is_or_refused_one_line(seed, trees, tmp_path):
    before = peak()
    attacked(trees, tmp_path, seed)
    assert peak() - before < 1100


@pytest.mark.slow
def test_two_hundred_changes_are_played_as_they_are_or_refused_one_line(trees, tmp_path):
    before = peak()
    found = [attacked(trees, tmp_path, seed) for seed in range(1000, 1200)]
    assert sum(line is None for _, _, line in found) < 100
    assert peak() - before < 1500
