"""An agent that stores the unmodified state of a torch optimiser resumes as if it had not been interrupted."""

from __future__ import annotations

import json
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from gymnasium import spaces

from ioa_marl import registry
from ioa_marl.agents.base import Agent
from ioa_marl.foundations import checkpoint
from ioa_marl.training.config import resolve
from ioa_marl.training.runner import Trainer
from ioa_marl.training.seeds import train_seeds


@dataclass(frozen=True)
class HabitualConfig:
    """Settings."""

    learning_rate: float = 0.05


class HabitualAgent(Agent):
    """A linear policy for one agent that learns with Adam from each reward, in the usual style of torch code."""

    config_class = HabitualConfig
    action_spaces = (spaces.Discrete,)
    single_agent = True

    def __init__(self, setting, config):
        super().__init__(setting, config)
        (self.role,) = setting.plays
        self.members = [self._member(seed) for seed in setting.seeds]

    def _member(self, seed):
        draws = torch.Generator().manual_seed(seed)
        net = torch.nn.Linear(self.role.observation_space.shape[0], int(self.role.action_space.n))
        with torch.no_grad():
            net.weight.normal_(generator=draws)
            net.bias.zero_()
        optimiser = torch.optim.Adam(net.parameters(), lr=self.config.learning_rate, amsgrad=True)
        return {
            "net": net, "optimiser": optimiser, "draws": draws,
            "schedule": torch.optim.lr_scheduler.MultiStepLR(optimiser, [6, 12], gamma=0.5),
        }  # fmt: skip

    def act(self, observations, *, deterministic):
        out = []
        for member, seen in zip(self.members, torch.as_tensor(observations[self.role.name]), strict=True):
            with torch.no_grad():
                logits = member["net"](seen)
            if deterministic:
                out.append(logits.argmax(-1).numpy())
            else:
                chances = logits.softmax(-1).flatten(0, 1)
                drawn = torch.multinomial(chances, 1, generator=member["draws"])
                out.append(drawn.reshape(logits.shape[:2]).numpy())
        return {self.role.name: np.stack(out)}

    def observe(self, transition):
        name = self.role.name
        for i, member in enumerate(self.members):
            seen = torch.as_tensor(transition.observations[name][i].copy())
            done = torch.as_tensor(transition.actions[name][i].copy())[..., None]
            chosen = member["net"](seen).log_softmax(-1).gather(-1, done)[..., 0]
            loss = -(chosen * torch.as_tensor(transition.rewards[name][i].copy())).mean()
            member["optimiser"].zero_grad()
            loss.backward()
            member["optimiser"].step()
            member["schedule"].step()

    def state_dict(self, seed_index):
        member = self.members[seed_index]
        held = {name: member[name].state_dict() for name in ("net", "optimiser", "schedule")}
        return {**held, "draws": member["draws"].get_state()}

    def load_state_dict(self, seed_index, state):
        member = self.members[seed_index]
        for name in ("net", "optimiser", "schedule"):
            member[name].load_state_dict(state[name])
        member["draws"].set_state(state["draws"])


@pytest.fixture(autouse=True)
def registered():
    registry.register_agent("habitual")(HabitualAgent)
    yield
    registry._entries["agent"].pop("habitual")


def train(runs):
    spec = resolve(
        {
            "env": {"name": "double_dutch", "preset": "paper"}, "agent": {"name": "habitual"}, "device": "cpu",
            "budget": 160, "num_envs": 8, "seeds": 2, "runs": str(runs), "evaluation": {"points": 2, "episodes": 4},
        }
    )  # fmt: skip
    train_seeds(spec, spec.seeds)
    return [spec.seed_folder(seed) for seed in spec.seeds]


def test_a_killed_run_with_the_state_of_a_torch_optimiser_goes_on_to_the_bit(tmp_path, monkeypatch):
    whole = train(tmp_path / "whole")
    saves, save = [], Trainer._save

    def dying(self):
        save(self)
        saves.append(self.iteration)
        if len(saves) == 1:
            raise KeyboardInterrupt

    monkeypatch.setattr(Trainer, "_save", dying)
    with pytest.raises(KeyboardInterrupt):
        train(tmp_path / "killed")
    killed = train(tmp_path / "killed")
    assert saves == [10, 20]
    for one, other in zip(killed, whole, strict=True):
        states, wanted = (checkpoint.load(folder / checkpoint.LATEST)["agents"] for folder in (one, other))
        assert checkpoint.difference(states, wanted) is None
        figures = [json.loads((folder / "result.json").read_text())["metrics"] for folder in (one, other)]
        assert figures[0] == figures[1]
    (state,) = states
    assert set(state["optimiser"]["state"]) == {0, 1}, "keys are the numbers of the parameters"
    assert state["optimiser"]["state"][0]["step"] == 20
    assert state["schedule"]["milestones"] == {6: 1, 12: 1}
