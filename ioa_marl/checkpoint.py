"""Checkpoints: one file of safetensors with the rest as JSON in its header, replaced atomically; no pickle."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import safetensors
import safetensors.numpy
import torch
from numpy.typing import NDArray

from ioa_marl.errors import UserError
from ioa_marl.files import write_atomically
from ioa_marl.trees import difference

__all__ = ["FORMAT", "LATEST", "UnreadableCheckpointError", "difference", "digest", "load", "save"]

FORMAT = "ioa_marl checkpoint 1"
LATEST = Path("checkpoint") / "latest.safetensors"
"""Where the checkpoint lies in the folder of a seed."""


class UnreadableCheckpointError(UserError):
    """A checkpoint exists and cannot be used."""


def save(path: Path, tree: Mapping[str, Any]) -> None:
    """Write nested dicts and lists of tensors, arrays and JSON values."""
    arrays: dict[str, NDArray[Any]] = {}
    header = {"format": FORMAT, "tree": json.dumps(_pack(tree, "", arrays))}
    write_atomically(path, safetensors.numpy.save(arrays, metadata=header))


def load(path: Path) -> dict[str, Any]:
    """Read what `save` wrote; all tensors and arrays are copies.

    Raises
    ------
    UnreadableCheckpointError
        If the file is missing, damaged or not a checkpoint.
    """
    try:
        with safetensors.safe_open(path, framework="numpy") as file:
            header = file.metadata() or {}
            arrays = {name: file.get_tensor(name).copy() for name in file.keys()}  # noqa: SIM118 - not a dict
        if header.get("format") != FORMAT:
            raise ValueError(f"it is not a {FORMAT!r} file")
        tree: dict[str, Any] = _unpack(json.loads(header["tree"]), arrays)
    except FileNotFoundError as error:
        raise UnreadableCheckpointError(f"there is no checkpoint {path}") from error
    except (OSError, ValueError, KeyError, safetensors.SafetensorError) as error:
        reason = str(error).splitlines()[0]
        raise UnreadableCheckpointError(f"checkpoint {path} cannot be read: {reason}") from error
    return tree


def digest(tree: Mapping[str, Any]) -> str:
    """Return a fingerprint of what `save` would write: the first 16 digits of its SHA-256."""
    arrays: dict[str, NDArray[Any]] = {}
    found = hashlib.sha256(json.dumps(_pack(tree, "", arrays), sort_keys=True).encode())
    for name, array in sorted(arrays.items()):
        found.update(f"{name} {array.dtype} {array.shape}".encode())
        found.update(array.tobytes())
    return found.hexdigest()[:16]


def _pack(value: Any, name: str, arrays: dict[str, NDArray[Any]]) -> Any:
    if isinstance(value, torch.Tensor):
        arrays[name] = value.detach().cpu().numpy().copy(order="C")
        return {"__tensor__": name}
    if isinstance(value, np.ndarray):
        arrays[name] = value.copy(order="C")
        return {"__array__": name}
    if isinstance(value, Mapping):
        return {str(key): _pack(inner, f"{name}/{key}", arrays) for key, inner in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [_pack(inner, f"{name}/{i}", arrays) for i, inner in enumerate(value)]
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    raise TypeError(f"{name} is a {type(value).__name__}, which a checkpoint cannot hold")


def _unpack(value: Any, arrays: Mapping[str, NDArray[Any]]) -> Any:
    if isinstance(value, dict):
        if "__tensor__" in value:
            return torch.from_numpy(arrays[value["__tensor__"]])
        if "__array__" in value:
            return arrays[value["__array__"]]
        return {key: _unpack(inner, arrays) for key, inner in value.items()}
    if isinstance(value, list):
        return [_unpack(inner, arrays) for inner in value]
    return value
