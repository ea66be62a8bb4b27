"""Nested values as JSON and arrays, and back with the same keys, types, dtypes and bits."""

from __future__ import annotations

import re
from collections import Counter, OrderedDict
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

DEEPEST = 64
"""Largest number of levels of nested values."""
LONGEST_INTEGER = 4096
"""Longest integer, in bits; Python limits the length of numbers that it parses."""

_MAPPINGS: dict[str, type[dict[Any, Any]]] = {"OrderedDict": OrderedDict, "Counter": Counter}
_MARKS = frozenset({"__tensor__", "__array__", "__scalar__", "__bytes__", "__tuple__", "__dict__"})
_OLD_MARKS = frozenset({"__tensor__", "__array__"})
_NATIVE = frozenset(
    {"bool", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64", "float16", "float32", "float64"}
)
"""Dtypes that are stored directly; all others are stored as bytes with dtype and shape."""
_TORCH = {
    name: getattr(torch, name)
    for name in (
        *_NATIVE, "bfloat16", "complex32", "complex64", "complex128", "float8_e4m3fn", "float8_e5m2",
        "float8_e4m3fnuz", "float8_e5m2fnuz",
    )
}  # fmt: skip
_NUMPY = re.compile(r"[<>|](b1|[iu][1248]|f[248]|c(8|16)|[mM]8(\[\w{1,20}\])?|[SU]\d{1,6})")
"""Dtypes of arrays that can be stored, as NumPy writes them: no objects, records or machine-dependent floats."""


class UnstorableError(TypeError):
    """A value cannot be stored such that it is restored exactly; the message says where it is."""


def pack(tree: Mapping[Any, Any], exact: bool = True) -> tuple[Any, dict[str, NDArray[Any]]]:
    """Return nested values as JSON values that refer to arrays by name, and the arrays.

    Parameters
    ----------
    tree : dict
        Nested dicts, lists and tuples of tensors, arrays, NumPy scalars, bytes, text, numbers and None.
    exact : bool, default True
        Whether `unpack` restores the same types. If not, tuples become lists, keys become text and NumPy floats become
        Python floats, unless two keys would become the same.

    Raises
    ------
    UnstorableError
        If a value cannot be restored exactly.
    """
    packer = _Packer(exact)
    return packer.pack(tree, "", 0), packer.arrays


class _Packer:
    """Converts nested values for `pack`."""

    def __init__(self, exact: bool) -> None:
        self.exact = exact
        self.arrays: dict[str, NDArray[Any]] = {}

    def pack(self, value: Any, name: str, depth: int) -> Any:
        if depth > DEEPEST:
            raise UnstorableError(f"{_place(name)} is nested more than {DEEPEST} levels deep")
        if isinstance(value, torch.Tensor):
            return self._tensor(value, name)
        if isinstance(value, np.generic) and (self.exact or not isinstance(value, float)):
            return _scalar(value, name)
        if isinstance(value, np.ndarray):
            return self._array(value, name)
        if isinstance(value, Mapping):
            return self._mapping(value, name, depth)
        if type(value) is bytes:
            return {"__bytes__": self._named(np.frombuffer(value, np.uint8), name)}
        if type(value) in (list, tuple) or (not self.exact and isinstance(value, Sequence) and not _is_text(value)):
            inner = [self.pack(element, f"{name}/{i}", depth + 1) for i, element in enumerate(value)]
            return {"__tuple__": inner} if self.exact and type(value) is tuple else inner
        if not self.exact and isinstance(value, float):
            return float(value)
        return _plain(value, name)

    def _named(self, array: NDArray[Any], name: str) -> str:
        if name in self.arrays:  # the names of different places differ
            raise AssertionError(f"two arrays are called {name}")
        self.arrays[name] = array
        return name

    def _mapping(self, value: Mapping[Any, Any], name: str, depth: int) -> Any:
        kind = type(value).__name__
        if self.exact and type(value) is not dict and type(value) is not _MAPPINGS.get(kind):
            raise UnstorableError(f"{_place(name)} is {kind_of(value)}, which cannot be stored: make it a dict")
        texts = [key if type(key) is str else str(key) for key in value]
        usual = type(value) is dict and all(type(key) is str for key in value)
        if (usual or (not self.exact and len(set(texts)) == len(texts))) and _MARKS.isdisjoint(texts):
            pairs = zip(texts, value.values(), strict=True)
            return {key: self.pack(element, f"{name}/{_escaped(key, name)}", depth + 1) for key, element in pairs}
        items = [
            [self._key(key, name, depth), self.pack(element, f"{name}/{_key_name(key, name)}", depth + 1)]
            for key, element in value.items()
        ]
        return {"__dict__": items, **({} if type(value) is dict else {"type": kind})}

    def _key(self, key: Any, name: str, depth: int) -> Any:
        if depth > DEEPEST:
            raise UnstorableError(f"a key of {_place(name)} is nested more than {DEEPEST} levels deep")
        if type(key) is tuple:
            return {"__tuple__": [self._key(element, name, depth + 1) for element in key]}
        if key is None or type(key) in (bool, int, float, str):
            return _plain(key, name)
        raise UnstorableError(
            f"the key {printable(key)} of {_place(name)} is {kind_of(key)}, which cannot be stored: "
            "use text or a number"
        )

    def _tensor(self, value: torch.Tensor, name: str) -> Any:
        dtype = str(value.dtype).removeprefix("torch.")
        if type(value) not in (torch.Tensor, torch.nn.Parameter):
            raise UnstorableError(f"{_place(name)} is {kind_of(value)}, which cannot be stored: make it a Tensor")
        if value.layout is not torch.strided or value.is_meta or value.is_quantized or dtype not in _TORCH:
            where = "meta" if value.is_meta else str(value.layout).removeprefix("torch.")
            raise UnstorableError(f"{_place(name)} is a {where} tensor of {dtype}, which cannot be stored")
        if value.grad_fn is not None:
            raise UnstorableError(f"{_place(name)} is part of a computation of gradients: use detach()")
        grad = (
            {"requires_grad": value.requires_grad} if type(value) is torch.nn.Parameter or value.requires_grad else {}
        )
        kind = {"type": "Parameter"} if type(value) is torch.nn.Parameter else {}
        if dtype in _NATIVE:
            array = value.detach().cpu().resolve_conj().resolve_neg().contiguous().numpy()
            return {"__tensor__": self._named(array, name), **kind, **grad}
        form = {"dtype": dtype, "shape": list(value.shape)}
        return {"__tensor__": self._named(raw_bytes(value), name), **form, **kind, **grad}

    def _array(self, value: NDArray[Any], name: str) -> Any:
        if type(value) is not np.ndarray and self.exact:
            raise UnstorableError(f"{_place(name)} is {kind_of(value)}, which cannot be stored: make it an ndarray")
        if value.dtype.name in _NATIVE and value.dtype.isnative:
            # A 0-d array stays one; what is not contiguous is copied.
            return {"__array__": self._named(np.asarray(value, order="C"), name)}
        dtype = _dtype(value.dtype, name)
        return {"__array__": self._named(raw_bytes(value), name), "dtype": dtype, "shape": list(value.shape)}


def _is_text(value: Any) -> bool:
    return isinstance(value, (str, bytes, bytearray))


def _dtype(dtype: np.dtype[Any], name: str) -> str:
    if not _NUMPY.fullmatch(dtype.str) or dtype.itemsize == 0:
        raise UnstorableError(f"{_place(name)} has the dtype {dtype}, which cannot be stored")
    return dtype.str


def _scalar(value: np.generic, name: str) -> Any:
    array = np.asarray(value)
    dtype = _dtype(array.dtype, name)
    if array.dtype.kind in "SU" and array[()] != value:  # NumPy drops trailing zeros of its texts
        raise UnstorableError(f"{_place(name)} is {kind_of(value)} that ends with zeros, which cannot be stored")
    return {"__scalar__": dtype, "bytes": array.tobytes().hex()}


def _plain(value: Any, name: str) -> Any:
    if value is None or type(value) in (bool, float, str):
        return value
    if type(value) is int:
        if value.bit_length() > LONGEST_INTEGER:
            raise UnstorableError(f"{_place(name)} is an integer of more than {LONGEST_INTEGER} bits")
        return value
    raise UnstorableError(f"{_place(name)} is {kind_of(value)}, which cannot be stored")


def _escaped(key: str, name: str) -> str:
    """Return a key as a part of a name, escaped so that different places have different names."""
    try:
        key.encode()
    except UnicodeEncodeError as error:
        raise UnstorableError(f"the key {printable(key)} of {_place(name)} is no text in Unicode") from error
    return key.replace("~", "~0").replace("/", "~1")


def _key_name(key: Any, name: str) -> str:
    if type(key) is str:
        return _escaped(key, name)
    return f"~{type(key).__name__} {_escaped(ascii(key), name)}"


def unpack(value: Any, arrays: Mapping[str, NDArray[Any]], exact: bool = True) -> Any:
    """Return the nested values that `pack` converted; the arrays are not copied.

    ``exact`` is False for the first format of checkpoints, which marks only tensors and arrays.

    Raises
    ------
    ValueError
        If ``value`` is not a result of `pack`.
    """
    unpacker = _Unpacker(arrays, _MARKS if exact else _OLD_MARKS)
    tree = unpacker.unpack(value, 0)
    unused = [name for name in arrays if name not in unpacker.used]
    if unused:
        raise ValueError(f"nothing refers to its array {printable(unused[0])}")
    return tree


class _Unpacker:
    """Restores nested values for `unpack`; the input is not trusted."""

    def __init__(self, arrays: Mapping[str, NDArray[Any]], marks: frozenset[str]) -> None:
        self.arrays, self.marks = arrays, marks
        self.used: set[str] = set()

    def unpack(self, value: Any, depth: int) -> Any:
        if depth > DEEPEST + 1:
            raise ValueError(f"it is nested more than {DEEPEST} levels deep")
        if isinstance(value, list):
            return [self.unpack(inner, depth + 1) for inner in value]
        if not isinstance(value, dict):
            return value
        marks = self.marks.intersection(value)
        if not marks:
            return {key: self.unpack(inner, depth + 1) for key, inner in value.items()}
        mark = next(iter(marks))
        rest = {key: inner for key, inner in value.items() if key != mark}
        try:
            return getattr(self, f"_{mark.strip('_')}")(value[mark], depth, **rest)
        except (TypeError, KeyError, RuntimeError, OverflowError) as error:
            raise ValueError(f"it holds a malformed {mark}: {printable(value)}") from error

    def _take(self, name: Any) -> NDArray[Any]:
        if not isinstance(name, str) or name not in self.arrays:
            raise ValueError(f"its array {printable(name)} is missing")
        if name in self.used and self.marks is _MARKS:
            raise ValueError(f"its array {printable(name)} is used twice")
        self.used.add(name)
        return self.arrays[name]

    def _raw(self, name: Any, itemsize: int, shape: Any) -> NDArray[np.uint8]:
        array = self._take(name)
        if not isinstance(shape, list) or not all(type(n) is int and n >= 0 for n in shape) or len(shape) > 32:
            raise ValueError(f"its array {printable(name)} has no shape {printable(shape)}")
        count = 1
        for n in shape:
            count *= n
        if array.dtype != np.uint8 or array.ndim != 1 or array.size != count * itemsize or itemsize == 0:
            raise ValueError(f"its array {printable(name)} does not have the shape {printable(shape)}")
        return array

    def _tensor(
        self, name: Any, depth: int, dtype: str | None = None, shape: Any = None, type: str | None = None,
        requires_grad: bool = False,
    ) -> torch.Tensor:  # fmt: skip
        if dtype is None:
            tensor = torch.from_numpy(self._take(name))
        else:
            kind: torch.dtype = _TORCH[dtype]
            raw = self._raw(name, kind.itemsize, shape)
            # An empty array may have strides that cannot be viewed as another dtype.
            tensor = torch.from_numpy(raw).view(kind).reshape(shape) if raw.size else torch.empty(shape, dtype=kind)
        if type == "Parameter":
            return torch.nn.Parameter(tensor, requires_grad)
        if type is not None:
            raise ValueError(f"it holds a tensor of an unknown type {printable(type)}")
        return tensor.requires_grad_(requires_grad)

    def _array(self, name: Any, depth: int, dtype: str | None = None, shape: Any = None) -> NDArray[Any]:
        if dtype is None:
            return self._take(name)
        kind = _known(dtype)
        return self._raw(name, kind.itemsize, shape).view(kind).reshape(shape)

    def _scalar(self, dtype: Any, depth: int, bytes: str) -> Any:
        return np.frombuffer(bytearray.fromhex(bytes), _known(dtype)).reshape(())[()]

    def _bytes(self, name: Any, depth: int) -> bytes:
        array = self._take(name)
        return array.tobytes()

    def _tuple(self, value: Any, depth: int) -> tuple[Any, ...]:
        if not isinstance(value, list):
            raise ValueError(f"it holds a malformed tuple: {printable(value)}")
        return tuple(self.unpack(inner, depth + 1) for inner in value)

    def _dict(self, value: Any, depth: int, type: str = "dict") -> dict[Any, Any]:
        mapping: dict[Any, Any] = {} if type == "dict" else _MAPPINGS[type]()
        for key, element in value:
            mapping[self.unpack(key, depth + 1)] = self.unpack(element, depth + 1)
        if len(mapping) != len(value):
            raise ValueError("it holds a mapping that has a key twice")
        return mapping


def _known(dtype: Any) -> np.dtype[Any]:
    if not isinstance(dtype, str) or not _NUMPY.fullmatch(dtype):
        raise ValueError(f"it holds an array of an unknown dtype {printable(dtype)}")
    return np.dtype(dtype)


def difference(actual: Any, expected: Any) -> str | None:
    """Return the first place where nested values differ, and how, or None if they are equal to the bit.

    Keys, types, dtypes, shapes and the order of lists are compared; the order of keys and the device of a tensor are
    not. NaN equals NaN.

    Parameters
    ----------
    actual, expected : mapping, sequence, tensor, array or scalar
        The nested values; tensors and arrays may have any shape.
    """
    return _difference(actual, expected, "")


def _difference(actual: Any, expected: Any, name: str) -> str | None:
    place = _place(name)
    if type(actual) is not type(expected):
        return f"{place} is {kind_of(actual)}, not {kind_of(expected)}"
    if isinstance(actual, Mapping):
        # To a dict, 1, 1.0 and True are the same key; here they differ.
        keys, others = ({(type(key), key) for key in mapping} for mapping in (actual, expected))
        if keys != others:
            _, key = min(keys ^ others, key=repr)
            return f"{place} has {'a' if key in actual else 'no'} key {printable(key)}"
        inner = ((actual[key], expected[key], f"{name}/{key}") for key in expected)
        return next((text for text in (_difference(*each) for each in inner) if text), None)
    if isinstance(actual, (list, tuple)):
        if len(actual) != len(expected):
            return f"{place} has {len(actual)} values, not {len(expected)}"
        both = ((a, b, f"{name}/{i}") for i, (a, b) in enumerate(zip(actual, expected, strict=True)))
        return next((text for text in (_difference(*each) for each in both) if text), None)
    if isinstance(actual, (torch.Tensor, np.ndarray, np.generic)):
        if _form(actual) != _form(expected):
            return f"{place} is {_form(actual)}, not {_form(expected)}"
        return None if np.array_equal(raw_bytes(actual), raw_bytes(expected)) else f"{place} has other numbers"
    same = actual.hex() == expected.hex() if isinstance(actual, float) else bool(actual == expected)
    return None if same else f"{place} is {printable(actual)}, not {printable(expected)}"


def not_a_number(tree: Any, name: str = "") -> str | None:
    """Return the first place in nested values of a tensor or an array with a NaN, or None."""
    if isinstance(tree, Mapping):
        inner = ((element, f"{name}/{key}") for key, element in tree.items())
    elif isinstance(tree, (list, tuple)):
        inner = ((element, f"{name}/{i}") for i, element in enumerate(tree))
    else:
        odd = isinstance(tree, torch.Tensor) and bool(torch.isnan(tree).any())
        odd = odd or (isinstance(tree, np.ndarray) and tree.dtype.kind in "fc" and bool(np.isnan(tree).any()))
        return _place(name) if odd else None
    return next((place for place in (not_a_number(*each) for each in inner) if place), None)


def in_first_format(tree: Any) -> Any:
    """Return nested values as the first format of checkpoints restored them: tuples as lists, and keys as text."""
    if isinstance(tree, Mapping):
        return {str(key): in_first_format(inner) for key, inner in tree.items()}
    if isinstance(tree, (list, tuple)):
        return [in_first_format(inner) for inner in tree]
    return tree.detach() if isinstance(tree, torch.nn.Parameter) else float(tree) if isinstance(tree, float) else tree


def raw_bytes(value: torch.Tensor | NDArray[Any] | np.generic) -> NDArray[np.uint8]:
    """Return the bytes of a tensor or an array of any shape and dtype, in C order, uint8 (bytes,)."""
    if isinstance(value, torch.Tensor):
        tensor = value.detach().cpu().resolve_conj().resolve_neg().contiguous().reshape(-1)
        return tensor.view(torch.uint8).numpy()
    return np.frombuffer(value.tobytes(), np.uint8)


def printable(value: Any) -> str:
    """Return a value for a message: in ASCII, in one line, and shortened if it is long."""
    text = ascii(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def kind_of(value: Any) -> str:
    """Return the name of a value's type with its article."""
    name = type(value).__name__
    return f"{'an' if name[0].lower() in 'aeiou' else 'a'} {name}"


def _form(value: torch.Tensor | NDArray[Any] | np.generic) -> str:
    """Return dtype and shape for a message."""
    grad = " with a gradient" if isinstance(value, torch.Tensor) and value.requires_grad else ""
    dtype = value.dtype.str if isinstance(value, np.ndarray) and not value.dtype.isnative else value.dtype
    return f"{str(dtype).removeprefix('torch.')} {tuple(value.shape)}{grad}"


def _place(name: str) -> str:
    return name.lstrip("/") or "it"
