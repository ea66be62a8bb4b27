"""The policy of one role, as a checkpoint of a run holds it."""

from __future__ import annotations

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

PLACE = "the folder of a seed, or a checkpoint file in it"


@dataclass(frozen=True)
class SavedPolicy:
    """What was learnt for one role in some run."""

    spec: Mapping[str, Any]
    """Description of the run, with its seed."""
    role: str
    """The role."""
    policy: State
    """What `Agent.policy_state` of the agent that played it returned."""

    @classmethod
    def read(cls, path: str, role: str) -> SavedPolicy:
        """Read the policy of a role from a checkpoint.

        Parameters
        ----------
        path : str
            Folder of a seed, of which the latest checkpoint is read, or a checkpoint file; a pattern with ``*`` is
            allowed where one path matches it.
        role : str
            The role.

        Raises
        ------
        ParameterError
            If there is no such checkpoint, it was made with other versions, or nobody learnt that role in it.
        """
        place = Path(found_path(path))
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
        except UserError as error:  # its market or agent is not installed any more, or knows other settings
            raise ParameterError("path", path, f"a checkpoint of what is installed: {error}") from error
        if len(policies) != len(players):
            raise ParameterError("path", path, f"{PLACE}: {file} does not have one policy for each agent")
        return cls._chosen(
            path, file, {name: (spec, policies[i]) for i, p in enumerate(players) for name in p.roles}, role
        )

    @classmethod
    def _chosen(
        cls, path: str, file: Path, trained: Mapping[str, tuple[dict[str, Any], Any]], role: str
    ) -> SavedPolicy:
        """Return the policy of a role, or say why there is none that can be played."""
        if role not in trained:
            raise ParameterError("role", role, f"one of those that {file} has: {', '.join(trained)}")
        found = cls(trained[role][0], role, trained[role][1])
        if not found.current():
            versions = one_line(found.spec["versions"])
            raise ParameterError("path", path, f"one made with the versions installed; {file} was with {versions}")
        name, others = found.agent_name, [other for other in trained if cls(found.spec, other, {}).learnt]
        if not found.learnt:
            have = f"one of {', '.join(others)}" if others else "another checkpoint"
            raise ParameterError("role", role, f"{have}: in {file} {role} is played by {name}, which does not learn")
        if not isinstance(found.policy, dict):
            raise ParameterError("path", path, f"{PLACE}: {file} holds no policy of {role}")
        return found

    @property
    def _players(self) -> str:
        return next(str(players) for players in self.spec["agents"] if self.role in players.split("+"))

    @property
    def agent_name(self) -> str:
        """Registry name of the agent that learnt it."""
        return str(self.spec["agents"][self._players]["name"])

    @property
    def agent_class(self) -> type[Agent]:
        """Class of the agent that learnt it."""
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
    def game_class(self) -> type[Game]:
        """Market of the run."""
        return registry.load_env(self.spec["env"]["name"])

    @property
    def learnt(self) -> bool:
        """Whether training changed how the role is played."""
        return self.agent_class.learns_in(self.game_class, [self.role])

    def current(self) -> bool:
        """Whether market and agent have the versions that it was made with."""
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
        """Return what decides how it plays, as nested values that `checkpoint.digest` takes."""
        return {
            "role": self.role, "plays": list(self.plays), "agent": dict(self.spec["agents"][self._players]),
            "version": self.agent_class.version, "policy": self.policy,
        }  # fmt: skip

    def as_state(self) -> State:
        """Return everything as a checkpoint holds it."""
        return {"spec": dict(self.spec), "role": self.role, "policy": self.policy}

    @classmethod
    def from_state(cls, state: Any) -> SavedPolicy:
        """Return what `as_state` described.

        Raises
        ------
        UserError
            If it is none, or was made with other versions than those installed.
        """
        if not isinstance(state, dict) or set(state) != {"spec", "role", "policy"} or type(state["policy"]) is not dict:
            raise UserError("a loaded policy is incomplete: it has to have spec, role and policy")
        players = Description.of(state["spec"]).players
        if state["role"] not in [role for player in players for role in player.roles]:
            raise UserError(f"a loaded policy is of a role that nobody plays: {printable(state['role'])}")
        found = cls(state["spec"], state["role"], state["policy"])
        if not found.current():
            raise UserError(
                f"the policy of {found.role} was made with other versions than those installed: "
                f"{one_line(found.spec['versions'])}"
            )
        if not found.learnt:
            raise UserError(f"the policy of {found.role} is of {found.agent_name}, which does not learn")
        return found


def found_path(path: str) -> str:
    """Return the one path that a pattern matches, or the path as it is.

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
