"""Batches of rows arrive in PostgreSQL as they are, numbers digit by digit."""

from __future__ import annotations

import datetime as dt
import hashlib
import re
import struct
from collections.abc import Iterator, Sequence
from decimal import Decimal
from fractions import Fraction
from itertools import count
from typing import Any

import psycopg2
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from target_meltano import kinds
from target_meltano.kinds import INTEGER, Kind, arrow_type, decimal
from target_meltano_postgres import copy
from target_meltano_postgres.copy import NumberError, Reader, encode, numeric

SQL_TYPES = {
    "boolean": "boolean",
    "integer": "bigint",
    "number": "numeric",
    "double": "double precision",
    "string": "text",
    "date": "date",
    "time": "time",
    "timestamp": "timestamptz",
    "binary": "bytea",
    "json": "jsonb",
}
UTC = dt.timezone.utc
IN_C = copy._c
unshared = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
names = (f"copied_{i}" for i in count())


@pytest.fixture(scope="module", params=["in C", "by pgpq"], autouse=True)
def way(request: pytest.FixtureRequest) -> Iterator[str]:
    """Each test runs with either encoder."""
    if request.param == "in C" and not IN_C:
        pytest.skip("the extension was not built; install a C compiler and make anew")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(copy, "_c", IN_C if request.param == "in C" else None)
        yield request.param


@pytest.fixture(scope="module")
def connection(way: str, postgres_url: str) -> Iterator[Any]:
    connection = psycopg2.connect(postgres_url, options="-c timezone=UTC")
    connection.autocommit = True
    yield connection
    connection.close()


def batch_of(*columns: tuple[Kind, Sequence[Any]]) -> pa.RecordBatch:
    arrays = [pa.array(values, arrow_type(kind)) for kind, values in columns]
    return pa.RecordBatch.from_arrays(arrays, [f"c{i}" for i in range(len(arrays))])


def load(connection: Any, batch: pa.RecordBatch, *kinds: Kind, select: str = "") -> list[Any]:
    """Copy *batch* into a new table, its columns c0, c1 and so on, and return its rows in order.

    Short rows fill up the pages of others, so one more column, the last, tells the order.
    """
    table, last = next(names), len(kinds)
    columns = [f"c{i} {SQL_TYPES.get(kind.name, str(kind))}" for i, kind in enumerate(kinds)]
    select = select or ", ".join(f"c{i}" for i in range(last))
    batch = batch.append_column("row", pa.array(range(batch.num_rows), pa.int64()))
    with connection.cursor() as cursor:
        cursor.execute(f"CREATE TEMP TABLE {table} ({', '.join([*columns, f'c{last} bigint'])})")
        send(cursor, table, encode(batch, [*kinds, INTEGER]))
        cursor.execute(f"SELECT {select} FROM {table} ORDER BY c{last}")
        rows: list[Any] = cursor.fetchall()
        cursor.execute(f"DROP TABLE {table}")
    return rows


def send(cursor: Any, table: str, buffers: list[bytes]) -> None:
    sql = f"COPY {table} FROM STDIN (FORMAT binary)"
    cursor.copy_expert(sql, Reader(buffers), size=copy.READ_BYTES)


def load_numbers(connection: Any, tokens: Sequence[str | None], kind: Kind) -> list[Any]:
    return [text for (text,) in load(connection, batch_of((kind, tokens)), kind, select="c0::text")]


def plain(token: str) -> str:
    """Return the digits of *token* without an exponent, as PostgreSQL writes them."""
    number = Decimal(token)
    return format(abs(number) if number == 0 else number, "f")


def parts(value: bytes) -> tuple[Fraction, int]:
    """Return a binary numeric as its exact value and its display scale."""
    length, weight, sign, scale = struct.unpack(">HhHH", value[:8])
    groups = struct.unpack(f">{length}H", value[8:])
    assert all(group < 10000 for group in groups)
    number = sum(Fraction(g) * Fraction(10000) ** (weight - i) for i, g in enumerate(groups))
    return (-1 if sign else 1) * Fraction(number), scale


VALUES = [
    (kinds.BOOLEAN, [True, False]),
    (INTEGER, [0, -1, 2**63 - 1, -(2**63)]),
    (kinds.DOUBLE, [0.1, -0.0, 5e-324, 1.7976931348623157e308, float("inf"), float("-inf")]),
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
def test_values_come_back(connection: Any, kind: Kind, values: list[Any]) -> None:
    rows = load(connection, batch_of((kind, [None, *values, None])), kind)
    found = [bytes(x) if isinstance(x, memoryview) else x for (x,) in rows]
    assert list(map(repr, found)) == list(map(repr, [None, *values, None]))


def test_json_keeps_its_digits(connection: Any) -> None:
    """JSON is sent as text, so that jsonb sees the numbers as they were written."""
    texts = ['{"a": [1.10, null, "ü"]}', '"x"', "null", "[]", "123456789012345678901234567890.50"]
    batch = batch_of((kinds.JSON, [*texts, None]))
    assert load(connection, batch, kinds.JSON, select="c0::text") == [(x,) for x in [*texts, None]]


NUMBERS = {
    "0": "0",
    "-0": "0",
    "-0.0": "0.0",
    "0.00": "0.00",
    "0e5": "0",
    "0e-5": "0.00000",
    "0e999999999999999999999": "0",
    "19.90": "19.90",
    "-19.9": "-19.9",
    "0.1": "0.1",
    "0.0001": "0.0001",
    "0.00010": "0.00010",
    "10000": "10000",
    "10000.00001": "10000.00001",
    "9999.9999": "9999.9999",
    "1e2": "100",
    "1E+2": "100",
    "1.50e1": "15.0",
    "1e0000000000000000000002": "100",
    "-12.5e-3": "-0.0125",
    "5e-324": "0." + "0" * 323 + "5",
    "1.7976931348623157e308": "17976931348623157" + "0" * 292,
    "0.30000000000000004": "0.30000000000000004",
    "9999999999999999999": "9999999999999999999",
    "0.9999999999999999999": "0.9999999999999999999",
    "18446744073709551615": "18446744073709551615",
    "99999999999999999999": "99999999999999999999",
    "123456789012345678901234567890.5": "123456789012345678901234567890.5",
    "1e131071": "1" + "0" * 131071,
    "9" * 131072: "9" * 131072,
    "1e-16383": "0." + "0" * 16382 + "1",
    "0." + "9" * 16383: "0." + "9" * 16383,
    "10e-16384": "0." + "0" * 16382 + "1",
}


def test_numbers_keep_their_digits(connection: Any) -> None:
    assert load_numbers(connection, [None, *NUMBERS], kinds.NUMBER) == [None, *NUMBERS.values()]


@pytest.mark.parametrize("token", NUMBERS, ids=[token[:40] for token in NUMBERS])
def test_number_alone_in_its_batch(connection: Any, token: str) -> None:
    """The width that all numbers of a batch share suits each of them."""
    assert load_numbers(connection, [token], kinds.NUMBER) == [NUMBERS[token]]


money = st.decimals(allow_nan=False, allow_infinity=False, places=2).map(lambda x: format(x, "f"))
floats = st.floats(allow_nan=False, allow_infinity=False).map(repr)
tokens = st.one_of(
    st.from_regex(r"-?(0|[1-9][0-9]{0,9})(\.[0-9]{1,9})?", fullmatch=True),
    st.from_regex(r"-?(0|[1-9][0-9]{0,30})(\.0{0,9}[0-9]{1,30})?", fullmatch=True),
    st.from_regex(r"-?(0|[1-9][0-9]{0,9})(\.[0-9]{1,9})?[eE][+-]?[0-9]{1,3}", fullmatch=True),
    st.decimals(allow_nan=False, allow_infinity=False).map(lambda x: str(x).replace("E", "e")),
    floats,
    money,
)


@unshared
@given(st.lists(st.none() | tokens, max_size=50))
def test_any_numbers_keep_their_digits(connection: Any, values: list[str | None]) -> None:
    wanted = [None if token is None else plain(token) for token in values]
    assert load_numbers(connection, values, kinds.NUMBER) == wanted


@given(st.lists(st.none() | tokens), st.integers(0, 3))
def test_numbers_made_at_once_are_those_made_alone(values: list[str | None], skip: int) -> None:
    array = pa.array(values, pa.string()).slice(skip)
    alone = [t and parts(copy._alone(t.encode(), 0, 131072, 16383)) for t in values[skip:]]
    assert [x and parts(x) for x in numeric(array).to_pylist()] == alone


@pytest.mark.parametrize(
    "token",
    ["0", "19.90", "-999999999.99", "9223372036854775807", "0.30000000000000004", "0.0" + "9" * 18],
)
def test_common_numbers_are_not_made_alone(token: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(copy, "_alone", None)
    ((found,),) = cells(b"".join(encode(batch_of((kinds.NUMBER, [token])), [kinds.NUMBER])), [kinds.NUMBER])
    assert found[0] == Fraction(token)


NOT_NUMBERS = [
    "", " ", " 1", "1 ", "1\n", "+1", "-", "--1", "-+1", "1-", "1-2", ".", ".5", "5.", "-.5", "1..2",
    "1.2.3", "1.-2", "-1.2-", "00", "01", "-01", "01.5", "1_000", "1,5", "0x1", "0x10", "1e", "1e+",
    "e1", "1e1.5", "1e1e1", "NaN", "nan", "Infinity", "-inf", "null", "true", "١", "1١", "½", "1\x00",
    "9" * 30 + "x", "1e99999x",
]  # fmt: skip


@pytest.mark.parametrize("token", NOT_NUMBERS, ids=repr)
@pytest.mark.parametrize("last", [True, False], ids=["last", "followed"])
def test_what_is_no_number_is_refused(token: str, last: bool) -> None:
    values = ["1.5", None, token] if last else ["1.5", None, token, "-2.5"]
    batch = batch_of((INTEGER, range(len(values))), (kinds.NUMBER, values))
    with pytest.raises(NumberError, match="wanted a JSON number") as error:
        encode(batch, [INTEGER, kinds.NUMBER])
    assert (error.value.row, error.value.column) == (2, 1)


GRAMMAR = re.compile(r"-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)?")


@given(st.text("0123456789.-+eE _x", max_size=12).filter(lambda text: not GRAMMAR.fullmatch(text)))
def test_no_other_text_is_taken_for_a_number(text: str) -> None:
    """What is between two numbers does not become one by what stands before and after it."""
    with pytest.raises(NumberError) as error:
        encode(batch_of((kinds.NUMBER, ["-1.5", text, "-2"])), [kinds.NUMBER])
    assert error.value.row == 1


@pytest.mark.parametrize(
    ("kind", "token"),
    [
        (kinds.NUMBER, "1e131072"),
        (kinds.NUMBER, "1" + "0" * 131072),
        (kinds.NUMBER, "1e-16384"),
        (kinds.NUMBER, "0." + "0" * 16383 + "1"),
        (kinds.NUMBER, "1e99999999999999999999999"),
        (kinds.NUMBER, "-1e-99999999999999999999999"),
        (decimal(5, 2), "1.005"),
        (decimal(5, 2), "1e-3"),
        (decimal(5, 2), "1000"),
        (decimal(5, 2), "-1e3"),
        (decimal(2, 2), "1.00"),
        (decimal(5, 0), "1.5"),
    ],
    ids=lambda x: str(x)[:30],
)
def test_what_its_column_cannot_hold_is_refused(kind: Kind, token: str) -> None:
    """PostgreSQL would round a number with too many places without a word."""
    with pytest.raises(NumberError, match="digits before the point") as error:
        encode(batch_of((kind, ["0", token])), [kind])
    assert error.value.row == 1


def test_the_first_row_that_is_refused_is_told() -> None:
    batch = batch_of((kinds.NUMBER, ["1", "1", "1e200000"]), (kinds.NUMBER, ["1e200000", "1", "1"]))
    with pytest.raises(NumberError) as error:
        encode(batch, [kinds.NUMBER] * 2)
    assert (error.value.row, error.value.column) == (0, 1)


@pytest.mark.parametrize(("kind", "least"), [(kinds.TIMESTAMP, -(2**63)), (kinds.DATE, -(2**31))], ids=["timestamp", "date"])
def test_times_before_all_that_can_be_told_are_refused(kind: Kind, least: int) -> None:
    for value in (least, least + 10_000):
        column = pa.array([0, value], pa.int64() if kind == kinds.TIMESTAMP else pa.int32()).view(arrow_type(kind))
        with pytest.raises(ValueError, match="Underflow|cannot hold"):
            encode(pa.RecordBatch.from_arrays([column], ["a"]), [kind])


def test_decimals_have_the_places_of_their_column(connection: Any) -> None:
    values = ["999.99", "-1", "1.500", "1.50000000000000000000", "1e-2", "0e-9", None]
    wanted = ["999.99", "-1.00", "1.50", "1.50", "0.01", "0.00", None]
    assert load_numbers(connection, values, decimal(5, 2)) == wanted
    assert load_numbers(connection, ["0.5", "-0.05"], decimal(2, 2)) == ["0.50", "-0.05"]


def test_numbers_take_no_more_room_than_their_own(connection: Any) -> None:
    """The zero groups that make all numbers as wide as the widest are not stored."""
    values = ["19.90", "0", "-0.00", "10000", "123456789012345.678", "1e20"]
    batch = batch_of((kinds.NUMBER, values), (kinds.STRING, values))
    select = "pg_column_size(c0 + 0), pg_column_size(c1::numeric)"
    rows = load(connection, batch, kinds.NUMBER, kinds.STRING, select=select)
    assert all(found == wanted for found, wanted in rows)


def test_rows_of_every_kind_stay_together(connection: Any, way: str) -> None:
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
    rows = load(connection, batch, *used, select="c0, c1::text, c2, c3::text")
    integers, numbers, strings, texts = (values for _, values in columns)
    plains = [plain(number) for number in numbers]
    assert rows == list(zip(integers, plains, strings, texts, strict=True))[11 : n - 9]


def test_batch_without_rows(connection: Any) -> None:
    every = [*kinds.SIMPLE, decimal(5, 2)]
    assert load(connection, batch_of(*((kind, []) for kind in every)), *every) == []


def test_rows_of_nulls(connection: Any) -> None:
    every = [*kinds.SIMPLE, decimal(5, 2)]
    batch = batch_of(*((kind, [None] * 3) for kind in every))
    assert load(connection, batch, *every) == [(None,) * len(every)] * 3


def test_rows_without_columns(connection: Any) -> None:
    rows: Any = pa.array([{}] * 3, pa.struct([]))
    batch = pa.RecordBatch.from_struct_array(rows)
    with connection.cursor() as cursor:
        cursor.execute("CREATE TEMP TABLE no_columns ()")
        send(cursor, "no_columns", encode(batch, []))
        cursor.execute("SELECT count(*) FROM no_columns")
        assert cursor.fetchall() == [(3,)]


def test_string_of_100_megabytes(connection: Any) -> None:
    text = "ü234567\n" * 11_111_112
    batch = batch_of((kinds.STRING, ["a", text, "b"]))
    rows = load(connection, batch, kinds.STRING, select="octet_length(c0), md5(c0)")
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


def cells(copied: bytes, used: Sequence[Kind]) -> list[list[Any]]:
    """Return the cells of a whole COPY, exact numbers by their values."""
    assert copied[:19] == b"PGCOPY\n\xff\r\n\0" + bytes(8)
    rows: list[list[Any]] = []
    at = 19
    while (count := int.from_bytes(copied[at : at + 2], "big")) != 0xFFFF:
        assert count == len(used)
        at, row = at + 2, []
        for kind in used:
            size = int.from_bytes(copied[at : at + 4], "big", signed=True)
            cell = copied[at + 4 : at + 4 + size] if size >= 0 else None
            row.append(parts(cell) if cell and kind.name in ("number", "decimal") else cell)
            at += 4 + max(size, 0)
        rows.append(row)
    assert at + 2 == len(copied)
    return rows


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


@given(st.lists(st.binary(max_size=20)), st.integers(1, 30))
def test_reader_returns_all_bytes_in_order(buffers: list[bytes], size: int) -> None:
    reader = Reader(buffers)
    found = list(iter(lambda: reader.read(size), b""))
    assert b"".join(found) == b"".join(buffers)
    assert all(len(piece) <= size for piece in found)


def test_reader_copies_nothing_that_it_need_not_cut() -> None:
    buffer = bytes(1000)
    assert Reader([b"", buffer]).read(1000) is buffer
