"""A checkpoint restores values to the bit and to the type, or refuses values that it cannot store and says where."""

import hashlib
import json
import os
import random
import struct
from collections import Counter, OrderedDict, defaultdict, deque
from types import MappingProxyType

import numpy as np
import pytest
import safetensors.numpy
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from ioa_marl.foundations import checkpoint
from ioa_marl.foundations.checkpoint import UnreadableCheckpointError, UnstorableError, difference

TORCH = (
    "bool", "uint8", "int8", "int16", "int32", "int64", "uint16", "uint32", "uint64", "float16", "bfloat16", "float32",
    "float64", "complex32", "complex64", "complex128", "float8_e4m3fn", "float8_e5m2",
)  # fmt: skip
NUMPY = (
    "?", "i1", "<i8", ">i4", "u1", "<u8", "<f2", "<f4", ">f8", "<f8", "<c8", "<c16", "<M8[ns]", "<m8[s]", "<U5",
    "S3",
)  # fmt: skip
MARKS = ("__tensor__", "__array__", "__scalar__", "__bytes__", "__tuple__", "__dict__")


def again(tree, folder):
    checkpoint.save(folder / "some.safetensors", tree)
    return checkpoint.load(folder / "some.safetensors")


def noise(shape, dtype):
    """Return a tensor with arbitrary bits."""
    kind = getattr(torch, dtype)
    count = int(np.prod(shape)) * kind.itemsize
    raw = np.random.default_rng(1).integers(2 if dtype == "bool" else 256, size=count, dtype=np.uint8)
    return torch.from_numpy(raw).view(kind).reshape(shape) if count else torch.empty(shape, dtype=kind)


@pytest.mark.filterwarnings("ignore:ComplexHalf")
@pytest.mark.parametrize("dtype", TORCH)
def test_tensors_of_every_dtype_and_layout_come_back(dtype, tmp_path):
    whole = noise((4, 6), dtype)
    tree = {
        "whole": whole, "column": whole[:, 2], "turned": whole.T, "number": whole[1, 2], "none": whole[:0],
        "same": noise((1, 6), dtype).expand(3, 6),
    }  # fmt: skip
    back = again(tree, tmp_path)
    assert difference(back, tree) is None
    assert all(type(value) is torch.Tensor for value in back.values())
    back["same"][0] = 0 if dtype == "uint8" else back["same"][1]  # memory of its own, that can be written


@pytest.mark.parametrize("dtype", NUMPY)
def test_arrays_and_scalars_of_every_dtype_come_back(dtype, tmp_path):
    array = np.arange(12).reshape(3, 4).astype(dtype)
    tree = {
        "array": array,
        "turned": array.T,
        "number": np.array(array[1, 1]),
        "none": array[:0],
        "scalar": array[2, 3],
    }
    back = again(tree, tmp_path)
    assert difference(back, tree) is None
    assert back["array"].dtype == array.dtype
    assert type(back["scalar"]) is type(tree["scalar"])
    assert back["array"].flags.writeable


def test_parameters_stay_parameters_and_tensors_that_are_learnt_stay_so(tmp_path):
    layer = torch.nn.Linear(2, 3)
    layer.bias.requires_grad_(False)
    tree = {"all": list(layer.parameters()), "leaf": torch.ones(2, requires_grad=True), "module": layer.state_dict()}
    back = again(tree, tmp_path)
    assert difference(back, tree) is None
    assert [type(value) for value in back["all"]] == [torch.nn.Parameter] * 2
    assert [value.requires_grad for value in back["all"]] == [True, False]
    assert back["leaf"].requires_grad
    assert type(back["module"]) is OrderedDict


def test_a_tied_tensor_comes_back_in_both_places(tmp_path):
    shared = torch.arange(3.0)
    back = again({"one": shared, "two": shared, "part": shared[1:]}, tmp_path)
    assert difference(back, {"one": shared, "two": shared, "part": shared[1:].clone()}) is None


def test_places_that_read_alike_are_kept_apart(tmp_path):
    tree = {"a/b": torch.zeros(1), "a": {"b": torch.ones(1)}, "a~1b": torch.full((1,), 2.0), "a~b": torch.ones(2)}
    tree |= {0: torch.zeros(3), "0": torch.ones(3), ("0", 0): torch.ones(4), "": {"": torch.ones(5)}, None: np.ones(1)}
    assert difference(again(tree, tmp_path), tree) is None


@pytest.mark.parametrize("mark", MARKS)
def test_what_looks_like_a_mark_is_only_text(mark, tmp_path):
    tree = {"x": {mark: "/x"}, "y": {mark: {"dtype": "<f8"}, "shape": [1]}, "z": {mark: torch.ones(1)}, mark: [mark]}
    assert difference(again(tree, tmp_path), tree) is None


def test_mappings_of_torch_and_the_standard_library_come_back(tmp_path):
    tree = {"milestones": Counter({30: 1, 80: 2}), "module": OrderedDict(b=1, a=2), "empty": [{}, (), [], "", b""]}
    back = again(tree, tmp_path)
    assert difference(back, tree) is None
    assert back["milestones"][7] == 0
    assert list(back["module"]) == ["b", "a"]


LEAVES = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.integers(2**100, 2**130)
    | st.floats()
    | st.text(max_size=5)
    | st.sampled_from(MARKS)
    | st.binary(max_size=5)
    | npst.arrays(
        npst.boolean_dtypes()
        | npst.integer_dtypes()
        | npst.floating_dtypes(sizes=(16, 32, 64))
        | npst.complex_number_dtypes(sizes=(64, 128)),
        npst.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=3),
    )
    | npst.from_dtype(np.dtype("float32"))
    | npst.from_dtype(np.dtype("int16"))
    | st.builds(noise, st.tuples(st.integers(0, 2), st.integers(0, 2)), st.sampled_from(TORCH))
)
PLAIN_KEYS = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text("a/~0\u2028é", max_size=3)
KEYS = PLAIN_KEYS | st.sampled_from(MARKS) | st.tuples(PLAIN_KEYS, PLAIN_KEYS)
TREES = st.recursive(
    LEAVES,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.lists(inner, max_size=3).map(tuple)
        | st.dictionaries(KEYS, inner, max_size=3)
        | st.dictionaries(KEYS, inner, max_size=3).map(OrderedDict)
    ),
    max_leaves=12,
)


@settings(max_examples=150, deadline=None)
@given(tree=st.dictionaries(KEYS, TREES, max_size=4))
def test_any_nested_values_come_back(tree, tmp_path_factory):
    folder = tmp_path_factory.getbasetemp()
    assert difference(again(tree, folder), tree) is None
    assert checkpoint.digest(checkpoint.load(folder / "some.safetensors")) == checkpoint.digest(tree)


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (deque([1]), "agents/0/odd is a deque"),
        (defaultdict(list), "agents/0/odd is a defaultdict"),
        (MappingProxyType({}), "agents/0/odd is a mappingproxy"),
        ({1, 2}, "agents/0/odd is a set"),
        (1 + 2j, "agents/0/odd is a complex"),
        (bytearray(b"x"), "agents/0/odd is a bytearray"),
        (range(3), "agents/0/odd is a range"),
        (object, "agents/0/odd is a type"),
        (1 << 5000, "agents/0/odd is an integer of more than 4096 bits"),
        ({frozenset(): 1}, "the key frozenset() of agents/0/odd is a frozenset"),
        ({np.int64(3): 1}, "of agents/0/odd is an int64"),
        ({"\ud800": 1}, "of agents/0/odd is no text in Unicode"),
        (np.array([None]), "agents/0/odd has the dtype object"),
        (np.longdouble(1), "agents/0/odd has the dtype float128"),
        (np.zeros(2, "i4,f8"), "agents/0/odd has the dtype"),
        (np.ma.masked_array([1.0], [True]), "agents/0/odd is a MaskedArray"),
        (np.bytes_(b"a\0"), "agents/0/odd is a bytes_ that ends with zeros"),
        (torch.eye(2).to_sparse(), "agents/0/odd is a sparse_coo tensor"),
        (torch.empty(2, device="meta"), "agents/0/odd is a meta tensor"),
        (torch.ones(1, requires_grad=True) * 2, "agents/0/odd is part of a computation of gradients"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_cannot_come_back_is_refused_by_name(value, said, tmp_path):
    checkpoint.save(tmp_path / "some", {"step": 1})
    with pytest.raises(UnstorableError, match=r"\S") as told:
        checkpoint.save(tmp_path / "some", {"agents": [{"odd": value}]})
    assert str(told.value).startswith(said) or said in str(told.value)
    assert checkpoint.load(tmp_path / "some") == {"step": 1}, "the previous one is still there"


def test_what_refers_to_itself_or_is_too_deep_or_too_much_is_refused(tmp_path):
    tree = {}
    tree["self"] = tree
    with pytest.raises(UnstorableError, match=r"self/self.* nested more than 64 levels"):
        checkpoint.save(tmp_path / "some", tree)
    with pytest.raises(UnstorableError, match="more than 1000000 values outside arrays: make them arrays"):
        checkpoint.save(tmp_path / "some", {"many": [0] * 1_000_001})
    with pytest.raises(UnstorableError, match="more than 16777216 bytes outside arrays: make them arrays"):
        checkpoint.save(tmp_path / "some", {"long": "x" * 2**24})
    assert list(tmp_path.iterdir()) == []


def sample(folder):
    tree = {"weights": torch.arange(12.0).reshape(3, 4), "best": -1.5, "mask": np.array([True, False])}
    checkpoint.save(folder / "some.safetensors", tree | {"numbers": {0: (1, 2)}, "text": "é\x1f"})
    return folder / "some.safetensors"


def test_a_flipped_bit_anywhere_is_refused_in_one_line_with_the_remedy(tmp_path):
    path = sample(tmp_path)
    whole = path.read_bytes()
    for bit in range(0, 8 * len(whole), 3):
        data = bytearray(whole)
        data[bit // 8] ^= 1 << bit % 8
        path.write_bytes(data)
        with pytest.raises(UnreadableCheckpointError) as told:
            checkpoint.load(path)
        message = str(told.value)
        assert message.startswith(f"checkpoint {path} cannot be read: ")
        assert message.endswith("; copy it again, or remove it to train this seed anew")
        assert message.isprintable()


def test_a_cut_longer_zeroed_or_mixed_up_checkpoint_is_refused(tmp_path):
    path = sample(tmp_path)
    whole = path.read_bytes()
    middle = len(whole) // 2
    damaged = [whole[:n] for n in range(len(whole))] + [whole + b"\0", whole[:-8] + bytes(8), bytes(len(whole))]
    damaged += [whole[:middle] + whole[middle + 1 :] + b"\0", whole[:-8] + whole[-4:] + whole[-8:-4]]
    for data in damaged:
        path.write_bytes(data)
        with pytest.raises(UnreadableCheckpointError, match="cannot be read"):
            checkpoint.load(path)


@pytest.mark.parametrize("kind", ["folder", "pipe", "zero", "claims", "text", "empty", "nested"])
def test_what_is_no_checkpoint_is_refused_at_once(kind, tmp_path):
    path = tmp_path / "some.safetensors"
    if kind == "folder":
        path.mkdir()
    elif kind == "pipe":
        os.mkfifo(path)
    elif kind == "zero":
        path.symlink_to("/dev/zero")
    else:
        header = b'{"a":' + b"[" * 100_000
        path.write_bytes(
            {
                "claims": struct.pack("<Q", 2**62) + b"{}",
                "text": b"a text that somebody wrote",
                "empty": b"",
                "nested": struct.pack("<Q", len(header)) + header,
            }[kind]
        )
    for read in (checkpoint.load, checkpoint.seal):
        if (read, kind) == (checkpoint.seal, "nested"):
            continue  # it looks no further than for the seal
        with pytest.raises(UnreadableCheckpointError, match=r"^checkpoint .* cannot be read: .*; copy it again"):
            read(path)


def test_a_header_that_claims_a_lot_is_refused_before_it_is_read(tmp_path):
    path = tmp_path / "some.safetensors"
    with path.open("wb") as file:
        file.write(struct.pack("<Q", 2**33))
        file.truncate(2**33 + 8)  # a hole: it takes no space
    with pytest.raises(UnreadableCheckpointError, match="its header has 8589934592 bytes; at most 16777216 are read"):
        checkpoint.load(path)


def sealed(path, tree, arrays):
    """Write a checkpoint with an arbitrary tree and a correct checksum."""
    header = {
        "format": checkpoint.FORMAT,
        "sha256": "0" * 64,
        "tree": tree if isinstance(tree, str) else json.dumps(tree),
    }
    data = safetensors.numpy.save(arrays, metadata=header)
    path.write_bytes(data.replace(b'"sha256":"' + b"0" * 64, b'"sha256":"' + hashlib.sha256(data).hexdigest().encode()))


RAW = np.zeros(8, np.uint8)


@pytest.mark.parametrize(
    "tree",
    [
        "[", "[]", "3", "null", "[" * 60_000, '{"a":' * 60_000, '{"a":1e999999', "9" * 5000,
        {"a": {"__tensor__": "/b"}}, {"a": {"__tensor__": ["/a"]}}, {"a": {"__tensor__": None}},
        {"a": {"__tensor__": "/a", "x": 1}},
        {"a": {"__tensor__": "/a", "dtype": "bfloat16", "shape": [5]}},
        {"a": {"__tensor__": "/a", "dtype": "bfloat16", "shape": [2, -2]}},
        {"a": {"__tensor__": "/a", "dtype": "bfloat16", "shape": [-4, -1]}},
        {"a": {"__tensor__": "/a", "dtype": "bfloat16", "shape": [10**12, 10**12]}},
        {"a": {"__tensor__": "/a", "dtype": "bfloat16", "shape": "4"}},
        {"a": {"__tensor__": "/a", "dtype": "bfloat16", "shape": [4.0]}},
        {"a": {"__tensor__": "/a", "dtype": "qint8", "shape": [8]}},
        {"a": {"__tensor__": "/a", "dtype": {}, "shape": [8]}},
        {"a": {"__tensor__": "/a", "type": "Linear"}},
        {"a": {"__tensor__": "/a", "requires_grad": True}},
        {"a": {"__tensor__": "/a", "requires_grad": "yes"}},
        {"a": {"__array__": "/a", "dtype": "|O", "shape": [1]}},
        {"a": {"__array__": "/a", "dtype": "i4,i4", "shape": [1]}},
        {"a": {"__array__": "/a", "dtype": "<f9", "shape": [1]}},
        {"a": {"__array__": "/a", "dtype": "<U0", "shape": [8]}},
        {"a": {"__array__": "/a", "dtype": "<M8[eon]", "shape": [1]}},
        {"a": {"__array__": "/a", "dtype": "<U999999", "shape": [0]}},
        {"a": {"__array__": "/a"}, "b": {"__array__": "/a"}},
        {"b": {"__scalar__": "<f8", "bytes": "00"}, "a": {"__array__": "/a"}},
        {"b": {"__scalar__": "<f8", "bytes": "xy"}, "a": {"__array__": "/a"}},
        {"b": {"__scalar__": "|O", "bytes": "00" * 8}, "a": {"__array__": "/a"}},
        {"b": {"__scalar__": "<f8", "bytes": 8}, "a": {"__array__": "/a"}},
        {"b": {"__scalar__": "<f8"}, "a": {"__array__": "/a"}},
        {"b": {"__bytes__": 3}, "a": {"__array__": "/a"}},
        {"b": {"__tuple__": "ab"}, "a": {"__array__": "/a"}},
        {"b": {"__dict__": "ab"}, "a": {"__array__": "/a"}},
        {"b": {"__dict__": [[1]]}, "a": {"__array__": "/a"}},
        {"b": {"__dict__": [[[], 1]]}, "a": {"__array__": "/a"}},
        {"b": {"__dict__": [[1, 2], [1, 3]]}, "a": {"__array__": "/a"}},
        {"b": {"__dict__": [], "type": "deque"}, "a": {"__array__": "/a"}},
        {"b": {"__dict__": [], "__tuple__": []}, "a": {"__array__": "/a"}},
        {"b": 1},
    ],
    ids=lambda tree: (tree if isinstance(tree, str) else json.dumps(tree))[:60],
)  # fmt: skip
def test_a_malformed_tree_with_a_right_seal_is_refused_in_one_line(tree, tmp_path):
    sealed(tmp_path / "some", tree, {"/a": RAW})
    with pytest.raises(UnreadableCheckpointError, match=r"cannot be read: .*; copy it again") as told:
        checkpoint.load(tmp_path / "some")
    assert str(told.value).isprintable()
    assert len(str(told.value)) < 500


def test_the_helper_of_these_tests_seals_right(tmp_path):
    sealed(tmp_path / "some", {"a": {"__array__": "/a"}}, {"/a": RAW})
    assert checkpoint.load(tmp_path / "some")["a"].shape == (8,)


FIRST = {
    "a": {"b": {"__tensor__": "/a/b"}, "c": {"__array__": "/a/c"}},
    "list": [1, "x", None, 0.5],
    "x": {"__tuple__": 1},
}


def test_checkpoints_of_the_first_format_are_read_and_have_no_seal(tmp_path):
    header = {"format": "ioa_marl checkpoint 1", "tree": json.dumps(FIRST)}
    (tmp_path / "old").write_bytes(safetensors.numpy.save({"/a/b": np.ones(3), "/a/c": np.eye(2)}, metadata=header))
    wanted = {
        "a": {"b": torch.ones(3, dtype=torch.float64), "c": np.eye(2)},
        "list": [1, "x", None, 0.5],
        "x": {"__tuple__": 1},
    }
    assert difference(checkpoint.load(tmp_path / "old"), wanted) is None
    assert checkpoint.seal(tmp_path / "old") is None
    checkpoint.save(tmp_path / "new", wanted)
    assert len(checkpoint.seal(tmp_path / "new")) == 64


@pytest.mark.parametrize("name", ["ioa_marl checkpoint 3", "ioa_marl checkpoint 1", "ioa_marl checkpoint 2", ""])
def test_a_seal_that_is_missing_or_in_the_wrong_format_is_noticed(name, tmp_path):
    for header in ({"format": name, "sha256": "0" * 64}, {"format": name}):
        if header == {"format": "ioa_marl checkpoint 1"}:
            continue
        (tmp_path / "old").write_bytes(safetensors.numpy.save({}, metadata=header | {"tree": "{}"}))
        with pytest.raises(UnreadableCheckpointError):
            checkpoint.load(tmp_path / "old")


def test_fingerprints_are_those_of_the_first_format():
    tree = {
        "role": "buyer",
        "plays": ("buyer",),
        "weights.0": torch.arange(6.0).reshape(2, 3),
        "n": [np.arange(3), 0.1],
    }
    assert checkpoint.digest(tree) == "eb5f6d73df1dbc34"


def test_fingerprints_tell_apart_what_names_used_to_confound():
    one, two = ({"a/b": np.array([x]), "a": {"b": np.array([0])}} for x in (1, 2))
    assert checkpoint.digest(one) != checkpoint.digest(two)
    assert checkpoint.digest({"a": {1: 0, "1": 2}}) != checkpoint.digest({"a": {1: 2, "1": 0}})
    bits = (torch.tensor([x], dtype=torch.bfloat16) for x in (1.0, 2.0))
    assert len({checkpoint.digest({"a": x}) for x in bits}) == 2


@pytest.mark.parametrize(
    ("found", "wanted", "said"),
    [
        ({"a": [1, (2,)]}, {"a": [1, [2]]}, "a/1 is a tuple, not a list"),
        ({"a": torch.ones(1, 3)}, {"a": torch.ones(4, 3)}, "a is float32 (1, 3), not float32 (4, 3)"),
        ({"a": torch.ones(3)}, {"a": torch.ones(3).double()}, "a is float32 (3,), not float64 (3,)"),
        ({"a": torch.ones(3)}, {"a": torch.tensor([1, 1, 1 + 2e-7])}, "a has other numbers"),
        ({"a": torch.zeros(1)}, {"a": -torch.zeros(1)}, "a has other numbers"),
        ({"a": torch.ones(1)}, {"a": np.ones(1)}, "a is a Tensor, not a ndarray"),
        ({"a": np.ones(1, ">f8")}, {"a": np.ones(1)}, "a is >f8 (1,), not float64 (1,)"),
        ({"a": 1}, {"a": 1, "b": 2}, "it has no key 'b'"),
        ({"a": 1, 3: 2}, {"a": 1}, "it has a key 3"),
        ({"x": {1: 2}}, {"x": {True: 2}}, "x has a key"),
        ({"x": [1, 2]}, {"x": [1]}, "x has 2 values, not 1"),
        ({"x": 0.0}, {"x": -0.0}, "x is 0.0, not -0.0"),
        ({"x": 1}, {"x": 1.0}, "x is an int, not a float"),
        ({"x": "a"}, {"x": "b"}, "x is 'a', not 'b'"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)  # fmt: skip
def test_a_difference_is_named_with_its_place(found, wanted, said):
    assert difference(found, wanted).startswith(said)
    assert difference(wanted, found) is not None
    assert difference(found, found) is None


def test_random_bytes_are_refused(tmp_path):
    chosen = random.Random(3)
    for size in (0, 1, 7, 8, 9, 100, 5000):
        (tmp_path / "some").write_bytes(chosen.randbytes(size))
        with pytest.raises(UnreadableCheckpointError):
            checkpoint.load(tmp_path / "some")
