"""Batches that are copied into PostgreSQL by either encoder; a plugin of pytest."""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from decimal import Decimal
from fractions import Fraction
from itertools import count
from typing import Any

import psycopg2
import pyarrow as pa
import pytest
from hypothesis import strategies as st

from target_meltano.digits import NOT_FINITE
from target_meltano.kinds import INTEGER, Kind, arrow_type
from target_meltano_postgres import copy
from target_meltano_postgres.copy import Reader, encode

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
IN_C = copy._c
names = (f"copied_{i}" for i in count())

money = st.decimals(allow_nan=False, allow_infinity=False, places=2).map(lambda x: format(x, "f"))
floats = st.floats(allow_nan=False, allow_infinity=False).map(repr)
tokens = st.one_of(
    st.from_regex(r"-?(0|[1-9][0-9]{0,9})(\.[0-9]{1,9})?", fullmatch=True),
    st.from_regex(r"-?(0|[1-9][0-9]{0,30})(\.0{0,9}[0-9]{1,30})?", fullmatch=True),
    st.from_regex(r"-?(0|[1-9][0-9]{0,9})(\.[0-9]{1,9})?[eE][+-]?[0-9]{1,3}", fullmatch=True),
    st.decimals(allow_nan=False, allow_infinity=False).map(lambda x: str(x).replace("E", "e")),
    floats,
    money,
    st.sampled_from(sorted(NOT_FINITE)),
)


@pytest.fixture(scope="module", params=["in C", "by pgpq"])
def way(request: pytest.FixtureRequest) -> Iterator[str]:
    """How rows are encoded; each test runs with either."""
    if request.param == "in C" and not IN_C:
        pytest.skip("the extension was not built; install a C compiler and make anew")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(copy, "_c", IN_C if request.param == "in C" else None)
        yield request.param


@pytest.fixture(scope="module")
def connected(way: str, postgres_url: str) -> Iterator[Any]:
    connection = psycopg2.connect(postgres_url, options="-c timezone=UTC")
    connection.autocommit = True
    yield connection
    connection.close()


def batch_of(*columns: tuple[Kind, Sequence[Any]]) -> pa.RecordBatch:
    arrays = [pa.array(values, arrow_type(kind)) for kind, values in columns]
    return pa.RecordBatch.from_arrays(arrays, [f"c{i}" for i in range(len(arrays))])


def load(connected: Any, batch: pa.RecordBatch, *kinds: Kind, select: str = "") -> list[Any]:
    """Copy *batch* into a new table, its columns c0, c1 and so on, and return its rows in order.

    Short rows fill up the pages of others, so one more column, the last, tells the order.
    """
    table, last = next(names), len(kinds)
    columns = [f"c{i} {SQL_TYPES.get(kind.name, str(kind))}" for i, kind in enumerate(kinds)]
    select = select or ", ".join(f"c{i}" for i in range(last))
    batch = batch.append_column("row", pa.array(range(batch.num_rows), pa.int64()))
    with connected.cursor() as cursor:
        cursor.execute(f"CREATE TEMP TABLE {table} ({', '.join([*columns, f'c{last} bigint'])})")
        send(cursor, table, encode(batch, [*kinds, INTEGER]))
        cursor.execute(f"SELECT {select} FROM {table} ORDER BY c{last}")
        rows: list[Any] = cursor.fetchall()
        cursor.execute(f"DROP TABLE {table}")
    return rows


def send(cursor: Any, table: str, buffers: list[bytes]) -> None:
    sql = f"COPY {table} FROM STDIN (FORMAT binary)"
    cursor.copy_expert(sql, Reader(buffers), size=copy.READ_BYTES)


def plain(token: str) -> str:
    """Return the digits of *token* without an exponent, as PostgreSQL writes them."""
    number = Decimal(token)
    if token in NOT_FINITE:
        return token
    return format(abs(number) if number == 0 else number, "f")


def parts(value: bytes) -> tuple[Fraction, int]:
    """Return a binary numeric as its exact value and its display scale."""
    length, weight, sign, scale = struct.unpack(">HhHH", value[:8])
    if sign >= 0xC000:  # NaN and the infinities
        return Fraction(sign), length
    groups = struct.unpack(f">{length}H", value[8:])
    assert all(group < 10000 for group in groups)
    number = sum(Fraction(g) * Fraction(10000) ** (weight - i) for i, g in enumerate(groups))
    return (-1 if sign else 1) * Fraction(number), scale


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
