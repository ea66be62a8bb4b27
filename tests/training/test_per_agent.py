"""Agents of one role that are played by different agents: runs, replays, messages, and what each of them sees."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch

from ioa_marl import registry
from ioa_marl.agents.base import AgentContext
from ioa_marl.agents.baselines.random import RandomAgent
from ioa_marl.agents.common.per_agent import PerAgent, PerAgentConfig
from ioa_marl.agents.saved.policy import SavedPolicy
from ioa_marl.envs.vcg_slicing.game import VCGSlicingGame
from ioa_marl.envs.vector import VectorGame
from ioa_marl.foundations.errors import ParameterError, UserError
from ioa_marl.foundations.seeds import EVALUATION_SEED
from ioa_marl.foundations.trees import difference
from ioa_marl.training.agent_specs import as_choice
from ioa_marl.training.check import evaluate_checkpoint
from ioa_marl.training.compose import planned, specification
from ioa_marl.training.config import from_resolved, resolve
from ioa_marl.training.runner import Trainer
from ioa_marl.training.seeds import train_seeds
from ioa_marl.training.store import SeedFolder

MARKET = ["env=vcg_slicing/dual_currency", "env.providers=4", "env.rounds=3", "agent=oracle", "seeds=1"]
SHORT = ["evaluation.episodes=4", "evaluation.final_episodes=4", "evaluation.points=1", "num_envs=4", "budget=160"]
PPO = ["roles.vsp.agents.0=ppo", "roles.vsp.agents.0.rollout_size=32", "roles.vsp.agents.0.batch_size=16"]
LESS = ["roles.vsp.agents.2=shaded", "roles.vsp.agents.2.settings.multiplier=0.5"]


def run(tmp_path, *settings):
    spec = specification([*MARKET, *SHORT, f"runs={tmp_path}", *settings])
    train_seeds(spec, spec.seeds)
    return spec, spec.seed_folder(spec.seeds[0])


def test_a_provider_that_shades_alone_is_the_market_with_that_bid(tmp_path):
    spec, folder = run(tmp_path, *LESS)
    assert spec.agent_label == "oracle,vsp=scripted,vsp.2=shaded"
    game = VectorGame(VCGSlicingGame, spec.env_config, [EVALUATION_SEED], 4, ["slice", "vsp"], 0, [0])
    game.game.single_episode = True
    game.reset()
    steer = game.game.scripted("oracle", "slice")
    bids = np.full((1, 4, 4), spec.env_config.truth)
    bids[..., 2] = spec.env_config.multipliers.index(0.5)
    for _ in range(2 * 3):
        step = game.step({"slice": steer()[None], "vsp": bids})
    row = SeedFolder(folder).result()["metrics"]
    for name in ("welfare", "net_profit", "interest", "bid_ratio"):
        assert row[name] == pytest.approx(step.metrics[name].mean(), rel=1e-12)
    # (3 + 0.5) / 4 of the truth would be 0.875 if all beliefs were equal.
    assert 0.5 < row["bid_ratio"] < 1.0


def test_rows_are_confirmed_to_the_bit_and_described_by_their_checkpoint(tmp_path):
    spec, folder = run(tmp_path, *PPO, *LESS)
    assert evaluate_checkpoint(folder).confirmed
    described = {**spec.resolved(), "seed": 0}
    again = from_resolved(described, tmp_path)
    assert (again.digest, again.agent_label) == (spec.digest, spec.agent_label)
    assert spec.resolved()["versions"]["agents"].keys() == {"oracle", "per agent", "scripted", "ppo", "shaded"}
    with pytest.raises(ParameterError, match="its agents are played by different agents"):
        SavedPolicy.read(str(folder), "vsp")


def test_a_description_chooses_the_same_agents_again():
    values = {"agent": None, "seeds": [0], "runs": "runs", "device": "cpu", "budget": 160, "num_envs": 4}
    for settings in (LESS, [f"roles.vsp.agents.{i}=shaded" for i in range(4)]):
        spec = specification([*MARKET, *SHORT, *settings])
        again = resolve(
            {
                **values,
                "env": spec.resolved()["env"],
                "evaluation": dataclasses.asdict(spec.evaluation),
                "roles": {agent.roles[0]: as_choice(agent.as_dict()) for agent in spec.agents},
            }
        )
        assert again.digest == spec.digest


def test_digests_tell_who_plays_and_not_how_it_was_written():
    def digest(*settings):
        return specification([*MARKET, *settings]).digest

    first = digest("roles.vsp.agents.0=shaded", "roles.vsp.agents.1=truthful")
    assert first == digest("roles.vsp.agents.1=truthful", "roles.vsp.agents.0=shaded")
    others = [
        digest("roles.vsp.agents.1=shaded", "roles.vsp.agents.0=truthful"),
        digest("roles.vsp.agents.0=shaded", "roles.vsp.agents.0.settings.multiplier=0.5"),
        digest("roles.vsp.agent=shaded"),
    ]
    assert len({first, *others}) == 4


def test_training_continues_to_the_bit_from_the_states_of_all_agents(tmp_path):
    spec = specification([*MARKET, *SHORT, *PPO, *LESS, "roles.vsp.agent=sac", "roles.vsp.agent.learning_starts=16"])

    def trainer(seeds=(0,)):
        made = Trainer(spec, seeds, [SeedFolder(tmp_path / str(seed)) for seed in seeds])
        for agent in made.agents:
            agent.attach(made.game.game)
        return made

    def steps(made, count):
        for _ in range(count):
            made.step()
        return [agent.policy_state(0) for agent in made.agents]

    whole, half = trainer(), trainer()
    before = [agent.policy_state(0) for agent in half.agents]
    steps(half, 10)
    rest = trainer()
    rest.game.restore(0, half.game.save(0))
    for agent, other in zip(rest.agents, half.agents, strict=True):
        agent.load_state_dict(0, other.state_dict(0))
    rest.iteration = half.iteration
    policies = steps(whole, 20)
    assert difference(policies, steps(rest, 10)) is None
    assert difference(policies, steps(trainer((0, 5)), 20)) is None, "the other seeds change nothing"
    assert difference(policies, before) is not None


@dataclasses.dataclass(frozen=True)
class NoSettings:
    """No settings."""


class Watching(RandomAgent):
    """A learner that keeps what it is shown."""

    learns = True
    config_class = NoSettings

    def observe(self, transition):
        self.seen = transition


def test_a_learner_sees_its_agents_as_a_role_and_the_others_as_further_roles(monkeypatch):
    usual = registry.load_agent
    monkeypatch.setattr(registry, "load_agent", lambda name: Watching if name == "watching" else usual(name))
    config = VCGSlicingGame.make_config("dual_currency", providers=5)
    roles = VCGSlicingGame.make_roles(config)
    watching = {"name": "watching"}
    chosen = PerAgentConfig({"name": "scripted", "policy": "truthful", "settings": {}}, {"1": watching, "3": watching})
    made = PerAgent.for_settings(chosen, VCGSlicingGame, [roles["vsp"]])
    assert made.learns_in(VCGSlicingGame, ["vsp"])
    assert made.privileged
    context = AgentContext((roles["vsp"],), tuple(roles.values()), (0,), 2, 100, torch.device("cpu"))
    agent = made(context, chosen)
    game = VectorGame(VCGSlicingGame, config, [0], 2, ["slice", "vsp"])
    game.reset()
    agent.attach(game.game)
    actions = {"slice": np.full((1, 2, 5, 3), 3), **agent.act(game.observations, deterministic=False)}
    assert (actions["vsp"][..., [0, 2, 4]] == config.truth).all()
    game.step(actions)
    transition = game.step(actions)
    agent.observe(transition)
    (watched,) = agent._learners.values()
    assert watched.context.plays[0].name == "vsp_1_3"
    assert [(role.name, role.count) for role in watched.context.roles] == [
        ("slice", 5), ("vsp_others", 3), ("vsp_1_3", 2),
    ]  # fmt: skip
    np.testing.assert_array_equal(watched.seen.rewards["vsp_1_3"], transition.rewards["vsp"][..., [1, 3]])
    np.testing.assert_array_equal(watched.seen.actions["vsp_others"], actions["vsp"][..., [0, 2, 4]])
    np.testing.assert_array_equal(watched.seen.rewards["slice"], transition.rewards["slice"])
    offsets = {watched.context.stream_offset(role) for role in watched.context.roles}
    assert len(offsets | {context.stream_offset(role) for role in roles.values()}) == 5


def test_a_role_that_is_controlled_by_default_is_scored_with_different_agents(tmp_path):
    spec, folder = run(tmp_path, "roles.slice.agents.1=hold", "roles.slice.agents.3=random")
    assert spec.agent_label == "slice=oracle,slice.1=hold,slice.3=random"
    alone = SeedFolder(run(tmp_path)[1]).result()["scores"]["slice"]
    assert SeedFolder(folder).result()["scores"]["slice"] < alone
    assert evaluate_checkpoint(folder).confirmed


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        (["roles.vsp.agents.4=shaded"], "roles.vsp.agents.4 is not allowed: the agents of vsp are 0 to 3"),
        (["roles.vsp.agents.0=nobody"], "unknown agent 'nobody'"),
        (["roles.vsp.agents.0=kelly"], "kelly cannot play vsp: vcg_slicing has no policy 'kelly' for it"),
        (["roles.vsp.agents.x=shaded"], "use roles.vsp.agents.0=NAME for its agent 0"),
        (["roles.vsp.agents.0=shaded", "roles.vsp.agents.0.settings.multiplier=0.55"],
         "roles.vsp.agents.0.settings.multiplier=0.55 is not allowed"),
        (["roles.vsp.agents.0=shaded", "roles.vsp.agents.0.settings.other=1"],
         "unknown key roles.vsp.agents.0.settings.other"),
        (["roles.vsp.agents.0=ppo", "roles.vsp.agents.0.gamma=7"], "roles.vsp.agents.0.gamma=7.0 is not allowed"),
        (["roles.vsp.agents.0=ppo", "budget=100"], "ppo first learns in the role vsp"),
        (["roles.vsp.agents.0=loaded"], "roles.vsp.agents.0.path= is not allowed"),
        (["roles.vsp.agents.0.name=ppo"], "choose it with roles.vsp.agents.0=ppo"),
        (["roles.buyer.agents.0=ppo"], "unknown role 'buyer'"),
    ],
)  # fmt: skip
def test_mistakes_get_one_line(settings, said, tmp_path):
    with pytest.raises(UserError) as error:
        specification([*MARKET, f"runs={tmp_path}", *settings])
    assert said in str(error.value)
    assert "\n" not in str(error.value)
    assert not list(tmp_path.iterdir())


def test_agents_of_agents_can_be_swept():
    plan = planned(["-m", *MARKET, "roles.vsp.agents.0=shaded,truthful"])
    assert [spec.agent_label for spec in plan.specs] == [
        "oracle,vsp=scripted,vsp.0=shaded", "oracle,vsp=scripted,vsp.0=truthful",
    ]  # fmt: skip
