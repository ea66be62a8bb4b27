"""Limits that follow from several settings, or from the memory of the machine, are checked before a run starts."""

import pytest

from ioa_marl.foundations.errors import UserError
from ioa_marl.training import limits
from ioa_marl.training.compose import planned

GIGABYTE = 1024**3


@pytest.fixture
def machine(monkeypatch, tmp_path):
    """A machine of 16 GB, whose control groups are files in a folder."""
    (tmp_path / "meminfo").write_text(f"MemTotal: {16 * 1024**2} kB\nSwapTotal: 0 kB\n")
    (tmp_path / "cgroup").write_text("")
    monkeypatch.setattr(limits, "_MACHINE", tmp_path / "meminfo")
    monkeypatch.setattr(limits, "_OF_THIS_PROCESS", tmp_path / "cgroup")
    monkeypatch.setattr(limits, "_CGROUPS", tmp_path / "sys")
    return tmp_path


def group(machine, kind, **files):
    (machine / "cgroup").write_text({1: "4:cpu:/x\n3:memory:/job/1\n0::/x\n", 2: "0::/job/1\n"}[kind])
    for name, value in files.items():
        path = machine / "sys" / name.replace("__", "/").replace("_DOT_", ".")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"{value}\n")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["agent=mappo", "agent.rollout_size=256", "agent.minibatches=257", "num_envs=16"],
         "agent.minibatches=257 is not allowed: use 1 to 256"),
        (["agent=ppo", "agent.rollout_size=256", "agent.batch_size=257", "num_envs=16"],
         "agent.batch_size=257 is not allowed: use 2 to 256"),
        (["agent=sac", "agent.batch_size=65", "agent.buffer_size=64"], "use 1 to buffer_size=64"),
        (["agent=diffusion_sac", "agent.batch_size=65", "agent.buffer_size=64"], "agent.batch_size=65"),
        (["agent=maddpg", "agent.batch_size=65", "agent.buffer_size=64"], "agent.batch_size=65"),
        (["agent=random", "roles.buyer.agent=mappo", "roles.buyer.agent.minibatches=10000"],
         "roles.buyer.agent.minibatches=10000"),
        (["agent=sac", "agent.buffer_size=1e8", "budget=1e9", "seeds=20"], "agent.buffer_size=100000000"),
        (["agent=maddpg", "agent.buffer_size=1e8", "budget=1e9", "seeds=20"], "agent.buffer_size=100000000"),
        (["agent=sac", "agent.width=65536", "agent.depth=20"], "agent.width=65536"),
        (["agent=maddpg", "agent.width=65536", "agent.depth=20"], "agent.width=65536"),
        (["agent=mappo", "agent.width=65536", "agent.depth=20"], "agent.width=65536"),
        (["agent=ppo", "agent.hidden=[65536,65536]"], "agent.hidden=[65536,65536]"),
        (["agent=mappo", "agent.rollout_size=1e8", "budget=1e9", "seeds=10"], "agent.rollout_size=100000000"),
        (["agent=ppo", "agent.rollout_size=1e8", "budget=1e9", "seeds=10"], "agent.rollout_size=100000000"),
        (["agent=greedy", "env.observation=extended", "num_envs=1e6", "seeds=1e3", "budget=1e9"], "num_envs=1000000"),
    ],
)  # fmt: skip
def test_what_cannot_be_trained_is_refused_with_the_figure(machine, arguments, said):
    with pytest.raises(UserError) as refused:
        planned(["env=double_dutch", *arguments])
    assert said in str(refused.value)


def test_as_many_minibatches_as_rows_and_a_whole_rollout_as_batch_are_allowed(machine):
    for arguments in (["agent=mappo", "agent.minibatches=256"], ["agent=ppo", "agent.batch_size=256"]):
        planned(["env=double_dutch", "agent.rollout_size=256", "num_envs=16", *arguments])


def test_presets_of_100_000_agents_are_allowed_on_a_machine_of_16_gigabytes(machine):
    for env in ("double_dutch/exchange", "stackelberg/internet", "vcg_slicing/internet"):
        planned([f"env={env}", "agent=random"])
        planned([f"env={env}", "agent=sac", "num_envs=1", "seeds=1", "agent.buffer_size=1000"])


def test_what_does_not_learn_needs_no_memory(machine):
    planned(["env=double_dutch", "agent=random", "num_envs=1e6", "seeds=1e4", "budget=1e9"])


def test_seeds_that_are_done_need_no_memory(machine, tmp_path):
    big = ["env=double_dutch", "agent=sac", "agent.buffer_size=1e7", "budget=1e9", f"runs={tmp_path}"]
    spec = planned([*big, "seeds=1"]).specs[0]
    with pytest.raises(UserError, match="100 seeds side by side, and this machine has"):
        planned([*big, "seeds=100"])
    for seed in range(90):
        folder = spec.seed_folder(seed)
        folder.mkdir(parents=True)
        (folder / "result.json").write_text('{"status": "done"}')
    assert len(planned([*big, "seeds=100"]).specs[0].seeds) == 100


@pytest.mark.parametrize(
    ("kind", "files", "limit", "whose"),
    [
        (1, {}, 16, "this machine"),
        (1, {"memory__job__1__memory_DOT_limit_in_bytes": 4 * GIGABYTE}, 4, "control group"),
        (1, {"memory__job__1__memory_DOT_limit_in_bytes": 2**63 - 4096}, 16, "this machine"),
        (1, {"memory__job__memory_DOT_limit_in_bytes": 3 * GIGABYTE}, 3, "control group"),
        (1, {"memory__memory_DOT_limit_in_bytes": 2 * GIGABYTE}, 2, "control group"),
        (2, {"job__1__memory_DOT_max": 4 * GIGABYTE}, 4, "control group"),
        (2, {"job__1__memory_DOT_max": "max", "job__memory_DOT_max": 5 * GIGABYTE}, 5, "control group"),
        (2, {"memory_DOT_max": 2 * GIGABYTE}, 2, "control group"),
        (2, {"job__1__memory_DOT_max": "max"}, 16, "this machine"),
        (2, {"job__1__memory_DOT_max": 64 * GIGABYTE}, 16, "this machine"),
    ],
)
def test_the_limit_is_the_machines_or_that_of_the_nearest_control_group(machine, kind, files, limit, whose):
    group(machine, kind, **files)
    found, name = limits.memory_limit()
    assert found == limit * GIGABYTE
    assert whose in name


def test_what_can_be_swapped_counts(machine):
    (machine / "meminfo").write_text(f"MemTotal: {16 * 1024**2} kB\nSwapTotal: {8 * 1024**2} kB\n")
    assert limits.memory_limit()[0] == 24 * GIGABYTE
    group(machine, 2, job__1__memory_DOT_max=4 * GIGABYTE)
    assert limits.memory_limit()[0] == 12 * GIGABYTE
    group(machine, 2, job__1__memory_DOT_max=4 * GIGABYTE, job__1__memory_DOT_swap_DOT_max=0)
    assert limits.memory_limit()[0] == 4 * GIGABYTE


def test_a_machine_that_says_nothing_has_no_limit(monkeypatch, tmp_path):
    for name in ("_MACHINE", "_OF_THIS_PROCESS", "_CGROUPS"):
        monkeypatch.setattr(limits, name, tmp_path / "nothing")
    assert limits.memory_limit()[0] >= 2**60
    planned(["env=double_dutch", "agent=sac", "agent.buffer_size=1e8", "budget=1e9", "seeds=100"])


def test_the_arrays_that_are_counted_are_no_larger_than_those_that_are_built():
    """A refused run certainly does not fit, because the estimate is a lower bound."""
    import torch

    from ioa_marl.agents.base import AgentContext

    for name in ("sac", "maddpg", "mappo", "ppo", "diffusion_sac"):
        spec = planned(
            ["env=double_dutch", f"agent={name}", "roles.buyer.agent=random", "budget=8192", "seeds=2"]
        ).specs[0]
        roles = spec.game_class.make_roles(spec.env_config)
        controlled_roles = tuple(roles[role] for role in spec.controlled_roles)
        player = next(agent for agent in spec.agents if agent.name == name)
        plays = tuple(roles[role] for role in player.roles)
        state = spec.game_class(spec.env_config, 1).state().shape[-1] if player.agent_class.needs_state else 0
        context = AgentContext(
            plays, controlled_roles, spec.seeds, spec.num_envs, spec.budget, torch.device("cpu"), state
        )
        counted = player.agent_class.memory(player.config, context)
        built = _bytes_of(player.agent_class(context, player.config), set())
        assert 0.2 * built < sum(counted.values()) <= built, (name, counted, built)


def _bytes_of(thing, seen):
    """Return the size of all arrays in an object [bytes]."""
    import numpy as np
    import torch

    if id(thing) in seen or isinstance(thing, (str, int, float, type)):
        return 0
    seen.add(id(thing))
    if isinstance(thing, np.ndarray):
        return thing.nbytes
    if isinstance(thing, torch.Tensor):
        return thing.untyped_storage().nbytes()
    if isinstance(thing, torch.nn.Module):
        return sum(_bytes_of(p, seen) for p in thing.parameters())
    if isinstance(thing, dict):
        return sum(_bytes_of(value, seen) for value in thing.values())
    if isinstance(thing, (list, tuple)):
        return sum(_bytes_of(value, seen) for value in thing)
    return sum(_bytes_of(value, seen) for value in vars(thing).values()) if hasattr(thing, "__dict__") else 0
