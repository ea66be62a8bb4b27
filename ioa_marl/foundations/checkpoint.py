"""Checkpoints: a safetensors file with all other values as JSON in its header, a checksum, and no pickle."""

from __future__ import annotations

import hashlib
import json
import re
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import safetensors
import safetensors.numpy
from numpy.typing import NDArray

from ioa_marl.foundations.errors import UserError
from ioa_marl.foundations.files import DamagedFileError, check_readable, exists, read_bytes, write_atomically
from ioa_marl.foundations.trees import UnstorableError, difference, pack, unpack

__all__ = [
    "FORMAT", "LATEST", "REMEDY", "UnreadableCheckpointError", "UnstorableError", "difference", "digest", "load",
    "save", "seal",
]  # fmt: skip

FORMAT = "ioa_marl checkpoint 2"
FIRST_FORMAT = "ioa_marl checkpoint 1"
"""The first format, which has no checksum, and stores all keys as text and all sequences as lists."""
LATEST = Path("checkpoint") / "latest.safetensors"
"""Path of the checkpoint in the folder of a seed."""
REMEDY = "copy it again, or remove it to train this seed anew"
"""Remedy for a damaged checkpoint, for messages."""
LARGEST_HEADER = 16 * 2**20
"""Largest size of a header [bytes]."""
MOST_VALUES = 1_000_000
"""Largest number of values outside arrays, as `_values` counts them."""
_SEAL = re.compile(rb'"sha256":"([0-9a-f]{64})"')
"""The checksum in a header. Quotes in other texts of the header are escaped, so nothing else matches."""
_BLANK = b"0" * 64


class UnreadableCheckpointError(UserError):
    """A checkpoint cannot be read or used."""


def save(path: Path, tree: Mapping[str, Any]) -> None:
    """Write nested values so that `load` returns the same values, with a checksum over every byte of the file.

    Parameters
    ----------
    path : Path
        The file.
    tree : dict
        Nested mappings (dict, OrderedDict, Counter), lists and tuples of tensors, parameters, NumPy arrays and scalars,
        bytes, text, numbers and None. Keys may be text, numbers, None and tuples of these. A tensor is
        restored on the CPU; shared memory and gradients are not restored.

    Raises
    ------
    UnstorableError
        If a value cannot be restored exactly; the message says where it is, and nothing is written.
    UserError
        If the file cannot be written.
    """
    packed, arrays = pack(tree)
    text = json.dumps(packed)
    if _values(text.encode()) > MOST_VALUES:
        raise UnstorableError(f"a checkpoint holds more than {MOST_VALUES} values outside arrays: make them arrays")
    header = {"format": FORMAT, "sha256": _BLANK.decode(), "tree": text}
    data = safetensors.numpy.save(arrays, metadata=header)
    start = 8 + _header_length(data)
    if start > LARGEST_HEADER:
        raise UnstorableError(f"a checkpoint holds more than {LARGEST_HEADER} bytes outside arrays: make them arrays")
    place = next(_SEAL.finditer(data, 8, start)).start(1)
    sealed = hashlib.sha256(data).hexdigest().encode()
    write_atomically(path, b"".join([data[:place], sealed, memoryview(data)[place + len(sealed) :]]))


def load(path: Path) -> dict[str, Any]:
    """Read what `save` wrote, after comparing every byte with the checksum. The content is not trusted.

    Raises
    ------
    UnreadableCheckpointError
        If the file is missing, damaged or not a checkpoint; the message names the file and the remedy.
    """
    _checked_header(path)
    try:
        data = read_bytes(path)
    except DamagedFileError as error:
        raise _unreadable(path, f"it {error.reason}") from error
    try:
        metadata = _metadata(data)
        arrays = _arrays(data)
        tree = unpack(json.loads(metadata["tree"]), arrays, exact=metadata["format"] == FORMAT)
        if not isinstance(tree, dict):
            raise ValueError("it is no mapping")
    except (ValueError, KeyError, RecursionError, safetensors.SafetensorError) as error:
        raise _unreadable(path, " ".join(str(error).split())[:200]) from error
    return tree


def seal(path: Path) -> str | None:
    """Return the checksum in a checkpoint, without verifying it as `load` does, or None if it has none.

    Raises
    ------
    UnreadableCheckpointError
        If the file is missing or not a checkpoint.
    """
    seals = _SEAL.findall(_checked_header(path))
    return seals[0].decode() if len(seals) == 1 else None


def digest(tree: Mapping[str, Any]) -> str:
    """Return a fingerprint of nested values: the first 16 digits of a SHA-256.

    Lists and tuples give the same digest, and so do 1 and "1" as keys. The digest of a policy therefore does not depend
    on the format of the checkpoint that it was stored in.
    """
    packed, arrays = pack(tree, exact=False)
    sha256 = hashlib.sha256(json.dumps(packed, sort_keys=True).encode())
    for name, array in sorted(arrays.items()):
        sha256.update(f"{name} {array.dtype} {array.shape}".encode())
        sha256.update(array.tobytes())
    return sha256.hexdigest()[:16]


def _unreadable(path: Path, reason: str) -> UnreadableCheckpointError:
    return UnreadableCheckpointError(f"checkpoint {path} cannot be read: {reason}; {REMEDY}")


def _header_length(data: bytes) -> int:
    return int(struct.unpack_from("<Q", data)[0])


def _values(text: bytes) -> int:
    """Return an upper bound of the number of values in a JSON text: each but the first follows one of these marks."""
    return sum(text.count(mark) for mark in (b",", b"[", b"{"))


def _checked_header(path: Path) -> bytes:
    """Return the header of a checkpoint without reading the rest of the file."""
    try:
        if not exists(path):
            raise UnreadableCheckpointError(f"there is no checkpoint {path}")
        size = check_readable(path)
        with path.open("rb") as file:
            start = file.read(8)
            length = _header_length(start) if len(start) == 8 else size
            if length > size - 8:
                raise _unreadable(path, "it is cut off, or not a checkpoint")
            if length > LARGEST_HEADER:
                raise _unreadable(path, f"its header has {length} bytes; at most {LARGEST_HEADER} are read")
            return file.read(length)
    except DamagedFileError as error:
        raise _unreadable(path, f"it {error.reason}") from error
    except (OSError, ValueError) as error:
        raise _unreadable(path, getattr(error, "strerror", None) or str(error)) from error


def _metadata(data: bytes) -> dict[str, str]:
    """Return the metadata of a file with a correct checksum, or of the format without one."""
    length = _header_length(data)
    header = data[8 : 8 + length]
    seals = list(_SEAL.finditer(header))
    if seals and not _seal_is_right(data, 8 + seals[0].start(1)):
        raise ValueError("it is damaged, its checksum is another one")
    if _values(header) > MOST_VALUES:
        raise ValueError(f"it has more than {MOST_VALUES} values outside arrays")
    content = json.loads(header)
    metadata = content.get("__metadata__") if isinstance(content, dict) else None
    if not isinstance(metadata, dict) or not all(isinstance(text, str) for text in metadata.values()):
        raise ValueError("it is not a checkpoint")
    if (metadata.get("format"), len(seals), "sha256" in metadata) not in ((FORMAT, 1, True), (FIRST_FORMAT, 0, False)):
        raise ValueError(f"it is not a {FORMAT!r} file, or damaged")
    return metadata


def _seal_is_right(data: bytes, place: int) -> bool:
    view = memoryview(data)
    sha256 = hashlib.sha256(view[:place])
    sha256.update(_BLANK)
    sha256.update(view[place + len(_BLANK) :])
    return sha256.hexdigest().encode() == view[place : place + len(_BLANK)]


def _arrays(data: bytes) -> dict[str, NDArray[Any]]:
    """Return the arrays of a file as writable arrays."""
    arrays = safetensors.numpy.load(data)
    return {name: array if array.flags.writeable else array.copy() for name, array in arrays.items()}
