"""Settings from plain values: config dataclasses, with every mistake told in one line."""

from __future__ import annotations

import dataclasses
import difflib
from collections.abc import Mapping
from typing import Any

from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from ioa_marl.errors import ParameterError, UserError, in_one_line


def plain(value: Any) -> Any:
    """Return nested values with tuples as lists, as YAML and JSON hold them."""
    if isinstance(value, Mapping):
        return {key: plain(inner) for key, inner in value.items()}
    return [plain(inner) for inner in value] if isinstance(value, (list, tuple)) else value


def build(schema: type[Any], values: Mapping[str, Any], prefix: str) -> Any:
    """Make a config dataclass from plain values; every mistake becomes one line that names ``prefix.key``."""
    known = [field.name for field in dataclasses.fields(schema)]
    for key, value in values.items():
        if key not in known:
            near = difflib.get_close_matches(key, known, n=3)
            hint = f"did you mean {' or '.join(near)}?" if near else f"known are {', '.join(known) or 'none'}"
            raise UserError(f"unknown key {prefix}.{key}={value}: {hint}")
    try:
        checked = OmegaConf.structured(schema)
        OmegaConf.set_readonly(checked, False)  # frozen dataclasses start read-only
        for key, value in values.items():
            try:
                OmegaConf.update(checked, key, value)
            except OmegaConfBaseException as error:
                reason = str(error).splitlines()[0]
                raise UserError(f"{prefix}.{key}={value} is not allowed: {reason}") from error
        return schema(**_tuples(schema, OmegaConf.to_container(checked)))
    except ParameterError as error:
        raise UserError(f"{prefix}.{error}") from error
    except UserError:
        raise
    except Exception as error:  # the settings of a plug-in may raise anything
        raise UserError(f"{prefix} cannot be made: {in_one_line(f'{type(error).__name__}: {error}')}") from error


def _tuples(schema: type[Any], values: Any) -> dict[str, Any]:
    types = {field.name: str(field.type) for field in dataclasses.fields(schema)}
    return {
        key: tuple(value) if isinstance(value, list) and types[key].startswith("tuple") else value
        for key, value in values.items()
    }
