"""Batches of rows arrive in PostgreSQL as they are."""

from __future__ import annotations

import datetime as dt
import hashlib
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from on_copy import batch_of, cells, load, plain, send, tokens

from target_meltano import kinds
from target_meltano.kinds import INTEGER, Kind, arrow_type, decimal
from target_meltano_postgres import copy
from target_meltano_postgres.copy import Reader, encode

pytestmark = pytest.mark.usefixtures("way")

UTC = dt.timezone.utc
VALUES = [
    (kinds.BOOLEAN, [True, False]),
    (INTEGER, [0, -1, 2**63 - 1, -(2**63)]),
    (kinds.DOUBLE, [0.1, -0.0, 5e-324, 1.7976931348623157e308, float("inf"), float("-inf"), float("nan")]),
    (kinds.STRING, ["", "a", "\\N", "\t\n\r\\.", "Grüße, 世界 🐘", "x" * 70_000]),
    (kinds.DATE, [dt.date(1, 1, 1), dt.date(1969, 12, 31), dt.date(2000, 1, 1), dt.date.max]),
    (kinds.TIME, [dt.time.min, dt.time(12, 0, 0, 1), dt.time.max]),
    (
        kinds.TIMESTAMP,
        [
            dt.datetime(1, 1, 1, tzinfo=UTC),
            dt.datetime(1969, 12, 31, 23, 59, 59, 999999, tzinfo=UTC),
            dt.datetime(2000, 1, 1, tzinfo=UTC),
            dt.datetime.max.replace(tzinfo=UTC),
        ],
    ),
    (kinds.BINARY, [b"", b"\x00\xff", bytes(range(256))]),
]


@pytest.mark.parametrize(("kind", "values"), VALUES, ids=[str(kind) for kind, _ in VALUES])
def test_values_come_back(connected: Any, kind: Kind, values: list[Any]) -> None:
    rows = load(connected, batch_of((kind, [None, *values, None])), kind)
    found = [bytes(x) if isinstance(x, memoryview) else x for (x,) in rows]
    assert list(map(repr, found)) == list(map(repr, [None, *values, None]))


def test_json_keeps_its_digits(connected: Any) -> None:
    """JSON is sent as text, so that jsonb sees the numbers as they were written."""
    texts = ['{"a": [1.10, null, "ü"]}', '"x"', "null", "[]", "123456789012345678901234567890.50"]
    batch = batch_of((kinds.JSON, [*texts, None]))
    assert load(connected, batch, kinds.JSON, select="c0::text") == [(x,) for x in [*texts, None]]


@pytest.mark.parametrize(("kind", "least"), [(kinds.TIMESTAMP, -(2**63)), (kinds.DATE, -(2**31))], ids=["timestamp", "date"])
def test_times_before_all_that_can_be_told_are_refused(kind: Kind, least: int) -> None:
    for value in (least, least + 10_000):
        column = pa.array([0, value], pa.int64() if kind == kinds.TIMESTAMP else pa.int32()).view(arrow_type(kind))
        with pytest.raises(ValueError, match="Underflow|cannot hold"):
            encode(pa.RecordBatch.from_arrays([column], ["a"]), [kind])


def test_rows_of_every_kind_stay_together(connected: Any, way: str) -> None:
    """More rows than fit one piece, of a slice of a batch whose columns all have one name."""
    n = 60_000
    columns: list[tuple[Kind, list[Any]]] = [
        (INTEGER, list(range(n))),
        (kinds.NUMBER, ["1e1" if i % 1000 == 0 else f"{i}.{i % 10}" for i in range(n)]),
        (kinds.STRING, [None if i % 7 == 0 else "x" * (i % 50) for i in range(n)]),
        (kinds.JSON, [f"[{i}]" for i in range(n)]),
    ]
    batch = batch_of(*columns).rename_columns(["a"] * 4).slice(11, n - 20)
    used = [kind for kind, _ in columns]
    assert len(encode(batch, used)) > (4 if way == "by pgpq" else 0)
    rows = load(connected, batch, *used, select="c0, c1::text, c2, c3::text")
    integers, numbers, strings, texts = (values for _, values in columns)
    plains = [plain(number) for number in numbers]
    assert rows == list(zip(integers, plains, strings, texts, strict=True))[11 : n - 9]


def test_batch_without_rows(connected: Any) -> None:
    every = [*kinds.SIMPLE, decimal(5, 2)]
    assert load(connected, batch_of(*((kind, []) for kind in every)), *every) == []


def test_rows_of_nulls(connected: Any) -> None:
    every = [*kinds.SIMPLE, decimal(5, 2)]
    batch = batch_of(*((kind, [None] * 3) for kind in every))
    assert load(connected, batch, *every) == [(None,) * len(every)] * 3


def test_rows_without_columns(connected: Any) -> None:
    rows: Any = pa.array([{}] * 3, pa.struct([]))
    batch = pa.RecordBatch.from_struct_array(rows)
    with connected.cursor() as cursor:
        cursor.execute("CREATE TEMP TABLE no_columns ()")
        send(cursor, "no_columns", encode(batch, []))
        cursor.execute("SELECT count(*) FROM no_columns")
        assert cursor.fetchall() == [(3,)]


def test_string_of_100_megabytes(connected: Any) -> None:
    text = "ü234567\n" * 11_111_112
    batch = batch_of((kinds.STRING, ["a", text, "b"]))
    rows = load(connected, batch, kinds.STRING, select="octet_length(c0), md5(c0)")
    assert rows[1] == (len(text.encode()), hashlib.md5(text.encode()).hexdigest())
    assert len(rows) == 3


ANY = {
    kinds.BOOLEAN: st.booleans(),
    INTEGER: st.integers(-(2**63), 2**63 - 1),
    kinds.NUMBER: tokens,
    decimal(400, 200): tokens.filter(lambda token: len(plain(token)) < 150),
    kinds.DOUBLE: st.floats(),
    kinds.STRING: st.text(max_size=20),
    kinds.DATE: st.dates(),
    kinds.TIME: st.times(),
    kinds.TIMESTAMP: st.datetimes(timezones=st.just(UTC)),
    kinds.BINARY: st.binary(max_size=20),
    kinds.JSON: st.text(max_size=20),
}


@settings(deadline=None)
@given(st.data())
def test_both_ways_are_the_same(data: st.DataObject) -> None:
    used = data.draw(st.lists(st.sampled_from(list(ANY)), min_size=1, max_size=12))
    count = data.draw(st.integers(0, 12))
    columns = [data.draw(st.lists(st.none() | ANY[kind], min_size=count, max_size=count)) for kind in used]
    start, stop = sorted((data.draw(st.integers(0, count)), data.draw(st.integers(0, count))))
    batch = batch_of(*zip(used, columns, strict=True)).slice(start, stop - start)
    slow = cells(b"".join(copy._encode(batch, used)), used)
    assert cells(b"".join(encode(batch, used)), used) == slow
    assert len(slow) == stop - start


@pytest.mark.parametrize(
    ("batch", "fault"),
    [
        (pa.record_batch([pa.DictionaryArray.from_arrays(pa.array([0, 1]), ["a", "b"])], ["a"]), TypeError),
        (pa.record_batch([pa.array([1, 2], pa.uint32())], ["a"]), TypeError),
        (pa.record_batch([pa.array([1]), pa.array([1])], ["a", "b"]), ValueError),
        (pa.StructArray.from_arrays([pa.array([1, 2])], ["a"], mask=pa.array([True, False])), ValueError),
    ],
    ids=["dictionary", "uint32", "columns", "null rows"],
)
def test_c_takes_nothing_for_something_else(batch: Any, fault: type[Exception], way: str) -> None:
    if way == "in C":
        with pytest.raises(fault):
            copy._c.encode(*batch.__arrow_c_array__(), ((6, 0, 0),), None)


def test_c_has_room_for_no_more_than_a_number_needs(way: str) -> None:
    batch = pa.record_batch([pa.array(["1e5"])], ["a"])
    if way == "in C":
        copied = copy._c.encode(*batch.__arrow_c_array__(), ((8, 9, 9),), lambda token, row, column: b"x" * 18)
        assert copied[25:-2] == b"x" * 18
        with pytest.raises(ValueError, match="row 0, column 0: 19 bytes for a number of 3"):
            copy._c.encode(*batch.__arrow_c_array__(), ((8, 9, 9),), lambda token, row, column: b"x" * 19)


def test_c_knows_where_rows_of_a_slice_begin(way: str) -> None:
    rows = pa.StructArray.from_arrays([pa.array([1, 2, 3])], ["a"]).slice(1)
    if way == "in C":
        copied = copy._c.encode(*rows.__arrow_c_array__(), ((6, 0, 0),), None)
        assert cells(copied, [INTEGER]) == [[(2).to_bytes(8, "big")], [(3).to_bytes(8, "big")]]


@given(st.lists(st.binary(max_size=20)), st.integers(1, 30))
def test_reader_returns_all_bytes_in_order(buffers: list[bytes], size: int) -> None:
    reader = Reader(buffers)
    found = list(iter(lambda: reader.read(size), b""))
    assert b"".join(found) == b"".join(buffers)
    assert all(len(piece) <= size for piece in found)


def test_reader_copies_nothing_that_it_need_not_cut() -> None:
    buffer = bytes(1000)
    assert Reader([b"", buffer]).read(1000) is buffer


@pytest.mark.parametrize(
    ("spelt", "kind", "values"),
    [
        ("smallint", pa.int16(), [0, -(2**15), 2**15 - 1, None]),
        ("integer", pa.int32(), [1, -(2**31), 2**31 - 1, None]),
        ("real", pa.float32(), [0.5, -1.25, float("inf"), None]),
    ],
    ids=["smallint", "integer", "real"],
)
def test_narrow_types_of_others_have_their_own_bytes(connected: Any, spelt: str, kind: pa.DataType, values: list[Any]) -> None:
    batch = pa.RecordBatch.from_arrays([pa.array(values, kind), pa.array(["x"] * 4)], ["a", "b"])
    with connected.cursor() as cursor:
        cursor.execute(f"CREATE TEMP TABLE narrow_{spelt} (a {spelt}, b text)")
        send(cursor, f"narrow_{spelt}", encode(batch, [INTEGER, kinds.STRING]))
        cursor.execute(f"SELECT a, b FROM narrow_{spelt}")
        assert cursor.fetchall() == [(value, "x") for value in values]
        cursor.execute(f"DROP TABLE narrow_{spelt}")
