"""Expand settings with one or several values into the jobs of a sweep, and check each job."""

from __future__ import annotations

import copy
import itertools
import math
import re
from collections.abc import Iterable, Sequence
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
from ioa_marl.training.groups import TUNED, Groups
from ioa_marl.training.misreadings import check_lists, check_meaning
from ioa_marl.training.overrides import Setting, deletes, last_of_each, plain_value
from ioa_marl.training.unknown_keys import UnknownKeys

CHECKED_JOBS = 200
"""Sweeps of up to this many jobs are checked job by job, which takes some milliseconds each."""
MOST_JOBS = 10_000
"""Largest number of jobs of one sweep."""


@dataclass(frozen=True)
class Plan:
    """The jobs that are to be run."""

    specs: list[RunSpec]
    """The runs that were checked: those of all jobs, or of a sample if there are too many jobs."""
    jobs: list[list[str]]
    """Complete list of Hydra overrides for each job."""
    hydra: list[str]
    """Overrides of Hydra's own settings."""
    multirun: bool
    """Whether a launcher runs the jobs as a sweep."""
    launcher: str = "basic"
    """Name of Hydra's launcher."""
    notes: list[str] = field(default_factory=list)
    """Messages for the user before the jobs start."""


@dataclass(frozen=True, eq=False)  # by identity: elements of the grammar have no hash
class _Value:
    """One value of a setting."""

    setting: Setting
    override: Override
    choice: str | None
    """The choice, if the setting chooses from a group; None for no choice."""
    is_group: bool

    @property
    def text(self) -> str:
        """The override in the form that Hydra reads; no choice removes the group if it is set."""
        if self.is_group and self.choice is None and not deletes(self.setting):
            return "~agent" if self.setting.name == "agent" else ""
        return self.setting.text(self.override)


Job = tuple[_Value, ...]


@dataclass(frozen=True)
class _Base:
    """The configuration that Hydra composes for one choice of groups."""

    settings: DictConfig
    """The configuration without Hydra's own settings, which take long to copy."""
    complete: DictConfig
    """The configuration with Hydra's own settings."""


class Planner:
    """Makes and checks the jobs of a sweep.

    Parameters
    ----------
    hydra : Hydra
        Hydra with the configuration files loaded.
    groups : Groups
        The groups of settings and their choices.
    multirun : bool
        Whether settings may have several values.
    texts : sequence of str
        Overrides of Hydra's own settings.
    """

    def __init__(self, hydra: Hydra, groups: Groups, multirun: bool, texts: Sequence[str]) -> None:
        self.hydra, self.groups, self.multirun, self.texts = hydra, groups, multirun, list(texts)
        self._bases: dict[tuple[str, ...], _Base] = {}
        self._chosen: dict[str, list[str | None]] = {}

    def plan(self, settings: list[Setting]) -> Plan:
        """Return the jobs of these settings.

        Raises
        ------
        UserError
            With all mistakes in the settings.
        """
        columns = self._columns(settings)
        self._chosen = {c[0].setting.name: [v.choice for v in c] for c in columns if c[0].is_group}
        count = math.prod(len(column) for column in columns)
        if count > MOST_JOBS:
            raise UserError(f"these settings would be {count} jobs: use at most {MOST_JOBS}")
        patterns = any(setting.pattern is not None for setting in settings)
        jobs = self._tuned(itertools.product(*columns))
        checked = jobs if count <= CHECKED_JOBS or patterns else self._tuned(_samples(columns))
        specs, refused = self._checked(checked, patterns)
        playable = [job for job in jobs if job not in refused]
        left_out = ", ".join(_named(job) for job in jobs if job in refused)
        notes = [f"left out, because they cannot play: {left_out}"] if left_out else []
        return Plan(
            specs, [[v.text for v in job if v.text] for job in playable], self.texts, self.multirun, notes=notes
        )

    def _columns(self, settings: list[Setting]) -> list[list[_Value]]:
        """Return the list of values of each setting."""
        errors = UserErrors()
        for setting in settings:
            with errors.collected():
                check_meaning(setting, self.multirun)
        errors.throw()
        if not self.multirun:
            self._refuse_twice(settings)
        columns = [c for setting in last_of_each(settings) for c in errors.tried(partial(self._values, setting))]
        errors.throw()
        return columns

    def _refuse_twice(self, settings: list[Setting]) -> None:
        chosen: dict[str, Setting] = {}
        for setting in settings:
            if self.groups.exists(setting.group) and not deletes(setting):
                before = chosen.setdefault(setting.name, setting)
                if before is not setting:
                    both = f"{shown(before.typed)} and {shown(setting.typed)}"
                    raise UserError(f"{setting.name} is given twice, {both}: use one, or {setting.name}=A,B with -m")

    def _values(self, setting: Setting) -> list[_Value]:
        is_group = self.groups.exists(setting.group)
        if "@" in setting.key and setting.name.partition("@")[1]:
            raise UserError(
                f"{shown(setting.typed)} is not allowed: use agent=NAME, roles.ROLE.agent=NAME or "
                "roles.ROLE.agents.0=NAME"
            )
        own = setting.override.is_add() and not is_group and setting.name not in ROOT_KEYS
        if own and "." not in setting.name:
            raise UserError(
                f"unknown key {shown(setting.name)}: settings of your own are chosen with --config-dir DIR "
                "+GROUP=NAME, which stands for the file DIR/GROUP/NAME.yaml"
            )
        if deletes(setting) or not is_group:
            if setting.pattern is not None:
                raise UserError(
                    f"{shown(setting.typed)} is not allowed: patterns choose among names, as in agent=glob(*)"
                )
            return [_Value(setting, override, None, False) for override in setting.singles()]
        if setting.pattern is not None:
            choices: list[Any] = self.groups.matching(setting.group, setting.pattern)
            if not choices:
                known = ", ".join(self.groups.options(setting.group))
                raise UserError(f"{shown(setting.typed)} matches nothing: known are {known}")
        else:
            choices = [plain_value(element) for element in setting.elements()]
        errors = UserErrors()
        for choice in choices:
            with errors.collected():
                self._check_choice(setting, choice)
        errors.throw()
        return [_Value(setting, setting.single(choice), choice, True) for choice in choices]

    def _check_choice(self, setting: Setting, choice: Any) -> None:
        if isinstance(choice, list):
            names = ",".join(map(str, choice)) or "NAME"
            several = f"{setting.name}={shown(names)} with -m to run each of them" if len(choice) > 1 else ""
            raise UserError(f"{shown(setting.typed)} is not allowed: use one name{', or ' * bool(several)}{several}")
        if isinstance(choice, dict):
            raise UserError(f"{shown(setting.typed)} is not allowed: set {setting.name}.KEY=VALUE, one for each")
        if choice is None and setting.group == "agent":
            return
        if choice is None:
            known = ", ".join(self.groups.options(setting.group))
            raise UserError(f"{setting.name}=null is not allowed: {setting.name} is chosen of {known}")
        self.groups.check(setting.group, choice, setting.name)

    def _tuned(self, jobs: Iterable[Job]) -> list[Job]:
        """Return jobs in which an agent's preset ``tuned`` is the one of the job's market."""
        errors = UserErrors()
        found = [job for each in jobs for job in errors.tried(partial(self._tuned_job, each))]
        errors.throw()
        return found

    def _tuned_job(self, job: Job) -> Job:
        ending = f"/{TUNED}"
        if not any(v.setting.group == "agent" and v.choice is not None and v.choice.endswith(ending) for v in job):
            return job
        env = next((v.choice for v in job if v.setting.name == "env" and v.is_group), None)
        replaced = []
        for value in job:
            choice = value.choice
            if value.setting.group == "agent" and choice is not None and choice.endswith(ending):
                name = value.setting.name
                if env is None:
                    raise UserError(f"{name}={choice} needs a market: set env=NAME")
                choice = self.groups.tuned(choice.removesuffix(ending), env, name)
                value = _Value(value.setting, value.setting.single(choice), choice, True)
            replaced.append(value)
        return tuple(replaced)

    def _base(self, job: Job) -> _Base:
        """Return the configuration with a job's choices of groups, composed once for each combination."""
        texts = tuple(v.text for v in job if (v.is_group or deletes(v.setting)) and v.text)
        if texts not in self._bases:
            if len(self._bases) >= CHECKED_JOBS:
                self._bases.clear()
            config = composed(self.hydra, texts, RunMode.RUN)
            own = [v for v in job if v.is_group and v.setting.name not in ROOT_KEYS and v.setting.swept]
            if own and config.hydra.sweeper.get("params"):
                names = " ".join(v.text for v in own)
                raise UserError(f"{shown(names)} has a sweep of its own, which is run alone: choose one file with -m")
            settings = OmegaConf.masked_copy(config, [str(key) for key in config if key != "hydra"])
            OmegaConf.set_struct(settings, True)
            self._bases[texts] = _Base(settings, config)
        return self._bases[texts]

    def _checked(self, jobs: Sequence[Job], patterns: bool) -> tuple[list[RunSpec], dict[Job, str]]:
        """Check jobs; return their runs, and the jobs that a pattern selects although the agent cannot play."""
        errors, unknown = UserErrors(), UnknownKeys(self._chosen)
        values = {job: plain for job in jobs for plain in errors.tried(partial(self._values_of, job, unknown))}
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
        """Return the configuration of a job as plain values; note settings that do not exist in ``unknown``."""
        base = self._base(job)
        config = copy.deepcopy(base.settings)
        choices = {v.setting.name: v.choice for v in job if v.is_group}
        for value in job:
            if not value.is_group and not deletes(value.setting):
                check_lists(value.setting, _selected(base.settings, value.setting.name))
                try:
                    ConfigLoaderImpl._apply_overrides_to_config([value.override], config)
                except Exception as error:  # Hydra and OmegaConf raise many types, some of them for a missing key
                    if unknown.note(value.setting, base.settings, choices):
                        continue
                    reason = _why_not(value, str(error.__cause__ or error))
                    raise UserError(f"{shown(value.setting.typed)} is not allowed: {reason}") from error
        return _plain(config, base.complete)


def _resolved(job: Job, values: dict[str, Any]) -> RunSpec:
    spec = resolve(values)
    for value in job:
        role = value.setting.name.split(".")[1] if re.fullmatch(r"roles\.\w+\.agent", value.setting.name) else ""
        if value.is_group and value.choice is None and role in spec.game_class.default_controlled_roles:
            raise UserError(
                f"{value.setting.name}=null is not allowed: {role} is played by an agent; "
                f"choose another one with {value.setting.name}=NAME"
            )
    return spec


def _samples(columns: Sequence[Sequence[_Value]]) -> list[Job]:
    """Return a sample of jobs that covers every value, and every combination of group choices if these are few."""
    first = [column[0] for column in columns]
    groups = [column if column[0].is_group else column[:1] for column in columns]
    combined = list(itertools.islice(itertools.product(*groups), CHECKED_JOBS))
    single = [
        (*first[:i], value, *first[i + 1 :]) for i, column in enumerate(columns) for value in column[1:]
    ]  # fmt: skip
    return list(dict.fromkeys([*combined, *single]))


def _why_not(value: _Value, message: str) -> str:
    """Return the reason why Hydra refuses a value, for a message."""
    name, typed = value.setting.name, value.setting.typed
    if value.override.is_add():
        return f"{name} is there already, write {shown(typed.lstrip('+'))}"
    if name.partition(".")[0] == "roles":
        return "use roles.ROLE.agent=NAME"
    return one_line(message.partition("\n")[0])


def _named(job: Job) -> str:
    """Return the choices that distinguish a job from the other jobs of the sweep."""
    return " ".join(f"{v.setting.name}={v.choice}" for v in job if v.is_group and v.setting.swept)


def _selected(config: DictConfig, key: str) -> Any:
    try:
        value = OmegaConf.select(config, key)
    except Exception:  # a malformed key, which is reported where it is applied
        return None
    return OmegaConf.to_container(value) if OmegaConf.is_config(value) else value


def composed(hydra: Hydra, texts: Sequence[str], mode: RunMode) -> DictConfig:
    """Return the configuration that Hydra composes from overrides; every error becomes one line."""
    try:
        return hydra.compose_config(
            config_name="config", overrides=list(texts), run_mode=mode, from_shell=False, with_log_configuration=False
        )
    except Exception as error:  # Hydra, OmegaConf and YAML raise many types, and the user may have written the files
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
    """Return a job's configuration as plain values; references to Hydra's own settings are resolved in ``complete``."""
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
    except Exception as error:  # resolvers of interpolations may raise any type
        reason = one_line(str(error).partition("\n")[0])
        raise UserError(f"{getattr(error, 'full_key', None) or str(key)} has no value: {reason}") from error
    finally:
        hydra.cfg = before
    return values
