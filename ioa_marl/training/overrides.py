"""The settings after ``ioa-marl train``, each parsed into an override of Hydra.

Some characters have a meaning in Hydra's grammar. A value that the grammar cannot parse is taken as text, so that a
path may contain them. What cannot be parsed at all is refused in one line that says how to write it.
"""

from __future__ import annotations

import dataclasses
import itertools
import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import (
    Glob,
    Override,
    OverrideType,
    Quote,
    QuotedString,
    RangeSweep,
    ValueType,
)

from ioa_marl.foundations.errors import UserError, shown
from ioa_marl.training.config import ROOT_KEYS

MOST_VALUES = 1000
"""Largest number of values of one setting in a sweep."""
LONGEST_VALUE = 1000
"""Longest value, in characters, that the grammar parses; it takes a millisecond for each element."""
_KEY = re.compile(r"(?P<mark>~|\+\+|\+|)(?P<name>[A-Za-z_][\w-]*(?:[./][\w-]+)*)(?:@(?P<package>[\w.-]+))?", re.ASCII)
_ROLE_AGENT = re.compile(r"roles\.(\w+)\.(agent|agents\.\d+)", re.ASCII)
_SWEEP_CALL = re.compile(r"\s*(choice|range|interval|glob|shuffle|sort|tag)\s*\(")


@dataclass(frozen=True)
class Setting:
    """One setting of the command line or of a sweep in a file."""

    typed: str
    """Its text as it was typed."""
    name: str
    """Its key, as messages name it: ``agent``, ``agent.gamma``, ``roles.buyer.agent``."""
    override: Override
    """The override that Hydra's grammar parses it into."""

    @property
    def key(self) -> str:
        """Its key in Hydra's form, with mark and package: ``+agent@roles.buyer.agent``."""
        return str(self.override.get_key_element())

    @property
    def group(self) -> str:
        """The group from which it chooses, if there is one: ``agent`` for ``roles.buyer.agent``."""
        return str(self.override.key_or_group)

    @property
    def is_hydra(self) -> bool:
        """Whether it is a setting of Hydra itself."""
        return re.split(r"[./]", self.name)[0] == "hydra"

    @property
    def swept(self) -> bool:
        """Whether it has several values, or would have several in a sweep."""
        return bool(self.override.is_sweep_override())

    @property
    def pattern(self) -> Glob | None:
        """The pattern that selects its values, if there is one."""
        value: Any = self.override._value
        return value if isinstance(value, Glob) else None

    def elements(self) -> list[Any]:
        """Return its values as elements of the grammar: one value, or those of a sweep.

        Raises
        ------
        UserError
            If there is no value, or there are too many or infinitely many.
        """
        if not self.swept:
            return [self.override._value]
        if not self.override.is_discrete_sweep():
            raise UserError(f"{shown(self.typed)} is not allowed: sweep over a list or a range of values")
        count = _length(self.override._value)
        elements = (
            list(itertools.islice(self.override.sweep_iterator(), MOST_VALUES + 1)) if count <= MOST_VALUES else []
        )
        if count > MOST_VALUES or len(elements) > MOST_VALUES:
            raise UserError(f"{shown(self.typed)} is not allowed: use at most {MOST_VALUES} values")
        if not elements:
            raise UserError(f"{shown(self.typed)} has no values: a range goes from its start to below its stop")
        return elements

    def singles(self) -> list[Override]:
        """Return one override with a single value for each of its values."""
        return [self.single(element) for element in self.elements()] if self.swept else [self.override]

    def single(self, element: Any) -> Override:
        """Return the override with a single value."""
        one = dataclasses.replace(self.override, value_type=ValueType.ELEMENT, _value=element, input_line="")
        return dataclasses.replace(one, input_line=self.text(one))

    def text(self, override: Override) -> str:
        """Return an override of this setting in the form that Hydra reads."""
        typed = str(override.input_line)
        if override.value_type is None or typed.startswith(f"{self.key}="):
            return self.key if override.value_type is None else typed
        return f"{self.key}={override.get_value_element_as_str()}"


def _length(values: Any) -> float:
    if not isinstance(values, RangeSweep):
        return 0.0
    start, stop, step = (float(x or 0) for x in (values.start, values.stop, values.step))
    length = (stop - start) / step if step else math.inf
    return length if math.isfinite(length) else math.inf


def plain_value(element: Any) -> Any:
    """Return an element of the grammar as a plain Python value: text without its quotes."""
    return Override._convert_value(element)


def read(argument: str, multirun: bool) -> Setting:
    """Parse an argument with Hydra's grammar; a value that the grammar cannot parse is taken as text.

    ``roles.ROLE.agent=NAME`` chooses a whole agent for that role, ``roles.ROLE.agents.0=NAME`` for its agent 0.

    Raises
    ------
    UserError
        If the argument is not a setting, or is a sweep that cannot be parsed.
    """
    mark, name, package, value = _parts(argument)
    if name in ROOT_KEYS and mark.startswith("+") and not package:
        mark = ""  # root keys always exist
    role = _ROLE_AGENT.fullmatch(name)
    if role:
        key = f"{'~' if mark == '~' else '+'}agent@{name}"
    else:
        key = mark + name + (f"@{package}" if package else "")
        if package:
            name = package if _ROLE_AGENT.fullmatch(package) else f"{name}@{package}"
    if value is None:
        return Setting(argument, name, _parsed(key))
    override = None
    if not _is_text(name, value, multirun):
        override = _understood(f"{key}={value}") if len(value) <= LONGEST_VALUE else None
        if override is None and _may_be_sweep(value, multirun):
            raise UserError(
                f"{shown(argument)} cannot be read as a sweep: put quotes around each value, as in "
                f"""'{name}="a b","c#d"'"""
            )
        if override is None and len(value) > LONGEST_VALUE:
            raise UserError(
                f"{name} has a value of {len(value)} characters: keep what is longer than {LONGEST_VALUE} in a file, "
                "with --config-dir and +experiment=NAME"
            )
    if override is None:
        override = _parsed(f"{key}={QuotedString(text=value, quote=Quote.double).with_quotes()}")
    return Setting(argument, name, override)


def _parts(argument: str) -> tuple[str, str, str, str | None]:
    """Split ``+name@package=value`` into mark, name, package and value."""
    try:
        argument.encode()
    except UnicodeEncodeError as error:
        raise UserError(f"{argument.encode(errors='backslashreplace').decode()} is not valid UTF-8") from error
    key, equals, value = argument.partition("=")
    if not equals and not argument.startswith("~"):
        raise UserError(_no_setting(argument))
    match = _KEY.fullmatch(key.strip())
    if match is None:
        raise UserError(
            f"{shown(argument)} cannot be read: a key has letters, digits, - and _, with dots between its parts, as in "
            "agent.gamma=0.9; a setting whose name has others goes into a file, with --config-dir and +experiment=NAME"
        )
    return match["mark"], match["name"], match["package"] or "", value if equals else None


def _no_setting(argument: str) -> str:
    if not argument.strip():
        return "an empty argument is not a setting: write key=value, as in budget=1000"
    if "," in argument or "/" in argument or re.fullmatch(r"[\w.-]+", argument):
        return (
            f"{shown(argument)} is not a setting: write key=value, as in budget=1000, "
            "and several values without spaces, as in agent=ppo,sac"
        )
    return f"{shown(argument)} is not a setting: write key=value, with quotes around both where there are spaces"


def _is_text(name: str, value: str, multirun: bool) -> bool:
    """Whether a value is a path, in which the special characters of the grammar have no meaning."""
    if name != "runs" and not (name.endswith(".path") and "agent." in name):
        return False
    if not value or value == "null" or value[0] in "'\"[{" or "${" in value:
        return False
    return not _may_be_sweep(value, multirun)


def _may_be_sweep(value: str, multirun: bool) -> bool:
    return bool(_SWEEP_CALL.match(value)) or (multirun and "," in value)


def _understood(text: str) -> Override | None:
    try:
        return _parsed(text)
    except UserError:
        return None


def _parsed(text: str) -> Override:
    try:
        parsed: Override = OverridesParser.create().parse_override(text)
    except Exception as error:  # the grammar, its casts and its generated parser raise many types
        raise UserError(f"{shown(text)} cannot be read: put quotes around the value, as in 'key=\"value\"'") from error
    return parsed


def deletes(setting: Setting) -> bool:
    """Whether a setting removes a key."""
    return bool(setting.override.type == OverrideType.DEL)


def last_of_each(settings: list[Setting]) -> Iterator[Setting]:
    """Yield the last setting of each key, in the order in which the keys first occur."""
    last = {setting.key: setting for setting in settings}
    yield from last.values()
