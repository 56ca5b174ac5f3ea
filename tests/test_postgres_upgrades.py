"""Columns of PostgreSQL change their type with the data kept, or not at all."""

from __future__ import annotations

import datetime as dt
import json
from decimal import Decimal
from typing import Any

import psycopg2.extras
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from on_postgres import needs, needs_infinities

from target_meltano import Result, UpgradeError, load, make, times
from target_meltano.samples import INT, NUM, STR, record, schema
from target_meltano_postgres import PostgresDialect, PostgresSettings

BOOL = {"type": "boolean"}
DATE = {"type": "string", "format": "date"}
TIME = {"type": "string", "format": "time"}
TIMESTAMP = {"type": "string", "format": "date-time"}
JSON: dict[str, Any] = {}
UTC = dt.timezone.utc


def run(db: Any, wanted: Any, *lines: Any, **settings: Any) -> Result:
    dialect = PostgresDialect(make(PostgresSettings, url=db.url, schema=db.schema, **settings))
    return load(dialect, [schema("t", id=INT, v=wanted), *lines])


def make_column(db: Any, spelt: str, *values: str) -> None:
    """Make a table of others with these values, written in SQL."""
    db.query(f"CREATE SCHEMA {db.schema}; CREATE TABLE {db.schema}.t (id bigint PRIMARY KEY, v {spelt})")
    for i, value in enumerate(values):
        db.query(f"INSERT INTO {db.schema}.t VALUES ({i}, {value})")


def column(db: Any, expression: str = "v") -> list[Any]:
    return [value for _, value in db.query(f"SELECT id, {expression} FROM {db.schema}.t ORDER BY id")]


def type_of(db: Any) -> str:
    query = f"SELECT format_type(atttypid, atttypmod) FROM pg_attribute WHERE attrelid = '{db.schema}.t'::regclass AND attname = 'v'"
    return str(db.query(query)[0][0])


LONG = "123456789012345678901234567890.10"
CHANGES = [
    ("boolean", STR, ["true", "false", "NULL"], ["true", "false", None]),
    ("boolean", JSON, ["true", "false", "NULL"], [True, False, None]),
    ("smallint", STR, ["-32768"], ["-32768"]),
    ("bigint", STR, ["-9223372036854775808"], ["-9223372036854775808"]),
    ("bigint", NUM, ["9223372036854775807"], [Decimal(2**63 - 1)]),
    ("bigint", JSON, ["9223372036854775807"], [2**63 - 1]),
    ("numeric", STR, [LONG, "0.000", "'NaN'", "-1.50"], [LONG, "0.000", "NaN", "-1.50"]),
    ("numeric", JSON, [LONG, "0.000", "-1.50"], [Decimal(LONG), Decimal("0.000"), Decimal("-1.50")]),
    ("numeric(10,2)", STR, ["1.5"], ["1.50"]),
    ("real", STR, ["0.1"], ["0.1"]),
    ("double precision", STR, ["0.1", "1e300", "'-0'", "'NaN'", "5"], ["0.1", "1e+300", "-0", "NaN", "5"]),
    ("double precision", JSON, ["0.1", "1e22", "5"], [Decimal("0.1"), 10**22, 5]),
    ("date", STR, ["'2024-02-29'", "'0001-01-01'", "'9999-12-31'"], ["2024-02-29", "0001-01-01", "9999-12-31"]),
    ("date", JSON, ["'2024-02-29'"], ["2024-02-29"]),
    ("date", TIMESTAMP, ["'2024-02-29'", "'9999-12-31'"], [dt.datetime(2024, 2, 29, tzinfo=UTC), dt.datetime(9999, 12, 31, tzinfo=UTC)]),
    ("time", STR, ["'00:00'", "'23:59:59.999999'", "'24:00:00'"], ["00:00:00", "23:59:59.999999", "24:00:00"]),
    ("time(0)", JSON, ["'12:00'"], ["12:00:00"]),
    ("timestamptz", STR, ["'2024-07-01 12:00-04'", "'0001-01-01Z'", "'9999-12-31 23:59:59.999999Z'"],
     ["2024-07-01T16:00:00Z", "0001-01-01T00:00:00Z", "9999-12-31T23:59:59.999999Z"]),
    ("timestamptz", JSON, ["'2024-07-01 12:00:00.5-04'"], ["2024-07-01T16:00:00.500000Z"]),
    ("timestamptz(0)", STR, ["'2024-07-01 12:00-04'"], ["2024-07-01T16:00:00Z"]),
    ("varchar(5)", JSON, ["'a\"\\'"], ['a"\\']),
    ("text", JSON, ["'{\"not\": json'", "''", "'null'"], ['{"not": json', "", "null"]),
]  # fmt: skip


@pytest.mark.parametrize(
    ("spelt", "wanted", "before", "after"), CHANGES, ids=[f"{row[0]}-{i}" for i, row in enumerate(CHANGES)]
)
def test_values_stay_what_they_are(db: Any, spelt: str, wanted: Any, before: list[str], after: list[Any]) -> None:
    psycopg2.extras.register_default_jsonb(db.connection, loads=lambda text: json.loads(text, parse_float=Decimal))
    make_column(db, spelt, *before)
    run(db, wanted)
    assert column(db) == after
    assert list(map(str, column(db))) == list(map(str, after))


LOSSES = [
    ("timestamptz", STR, ["'infinity'", "'-infinity'", "'0044-03-15 BC'", "'10000-01-01Z'", "'294276-01-01Z'"]),
    ("timestamptz", JSON, ["'infinity'", "'0001-12-31 BC'"]),
    ("date", STR, ["'infinity'", "'-infinity'", "'0044-03-15 BC'", "'10000-01-01'"]),
    ("date", JSON, ["'infinity'"]),
    ("date", TIMESTAMP, ["'294277-01-01'", "'5874897-12-31'"]),
    ("numeric", JSON, ["'NaN'", "'Infinity'"]),
    ("double precision", JSON, ["'NaN'", "'Infinity'", "'-Infinity'"]),
    ("real", JSON, ["'NaN'"]),
    ("bigint", NUM, ["9007199254740993", "-9223372036854775807"]),
    ("numeric", NUM, ["0.1234567890123456789", "1e400", "1e-400", "9007199254740993"]),
]
LOST = [(spelt, wanted, value) for spelt, wanted, values in LOSSES for value in values]


def test_nan_and_the_infinities_become_doubles(db: Any) -> None:
    needs_infinities(db)
    make_column(db, "numeric", "'NaN'", "'-Infinity'", "0.5", "NULL")
    run(db, NUM, number="double")
    assert (column(db, "v::text"), type_of(db)) == (["NaN", "-Infinity", "0.5", None], "double precision")


@pytest.mark.parametrize(
    ("spelt", "wanted", "value"), LOST, ids=[f"{spelt}-{value}-{i}" for i, (spelt, _, value) in enumerate(LOST)]
)
def test_a_value_that_would_change_forbids_the_change(db: Any, spelt: str, wanted: Any, value: str) -> None:
    if (spelt, value) == ("numeric", "'Infinity'"):
        needs_infinities(db)
    make_column(db, spelt, "NULL", value)
    before = column(db, "v::text")
    with pytest.raises(UpgradeError, match=r"column 'v' cannot change from .*: a value in it would change"):
        run(db, wanted, number="double" if wanted is NUM else "exact")
    assert (column(db, "v::text"), type_of(db)) == (before, spelt.replace("timestamptz", "timestamp with time zone"))


def test_dates_without_end_stay_so_as_timestamps(db: Any) -> None:
    make_column(db, "date", "'infinity'", "'-infinity'", "'0044-03-15 BC'", "'20000-01-01'")
    run(db, TIMESTAMP)
    wanted = ["infinity", "-infinity", "0044-03-15 00:00:00+00 BC", "20000-01-01 00:00:00+00"]
    assert column(db, "v::text") == wanted


@pytest.mark.parametrize("values", [["0.1", "-2.5", "0", "NULL"], ["1.7e308", "1e-300"]])
def test_numbers_that_double_holds_become_doubles(db: Any, values: list[str]) -> None:
    make_column(db, "numeric", *values)
    before = column(db)
    run(db, NUM, number="double")
    assert column(db) == [None if value is None else float(value) for value in before]
    assert type_of(db) == "double precision"


@settings(max_examples=5, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.lists(st.datetimes(dt.datetime(1, 1, 2), dt.datetime(9999, 12, 30)), min_size=1, max_size=50))
def test_times_become_the_texts_that_the_core_writes(db: Any, instants: list[dt.datetime]) -> None:
    """So that a key of a time that became text still finds its row."""
    db.query(f"DROP SCHEMA IF EXISTS {db.schema} CASCADE")
    texts = [times.timestamp_text(times.timestamp(instant.isoformat())[0]) for instant in instants]
    run(db, TIMESTAMP, *(record("t", id=i, v=instant.isoformat()) for i, instant in enumerate(instants)))
    run(db, STR)
    assert column(db) == texts


def test_a_key_may_change_its_type(db: Any) -> None:
    dialect = PostgresDialect(make(PostgresSettings, url=db.url, schema=db.schema))
    load(dialect, [schema("t", id=TIMESTAMP, v=INT), record("t", id="2024-01-01T01:00:00+01:00", v=1)])
    load(dialect, [schema("t", id=STR, v=INT), record("t", id="2024-01-01T00:00:00Z", v=2)])
    assert db.query(f"SELECT id, v FROM {db.schema}.t") == [("2024-01-01T00:00:00Z", 2)]


# --- what is in the way

OBSTACLES = [
    ("ALTER TABLE {0}.t ADD COLUMN g bigint GENERATED ALWAYS AS (v + 1) STORED", "default value for column g of table"),
    ("CREATE POLICY p ON {0}.t USING (v > 0)", "policy p on table"),
    ("CREATE FUNCTION {0}.f() RETURNS bigint BEGIN ATOMIC SELECT max(v) FROM {0}.t; END", r"function \S+\.f\(\)"),
    ("CREATE FUNCTION {0}.f() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END'; "
     "CREATE TRIGGER w BEFORE UPDATE OF v ON {0}.t EXECUTE FUNCTION {0}.f()", "trigger w on table"),
    ("CREATE RULE r AS ON DELETE TO {0}.t WHERE OLD.v > 0 DO ALSO NOTHING", r"rule r on table \S+\.t"),
]  # fmt: skip


@pytest.mark.parametrize(("ddl", "words"), OBSTACLES, ids=["generated", "policy", "function", "trigger", "rule"])
def test_what_depends_on_a_column_is_named_before_anything_is_done(db: Any, ddl: str, words: str) -> None:
    if "ATOMIC" in ddl:
        needs(db, 14, "functions with bodies that PostgreSQL knows")
    make_column(db, "bigint", "1")
    db.query(ddl.format(db.schema))
    with pytest.raises(UpgradeError, match=f"while {words}.*depends on it; drop that"):
        run(db, STR)
    assert type_of(db) == "bigint"
    run(db, INT, record("t", id=0, v=2))
    assert column(db) == [2]


@pytest.mark.parametrize(
    "ddl",
    [
        "CREATE INDEX ON {0}.t (v)",
        "CREATE INDEX ON {0}.t ((v::text || 'x'))",
        "CREATE UNIQUE INDEX ON {0}.t (v) INCLUDE (id)",
        "CREATE STATISTICS {0}.s ON id, v FROM {0}.t",
        "ALTER TABLE {0}.t ALTER COLUMN v SET DEFAULT 5",
        "ALTER TABLE {0}.t ALTER COLUMN v SET NOT NULL",
        "CREATE VIEW {0}.w AS SELECT id FROM {0}.t",
    ],
)
def test_what_the_database_makes_anew_is_no_obstacle(db: Any, ddl: str) -> None:
    make_column(db, "bigint", "1", "2")
    db.query(ddl.format(db.schema))
    run(db, STR)
    assert column(db) == ["1", "2"]


def test_a_large_table_is_not_locked_but_for_what_the_catalogue_alone_does(db: Any) -> None:
    make_column(db, "varchar(3)", "'a'", "'b'")
    run(db, STR, max_rewrite_rows=1)
    assert type_of(db) == "text"
    with pytest.raises(
        UpgradeError, match=r"more than 1 rows \(setting max_rewrite_rows\).*run by hand.*: ALTER TABLE"
    ):
        run(db, JSON, max_rewrite_rows=1)
    run(db, JSON, max_rewrite_rows=2)


@pytest.mark.parametrize(
    ("spelt", "wanted"),
    [
        ("varchar(3)", STR),
        ("numeric(10,2)", NUM),
        ("timestamptz(0)", TIMESTAMP),
        ("time(0)", TIME),
        ("integer", INT),
        ("date", TIMESTAMP),
    ],
)
def test_it_is_known_which_changes_write_the_table_anew(db: Any, spelt: str, wanted: Any) -> None:
    """Against the file of the table, which is another one then."""
    make_column(db, spelt, "NULL")
    node = f"SELECT pg_relation_filenode('{db.schema}.t')"
    before = db.query(node)
    try:
        run(db, wanted, max_rewrite_rows=0)
        told = False
    except UpgradeError:
        run(db, wanted)
        told = True
    assert (db.query(node) != before) == told
