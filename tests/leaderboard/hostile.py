"""A run store with one file of every kind that an attacker, a crash or a bad disk can leave in it."""

import json
import os
import struct
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

AddRun = Callable[..., Path]


RESULTS: Mapping[str, bytes] = {
    "empty": b"",
    "cut": b'{"status": "do',
    "zeroed": b"\0" * 400,
    "no_text": b"\xff\xfe\x00\x81",
    "deep": b'{"a":' * 100_000 + b"1" + b"}" * 100_000,
    "deep_but_short": b'{"a":' * 100 + b"1" + b"}" * 100,
    "wide": b"[" + b"1," * 300_000 + b"1]",
    "many_digits": b'{"status": "done", "seed": ' + b"9" * 10_000 + b"}",
    "a_list": b"[1, 2]",
    "a_number": b"3",
    "huge_seed": b'{"status": "done", "seed": ' + b"9" * 30 + b"}",
}
"""Contents of ``result.json`` that are not results."""

CHANGES: Mapping[str, dict[str, Any]] = {
    "scores_as_text": {"scores": {"auctioneer": "0.9"}},
    "scores_as_truth": {"scores": {"auctioneer": True}},
    "scores_as_list": {"scores": [0.9]},
    "score_too_large": {"scores": {"auctioneer": 10**60}},
    "score_of_nobody": {"scores": {"auctioneer": 0.5, "the_moon": 0.9}},
    "seed_as_text": {"seed": "0"},
    "seed_as_truth": {"seed": True},
    "seed_as_fraction": {"seed": 0.5},
    "seed_negative": {"seed": -1},
    "agent_as_number": {"agent": 7},
    "agent_too_long": {"agent": "x" * 100_000},
    "status_as_list": {"status": ["done"]},
    "status_unknown": {"status": "excellent"},
    "checksum_of_nothing": {"checksum": "0" * 64, "files": {}},
    "checksum_as_number": {"checksum": 5, "files": [1]},
}
"""Values that a result must not have."""

FAILURES: Mapping[str, dict[str, Any]] = {
    "score_infinite": {"scores": {"auctioneer": float("inf")}},
    "score_not_a_number": {"scores": {"auctioneer": float("nan")}},
    "score_null": {"scores": {"auctioneer": None}},
}
"""Scores of learners that have diverged."""

CONFIGS: Mapping[str, bytes] = {
    "refers_to_itself": b"a: &a [*a]",
    "expands": b"\n".join([b"a0: &a0 [x, x]", *(f"a{i}: &a{i} [*a{i - 1}, *a{i - 1}]".encode() for i in range(1, 40))]),
    "nested": b"[" * 100_000,
    "runs_code": b"!!python/object/apply:os.system ['touch ran']",
    "no_yaml": b"{:\x00",
    "a_text": b"hello",
    "unknown_reference": b"a: *b",
    "list_as_key": b"? [1, 2]\n: 3\n",
    "many_settings": b"env:\n" + b"".join(f"  k{i}: 1\n".encode() for i in range(5000)),
}
"""Contents of ``config.yaml`` that are not configurations."""

ODD_CONFIGS: Mapping[str, bytes] = {
    "odd_settings": b"env: {name: double_dutch, preset: paper, psi: .nan, big: 0x" + b"f" * 5000
    + b", list: [{2020-01-01: 3}], bytes: !!binary aGk=, day: 2020-01-01, none: ~, set: !!set {a, b}}\n",
}  # fmt: skip
"""Readable configurations with content that no run writes."""

LABELS = (
    "nan", "NA", "null", "1e3", "12345e67890", "infinity", "-inf", "True", "2020-01-01", "MARCH1", "00123", "0x1F",
    "1_000", "=1+1", "+1", "-1", "@SUM(A1)", "=HYPERLINK(\"http://x\",\"y\")", "a;=1+1", "text-NA", "1/2",
    "\x1b[31mred\x1b[0m", "[bold]markup[/bold]", "[/]", "tab\there", "two\nlines", "return\rhere",
    "\u202eright to left", "zero\u200bwidth", "a|b`c`", "[link](http://x)", "<script>alert(1)</script>", "&lt;b&gt;",
    "![x](y)", "~~gone~~", "https://example.org", "www.example.org", "*bold* _too_", "$\\frac{1}$", "$x", "\\begin{x}",
    "a,b\"c", "'quoted'", "..", ".", "a/../../b", "CON", "β", "日本", "\ud800", "e\u0301", "x" * 255, "# heading",
    "- item", "1. item", " space ",
)  # fmt: skip
"""Names of agents with a special meaning in the formats in which they are shown."""


def build(runs: Path, add_run: AddRun) -> set[str]:
    """Write the store; return the agents of which no number may be shown."""
    add_run("good", [0.5, 0.7], steps=(500, 1000))
    bad = set()
    for name, content in RESULTS.items():
        (add_run(name, [0.9]) / "seed_0/result.json").write_bytes(content)
        bad.add(name)
    for name, changes in (CHANGES | FAILURES).items():
        add_run(name, [0.9], **changes)
        bad.add(name)
    for name, content in CONFIGS.items():
        (add_run(name, [0.9]) / "seed_0/config.yaml").write_bytes(content)
        bad.add(name)
    for file in ("result.json", "config.yaml"):
        for name, put in SPECIAL.items():
            path = add_run(f"{name}_for_{file}", [0.9]) / "seed_0" / file
            path.unlink()
            put(path)
            bad.add(f"{name}_for_{file}")
    harmless(runs, add_run)
    return bad


def harmless(runs: Path, add_run: AddRun) -> None:
    """Write seeds that lose nothing, or something other than their numbers."""
    for file in ("provenance.json", "evaluation.parquet"):
        for name, put in SPECIAL.items():
            path = add_run(f"{name}_for_{file}", [0.1]) / "seed_0" / file
            path.unlink()
            put(path)
    for name, content in ODD_CONFIGS.items():
        (add_run(name, [0.1]) / "seed_0/config.yaml").write_bytes(content)
    for name, write in TABLES.items():
        write(add_run(f"table_{name}", [0.1]) / "seed_0/evaluation.parquet")
    metrics = {"return": 54.0, "": 1.0, "_hparams_/session_start_info": 1.0, "=1+1": 2.0, "huge": 10**60, "x" * 999: 1}
    add_run(
        "metrics_of_all_kinds", [0.1], metrics=metrics,
        parameters="many", steps_per_second=[1], references={"random": 3}, budget=True, env_steps=-3,
    )  # fmt: skip
    for number, label in enumerate(LABELS):
        add_run(f"label_{number}", [0.2], agent=label, digest=f"1{number}e{number}")
    store = runs / "double_dutch-paper"
    (store / "circle").symlink_to(store)
    (store / "self").symlink_to(store / "self")
    (store / "out").symlink_to("/")
    (store / "seed_9").symlink_to(store)
    no_text = store / os.fsdecode(b"\xff\xfe") / "d" / "seed_3"
    no_text.mkdir(parents=True)
    (no_text / ".lock").touch()
    lock = add_run("link_as_lock", [0.1], status="running") / "seed_0" / ".lock"
    (runs / "precious").write_text("mine")
    lock.symlink_to(runs / "precious")
    very_deep(runs)


def very_deep(runs: Path) -> None:
    """Create nested folders that are deeper than the longest path."""
    here = Path.cwd()
    try:
        os.chdir(runs)
        for _ in range(30):
            Path("d" * 200).mkdir()
            os.chdir("d" * 200)
    finally:
        os.chdir(here)


def _endless(path: Path) -> None:
    path.symlink_to("/dev/zero")


def _sparse(path: Path) -> None:
    with path.open("wb") as file:
        file.truncate(5 * 2**30)


def _large(path: Path) -> None:
    with path.open("wb") as file:
        file.truncate(20 * 2**20)


SPECIAL: Mapping[str, Callable[[Path], object]] = {
    "folder": Path.mkdir,
    "pipe": os.mkfifo,
    "endless": _endless,
    "gigabytes": _sparse,
    "megabytes": _large,
    "link_to_itself": lambda path: path.symlink_to(path),
    "broken_link": lambda path: path.symlink_to("nowhere"),
}
"""Kinds of objects that may be in place of a file."""


def _many_rows(path: Path) -> None:
    """Return a few kilobytes that unpack to a billion rows."""
    same = pa.array(np.zeros(2**20, np.int64))
    with pq.ParquetWriter(path, pa.schema({"step": pa.int64(), "return": pa.int64()}), use_dictionary=True) as writer:
        for _ in range(200):
            writer.write_table(pa.table({"step": same, "return": same}), row_group_size=2**20)


def _wrong_length(path: Path) -> None:
    """Return a Parquet file that claims a footer larger than the file."""
    pq.write_table(pa.table({"step": [0], "return": [1.0]}), path)
    content = bytearray(path.read_bytes())
    content[-8:-4] = struct.pack("<I", 2**31 - 1)
    path.write_bytes(content)


def _flipped(path: Path) -> None:
    pq.write_table(pa.table({"step": [0] * 1000, "return": np.arange(1000.0)}), path)
    content = bytearray(path.read_bytes())
    for place in range(10, len(content) - 10, 97):
        content[place] ^= 0x55
    path.write_bytes(content)


TABLES: Mapping[str, Callable[[Path], object]] = {
    "many_rows": _many_rows,
    "wrong_length": _wrong_length,
    "flipped": _flipped,
    "without_steps": lambda path: pq.write_table(pa.table({"return": [1.0]}), path),
    "text_steps": lambda path: pq.write_table(pa.table({"step": ["a"], "return": [1.0]}), path),
    "missing_steps": lambda path: pq.write_table(pa.table({"step": [0, None], "return": [1.0, 2.0]}), path),
    "text_returns": lambda path: pq.write_table(pa.table({"step": [0], "return": ["x"]}), path),
    "nested_returns": lambda path: pq.write_table(pa.table({"step": [0], "return": [[1.0]]}), path),
    "infinite_returns": lambda path: pq.write_table(pa.table({"step": [0, 9], "return": [np.inf, np.nan]}), path),
    "huge_steps": lambda path: pq.write_table(
        pa.table({"step": pa.array([2**64 - 1], pa.uint64()), "return": [1.0]}), path
    ),
    "no_rows": lambda path: pq.write_table(pa.table({"step": pa.array([], pa.int64())}), path),
    "many_evaluations": lambda path: pq.write_table(
        pa.table({"step": np.arange(50_000), "return": np.ones(50_000)}), path
    ),
    "json": lambda path: path.write_text(json.dumps({"step": 0})),
}
"""Tables that are not tables of episodes."""
