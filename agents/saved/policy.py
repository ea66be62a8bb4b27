"""The policy of one role in a checkpoint of a run."""

from __future__ import annotations

import dataclasses
import glob
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ioa_marl import registry
from ioa_marl.agents.base import Agent, State
from ioa_marl.agents.saved.description import Description
from ioa_marl.envs.core import Game, Role
from ioa_marl.foundations import checkpoint
from ioa_marl.foundations.errors import ParameterError, UserError, one_line
from ioa_marl.foundations.settings import build
from ioa_marl.foundations.trees import printable

PLACE = "the folder of a seed, or a checkpoint file in it, or the folder of a run"


@dataclass(frozen=True)
class SavedPolicy:
    """The policy that a run has learnt for one role."""

    spec: Mapping[str, Any]
    """Description of the run, including its seed."""
    role: str
    """Name of the role."""
    policy: State
    """State that `Agent.policy_state` of the agent that played the role returned."""
    steps: int | None = None
    """Environment steps for which it was trained; None if that is not known."""

    @classmethod
    def read(cls, path: str, role: str) -> SavedPolicy:
        """Read the policy of a role from a checkpoint.

        Parameters
        ----------
        path : str
            Checkpoint file, or folder of a seed, whose latest checkpoint is read. The path may be a pattern with ``*``
            that matches exactly one path.
        role : str
            Name of the role.

        Raises
        ------
        ParameterError
            If there is no such checkpoint, it was made with other versions, or the role was not learnt in it.
        """
        place = Path(resolve_path(path))
        file = place / checkpoint.LATEST if place.is_dir() else place
        try:
            tree = checkpoint.load(file)
        except checkpoint.UnreadableCheckpointError as error:
            raise ParameterError("path", path, f"{PLACE}: {error}") from error
        spec, policies = tree.get("spec"), tree.get("policies")
        if not isinstance(spec, dict) or not isinstance(policies, list):
            raise ParameterError("path", path, f"{PLACE}: {file} is not a checkpoint of a run")
        try:
            players = Description.of(spec).players
        except UserError as error:  # market or agent are no longer installed, or have other settings
            raise ParameterError("path", path, f"a checkpoint of what is installed: {error}") from error
        if len(policies) != len(players):
            raise ParameterError("path", path, f"{PLACE}: {file} does not have one policy for each agent")
        saved = cls._chosen(
            path, file, {name: (spec, policies[i]) for i, p in enumerate(players) for name in p.roles}, role
        )
        steps = tree.get("steps")
        return dataclasses.replace(saved, steps=steps if type(steps) is int else None)

    @classmethod
    def _chosen(
        cls, path: str, file: Path, trained: Mapping[str, tuple[dict[str, Any], Any]], role: str
    ) -> SavedPolicy:
        """Return the policy of a role, or raise `ParameterError` with the reason why it cannot be played."""
        if role in trained and trained[role][0]["agents"].get(role, {}).get("name") == registry.PER_AGENT:
            raise ParameterError("role", role, f"another one: in {file} its agents are played by different agents")
        if role not in trained:
            raise ParameterError("role", role, f"one of those that {file} has: {', '.join(trained)}")
        saved = cls(trained[role][0], role, trained[role][1])
        if not saved.current():
            versions = one_line(saved.spec["versions"])
            raise ParameterError("path", path, f"one made with the versions installed; {file} was with {versions}")
        name, others = saved.agent_name, [other for other in trained if cls(saved.spec, other, {}).learnt]
        if not saved.learnt:
            have = f"one of {', '.join(others)}" if others else "another checkpoint"
            raise ParameterError("role", role, f"{have}: in {file} {role} is played by {name}, which does not learn")
        if not isinstance(saved.policy, dict):
            raise ParameterError("path", path, f"{PLACE}: {file} holds no policy of {role}")
        return saved

    @property
    def _players(self) -> str:
        return next(str(players) for players in self.spec["agents"] if self.role in players.split("+"))

    @property
    def agent_name(self) -> str:
        """Registry name of the agent that learnt the policy."""
        return str(self.spec["agents"][self._players]["name"])

    @property
    def agent_class(self) -> type[Agent]:
        """Class of the agent that learnt the policy."""
        return registry.load_agent(self.agent_name)

    @property
    def plays(self) -> tuple[str, ...]:
        """Roles that the agent played."""
        return tuple(self._players.split("+"))

    @property
    def agent_config(self) -> Any:
        """Settings of the agent."""
        settings = {key: value for key, value in self.spec["agents"][self._players].items() if key != "name"}
        return build(self.agent_class.config_class, settings, "agent")

    @property
    def seed(self) -> int:
        """Training seed."""
        return int(self.spec["seed"])

    @property
    def game_class(self) -> type[Game]:
        """Class of the run's market."""
        return registry.load_env(self.spec["env"]["name"])

    @property
    def learnt(self) -> bool:
        """Whether training changed how the role is played."""
        return self.agent_class.learns_in(self.game_class, [self.role])

    def current(self) -> bool:
        """Return whether market and agent still have the versions with which the policy was trained."""
        versions = self.spec["versions"]
        made = versions.get("env"), versions["agents"].get(self.agent_name)
        return bool(made == (self.game_class.version, self.agent_class.version))

    def controlled_roles(self) -> dict[str, Role]:
        """Return the roles that acted in the run, in the market's order."""
        roles = self.game_class.make_roles(self._env_config)
        acted = {name for players in self.spec["agents"] for name in players.split("+")}
        return {name: role for name, role in roles.items() if name in acted}

    @property
    def state_features(self) -> int:
        """Length of the market's global state in that run, if the agent needs it for training."""
        if not self.agent_class.needs_state:
            return 0
        return int(self.game_class(self._env_config, 1, tuple(self.controlled_roles())).state().shape[-1])

    @property
    def _env_config(self) -> Any:
        settings = {key: value for key, value in self.spec["env"].items() if key not in ("name", "preset")}
        return build(self.game_class.config_class, settings, "env")

    def identity(self) -> dict[str, Any]:
        """Return everything that determines the policy's actions, as nested values for `checkpoint.digest`."""
        return {
            "role": self.role, "plays": list(self.plays), "agent": dict(self.spec["agents"][self._players]),
            "version": self.agent_class.version, "policy": self.policy,
        }  # fmt: skip

    def as_state(self) -> State:
        """Return the policy as a state that a checkpoint can contain."""
        return {"spec": dict(self.spec), "role": self.role, "policy": self.policy}

    @classmethod
    def from_state(cls, state: Any) -> SavedPolicy:
        """Return the policy of a state that `as_state` returned.

        Raises
        ------
        UserError
            If it is not such a state, or was made with other versions than those installed.
        """
        if not isinstance(state, dict) or set(state) != {"spec", "role", "policy"} or type(state["policy"]) is not dict:
            raise UserError("a loaded policy is incomplete: it has to have spec, role and policy")
        players = Description.of(state["spec"]).players
        if state["role"] not in [role for player in players for role in player.roles]:
            raise UserError(f"a loaded policy is of a role that nobody plays: {printable(state['role'])}")
        saved = cls(state["spec"], state["role"], state["policy"])
        if not saved.current():
            raise UserError(
                f"the policy of {saved.role} was made with other versions than those installed: "
                f"{one_line(saved.spec['versions'])}"
            )
        if not saved.learnt:
            raise UserError(f"the policy of {saved.role} is of {saved.agent_name}, which does not learn")
        return saved


def resolve_path(path: str) -> str:
    """Return the single path that a pattern matches, or the path itself if it exists.

    Raises
    ------
    ParameterError
        If there is no path, or several match.
    """
    if not path:
        raise ParameterError("path", path, PLACE)
    if "\0" in path:
        raise ParameterError("path", printable(path), PLACE)
    if Path(path).exists():
        return path
    matches = sorted(glob.glob(path))  # noqa: PTH207 - the pattern may be absolute
    if len(matches) > 1:
        raise ParameterError("path", path, f"a pattern that one path matches: {len(matches)} do")
    return matches[0] if matches else path
