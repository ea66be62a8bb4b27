"""Tables of one's own: one text for all forms of a file, what is refused, and the digest that follows from figures."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ioa_marl.foundations.parameters import ParameterError
from ioa_marl.foundations.tables import LARGEST_TABLE, hold_table, is_table, parse_table, read_table, table_text


@dataclass(frozen=True)
class _Config:
    data: str | None = None


def write(folder, text, name="table.csv"):
    path = folder / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return str(path)


def test_the_same_figures_have_one_text_whatever_the_file(tmp_path):
    table = pa.table({"kind": ["a", "b", "a"], "worth": [1.5, None, 3.0], "count": [1, 2, 3]})
    pq.write_table(table, tmp_path / "table.parquet")
    of_parquet = table_text("data", str(tmp_path / "table.parquet"))
    for csv in (
        "kind,worth,count\na,1.5,1\nb,,2\na,3.0,3\n",
        '\ufeffkind, worth ,"count"\r\na,1.50,1\r\n\r\nb,,2.0\r\na,3e0,3',
    ):
        assert table_text("data", write(tmp_path, csv)) == of_parquet == "kind,worth,count\na,1.5,1\nb,,2\na,3,3\n"


@given(
    st.lists(st.one_of(st.floats(allow_nan=False, allow_infinity=False), st.none()), min_size=1, max_size=6),
    st.lists(st.text(st.characters(codec="utf-8", exclude_categories=["C", "Z"]), min_size=1), min_size=6, max_size=6),
)
def test_a_text_is_its_own_text_and_keeps_every_bit(numbers, names):
    rows = [[repr(x) if x is not None else "", f"\"{name.replace(chr(34), chr(34) * 2)}\""]
            for x, name in zip(numbers, names, strict=False)]  # fmt: skip
    text = table_text("data", "x,name\n" + "".join(",".join(row) + "\n" for row in rows))
    assert table_text("data", text) == text
    found = parse_table(text).columns["x"]
    np.testing.assert_array_equal(found, [np.nan if x is None else x for x in numbers])


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ("", "line of names"), ("a,b\n", "at least one row"), ("a,b\n1\n", "rows of 2 cells; row 1 has 1"),
        ("a,a\n1,2\n", "names of columns that all differ"), ("a,\n1,2\n", "names of columns"),
        (b"\xff\xfe\n1", "utf-8"), (b"PAR1 and no more", "Parquet"), ('a\n"open', "csv"),
    ],
)  # fmt: skip
def test_what_is_no_table_is_refused_in_a_line(tmp_path, content, told):
    with pytest.raises(ParameterError, match=told) as caught:
        table_text("data", write(tmp_path, content))
    assert "\n" not in str(caught.value)


def test_a_missing_file_a_folder_and_too_large_a_table_are_refused(tmp_path):
    for path, told in ((tmp_path / "none.csv", "No such file"), (tmp_path, "comma-separated")):
        with pytest.raises(ParameterError, match=told):
            table_text("data", str(path))
    large = write(tmp_path, "x\n" + "123456789\n" * (LARGEST_TABLE // 10))
    with pytest.raises(ParameterError, match="at most 1000000"):
        table_text("data", large)
    assert read_table(large).rows == LARGEST_TABLE // 10


def test_columns_by_name_are_the_table_of_a_file(tmp_path):
    path = tmp_path / "table.csv"
    path.write_text("kind,worth\na,1.5\nb,\n")
    for columns in (
        {"kind": ["a", "b"], "worth": [1.5, None]},
        {"kind": np.array(["a", "b"]), "worth": np.array([1.5, np.nan])},
        {"kind": ("a", "b"), "worth": ["1.5", ""]},
    ):
        assert table_text("data", columns) == table_text("data", path) == "kind,worth\na,1.5\nb,\n"
    with pytest.raises(ParameterError, match="columns of the same length"):
        table_text("data", {"kind": ["a"], "worth": [1, 2]})
    with pytest.raises(ParameterError, match="data=3"):
        table_text("data", 3)


def test_a_configuration_holds_the_table_and_not_the_path(tmp_path):
    path = write(tmp_path, "x\n1\n")
    config = _Config(path)
    assert hold_table(config, "data").columns["x"].tolist() == [1.0]
    assert config == _Config("x\n1\n")
    assert is_table(config.data)
    assert not is_table(path)
    assert hold_table(_Config(), "data") is None


def test_a_column_of_text_is_refused_where_numbers_are_due():
    table = parse_table(table_text("data", "x\n1\ntwo\n"))
    with pytest.raises(ParameterError, match=r"data.x=two \(row 2\) is not allowed: use lengths"):
        table.numbers("x", "lengths")
    with pytest.raises(ParameterError, match=r"data.x=1 \(row 1\) is not allowed: use more"):
        table.require("x", np.array([False, True]), "more")


def test_names_are_text_even_if_they_look_like_numbers(tmp_path):
    large = [2**53, 2**53 + 1]
    texts = {
        table_text("data", {"market": [str(number) for number in large], "value": [1, 2]}),
        table_text("data", {"market": large, "value": [1.0, 2.0]}),
        table_text("data", write(tmp_path, f"market,value\n{large[0]},1\n{large[1]},2\n")),
    }
    pq.write_table(pa.table({"market": large, "value": [1, 2]}), tmp_path / "names.parquet")
    assert texts == {table_text("data", str(tmp_path / "names.parquet"))}
    assert parse_table(texts.pop()).texts("market") == tuple(map(str, large))
    names = parse_table(table_text("data", "station,x\n007,1\n7,1\n1e1,1\nnan,1\n")).texts("station")
    assert names == ("007", "7", "1e1", "nan")


def refusal(value):
    """Return why a table is refused, or "" if it is not."""
    try:
        table_text("data", value)
    except ParameterError as error:
        return str(error)
    return ""


@pytest.mark.parametrize("odd", ["\x85", "\u2028", "\r", "\n", "\x00", "\x1b"])
def test_a_cell_that_a_configuration_file_would_change_is_refused(odd):
    with pytest.raises(ParameterError, match="printable") as caught:
        table_text("data", {"side": [f"a{odd}b"], "value": [1.0]})
    assert str(caught.value).isprintable()


def test_a_parquet_file_that_is_damaged_or_of_other_types_is_refused_in_a_line(tmp_path):
    path = tmp_path / "table.parquet"
    pq.write_table(pa.table({"x": [float(i) for i in range(500)]}), path)
    whole = path.read_bytes()
    rng = np.random.default_rng(3)
    for _ in range(60):
        damaged = bytearray(whole)
        for place in rng.integers(4, len(damaged), 8):
            damaged[place] = int(rng.integers(256))
        path.write_bytes(bytes(damaged))
        assert refusal(str(path)).isprintable()  # "" where the damage is not noticed
    for column in (pa.array([1, 2], pa.timestamp("ns")), pa.array([[1], [2]]), pa.array([True, False])):
        pq.write_table(pa.table({"x": column}), path)
        with pytest.raises(ParameterError, match=r"data.x=a column of"):
            table_text("data", str(path))
    with pytest.raises(ParameterError, match="a folder"):
        table_text("data", str(tmp_path))
    with pytest.raises(ParameterError, match="can be read"):
        table_text("data", "~nobody_of_this_name/x.csv")
    for bad in ({"x": [[1, 2], [3]]}, {"x": np.ones((2, 2))}):
        with pytest.raises(ParameterError):
            table_text("data", bad)
