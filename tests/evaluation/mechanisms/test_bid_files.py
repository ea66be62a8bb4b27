"""A user's own bids: what is written is what is compared, and what cannot be used is told in one line."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import pytest

from ioa_marl.evaluation.mechanisms import DoubleAuctionBids, SlicingTypes, compare_double_auctions
from ioa_marl.evaluation.mechanisms.bid_files import read_double_auctions, read_shares, read_single_items
from ioa_marl.foundations.errors import UserError

AUCTION, ITEM, SHARES = (
    "market,side,value",
    "market,station,value,uav",
    "market,provider,worth,bandwidth,computing,cache",
)
READERS = {AUCTION: read_double_auctions, ITEM: read_single_items, SHARES: read_shares}


def test_drawn_bids_written_to_a_file_have_the_same_outcomes(tmp_path):
    bids = DoubleAuctionBids.drawn(markets=8, seed=4)
    lines = [AUCTION]
    for market, side in np.ndindex(8, 2):
        values = bids.valuations[market, side, : bids.size[market, side]]
        lines += [f"m{market},{('buyer', 'seller')[side]},{float(value)!r}" for value in values]
    file = tmp_path / "bids.csv"
    file.write_text("\n".join(lines))
    read = read_double_auctions(file)
    assert read.size.tolist() == bids.size.tolist()
    np.testing.assert_array_equal(read.valuations, bids.valuations)
    assert (read.own, read.source) == (True, "bids of bids.csv")
    names = ["mcafee", "trade_reduction", "k_double", "sbba", "vcg"]
    ours, theirs = (compare_double_auctions(each, seed=4, mechanisms=names) for each in (bids, read))
    for name in names:
        for figure in ("welfare", "revenue", "budget_surplus", "messages"):
            assert ours[name].figures[figure].tolist() == theirs[name].figures[figure].tolist()


def test_types_written_to_a_file_are_read_again(tmp_path):
    types = SlicingTypes.drawn(markets=3)
    lines = [SHARES]
    for market, (worth, rates) in enumerate(types.types):
        rows = zip(worth.tolist(), rates.tolist(), strict=True)
        lines += [f"{market},p{i},{beta!r},{','.join(map(repr, xi))}" for i, (beta, xi) in enumerate(rows)]
    (tmp_path / "types.csv").write_text("\n".join(lines))
    read = read_shares(tmp_path / "types.csv")
    for (worth, rates), (worth_read, rates_read) in zip(types.types, read.types, strict=True):
        np.testing.assert_array_equal(worth, worth_read)
        np.testing.assert_array_equal(rates, rates_read)


def test_columns_may_be_in_any_order_and_markets_may_be_mixed(tmp_path):
    text = "\ufeffvalue, side ,market\r\n5,buyer,a\r\n\r\n 3,seller,b\r\n2,SELLER,a\r\n7,buyer,b\r\n"
    (tmp_path / "bids.csv").write_text(text, newline="")
    read = read_double_auctions(tmp_path / "bids.csv")
    assert read.valuations[:, :, 0].tolist() == [[5.0, 2.0], [7.0, 3.0]]


def test_a_parquet_file_has_the_bids_of_the_same_csv_file(tmp_path):
    text = "market,side,value\na,buyer,5\nb,seller,3.25\na,seller,2\nb,buyer,7\n"
    (tmp_path / "bids.csv").write_text(text)
    pq.write_table(pa.csv.read_csv(tmp_path / "bids.csv"), tmp_path / "bids.parquet")
    ours, theirs = (read_double_auctions(tmp_path / f"bids.{form}") for form in ("parquet", "csv"))
    assert ours.valuations.tolist() == theirs.valuations.tolist()
    (tmp_path / "bids.parquet").write_bytes(b"PAR1 and no more")
    with pytest.raises(UserError, match=r"bids.parquet"):
        read_double_auctions(tmp_path / "bids.parquet")


def test_the_uav_may_be_left_out_or_named_once(tmp_path):
    file = tmp_path / "items.csv"
    file.write_text(f"{ITEM}\nx,a,8,10\nx,b,5,\ny,a,1,2\ny,b,2,2\n")
    read = read_single_items(file)
    assert ([s.tolist() for s in read.stations], read.uav.tolist()) == ([[8.0, 5.0], [1.0, 2.0]], [10.0, 2.0])
    file.write_text("market,station,value\nx,a,8\nx,b,5\n")
    assert read_single_items(file).uav.tolist() == [0.0]


@pytest.mark.parametrize(
    ("header", "rows", "message"),
    [
        (AUCTION, "1,buyer,abc", "line 2: value=abc is not allowed: use a number from 0 to 1e+09"),
        (AUCTION, "1,buyer,5\n1,seller,-1", "line 3: value=-1 is not allowed: use a number from 0 to 1e+09"),
        (AUCTION, "1,buyer,nan", "line 2: value=nan is not allowed"),
        (AUCTION, "1,buyer,1_0", "line 2: value=1_0 is not allowed"),
        (AUCTION, "1,buyer,inf", "line 2: value=inf is not allowed"),
        (AUCTION, "1,broker,5", "line 2: side=broker is not allowed: use buyer or seller"),
        (AUCTION, ",buyer,5", "line 2: market= is not allowed: use a name"),
        (AUCTION, "1,buyer,5", "market 1 has no seller: use one or more"),
        (AUCTION, "1,buyer,5,7", "line 2: 4 cells are not allowed: use 3, market, side, value"),
        (AUCTION, "", "has 0 markets"),
        (
            "market,side,price",
            "1,buyer,5",
            "line 1: the columns market, side, price are not allowed: use market, side,",
        ),
        ("market,side,value,value", "1,buyer,5,5", "line 1: the columns market, side, value, value are not allowed"),
        (ITEM, "1,a,5,3", "market 1 has one station: use two or more"),
        (ITEM, "1,a,5,3\n1,a,4,3", "line 3: station=a is not allowed: use every station of a market once"),
        (ITEM, "1,a,5,3\n1,b,4,2", "line 3: uav=2 is not allowed: use the same valuation in the whole market, here 3"),
        (ITEM, "1,a,5,\n1,b,4,", "line 2: uav= is not allowed: use a number from 0 to 1e+09 in one row of each market"),
        (SHARES, "1,a,0,1,1,1", "line 2: worth=0 is not allowed: use a number from 1e-12 to 1e+12"),
        (SHARES, "1,a,5,1,-1,1", "line 2: computing=-1 is not allowed: use a number from 1e-06 to 1e+06, or 0"),
    ],
)
def test_what_cannot_be_used_is_told_with_line_column_value_and_what_is_allowed(tmp_path, header, rows, message):
    readers = {"market,side,price": read_double_auctions, "market,side,value,value": read_double_auctions, **READERS}
    (tmp_path / "bids.csv").write_text(f"{header}\n{rows}\n")
    with pytest.raises(UserError) as error:
        readers[header](tmp_path / "bids.csv")
    assert message in str(error.value)
    assert str(tmp_path / "bids.csv") in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("content", [b"", b"\n\n", b"\xff\xfe\x00", b'market,side,value\n1,buyer,"5\n'])
def test_a_file_that_is_no_table_is_refused(tmp_path, content):
    (tmp_path / "bids.csv").write_bytes(content)
    with pytest.raises(UserError, match=r"bids\.csv"):
        read_double_auctions(tmp_path / "bids.csv")


def test_a_file_that_does_not_exist_is_refused(tmp_path):
    with pytest.raises(UserError, match="cannot be read: No such file"):
        read_double_auctions(tmp_path / "none.csv")
