"""What others have in the database and do not let us do is known before the first row, with what to do."""

from __future__ import annotations

import re
import time
from pathlib import Path
from typing import Any

import psycopg2
import pytest
from on_postgres import database, dialect, make_table, role, rows, run
from psycopg2.extensions import make_dsn

from target_meltano import DatabaseError, RecordError, SchemaError, load, make
from target_meltano.samples import INT, NUM, STR, record, schema, state
from target_meltano_postgres import PostgresDialect, PostgresSettings

FIRST = [schema("t", id=INT, v=STR), record("t", id=1, v="a"), state(1)]
SECOND = [schema("t", id=INT, v=STR), record("t", id=1, v="b"), record("t", id=2, v="c"), state(2)]


def statements(error: Exception) -> str:
    """Return what a message says is to be run."""
    return str(error).partition("is to be run: ")[2] or str(error).partition("is to run: ")[2]


# --- privileges


def test_all_that_a_role_lacks_is_told_at_once_and_is_enough(db: Any) -> None:
    """From nothing: the statements of the message are run as they are."""
    with database(db) as url, role(db) as (name, _):
        admin = psycopg2.connect(url)
        admin.autocommit = True
        cursor = admin.cursor()
        cursor.execute(f"REVOKE TEMPORARY ON DATABASE {admin.info.dbname} FROM PUBLIC; CREATE SCHEMA shop; CREATE TABLE shop.t (id bigint primary key, v text)")
        theirs = make_dsn(url, user=name, password="secret")
        settings = {"url": theirs, "invalid_records": "quarantine"}
        with pytest.raises(DatabaseError) as caught:
            load(_at(db, "shop", settings), FIRST)
        told = statements(caught.value)
        assert re.findall(r"GRANT .*?(?= ON)", told) == ["GRANT USAGE, CREATE", "GRANT SELECT, INSERT, UPDATE", "GRANT TEMPORARY"]
        assert 'ADD COLUMN "__loaded_at"' in told
        cursor.execute(told)
        for lines in (FIRST, SECOND, [*SECOND, record("t", id="x")]):
            load(_at(db, "shop", settings), lines)
        cursor.execute("SELECT id, v FROM shop.t ORDER BY id")
        assert cursor.fetchall() == [(1, "b"), (2, "c")]
        cursor.execute(f"DROP SCHEMA shop CASCADE; DROP OWNED BY {name}")
        admin.close()


def _at(db: Any, place: str, settings: dict[str, Any]) -> Any:
    return PostgresDialect(make(PostgresSettings, schema=place, **settings))


def test_rights_on_rows_are_enough_where_all_tables_are_there(db: Any) -> None:
    lines = [schema("t", id=INT, v=STR, _sdc_deleted_at=STR), *FIRST[1:]]
    run(db, *lines, state_id="x", invalid_records="quarantine")
    with role(db) as (name, url):
        db.query(f"GRANT USAGE ON SCHEMA {db.schema} TO {name}; GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA {db.schema} TO {name}")
        more = [*lines, record("t", id=2, v="c"), record("t", id=[]), record("t", id=1, _sdc_deleted_at="2026-01-01T00:00:00Z"), state(2)]
        load(dialect(db, url, state_id="x", invalid_records="quarantine", hard_delete=True), more)
        assert rows(db, "id, v") == [(2, "c")]


@pytest.mark.parametrize("settings", [{"hard_delete": True}, {"activate_version": "hard"}, {"load_method": "overwrite"}], ids=str)
def test_to_delete_is_asked_for_where_rows_are_deleted(db: Any, settings: dict[str, Any]) -> None:
    wanted = schema("t", id=INT, _sdc_deleted_at=STR, __version=INT)
    run(db, wanted)
    with role(db) as (name, url):
        db.query(f"GRANT USAGE, CREATE ON SCHEMA {db.schema} TO {name}; GRANT SELECT, INSERT, UPDATE ON ALL TABLES IN SCHEMA {db.schema} TO {name}")
        with pytest.raises(DatabaseError, match=f'to run: GRANT DELETE ON TABLE "{db.schema}"."t"'):
            load(dialect(db, url, **settings), [wanted])


def test_rights_on_columns_are_rights(db: Any) -> None:
    make_table(db, "id bigint primary key, v text, theirs text, __loaded_at timestamptz")
    with role(db) as (name, url):
        db.query(f"GRANT USAGE, CREATE ON SCHEMA {db.schema} TO {name}")
        db.query(f"GRANT SELECT (id, v, __loaded_at), INSERT (id, v, __loaded_at), UPDATE (id, v, __loaded_at) ON {db.schema}.t TO {name}")
        for lines in (FIRST, SECOND):
            load(dialect(db, url), lines)
        assert rows(db, "id, v, theirs") == [(1, "b", None), (2, "c", None)]


# --- row-level security


@pytest.mark.parametrize("keys", [["id"], []], ids=["keyed", "keyless"])
def test_where_rows_are_secured_they_are_inserted(db: Any, keys: list[str]) -> None:
    make_table(db, f"id bigint {'primary key' * len(keys)}, v text, __loaded_at timestamptz")
    db.query(f"ALTER TABLE {db.schema}.t ENABLE ROW LEVEL SECURITY; CREATE POLICY p ON {db.schema}.t USING (true) WITH CHECK (v <> 'hidden')")
    with role(db) as (name, url):
        db.query(f"GRANT USAGE, CREATE ON SCHEMA {db.schema} TO {name}; GRANT ALL ON {db.schema}.t TO {name}")
        load(dialect(db, url), [schema("t", keys, id=INT, v=STR), record("t", id=1, v="a")])
        load(dialect(db, url), [schema("t", keys, id=INT, v=STR), record("t", id=2, v="b")])
        assert rows(db, "id, v") == [(1, "a"), (2, "b")]


def test_a_table_whose_rows_are_hidden_is_not_taken_for_empty(db: Any) -> None:
    make_table(db, "id bigint primary key, v text")
    db.query(f"INSERT INTO {db.schema}.t VALUES (1, 'a'); ALTER TABLE {db.schema}.t ENABLE ROW LEVEL SECURITY; ALTER TABLE {db.schema}.t FORCE ROW LEVEL SECURITY")
    with role(db) as (name, url):
        db.query(f"ALTER SCHEMA {db.schema} OWNER TO {name}; ALTER TABLE {db.schema}.t OWNER TO {name}")
        with pytest.raises(SchemaError, match=r"primary key is \(id\)"):
            load(dialect(db, url), [schema("t", ["v"], id=INT, v=STR)])
        with pytest.raises(SchemaError, match="from text to json: row-level security shows our role some of its rows only"):
            load(dialect(db, url), [schema("t", id=INT, v={})])
        db.query(f"ALTER SCHEMA {db.schema} OWNER TO CURRENT_USER; ALTER TABLE {db.schema}.t OWNER TO CURRENT_USER")


# --- keys, identity and generated columns


def test_a_deferrable_key_is_refused_in_the_first_run_and_its_remedy_works(db: Any) -> None:
    make_table(db, "id bigint, v text, CONSTRAINT k PRIMARY KEY (id) DEFERRABLE")
    with pytest.raises(SchemaError, match="'k' is DEFERRABLE") as caught:
        run(db, *FIRST)
    db.query(str(caught.value).partition("run: ")[2])
    for lines in (FIRST, SECOND):
        run(db, *lines)
    assert rows(db, "id, v") == [(1, "b"), (2, "c")]


def test_an_identity_column_that_an_upsert_cannot_set_is_refused_in_the_first_run(db: Any) -> None:
    make_table(db, "id bigint primary key, v text, n bigint GENERATED ALWAYS AS IDENTITY")
    lines = [schema("t", id=INT, v=STR, n=INT), record("t", id=1, v="a", n=7)]
    with pytest.raises(SchemaError, match="'n' is GENERATED ALWAYS AS IDENTITY") as caught:
        run(db, *lines)
    run(db, *FIRST), run(db, *SECOND)  # without it: the database counts
    assert rows(db, "id, n IS NOT NULL") == [(1, True), (2, True)]
    db.query(str(caught.value).partition("run: ")[2])
    for _ in range(2):
        run(db, *lines)
    assert rows(db, "id, n")[0] == (1, 7)


def test_an_identity_column_takes_the_stream_s_values_where_nothing_is_updated(db: Any) -> None:
    make_table(db, "v text, n bigint GENERATED ALWAYS AS IDENTITY")
    for n in (7, 8):
        run(db, schema("t", [], v=STR, n=INT), record("t", v="a", n=n))
    assert rows(db, "n") == [(7,), (8,)]


@pytest.mark.parametrize("keys", [["id"], []], ids=["keyed", "keyless"])
def test_a_generated_column_is_the_database_s(db: Any, keys: list[str]) -> None:
    make_table(db, f"id bigint {'primary key' * len(keys)}, v text, g text GENERATED ALWAYS AS (upper(v)) STORED")
    with pytest.raises(SchemaError, match="'g' is text generated.*the database makes its values; .*column_names"):
        run(db, schema("t", keys, id=INT, g=STR))
    run(db, schema("t", keys, id=INT, v=STR), record("t", id=1, v="a"))
    run(db, schema("t", keys, id=INT, v=STR), record("t", id=2, v="b"))
    run(db, schema("t", keys, id=INT, v=STR, g=STR), record("t", id=3, v="c", g="x"), column_names={"t.g": "g2"})
    assert rows(db, "id, g, g2") == [(1, "A", None), (2, "B", None), (3, "C", "x")]


# --- names


@pytest.mark.parametrize(
    ("ddl", "words"),
    [
        ("CREATE TYPE {0}.t AS ENUM ('a')", "an enum type"),
        ("CREATE DOMAIN {0}.t AS text", "a domain"),
        ("CREATE TYPE {0}.t AS RANGE (subtype = int)", "a range type"),
        ("CREATE TYPE {0}.t AS (a int)", "a type"),
        ("CREATE TYPE {0}.t", "a type"),
    ],
    ids=["enum", "domain", "range", "composite", "shell"],
)
@pytest.mark.parametrize("before", [[], [schema("u"), record("u", id=1)]], ids=["first", "with rows waiting"])
def test_a_type_of_the_stream_s_name_is_told_at_once(db: Any, ddl: str, words: str, before: list[Any]) -> None:
    db.query(f"CREATE SCHEMA {db.schema}; {ddl.format(db.schema)}")
    started = time.monotonic()
    with pytest.raises(DatabaseError, match=f"{db.schema}.t is {words}.*table_names"):
        run(db, *before, *FIRST, state_id="x")
    assert time.monotonic() - started < 5
    run(db, *FIRST, table_names={"t": "t2"})


def test_what_is_in_the_way_is_no_race(db: Any, monkeypatch: Any) -> None:
    """The catalogue does not show it, so that it is not tried for a minute."""
    db.query(f"CREATE SCHEMA {db.schema}; CREATE TYPE {db.schema}.t AS ENUM ('a')")
    monkeypatch.setattr("target_meltano_postgres.catalogue._refuse_type", lambda *_: None)
    started = time.monotonic()
    with pytest.raises(DatabaseError, match='something else has that name .*table_names.*type "t" already exists'):
        run(db, *FIRST)
    assert time.monotonic() - started < 5


def test_a_column_without_time_zone_names_its_setting_which_works(db: Any) -> None:
    make_table(db, "id bigint primary key, v timestamp")
    times = {"type": "string", "format": "date-time"}
    lines = [schema("t", id=INT, v=times), record("t", id=1, v="2026-01-01T01:00:00+01:00")]
    with pytest.raises(SchemaError, match="with `naive_timestamps: utc`"):
        run(db, *lines)
    run(db, *lines, naive_timestamps="utc")
    assert rows(db, "v::text") == [("2026-01-01 00:00:00",)]


# --- views and statistics

def test_a_column_of_a_view_that_has_another_type_now_is_told(db: Any) -> None:
    """Nobody touched its rows, and n / 2 of 3 is 1.5 from then on."""
    run(db, schema("t", id=INT, n=INT), record("t", id=1, n=3))
    db.query(f"CREATE VIEW {db.schema}.halves AS SELECT id, n / 2 AS half, n > 2 AS is_large FROM {db.schema}.t")
    db.query(f"CREATE MATERIALIZED VIEW {db.schema}.sums AS SELECT sum(half) AS total FROM {db.schema}.halves")
    result = run(db, schema("t", id=INT, n=NUM))
    changed = f"column half of view {db.schema}.halves was bigint and is numeric"
    assert [text for text in result.summary["warnings"] if "view" in text] == [
        f"stream 't': {changed}: rows that nobody touched may read otherwise there"
    ]
    assert sum(changed in (ddl or "") for (ddl,) in rows(db, "ddl", "__loads")) == 1


def test_statistics_of_a_changed_column_are_taken_anew(db: Any) -> None:
    run(db, schema("t", id=INT, n=INT, m=INT), *(record("t", id=i, n=i % 3, m=i) for i in range(300)))
    db.query(f"ANALYZE {db.schema}.t")
    run(db, schema("t", id=INT, n=NUM, m=STR))
    query = "SELECT attname::text, n_distinct FROM pg_stats WHERE schemaname = %s AND tablename = 't' AND attname IN ('n', 'm') ORDER BY 1"
    assert db.query(query, (db.schema,)) == [("m", -1.0), ("n", 3.0)]


# --- rows wider than a page


def test_a_table_whose_filled_rows_fit_no_page_is_warned_of_and_one_that_does_not_fit_is_told(db: Any) -> None:
    names = [f"c{i}" for i in range(470)]
    wanted = schema("t", id=INT, **dict.fromkeys(names, STR))
    some = record("t", id=1, **dict.fromkeys(names[:200], "x" * 40))
    every = record("t", id=2, **{name: f"{name}{'x' * 40}" for name in names})
    result = run(db, wanted, some, every, invalid_records="quarantine")
    (warning,) = [text for text in result.summary["warnings"] if "page" in text]
    assert "stream 't': a row with a value in each of the 472 columns takes" in warning
    ((reason,),) = rows(db, "reason", "__rejected")
    assert re.search(r"row is too big: size \d+, maximum size 8160; .*flatten_depth", reason)
    assert rows(db, "id") == [(1,)]


@pytest.mark.parametrize("settings", [{"flatten_depth": 0}, {"column_types": {"t.o": "json"}}], ids=str)
def test_the_settings_that_are_named_make_rows_fit(db: Any, settings: dict[str, Any]) -> None:
    fields = {f"c{i}": f"{i}{'x' * 40}" for i in range(470)}
    wanted = schema("t", id=INT, o={"type": "object", "properties": dict.fromkeys(fields, STR)})
    run(db, wanted, record("t", id=1, o=fields), **settings)
    assert rows(db, "o") == [(fields,)]


def test_no_warning_where_a_filled_row_fits(db: Any) -> None:
    names = [f"c{i}" for i in range(440)]
    result = run(db, schema("t", id=INT, **dict.fromkeys(names, STR)), record("t", id=1, **dict.fromkeys(names, "x" * 40)))
    assert [text for text in result.summary["warnings"] if "page" in text] == []


# --- PostgreSQL's hints


def test_what_postgresql_advises_is_shown_where_it_has_no_values(db: Any) -> None:
    make_table(db, "id bigint, v text")
    db.query(f"CREATE INDEX ON {db.schema}.t (v)")
    with pytest.raises(RecordError, match="Values larger than 1/3 of a buffer page cannot be indexed"):
        run(db, schema("t", [], id=INT, v=STR), record("t", id=1, v="".join(map(chr, range(1000, 3000)))))


@pytest.mark.parametrize("code", ["P0001", "42501", "22023"])
def test_hints_of_others_code_are_not_shown(db: Any, code: str) -> None:
    make_table(db, "id bigint, v text")
    db.query(
        f"CREATE FUNCTION {db.schema}.f() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN RAISE 'no' USING ERRCODE = '{code}', HINT = NEW.v; END$$; "
        f"CREATE TRIGGER r BEFORE INSERT ON {db.schema}.t FOR EACH ROW EXECUTE FUNCTION {db.schema}.f()"
    )
    with pytest.raises((RecordError, DatabaseError), match="no") as caught:
        run(db, schema("t", [], id=INT, v=STR), record("t", id=1, v="secret"))
    assert "secret" not in str(caught.value)


# --- what the page says


def blocks() -> dict[str, str]:
    """Return the GRANTs of docs/beside-others.md, by what they are for."""
    text = (Path(__file__).parent.parent / "docs/beside-others.md").read_text("utf-8")
    return dict(re.findall(r"<!-- grants: (\w+) -->\n```sql\n(.*?)```", text, re.DOTALL))


@pytest.mark.parametrize("which", ["owner", "rows"])
def test_a_role_with_the_grants_of_the_page_loads(db: Any, which: str) -> None:
    with database(db) as url, role(db) as (name, _):
        admin = psycopg2.connect(url)
        admin.autocommit = True
        cursor = admin.cursor()
        cursor.execute(f"REVOKE ALL ON DATABASE {admin.info.dbname} FROM PUBLIC; REVOKE ALL ON SCHEMA public FROM PUBLIC")
        settings = {"state_id": "x", "invalid_records": "quarantine", "hard_delete": True}
        lines = [schema("t", id=INT, v=STR, _sdc_deleted_at=STR), *FIRST[1:]]
        if which == "rows":
            load(_at(db, "shop", {"url": url, **settings}), lines)
        cursor.execute(re.sub(r"\bloader\b", name, blocks()[which]).replace("warehouse", admin.info.dbname))
        theirs = make_dsn(url, user=name, password="secret")
        gone = record("t", id=1, _sdc_deleted_at="2026-01-01T00:00:00Z")
        for more in ([], [record("t", id=2, v="b"), record("t", id="no"), state(2)], [gone, state(3)]):
            load(_at(db, "shop", {"url": theirs, **settings}), [*lines, *more])
        cursor.execute("SELECT id, v FROM shop.t")
        assert cursor.fetchall() == [(2, "b")]
        cursor.execute(f"DROP SCHEMA shop CASCADE; DROP OWNED BY {name}")
        admin.close()
