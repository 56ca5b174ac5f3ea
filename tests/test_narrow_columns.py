"""A column of others that holds less than ours stays, if so set, and a value that does not fit it is refused, never changed."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from on_copy import IN_C
from on_postgres import make_table, needs, rows, run

from target_meltano import RecordError, SchemaError, UpgradeError
from target_meltano.samples import INT, NUM, STR, record, schema, state
from target_meltano_postgres import copy

TIMESTAMP = {"type": ["string", "null"], "format": "date-time"}
TIME = {"type": ["string", "null"], "format": "time"}
KEEP = {"narrow_columns": "keep", "invalid_records": "quarantine", "naive_timestamps": "utc"}
DOUBLE = {"column_types": {"t.v": "double"}}

def type_of(db: Any) -> str:
    query = "SELECT format_type(atttypid, atttypmod) FROM pg_attribute WHERE attrelid = %s::regclass AND attname = 'v'"
    return str(db.query(query, (f"{db.schema}.t",))[0][0])


# type, schema of the property, values that fit, values that do not, more settings
TYPES: list[tuple[str, Any, list[Any], list[Any], dict[str, Any]]] = [
    ("smallint", INT, [0, -32768, 32767, None], [32768, -32769, 2**40, 2**63 - 1], {}),
    ("integer", INT, [2**31 - 1, -(2**31)], [2**31, -(2**31) - 1, 4294967296], {}),
    ("integer", NUM, [5, 7], [Decimal("1.5"), 2**31], {}),
    ("numeric(10,0)", NUM, [5, 9999999999], [Decimal("0.5"), Decimal("1.49"), 10**10], {}),
    ("numeric(10,0)", INT, [-12], [10**10], {}),
    ("numeric(7,2)", NUM, [Decimal("12345.67")], [Decimal("0.005"), Decimal("123456.7")], {}),
    ("numeric(7,2)", INT, [12345], [123456], {}),
    ("varchar(3)", STR, ["", "abc", "äöü", "🐘🐘🐘", "ab "], ["abcd", "abc ", "abc   ", "🐘🐘🐘🐘"], {}),
    ("timestamptz(0)", TIMESTAMP, ["2026-05-01T10:00:01Z"], ["2026-05-01T10:00:01.5Z", "2026-05-01T10:00:01.000001Z"], {}),
    ("timestamptz(3)", TIMESTAMP, ["2026-05-01T10:00:01.123Z", "1931-05-01T10:00:01.999Z"], ["1931-05-01T10:00:01.9999Z"], {}),
    ("timestamp(2)", TIMESTAMP, ["2026-05-01T10:00:01.25Z"], ["2026-05-01T10:00:01.255Z"], {}),
    ("time(0)", TIME, ["10:00:01"], ["10:00:01.5", "23:59:59.999999"], {}),
    ("real", NUM, [0.1, 1.5, -2.25, 16777216], [0.123456789, 16777217, 1e39, 1e-46], DOUBLE),
]
IDS = [f"{spelt}-{wanted['type'][0]}" for spelt, wanted, *_ in TYPES]


@pytest.mark.parametrize("way", ["copy", "upsert", "copy by pgpq"])
@pytest.mark.parametrize(("spelt", "wanted", "fit", "others", "more"), TYPES, ids=IDS)
def test_what_fits_arrives_and_what_does_not_is_told(
    db: Any, monkeypatch: Any, way: str, spelt: str, wanted: Any, fit: list[Any], others: list[Any], more: dict[str, Any]
) -> None:
    monkeypatch.setattr(copy, "_c", IN_C if way != "copy by pgpq" else None)
    make_table(db, f"id bigint primary key, v {spelt}")
    before = type_of(db)
    values = list(zip(fit + others, range(100), strict=False))
    lines = [schema("t", id=INT, v=wanted), *(record("t", id=i, v=value) for value, i in values)]
    if way == "upsert":
        run(db, lines[0], *(record("t", id=i, v=None) for _, i in values), **KEEP, **more)
    run(db, *lines, **KEEP, **more)
    arrived = {i: value for i, value in rows(db, "id, v::text") if i < len(fit)}
    shown = [None if value is None else str(value) for value in fit]
    expected = db.query(f"SELECT x::{spelt}::text FROM unnest(%s) WITH ORDINALITY u(x, i) ORDER BY i", (shown,))
    assert [(arrived[i],) for i in range(len(fit))] == expected
    refused = rows(db, "message->'record'->>'id', reason", "__rejected")
    assert [int(i) for i, _ in refused] == list(range(len(fit), len(values)))
    assert type_of(db) == before


def test_a_value_that_does_not_fit_names_the_column_and_the_setting(db: Any) -> None:
    make_table(db, "id integer primary key")
    lines = [schema("t", id=INT), record("t", id=1), state(1), record("t", id=3000000000)]
    with pytest.raises(RecordError, match=r"line 4: .*column 'id': .*32 bits.*`narrow_columns: widen`"):
        run(db, *lines, narrow_columns="keep")
    assert rows(db, "id") == [(1,)]


@settings(max_examples=30, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=1, max_size=40))
def test_a_real_gives_back_what_was_sent_or_refuses(db: Any, numbers: list[float]) -> None:
    db.query(f"DROP SCHEMA IF EXISTS {db.schema} CASCADE")
    make_table(db, "id bigint primary key, v real")
    numbers = [*numbers, *(float(f"{number:.6g}") for number in numbers)]
    run(db, schema("t", id=INT, v=NUM), *(record("t", id=i, v=x) for i, x in enumerate(numbers)), **KEEP, **DOUBLE)
    for i, exact, shown in rows(db, "id, v::double precision, v"):
        assert numbers[i] in (exact, shown)
    ids = {i for i, _ in rows(db, "id, v")}
    assert {int(i) for (i,) in rows(db, "message->'record'->>'id'", "__rejected")} == set(range(len(numbers))) - ids


def test_only_the_streams_that_are_named_keep_theirs(db: Any) -> None:
    for name in ("a", "b"):
        make_table(db, "id integer primary key", name)
        run(db, schema(name, id=INT), record(name, id=1), narrow_columns={"a": "keep"})
    assert [rows(db, "pg_typeof(id)::text", name) for name in ("a", "b")] == [[("integer",)], [("bigint",)]]


@pytest.mark.parametrize(
    ("ddl", "words"),
    [
        ("CREATE TABLE {0}.t (id bigint, v integer, primary key (id, v)) PARTITION BY RANGE (v); CREATE TABLE {0}.p PARTITION OF {0}.t DEFAULT",
         r"from integer to bigint: it belongs to the partition key of"),
        ("CREATE TABLE {0}.t (id bigint, v integer, primary key (id, v)) PARTITION BY LIST ((v % 3)); CREATE TABLE {0}.p PARTITION OF {0}.t DEFAULT",
         r"it belongs to the partition key of|unsupported PRIMARY KEY"),
        ("CREATE TABLE {0}.up (v integer); CREATE TABLE {0}.t (id bigint primary key) INHERITS ({0}.up)", "it is inherited"),
        ("CREATE TABLE {0}.t (id bigint primary key, v integer); CREATE TABLE {0}.u (x {0}.t[])", "column x of table .* has the type of its rows"),
        ("CREATE TABLE {0}.t (id bigint primary key, v integer, g integer GENERATED ALWAYS AS (v + 1) STORED)", "default value for column g"),
    ],
    ids=["key", "expression", "inherited", "row type", "generated"],
)  # fmt: skip
def test_where_widening_is_impossible_the_setting_is_named_and_works(db: Any, ddl: str, words: str) -> None:
    if "%" in ddl:
        ddl = ddl.replace(", primary key (id, v)", "")
    db.query(f"CREATE SCHEMA {db.schema}; {ddl.format(db.schema)}")
    has_key = "primary key" in ddl
    keys = [] if not has_key else ["id", "v"] if "PARTITION" in ddl else ["id"]
    lines = [schema("t", keys, id=INT, v=INT), record("t", id=1, v=2)]
    with pytest.raises(UpgradeError, match=f"{words}.*`narrow_columns: keep`"):
        run(db, *lines)
    run(db, *lines, narrow_columns="keep")
    assert rows(db, "id, v") == [(1, 2)]


def test_a_type_that_rounds_before_the_point_is_never_kept(db: Any) -> None:
    needs(db, 15, "a negative scale")
    make_table(db, "id bigint primary key, v numeric(5,-2)")
    run(db, schema("t", id=INT, v=NUM), record("t", id=1, v=12345), narrow_columns="keep")
    assert rows(db, "id, v") == [(1, 12345)]


def test_a_text_of_fixed_length_belongs_to_others(db: Any) -> None:
    make_table(db, "id bigint primary key, v char(3)")
    with pytest.raises(SchemaError, match=r"'v' is character\(3\) and cannot become string"):
        run(db, schema("t", id=INT, v=STR), record("t", id=1, v="a"), narrow_columns="keep")


def test_times_without_time_zone_are_widened_and_stay_so(db: Any) -> None:
    make_table(db, "id bigint primary key, v timestamp(0)")
    run(db, schema("t", id=INT, v=TIMESTAMP), record("t", id=1, v="2026-05-01T10:00:01.5+02:00"), naive_timestamps="utc")
    assert rows(db, "id, v::text, pg_typeof(v)::text") == [(1, "2026-05-01 08:00:01.5", "timestamp without time zone")]


def test_an_overwrite_keeps_the_types_too(db: Any) -> None:
    make_table(db, "id integer primary key, v varchar(3), w numeric(5,1), x json")
    wanted = schema("t", id=INT, v=STR, w=NUM, x={})
    for number in (1, 2):
        lines = [wanted, record("t", id=number, v="abc", w=Decimal("1.5"), x=[1]), record("t", id=2**40), record("t", id=9, v="abcd"), state(1)]
        run(db, *lines, load_method="overwrite", **KEEP)
        assert rows(db, "id, v, w, x::text") == [(number, "abc", Decimal("1.5"), "[1]")]
        assert len(rows(db, "line", "__rejected")) == 2 * number
    assert rows(db, "pg_typeof(id)::text, pg_typeof(w)::text") == [("integer", "numeric")]
