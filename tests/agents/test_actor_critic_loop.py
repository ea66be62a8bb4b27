"""Stacked actor–critics take the same path as plain networks in a loop over agents."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from joint import played
from torch import nn


class Looped:
    """One agent's networks in plain PyTorch, in double precision."""

    def __init__(self, stack, member):
        self.config, copies = stack.config, stack.copies

        def plain(network, index):
            layers = []
            for weight, bias in zip(network.weights, network.biases, strict=True):
                layer = nn.Linear(*weight.shape[1:], dtype=torch.float64)
                layer.weight.data = weight.detach()[index].T.double().clone()
                layer.bias.data = bias.detach()[index, 0].double().clone()
                layers += [layer, nn.ReLU()]
            return nn.Sequential(*layers[:-1])

        self.actor = plain(stack.actor, member)
        self.critics = nn.ModuleList([plain(stack.critics, copies * member + twin) for twin in range(copies)])
        self.target_actor, self.target_critics = copy.deepcopy(self.actor), copy.deepcopy(self.critics)
        self.actor_optimiser = torch.optim.Adam(self.actor.parameters(), self.config.actor_lr)
        self.critic_optimiser = torch.optim.Adam(self.critics.parameters(), self.config.critic_lr)
        self.sizes, self.padded = stack.heads.sizes, stack.heads.outcomes

    def heads(self, flat):
        return [flat[:, h * self.padded : h * self.padded + n] for h, n in enumerate(self.sizes)]

    def one_hot(self, chosen):
        return torch.cat([nn.functional.one_hot(torch.as_tensor(c), self.padded).double() for c in chosen], dim=1)

    def draw_next(self, seen, uniforms):
        """Invert the distribution function of each head of the target policy."""
        with torch.no_grad():
            logits = self.heads(self.target_actor(seen))
        drawn = []
        for h, part in enumerate(logits):
            edges = part.softmax(-1).cumsum(-1)[:, :-1].numpy()
            drawn.append((uniforms[:, h, None] >= edges).sum(1))
        return self.one_hot(drawn)

    def relaxed(self, seen, uniforms):
        """Return drawn one-hot vectors with the gradient of the softmax of the same noise."""
        parts = []
        for h, part in enumerate(self.heads(self.actor(seen))):
            noise = -np.log(-np.log(np.clip(uniforms[:, h, : part.shape[1]].astype(np.float32), 1e-38, 1 - 1.2e-7)))
            soft = ((part + torch.as_tensor(noise, dtype=torch.float64)) / self.config.temperature).softmax(-1)
            hard = nn.functional.one_hot(soft.argmax(-1), part.shape[1])
            parts.append(nn.functional.pad((hard - soft).detach() + soft, (0, self.padded - part.shape[1])))
        return torch.cat(parts, dim=1)

    def step(self, optimiser, loss, networks):
        optimiser.zero_grad()
        loss.backward()
        for network in networks:
            nn.utils.clip_grad_norm_(network.parameters(), self.config.max_grad_norm)
        optimiser.step()

    def learn_values(self, returns, discounts, inputs, next_inputs):
        with torch.no_grad():
            next_values = torch.stack([target(next_inputs)[:, 0] for target in self.target_critics]).min(0).values
        aim = returns + discounts * next_values
        loss = sum(nn.functional.mse_loss(critic(inputs)[:, 0], aim) for critic in self.critics)
        self.step(self.critic_optimiser, loss, self.critics)

    def learn_actions(self, seen, active, own, see, entropy_weight):
        """``own`` are relaxed actions, and ``see(own)`` the inputs of the critics."""
        value = torch.stack([critic(see(own))[:, 0] for critic in self.critics]).min(0).values
        logits = self.heads(self.actor(seen))
        entropy = sum(torch.distributions.Categorical(logits=part).entropy() for part in logits)
        square = sum((part**2).sum(-1) for part in logits) / sum(self.sizes)
        loss = (self.config.logit_penalty * square - value - entropy_weight * entropy)[active].mean()
        self.step(self.actor_optimiser, loss, [self.actor])

    def polyak_update(self):
        for target, source in ((self.target_actor, self.actor), (self.target_critics, self.critics)):
            for p, q in zip(target.parameters(), source.parameters(), strict=True):
                p.data += self.config.tau * (q.data - p.data)


class LoopedTeam:
    """All agents of a session of `Bazaar`, one after another, role by role."""

    counts = (("player", 2), ("rival", 1))

    def __init__(self, kind, agent):
        self.kind = kind
        self.loops = {n: [Looped(agent._learners[n], i) for i in range(count)] for n, count in self.counts}

    def everybody(self):
        return [(name, i) for name, count in self.counts for i in range(count)]

    def mean_of_others(self, values, name, i):
        """``values[name, i]`` (rows, k): for each role the mean over all agents but this one."""
        out = []
        for role, count in self.counts:
            others = [values[role, j] for j in range(count) if (role, j) != (name, i)]
            out.append(sum(others) / len(others) if others else torch.zeros_like(values[role, 0]))
        return torch.cat(out, dim=1)

    def actor_sees(self, seen, name, i):
        if self.kind == "mean_field_ac":
            others = [seen[name, j] for j in range(dict(self.counts)[name]) if j != i]
            return torch.cat([seen[name, i], sum(others) / len(others) if others else 0 * seen[name, i]], dim=1)
        return seen[name, i]

    def critic_sees(self, seen, done, name, i):
        if self.kind == "independent_ac":
            return torch.cat([seen[name, i], done[name, i]], dim=1)
        if self.kind == "mean_field_ac":
            means = [self.mean_of_others(x, name, i) for x in (seen, done)]
            return torch.cat([seen[name, i], done[name, i], *means], dim=1)
        order = sorted(self.everybody(), key=lambda who: who[0] == name)  # own role's actions last
        return torch.cat([*(seen[who] for who in self.everybody()), *(done[who] for who in order)], dim=1)

    def update(self, batch, noise, entropy_weight):
        """``noise[name]``: uniforms for the next actions (agents · rows, heads), and for the own ones."""

        def by_agent(arrays):
            return {(n, i): arrays[n][0][:, i] for n, i in self.everybody() if n in arrays}

        seen, after = (
            {k: x.double() for k, x in by_agent(a).items()} for a in (batch.observations, batch.next_observations)
        )
        active, next_active = by_agent(batch.active), by_agent(batch.next_active)
        done, following = {}, {}
        for name, i in self.everybody():
            loop = self.loops[name][i]
            taken = loop.one_hot(by_agent(batch.actions)[name, i].long().T)
            done[name, i] = taken * active[name, i][:, None]
            uniforms = noise[name][0].reshape(len(self.loops[name]), -1, len(loop.sizes))[i]
            drawn = loop.draw_next(self.actor_sees(after, name, i), uniforms)
            following[name, i] = drawn * next_active[name, i][:, None]
        returns, discounts = (by_agent({n: x.double() for n, x in a.items()}) for a in (batch.returns, batch.discounts))
        for name, i in self.everybody():
            loop = self.loops[name][i]
            inputs = [self.critic_sees(*moment, name, i) for moment in ((seen, done), (after, following))]
            loop.learn_values(returns[name, i], discounts[name, i], *inputs)
            eyes = self.actor_sees(seen, name, i)
            own = loop.relaxed(eyes, noise[name][1][i])
            loop.learn_actions(
                eyes, active[name, i], own,
                lambda own, name=name, i=i: self.critic_sees(seen, {**done, (name, i): own}, name, i), entropy_weight,
            )  # fmt: skip
        for name, i in self.everybody():
            self.loops[name][i].polyak_update()


@pytest.mark.parametrize(
    ("learner", "twin"), [("maddpg", False), ("maddpg", True), ("mean_field_ac", False), ("independent_ac", True)]
)
def test_stack_equals_a_loop_over_plain_networks(learner, twin, monkeypatch):
    """Fifty updates of actors, critics and targets of two roles; agents wait, episodes end in both ways."""
    session = played(
        learner, 40, seeds=[0], twin_critics=twin, actor_lr=1e-3, critic_lr=1e-3, max_grad_norm=0.5, batch_size=24
    )
    agent = session.agent
    team = LoopedTeam(learner, agent)
    drawn, batches = {name: [] for name in agent._learners}, []
    for name, stack in agent._learners.items():

        def spied(*shape, name=name, uniform=stack.noise.uniform):
            drawn[name].append(uniform(*shape))
            return drawn[name][-1]

        monkeypatch.setattr(stack.noise, "uniform", spied)
    sample = agent._buffer.sample
    monkeypatch.setattr(agent._buffer, "sample", lambda u: batches.append(sample(u)) or batches[-1])
    for _ in range(50):
        agent.update(0.1)
        team.update(batches.pop(), {n: [u[0] for u in us] for n, us in drawn.items()}, 0.1)
        for uniforms in drawn.values():
            assert len(uniforms) == 2
            uniforms.clear()
    for name, i in team.everybody():
        stack, loop = agent._learners[name], team.loops[name][i]
        for network, plain in (
            (stack.actor, [loop.actor]), (stack.target_actor, [loop.target_actor]), (stack.critics, loop.critics),
            (stack.target_critics, loop.target_critics),
        ):  # fmt: skip
            x = torch.rand(network.members, 7, network.weights[0].shape[1], generator=torch.Generator().manual_seed(1))
            with torch.no_grad():
                found = network(x)
                for twin_index, single in enumerate(plain):
                    at = len(plain) * i + twin_index
                    torch.testing.assert_close(found[at].double(), single(x[at].double()), rtol=0, atol=1e-6)
