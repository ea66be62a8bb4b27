"""From settings with one or several values to the jobs of a sweep, each complete and checked."""

from __future__ import annotations

import copy
import itertools
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra._internal.hydra import Hydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.types import Override
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from ioa_marl.foundations.errors import CannotPlayError, UserError, UserErrors, one_line, shown
from ioa_marl.training.config import ROOT_KEYS, RunSpec, resolve
from ioa_marl.training.groups import Groups
from ioa_marl.training.misreadings import check_lists, check_meaning
from ioa_marl.training.overrides import Given, deletes, last_of_each, plain_value
from ioa_marl.training.unknown_keys import UnknownKeys

CHECKED_JOBS = 200
"""Sweeps of up to so many jobs are checked job by job, which takes some milliseconds each."""
MOST_JOBS = 10_000
"""Jobs of one sweep."""


@dataclass(frozen=True)
class Plan:
    """What is to be run."""

    specs: list[RunSpec]
    """Runs that were checked: those of all jobs, unless there are too many."""
    jobs: list[list[str]]
    """Hydra overrides of each job, complete."""
    hydra: list[str]
    """Overrides of Hydra's own settings."""
    multirun: bool
    """Whether the launcher runs them."""
    launcher: str = "basic"
    """Which one."""
    notes: list[str] = field(default_factory=list)
    """What a person should know before."""


@dataclass(frozen=True, eq=False)  # by identity: what the grammar returns has no hash
class _Value:
    """One value of a setting."""

    given: Given
    override: Override
    choice: str | None
    """What it chooses, if the setting is a group; None chooses nothing."""
    is_group: bool

    @property
    def text(self) -> str:
        """As Hydra reads it; choosing nothing leaves out the group, which need not be there."""
        if self.is_group and self.choice is None and not deletes(self.given):
            return "~agent" if self.given.name == "agent" else ""
        return self.given.text(self.override)


Job = tuple[_Value, ...]


@dataclass(frozen=True)
class _Base:
    """What was composed for one choice of groups."""

    settings: DictConfig
    """Without Hydra's own settings, which take long to copy."""
    complete: DictConfig
    """With them."""


class Planner:
    """Makes the jobs of a sweep, and checks them.

    Parameters
    ----------
    hydra : Hydra
        Hydra with the configuration files.
    groups : Groups
        What can be chosen.
    multirun : bool
        Whether settings may have several values.
    texts : sequence of str
        Overrides of Hydra's own settings.
    """

    def __init__(self, hydra: Hydra, groups: Groups, multirun: bool, texts: Sequence[str]) -> None:
        self.hydra, self.groups, self.multirun, self.texts = hydra, groups, multirun, list(texts)
        self._bases: dict[tuple[str, ...], _Base] = {}
        self._chosen: dict[str, list[str | None]] = {}

    def plan(self, given: list[Given]) -> Plan:
        """Return the jobs of these settings.

        Raises
        ------
        UserError
            With everything that is wrong with them.
        """
        columns = self._columns(given)
        self._chosen = {c[0].given.name: [v.choice for v in c] for c in columns if c[0].is_group}
        count = math.prod(len(column) for column in columns)
        if count > MOST_JOBS:
            raise UserError(f"these settings would be {count} jobs: use at most {MOST_JOBS}")
        patterns = any(g.pattern is not None for g in given)
        jobs: list[Job] = list(itertools.product(*columns))
        specs, refused = self._checked(jobs if count <= CHECKED_JOBS or patterns else _samples(columns), patterns)
        kept = [job for job in jobs if job not in refused]
        left_out = ", ".join(_named(job) for job in jobs if job in refused)
        notes = [f"left out, because they cannot play: {left_out}"] if left_out else []
        return Plan(specs, [[v.text for v in job if v.text] for job in kept], self.texts, self.multirun, notes=notes)

    def _columns(self, given: list[Given]) -> list[list[_Value]]:
        """Return the values of each setting."""
        errors = UserErrors()
        for g in given:
            with errors.collected():
                check_meaning(g, self.multirun)
        errors.throw()
        if not self.multirun:
            self._refuse_twice(given)
        columns = [c for g in last_of_each(given) for c in errors.tried(partial(self._values, g))]
        errors.throw()
        return columns

    def _refuse_twice(self, given: list[Given]) -> None:
        chosen: dict[str, Given] = {}
        for g in given:
            if self.groups.exists(g.group) and not deletes(g):
                before = chosen.setdefault(g.name, g)
                if before is not g:
                    both = f"{shown(before.typed)} and {shown(g.typed)}"
                    raise UserError(f"{g.name} is given twice, {both}: use one, or {g.name}=A,B with -m")

    def _values(self, given: Given) -> list[_Value]:
        is_group = self.groups.exists(given.group)
        if "@" in given.key and given.name.partition("@")[1]:
            raise UserError(f"{shown(given.typed)} is not allowed: use agent=NAME or roles.ROLE.agent=NAME")
        own = given.override.is_add() and not is_group and given.name not in ROOT_KEYS
        if own and "." not in given.name:
            raise UserError(
                f"unknown key {shown(given.name)}: settings of your own are chosen with --config-dir DIR +GROUP=NAME, "
                "which stands for the file DIR/GROUP/NAME.yaml"
            )
        if deletes(given) or not is_group:
            if given.pattern is not None:
                raise UserError(
                    f"{shown(given.typed)} is not allowed: patterns choose among names, as in agent=glob(*)"
                )
            return [_Value(given, override, None, False) for override in given.singles()]
        if given.pattern is not None:
            choices: list[Any] = self.groups.matching(given.group, given.pattern)
            if not choices:
                known = ", ".join(self.groups.options(given.group))
                raise UserError(f"{shown(given.typed)} matches nothing: known are {known}")
        else:
            choices = [plain_value(element) for element in given.elements()]
        errors = UserErrors()
        for choice in choices:
            with errors.collected():
                self._check_choice(given, choice)
        errors.throw()
        return [_Value(given, given.single(choice), choice, True) for choice in choices]

    def _check_choice(self, given: Given, choice: Any) -> None:
        if isinstance(choice, list):
            names = ",".join(map(str, choice)) or "NAME"
            several = f"{given.name}={shown(names)} with -m to run each of them" if len(choice) > 1 else ""
            raise UserError(f"{shown(given.typed)} is not allowed: use one name{', or ' * bool(several)}{several}")
        if isinstance(choice, dict):
            raise UserError(f"{shown(given.typed)} is not allowed: set {given.name}.KEY=VALUE, one for each")
        if choice is None and given.group == "agent":
            return
        if choice is None:
            known = ", ".join(self.groups.options(given.group))
            raise UserError(f"{given.name}=null is not allowed: {given.name} is chosen of {known}")
        self.groups.check(given.group, choice, given.name)

    def _base(self, job: Job) -> _Base:
        """Return the configuration with what a job chooses of groups, composed once for each choice."""
        texts = tuple(v.text for v in job if (v.is_group or deletes(v.given)) and v.text)
        if texts not in self._bases:
            if len(self._bases) >= CHECKED_JOBS:
                self._bases.clear()
            config = composed(self.hydra, texts, RunMode.RUN)
            own = [v for v in job if v.is_group and v.given.name not in ROOT_KEYS and v.given.swept]
            if own and config.hydra.sweeper.get("params"):
                names = " ".join(v.text for v in own)
                raise UserError(f"{shown(names)} has a sweep of its own, which is run alone: choose one file with -m")
            settings = OmegaConf.masked_copy(config, [str(key) for key in config if key != "hydra"])
            OmegaConf.set_struct(settings, True)
            self._bases[texts] = _Base(settings, config)
        return self._bases[texts]

    def _checked(self, jobs: Sequence[Job], patterns: bool) -> tuple[list[RunSpec], dict[Job, str]]:
        """Check jobs; return the runs that they are, and those that a pattern has matched but nobody can play."""
        errors, unknown = UserErrors(), UnknownKeys(self._chosen)
        values = {job: found for job in jobs for found in errors.tried(partial(self._values_of, job, unknown))}
        errors.messages += unknown.messages()
        errors.throw()
        specs: list[RunSpec] = []
        refused: dict[Job, str] = {}
        for job in jobs:
            with errors.collected():
                try:
                    specs.append(_resolved(job, values[job]))
                except CannotPlayError as error:
                    if not patterns:
                        raise
                    refused[job] = str(error)
        if not specs and refused:
            errors.messages += list(dict.fromkeys(refused.values()))
        errors.throw()
        return specs, refused

    def _values_of(self, job: Job, unknown: UnknownKeys) -> dict[str, Any]:
        """Return the configuration of a job as plain values; keys that are not there are noted."""
        base = self._base(job)
        config = copy.deepcopy(base.settings)
        choices = {v.given.name: v.choice for v in job if v.is_group}
        for value in job:
            if not value.is_group and not deletes(value.given):
                check_lists(value.given, _selected(base.settings, value.given.name))
                try:
                    ConfigLoaderImpl._apply_overrides_to_config([value.override], config)
                except Exception as error:  # Hydra and OmegaConf raise many kinds, some for a missing key
                    if unknown.note(value.given, base.settings, choices):
                        continue
                    reason = _why_not(value, str(error.__cause__ or error))
                    raise UserError(f"{shown(value.given.typed)} is not allowed: {reason}") from error
        return _plain(config, base.complete)


def _resolved(job: Job, values: dict[str, Any]) -> RunSpec:
    spec = resolve(values)
    for value in job:
        role = value.given.name.split(".")[1] if value.given.name.startswith("roles.") else ""
        if value.is_group and value.choice is None and role in spec.game_class.default_controlled_roles:
            raise UserError(
                f"{value.given.name}=null is not allowed: {role} is played by an agent; "
                f"choose another one with {value.given.name}=NAME"
            )
    return spec


def _samples(columns: Sequence[Sequence[_Value]]) -> list[Job]:
    """Return jobs in which every value occurs, with every combination of what is chosen of groups where that is few."""
    first = [column[0] for column in columns]
    groups = [column if column[0].is_group else column[:1] for column in columns]
    combined = list(itertools.islice(itertools.product(*groups), CHECKED_JOBS))
    single = [
        (*first[:i], value, *first[i + 1 :]) for i, column in enumerate(columns) for value in column[1:]
    ]  # fmt: skip
    return list(dict.fromkeys([*combined, *single]))


def _why_not(value: _Value, message: str) -> str:
    """Return what is told of a value that Hydra does not take."""
    name, typed = value.given.name, value.given.typed
    if value.override.is_add():
        return f"{name} is there already, write {shown(typed.lstrip('+'))}"
    if name.partition(".")[0] == "roles":
        return "use roles.ROLE.agent=NAME"
    return one_line(message.partition("\n")[0])


def _named(job: Job) -> str:
    """Return what tells a job from the others of the sweep."""
    return " ".join(f"{v.given.name}={v.choice}" for v in job if v.is_group and v.given.swept)


def _selected(config: DictConfig, key: str) -> Any:
    try:
        found = OmegaConf.select(config, key)
    except Exception:  # a key of the wrong form, which is told where it is used
        return None
    return OmegaConf.to_container(found) if OmegaConf.is_config(found) else found


def composed(hydra: Hydra, texts: Sequence[str], mode: RunMode) -> DictConfig:
    """Return what Hydra composes of overrides; whatever goes wrong becomes one line."""
    try:
        return hydra.compose_config(
            config_name="config", overrides=list(texts), run_mode=mode, from_shell=False, with_log_configuration=False
        )
    except Exception as error:  # Hydra, OmegaConf and YAML raise many kinds, and files are a person's own
        raise UserError(_reason(error)) from error


def _reason(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    if error.__cause__ is not None and not isinstance(error.__cause__, type(error)):
        lines += [line.strip() for line in str(error.__cause__).splitlines() if line.strip()][:1]
    gone = re.match(r"Could not delete '(?:agent@)?([\w./@]+)'", lines[0]) if lines else None
    if gone:
        return f"{gone[1]} is not set: there is nothing to leave out"
    if isinstance(error, RecursionError):
        return "a configuration file refers to itself without end"
    return one_line(": ".join(dict.fromkeys(lines[:4])) or type(error).__name__)


def _plain(config: DictConfig, complete: DictConfig) -> dict[str, Any]:
    """Return a job's configuration as plain values; what refers to Hydra's own settings finds them in ``complete``."""
    values: dict[str, Any] = {}
    hydra: Any = HydraConfig.instance()
    before = hydra.cfg
    hydra.cfg = complete  # not `set_config`, which copies it
    try:
        for key in map(str, config):
            value = config[key]
            values[key] = (
                OmegaConf.to_container(value, resolve=True, throw_on_missing=True)
                if OmegaConf.is_config(value)
                else value
            )
    except Exception as error:  # resolvers of interpolations raise anything
        reason = one_line(str(error).partition("\n")[0])
        raise UserError(f"{getattr(error, 'full_key', None) or str(key)} has no value: {reason}") from error
    finally:
        hydra.cfg = before
    return values
