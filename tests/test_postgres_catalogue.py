"""Tables that others made in PostgreSQL: what is a table, which types are kept, who may do what."""

from __future__ import annotations

import datetime as dt
from decimal import Decimal
from typing import Any

import pytest
from on_postgres import dialect, make_table, needs, role, rows, run
from psycopg2 import errors

from target_meltano import DatabaseError, SchemaError, UpgradeError, load
from target_meltano.samples import INT, NUM, STR, record, schema


@pytest.mark.parametrize(
    ("ddl", "word"),
    [
        ("CREATE VIEW {0}.t AS SELECT 1 AS id", "a view"),
        ("CREATE MATERIALIZED VIEW {0}.t AS SELECT 1 AS id", "a materialized view"),
        ("CREATE SEQUENCE {0}.t", "a sequence"),
        ("CREATE TABLE {0}.x (id int); CREATE INDEX t ON {0}.x (id)", "an index"),
        ("CREATE TYPE {0}.t AS (id int)", "a type"),
    ],
    ids=lambda value: value.split()[-1] if value.startswith("a") else None,
)
def test_what_is_no_table_is_refused(db: Any, ddl: str, word: str) -> None:
    db.query(f"CREATE SCHEMA {db.schema}; {ddl.format(db.schema)}")
    with pytest.raises(DatabaseError, match=rf"\.t is {word}, wanted a table \(setting table_names\)"):
        run(db, schema("t"))


def test_a_partitioned_table_is_a_table(db: Any) -> None:
    make_table(db, "id bigint PRIMARY KEY) PARTITION BY RANGE (id", "t")
    db.query(f"CREATE TABLE {db.schema}.p PARTITION OF {db.schema}.t FOR VALUES FROM (0) TO (100)")
    for value in ("a", "b"):
        run(db, schema("t", id=INT, v=STR), record("t", id=1, v=value), record("t", id=2, v=value))
    assert rows(db, "id, v") == [(1, "b"), (2, "b")]


def test_columns_of_others_stay_and_take_their_defaults(db: Any) -> None:
    db.query(
        f"CREATE SCHEMA {db.schema}; CREATE TYPE {db.schema}.mood AS ENUM ('ok'); CREATE DOMAIN {db.schema}.some AS text"
    )
    make_table(
        db,
        f"id bigint PRIMARY KEY, gone text, mood {db.schema}.mood DEFAULT 'ok', d {db.schema}.some, u uuid, a int[], "
        "n int GENERATED ALWAYS AS IDENTITY, twice bigint GENERATED ALWAYS AS (id * 2) STORED, c char(3) NOT NULL DEFAULT 'x'",
    )
    db.query(f"ALTER TABLE {db.schema}.t DROP COLUMN gone")
    for value in ("a", "b"):
        run(db, schema("t", id=INT, v=STR), record("t", id=1, v=value), record("t", id=2, v=value))
    assert rows(db, "id, v, mood, n, twice, c") == [(1, "b", "ok", 1, 2, "x  "), (2, "b", "ok", 2, 4, "x  ")]


def test_a_key_of_identity_takes_the_values_of_the_stream(db: Any) -> None:
    make_table(db, "id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, v text")
    for value in ("a", "b"):
        run(db, schema("t", id=INT, v=STR), record("t", id=7, v=value))
    assert rows(db, "id, v") == [(7, "b")]


def test_a_column_that_rows_cannot_leave_out_is_refused(db: Any) -> None:
    make_table(db, "id bigint PRIMARY KEY, must text NOT NULL")
    with pytest.raises(SchemaError, match="'must' of the table is NOT NULL without a default"):
        run(db, schema("t"))


TYPES = [
    ("char(3)", STR, "character"),
    ("citext_like", STR, "citext_like"),
    ("uuid", STR, "uuid"),
    ("text[]", {"type": "array"}, r"text\[\]"),
    ("bigint GENERATED ALWAYS AS (1) STORED", INT, "bigint generated"),
    ("timestamp", {"type": "string", "format": "date-time"}, "timestamp without time zone"),
    ("timetz", {"type": "string", "format": "time"}, "time with time zone"),
    ("xml", STR, "xml"),
    ("interval", STR, "interval"),
    ('"char"', STR, '"char"'),
]


@pytest.mark.parametrize(("spelt", "wanted", "shown"), TYPES, ids=[spelt for spelt, _, _ in TYPES])
def test_types_that_hold_other_values_are_refused(db: Any, spelt: str, wanted: Any, shown: str) -> None:
    db.query(f"CREATE SCHEMA {db.schema}; CREATE DOMAIN {db.schema}.citext_like AS text")
    make_table(db, f"id bigint PRIMARY KEY, v {spelt.replace('citext', f'{db.schema}.citext')}")
    with pytest.raises(UpgradeError, match=rf"column 'v' is \S*{shown}.* and cannot become"):
        run(db, schema("t", id=INT, v=wanted))


def test_texts_that_the_database_finds_equal_are_refused(db: Any) -> None:
    """As a key they would be one row."""
    db.query(f"CREATE SCHEMA {db.schema}")
    try:
        db.query(
            f"CREATE COLLATION {db.schema}.blind (provider = icu, locale = 'und-u-ks-level1', deterministic = false)"
        )
    except errors.FeatureNotSupported:
        pytest.skip("needs a PostgreSQL that was built with ICU")
    make_table(db, f"id text COLLATE {db.schema}.blind PRIMARY KEY")
    with pytest.raises(UpgradeError, match="'id' is text collate blind and cannot become string"):
        run(db, schema("t", id=STR))


KEPT = [
    ("smallint", INT, "7", 2**40, (7, 2**40), "bigint"),
    ("integer", INT, "7", 2**40, (7, 2**40), "bigint"),
    ("varchar(3)", STR, "'abc'", "abcd", ("abc", "abcd"), "text"),
    ("varchar", STR, "'abc'", "abcd", ("abc", "abcd"), "character varying"),
    ("numeric(10,2)", NUM, "1.50", Decimal("1.234"), (Decimal("1.50"), Decimal("1.234")), "numeric"),
    ("numeric(2,-3)", NUM, "12000", Decimal("1.2"), (12000, Decimal("1.2")), "numeric"),
    ("json", {}, """'{"b":1, "a": 1.0}'""", {"b": 1}, ({"b": 1, "a": 1.0}, {"b": 1}), "json"),
    ("timestamptz(0)", {"type": "string", "format": "date-time"}, "'2024-01-01Z'", "2024-01-01T00:00:00.5Z",
     (dt.datetime(2024, 1, 1, tzinfo=dt.timezone.utc), dt.datetime(2024, 1, 1, 0, 0, 0, 500_000, dt.timezone.utc)), "timestamp with time zone"),
    ("time(0)", {"type": "string", "format": "time"}, "'12:00'", "12:00:00.5", (dt.time(12), dt.time(12, 0, 0, 500_000)), "time without time zone"),
]  # fmt: skip


@pytest.mark.parametrize(("spelt", "wanted", "old", "new", "both", "then"), KEPT, ids=[row[0] for row in KEPT])
def test_types_of_others_are_kept_or_widened(
    db: Any, spelt: str, wanted: Any, old: str, new: Any, both: Any, then: str
) -> None:
    """Twice, so that the rows go through the temporary table as well."""
    if "-" in spelt:
        needs(db, 15, "a negative scale")
    make_table(db, f"id bigint PRIMARY KEY, v {spelt}")
    db.query(f"INSERT INTO {db.schema}.t VALUES (1, {old})")
    for _ in range(2):
        run(db, schema("t", id=INT, v=wanted), record("t", id=2, v=new))
    assert tuple(value for _, value in rows(db, "id, v")) == both
    found = db.query(
        f"SELECT format_type(atttypid, atttypmod) FROM pg_attribute WHERE attrelid = '{db.schema}.t'::regclass AND attname = 'v'"
    )
    assert found == [(then,)]


def test_real_is_widened_where_doubles_are_wanted(db: Any) -> None:
    make_table(db, "id bigint PRIMARY KEY, v real")
    db.query(f"INSERT INTO {db.schema}.t VALUES (1, 0.5)")
    run(db, schema("t", id=INT, v=NUM), record("t", id=2, v=0.1), number="double")
    assert rows(db, "id, v") == [(1, 0.5), (2, 0.1)]


def test_times_without_zone_are_utc_if_the_setting_says_so(db: Any) -> None:
    make_table(db, "id bigint PRIMARY KEY, v timestamp")
    db.query(f"INSERT INTO {db.schema}.t VALUES (1, '2024-01-01 12:00')")
    times = {"type": "string", "format": "date-time"}
    for _ in range(2):
        run(db, schema("t", id=INT, v=times), record("t", id=2, v="2024-07-01T12:00:00+02:00"), naive_timestamps="utc")
    assert rows(db, "id, v") == [(1, dt.datetime(2024, 1, 1, 12)), (2, dt.datetime(2024, 7, 1, 10))]
    run(db, schema("t", id=INT, v=STR), naive_timestamps="utc")
    assert rows(db, "v") == [("2024-01-01T12:00:00Z",), ("2024-07-01T10:00:00Z",)]


def test_missing_privileges_are_told(db: Any) -> None:
    with role(db) as (name, url):
        with pytest.raises(DatabaseError, match=r"lacks rights; .* is to run: GRANT CREATE ON DATABASE"):
            load(dialect(db, url), [schema("t")])
        make_table(db, "id bigint PRIMARY KEY")
        db.query(f"GRANT USAGE ON SCHEMA {db.schema} TO {name}; INSERT INTO {db.schema}.t VALUES (1)")
        with pytest.raises(DatabaseError, match=r"GRANT SELECT, INSERT, UPDATE ON TABLE .*; ALTER TABLE .* ADD COLUMN"):
            load(dialect(db, url), [schema("t")])
        db.query(f"GRANT SELECT, INSERT, UPDATE ON {db.schema}.t TO {name}")
        db.query(f"ALTER TABLE {db.schema}.t ADD COLUMN __loaded_at timestamptz")
        with pytest.raises(DatabaseError, match="to run: GRANT CREATE ON SCHEMA"):
            load(dialect(db, url), [schema("t")])
        db.query(f"GRANT CREATE ON SCHEMA {db.schema} TO {name}")
        load(dialect(db, url), [schema("t"), record("t", id=1), record("t", id=2)])
        assert rows(db, "id") == [(1,), (2,)]
