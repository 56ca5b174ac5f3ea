"""load_method overwrite into tables with constraints: a refused row is found by its line, or the old rows stay."""

from __future__ import annotations

import time
from typing import Any

import pytest
from on_postgres import database, dialect, make_table, rows

from target_meltano import DatabaseError, RecordError, SchemaError, load
from target_meltano.samples import INT, STR, record, schema, state

DATE: Any = {"type": ["string", "null"], "format": "date"}


def overwrite(db: Any, *lines: Any, **settings: Any) -> list[str]:
    """Load all *lines* and a STATE; return the STATEs that came out."""
    states: list[str] = []
    load(dialect(db, load_method="overwrite", **settings), [*lines, state(1)], on_state=states.append)
    return states


def wares(*their: tuple[int, Any], **properties: Any) -> list[Any]:
    """Return a stream of wares: each has a number, and a name or what the one other property is."""
    (name, kind) = next(iter(properties.items())) if properties else ("name", STR)
    return [schema("wares", id=INT, **{name: kind}), *(record("wares", id=id, **{name: value}) for id, value in their)]


# what the table is like, the rows that come with the bad one in the middle, and what of the words tells it
REFUSED = {
    "check": ("id bigint PRIMARY KEY, name text CHECK (name <> 'nix')", wares((1, "a"), (2, "nix"), (3, "c")), "wares_name_check"),
    "not null": ("id bigint PRIMARY KEY, name text NOT NULL", wares((1, "a"), (2, None), (3, "c")), "not-null"),
    "unique": ("id bigint PRIMARY KEY, name text UNIQUE", wares((1, "a"), (2, "a"), (3, "c")), "unique constraint"),
    "check of a default": ("id bigint PRIMARY KEY, name text, most int DEFAULT 2, CHECK (id <= most OR name <> 'b')", wares((1, "a"), (3, "b"), (4, "c")), "check"),
    "check of a generated column": ("id bigint PRIMARY KEY, name text, low text GENERATED ALWAYS AS (lower(name)) STORED CHECK (low <> 'nix')", wares((1, "a"), (2, "NIX"), (3, "c")), "low"),
    "exclusion": ("id bigint PRIMARY KEY, name text, EXCLUDE USING hash (name WITH =)", wares((1, "a"), (2, "a"), (3, "c")), "exclusion"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_refused_row_is_found_by_its_line(db: Any, case: str) -> None:
    columns, lines, words = REFUSED[case]
    make_table(db, columns, "wares")
    db.query(f"INSERT INTO {db.schema}.wares VALUES (1, 'old')")
    with pytest.raises(RecordError, match=f"line 3: stream 'wares': (?!.*__new).*{words}"):
        overwrite(db, *lines)
    assert rows(db, "id, name", "wares") == [(1, "old")]
    assert overwrite(db, *lines, invalid_records="quarantine") == ["1"]
    good = [(line["record"]["id"], line["record"]["name"]) for line in (lines[1], lines[3])]
    assert (rows(db, "id, name", "wares"), rows(db, "line", "__rejected")) == (good, [(3,)])


@pytest.mark.parametrize(
    "index",
    ["(lower(name))", "(name) WHERE id > 0", "(name) INCLUDE (id)", '(name COLLATE "C")', "(name text_pattern_ops)"],
)
def test_an_index_that_is_unique_counts_too(db: Any, index: str) -> None:
    make_table(db, "id bigint PRIMARY KEY, name text", "wares")
    db.query(f'CREATE UNIQUE INDEX "by USING name" ON {db.schema}.wares {index}')
    overwrite(db, *wares((1, "a"), (2, "a"), (3, "c")), invalid_records="quarantine")
    assert (rows(db, "id, name", "wares"), rows(db, "line", "__rejected")) == ([(1, "a"), (3, "c")], [(3,)])


@pytest.mark.parametrize(
    ("by", "parts"),
    [
        ("RANGE (day)", ["FROM ('2026-01-01') TO ('2026-02-01')", "FROM ('2026-02-01') TO ('2026-03-01')"]),
        ("LIST (day)", ["IN ('2026-01-05')", "IN ('2026-02-07', NULL)"]),
    ],
    ids=["range", "list"],
)
def test_a_row_that_no_partition_takes(db: Any, by: str, parts: list[str]) -> None:
    make_table(db, f"id bigint, day date) PARTITION BY {by}; CREATE TABLE {db.schema}.other (x int", "wares")
    for number, bounds in enumerate(parts):
        db.query(f"CREATE TABLE {db.schema}.part{number} PARTITION OF {db.schema}.wares FOR VALUES {bounds}")
    db.query(f"INSERT INTO {db.schema}.wares VALUES (0, '2026-01-05')")
    lines = wares((1, "2026-01-05"), (2, "2027-01-01"), (3, "2026-02-07"), day=DATE)
    lines[0]["key_properties"] = []
    overwrite(db, *lines, invalid_records="quarantine")
    assert (rows(db, "id", "wares"), rows(db, "line", "__rejected")) == ([(1,), (3,)], [(3,)])


def test_a_table_that_is_a_partition_has_its_bounds(db: Any) -> None:
    make_table(db, "id bigint NOT NULL, day date) PARTITION BY RANGE (id", "year")
    db.query(f"CREATE TABLE {db.schema}.wares PARTITION OF {db.schema}.year (PRIMARY KEY (id)) FOR VALUES FROM (1) TO (10)")
    db.query(f"ALTER TABLE {db.schema}.year ADD __loaded_at timestamptz")
    overwrite(db, *wares((1, "2026-01-05"), (20, "2027-01-01"), (3, None), day=DATE), invalid_records="quarantine")
    assert (rows(db, "id", "wares"), rows(db, "line", "__rejected")) == ([(1,), (3,)], [(3,)])


@pytest.mark.parametrize("place", ["", "_kinds"], ids=["same schema", "another schema"])
def test_a_foreign_key_onto_a_table_of_others(db: Any, place: str) -> None:
    other = f"{db.schema}{place}"
    make_table(db, "id bigint PRIMARY KEY, name text", "wares")
    db.query(f"CREATE SCHEMA IF NOT EXISTS {other}; CREATE TABLE {other}.kinds (name text PRIMARY KEY); INSERT INTO {other}.kinds VALUES ('a'), ('c')")
    try:
        db.query(f"ALTER TABLE {db.schema}.wares ADD FOREIGN KEY (name) REFERENCES {other}.kinds")
        with pytest.raises(RecordError, match="line 3: .*violates foreign key constraint"):
            overwrite(db, *wares((1, "a"), (2, "b"), (3, "c")))
        overwrite(db, *wares((1, "a"), (2, "b"), (3, "c")), invalid_records="quarantine")
        assert (rows(db, "id, name", "wares"), rows(db, "line", "__rejected")) == ([(1, "a"), (3, "c")], [(3,)])
    finally:
        db.query(f"DROP SCHEMA {other} CASCADE")


def test_a_foreign_key_onto_a_table_that_taps_load_is_told_at_the_swap(db: Any) -> None:
    make_table(db, "name text PRIMARY KEY, __loaded_at timestamptz", "kinds")
    make_table(db, f"id bigint PRIMARY KEY, name text CONSTRAINT of_kind REFERENCES {db.schema}.kinds", "wares")
    db.query(f"INSERT INTO {db.schema}.kinds VALUES ('a')")
    started = time.monotonic()
    with pytest.raises(DatabaseError, match="which stay: .*violates foreign key constraint \"of_kind\""):
        overwrite(db, *wares((1, "a"), (2, "b")), invalid_records="quarantine")
    assert time.monotonic() - started < 20
    assert rows(db, "id", "wares") == []
    kinds = [schema("kinds", ("name",), name=STR), record("kinds", name="a"), record("kinds", name="b")]
    overwrite(db, *wares((1, "a"), (2, "b")), *kinds)
    assert rows(db, "id, name", "wares") == [(1, "a"), (2, "b")]


def test_a_table_that_turns_out_to_come_in_this_run_too(db: Any) -> None:
    """From its SCHEMA on rows may refer to those that are still to come."""
    make_table(db, "name text PRIMARY KEY", "kinds")
    make_table(db, f"id bigint PRIMARY KEY, name text REFERENCES {db.schema}.kinds", "wares")
    kinds = [schema("kinds", ("name",), name=STR), record("kinds", name="a"), record("kinds", name="b")]
    first, *others = wares((1, "a"), (2, "b"))
    overwrite(db, first, kinds[0], *others, *kinds[1:], batch_rows=1)
    assert rows(db, "id, name", "wares") == [(1, "a"), (2, "b")]


def test_a_trigger_that_makes_rows_fit_comes_before_the_constraints(db: Any) -> None:
    make_table(db, "id bigint PRIMARY KEY, name text CHECK (name = lower(name))", "wares")
    db.query(
        f"CREATE FUNCTION {db.schema}.low() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN NEW.name := lower(NEW.name); RETURN NEW; END';"
        f"CREATE TRIGGER low BEFORE INSERT OR UPDATE ON {db.schema}.wares FOR EACH ROW EXECUTE FUNCTION {db.schema}.low()"
    )
    overwrite(db, *wares((1, "A"), (2, "b")))
    assert rows(db, "id, name", "wares") == [(1, "a"), (2, "b")]


def test_what_only_the_swap_can_tell_ends_by_name_and_at_once(db: Any) -> None:
    make_table(db, "id bigint PRIMARY KEY, name text", "wares")
    db.query(
        f"INSERT INTO {db.schema}.wares VALUES (1, 'old'); "
        f"CREATE FUNCTION {db.schema}.no() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN IF NEW.id = 2 THEN RAISE unique_violation "
        f"USING MESSAGE = ''no twos''; END IF; RETURN NEW; END';"
        f"CREATE TRIGGER no BEFORE INSERT OR UPDATE ON {db.schema}.wares FOR EACH ROW EXECUTE FUNCTION {db.schema}.no()"
    )
    started = time.monotonic()
    with pytest.raises(DatabaseError, match="the new rows cannot take the place of the old ones, which stay: no twos"):
        overwrite(db, *wares((1, "a"), (2, "b")))
    assert time.monotonic() - started < 20
    assert rows(db, "id, name", "wares") == [(1, "old")]


def test_a_trigger_that_forbids_an_update_is_not_gone_around(db: Any) -> None:
    make_table(db, "id bigint PRIMARY KEY, name text", "wares")
    db.query(
        f"INSERT INTO {db.schema}.wares VALUES (1, 'old'); "
        f"CREATE FUNCTION {db.schema}.no() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RAISE ''closed''; END';"
        f"CREATE TRIGGER no AFTER UPDATE ON {db.schema}.wares FOR EACH ROW EXECUTE FUNCTION {db.schema}.no()"
    )
    with pytest.raises(DatabaseError, match="which stay: closed"):
        overwrite(db, *wares((1, "a")))
    assert rows(db, "id, name", "wares") == [(1, "old")]


# --- values that change places, columns that the database fills


@pytest.mark.parametrize(
    "their",
    [[(1, "b"), (2, "a")], [(3, "a"), (2, "b")], [(1, "b")], [(1, "b"), (2, "c"), (4, "a")]],
    ids=["two change places", "of a key that goes", "the other goes", "in turn"],
)
@pytest.mark.parametrize("is_watched", [False, True], ids=["alone", "watched"])
def test_unique_values_may_move_from_row_to_row(db: Any, their: list[tuple[int, str]], is_watched: bool) -> None:
    make_table(db, "id bigint PRIMARY KEY, name text UNIQUE, __loaded_at timestamptz", "wares")
    if is_watched:
        db.query(f"CREATE TRIGGER same BEFORE UPDATE ON {db.schema}.wares FOR EACH ROW EXECUTE FUNCTION suppress_redundant_updates_trigger()")
    db.query(f"INSERT INTO {db.schema}.wares VALUES (1, 'a'), (2, 'b'), (4, 'd')")
    overwrite(db, *wares(*their))
    assert rows(db, "id, name", "wares") == sorted(their)


def test_identity_and_generated_columns_are_as_they_come_or_the_databases(db: Any) -> None:
    columns = (
        "id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, name text, "
        "size int GENERATED ALWAYS AS (length(name)) STORED, place int GENERATED ALWAYS AS IDENTITY (START 50)"
    )
    make_table(db, columns.replace("id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY", "id bigint PRIMARY KEY"), "wares")
    make_table(db, columns.split(", place")[0], "goods")
    overwrite(db, *wares((7, "a")))
    overwrite(db, *wares((7, "bb"), (8, "ccc")))
    assert rows(db, "id, name, size, place", "wares") == [(7, "bb", 2, 50), (8, "ccc", 3, 51)]
    lines = [schema("goods", id=INT, name=STR), record("goods", id=7, name="a"), record("goods", id=9, name="bb")]
    overwrite(db, *lines[:2])
    overwrite(db, *lines)
    assert rows(db, "id, name, size", "goods") == [(7, "a", 1), (9, "bb", 2)]


# --- publications

REMEDY = r"line {}: stream 't': .*the publication 'news' needs to know by what a row is found.*; run: ALTER TABLE .*\"t\" REPLICA IDENTITY FULL"


def test_a_table_without_key_that_is_published_is_told_at_once_and_mended(db: Any) -> None:
    with database(db) as url:
        import psycopg2

        with psycopg2.connect(url) as connection:
            connection.cursor().execute("CREATE PUBLICATION news FOR ALL TABLES")
        connection.close()
        lines = [schema("t", ()), record("t", id=1)]
        with pytest.raises(SchemaError, match=REMEDY.format(1)):
            overwrite(db, *lines, url=url)
        version = [schema("t", ()), {**record("t", id=1), "version": 1}, {"type": "ACTIVATE_VERSION", "stream": "t", "version": 1}]
        for how in ("soft", "hard"):
            with pytest.raises(SchemaError, match=REMEDY.format(2).replace("line 2: stream 't': ", "")):
                load(dialect(db, url=url, activate_version=how), version)
        load(dialect(db, url=url, activate_version="ignore"), version)
        with psycopg2.connect(url) as connection:
            connection.cursor().execute(f'ALTER TABLE "{db.schema}".t REPLICA IDENTITY FULL')
        connection.close()
        overwrite(db, *lines, url=url)
        load(dialect(db, url=url), version)
        overwrite(db, schema("k"), record("k", id=1), url=url)  # a key is enough


@pytest.mark.parametrize(("options", "is_refused"), [("", True), ("WITH (publish = 'insert')", False)])
def test_only_what_is_published_counts(db: Any, options: str, is_refused: bool) -> None:
    make_table(db, "id bigint, __loaded_at timestamptz")
    make_table(db, "id bigint", "other")
    name = f"news_{db.schema}"
    db.query(f"CREATE PUBLICATION {name} FOR TABLE {db.schema}.t {options}; CREATE PUBLICATION {name}_2 FOR TABLE {db.schema}.other")
    try:
        if is_refused:
            with pytest.raises(SchemaError, match=name):
                overwrite(db, schema("t", ()), record("t", id=1))
        else:
            assert overwrite(db, schema("t", ()), record("t", id=1)) == ["1"]
    finally:
        db.query(f"DROP PUBLICATION {name}; DROP PUBLICATION {name}_2")
