"""What is ours in a session of PostgreSQL ends with the transaction; few temporary objects are made in it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from typing import Any

import psycopg2
import pyarrow as pa
import pytest
import sqlalchemy as sa
from on_postgres import database, dialect, make_table, role, rows
from psycopg2 import errors

from target_meltano import INTEGER, STRING, Column, SchemaError, Table, load
from target_meltano.samples import INT, STR, record, schema
from target_meltano_postgres import faults

COLUMNS = (Column("id", INTEGER, type="bigint"), Column("a", STRING, type="text"))


def batch(first: int, text: str) -> pa.RecordBatch:
    return pa.RecordBatch.from_pydict({"id": list(range(first, first + 10)), "a": [text] * 10})


# --- temporary tables


def test_a_transaction_has_one_temporary_table_for_all_batches_of_a_table(db: Any) -> None:
    """A new one for each batch took locks until COMMIT: with 400 streams more than a server has."""
    make_table(db, "id bigint PRIMARY KEY, a text")
    db.query(f"INSERT INTO {db.schema}.t SELECT generate_series(0, 99), 'old'")
    target, table = dialect(db), Table(db.schema, "t", COLUMNS, ("id",))
    target._conflicts.add(table.full_name)  # so that it merges
    connection = target.connect()
    locks = []
    for turn in range(20):
        with connection.begin_nested():
            target.write(connection, table, target.encode(table, batch(turn * 5, str(turn))))
        locks.append(connection.exec_driver_sql("SELECT count(*) FROM pg_locks WHERE pid = pg_backend_pid()").scalar_one())
    undone = connection.begin_nested()
    target.write(connection, table, target.encode(table, batch(0, "undone")))
    undone.rollback()
    assert max(locks) <= locks[0] + 2
    assert connection.exec_driver_sql("SELECT count(*) FROM pg_class WHERE relname LIKE '\\_\\_stage%'").scalar_one() == 1
    connection.commit()
    assert connection.exec_driver_sql("SELECT count(*) FROM pg_class WHERE relname LIKE '\\_\\_stage%'").scalar_one() == 0
    target.close(connection)
    assert rows(db) == [(i, str(min(i // 5, 19))) for i in range(105)]


def test_a_column_that_is_altered_within_the_transaction_has_another_temporary_table(db: Any) -> None:
    make_table(db, "id bigint PRIMARY KEY, a bigint")
    target = dialect(db)
    numbers = Table(db.schema, "t", (COLUMNS[0], Column("a", INTEGER, type="bigint")), ("id",))
    texts = Table(db.schema, "t", COLUMNS, ("id",))
    target._conflicts.add(texts.full_name)
    connection = target.connect()
    target.write(connection, numbers, target.encode(numbers, pa.RecordBatch.from_pydict({"id": [1], "a": [5]})))
    connection.exec_driver_sql(f"ALTER TABLE {db.schema}.t ALTER COLUMN a TYPE text")
    target.write(connection, texts, target.encode(texts, pa.RecordBatch.from_pydict({"id": [2], "a": ["x"]})))
    connection.commit()
    target.close(connection)
    assert rows(db) == [(1, "5"), (2, "x")]


def test_a_server_without_locks_left_names_the_setting() -> None:
    class Diag:
        message_primary = "out of shared memory"
        message_hint = 'You might need to increase "max_locks_per_transaction".'

    class Out(errors.OutOfMemory):
        diag = Diag()  # type: ignore[assignment]

    assert "out of shared memory; raise the server's setting max_locks_per_transaction" in faults.words(Out())


# --- settings


@pytest.fixture
def others(db: Any) -> Iterator[tuple[Any, Any]]:
    """A database whose search_path leads into the schema, where code of others uses names without it."""
    path = f"{db.schema}, pg_catalog, public"
    with database(db, search_path=path) as url, closing(psycopg2.connect(url)) as connection:
        connection.autocommit = True
        there = replace(db, url=url, connection=connection)
        there.query(f"CREATE SCHEMA {db.schema}")
        yield there, dialect(there)


CODE = {
    "trigger": """
        CREATE TABLE seen (what text);
        CREATE TABLE t (id bigint PRIMARY KEY, a text);
        CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN INSERT INTO seen VALUES (NEW.a); RETURN NEW; END $$;
        CREATE TRIGGER note AFTER INSERT OR UPDATE ON t FOR EACH ROW EXECUTE FUNCTION note()""",
    "trigger that swallows errors": """
        CREATE TABLE seen (what text);
        CREATE TABLE t (id bigint PRIMARY KEY, a text);
        CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
          BEGIN INSERT INTO seen VALUES (NEW.a); EXCEPTION WHEN OTHERS THEN NULL; END; RETURN NEW; END $$;
        CREATE TRIGGER note AFTER INSERT OR UPDATE ON t FOR EACH ROW EXECUTE FUNCTION note()""",
    "check": """
        CREATE TABLE seen (what text); INSERT INTO seen VALUES ('x'), ('y');
        CREATE FUNCTION is_fine(one text) RETURNS boolean LANGUAGE sql STABLE AS $$ SELECT EXISTS (SELECT FROM seen WHERE what = one) $$;
        CREATE TABLE t (id bigint PRIMARY KEY, a text CHECK (is_fine(a)))""",
    "default": """
        CREATE TABLE seen (what text); INSERT INTO seen VALUES ('x'), ('y');
        CREATE FUNCTION latest() RETURNS text LANGUAGE sql AS $$ SELECT max(what) FROM seen $$;
        CREATE TABLE t (id bigint PRIMARY KEY, a text, by text NOT NULL DEFAULT latest())""",
    "event trigger that makes a table": """
        CREATE TABLE seen (what text); INSERT INTO seen VALUES ('x'), ('y');
        CREATE TABLE t (id bigint PRIMARY KEY, a text);
        CREATE FUNCTION note() RETURNS event_trigger LANGUAGE plpgsql AS $$ BEGIN
          IF tg_tag = 'ALTER TABLE' THEN CREATE TABLE IF NOT EXISTS changes (what text); INSERT INTO changes VALUES (tg_tag); END IF; END $$;
        CREATE EVENT TRIGGER note ON ddl_command_end EXECUTE FUNCTION note()""",
}


@pytest.mark.parametrize("made", CODE.values(), ids=CODE)
def test_code_of_others_finds_what_it_names_without_a_schema(others: tuple[Any, Any], made: str) -> None:
    there, target = others
    there.query(made)
    load(target, [schema("t", id=INT, a=STR), record("t", id=1, a="x")])
    load(target, [schema("t", id=INT, a=STR), record("t", id=1, a="y")])  # by a merge
    assert there.query("SELECT id, a FROM t") == [(1, "y")]
    assert there.query("SELECT what FROM seen ORDER BY 1") == [("x",), ("y",)]
    if "changes" in made:
        assert there.query("SELECT DISTINCT what FROM changes") == [("ALTER TABLE",)]


def test_what_is_built_in_comes_before_what_others_made(others: tuple[Any, Any]) -> None:
    """The path of the role names pg_catalog behind a schema of its own; statements of ours are not to notice."""
    there, target = others
    there.query("CREATE TABLE pg_class (id int); CREATE FUNCTION lower(text) RETURNS text LANGUAGE sql AS $$ SELECT 'mine' $$")
    connection = target.connect()
    assert connection.exec_driver_sql("SHOW search_path").scalar_one() == f"{there.schema}, public"
    assert connection.exec_driver_sql("SELECT lower('A')").scalar_one() == "a"
    target.close(connection)
    load(target, [schema("t", id=INT, a=INT), record("t", id=1, a=7)])
    load(target, [schema("t", id=INT, a=STR), record("t", id=2, a="x")])
    assert there.query("SELECT id, a FROM t ORDER BY id") == [(1, "7"), (2, "x")]


def test_views_are_made_again_where_the_path_of_the_role_finds_their_tables(others: tuple[Any, Any]) -> None:
    there, target = others
    load(target, [schema("t", id=INT, a=INT), record("t", id=1, a=7)])
    there.query("CREATE VIEW v AS SELECT t.id, t.a FROM t; CREATE VIEW w AS SELECT v.a FROM v")
    before = there.query("SELECT pg_get_viewdef('v'::regclass), pg_get_viewdef('w'::regclass)")
    load(target, [schema("t", id=INT, a=STR), record("t", id=2, a="x")])
    assert there.query("SELECT pg_get_viewdef('v'::regclass), pg_get_viewdef('w'::regclass)") == before
    assert there.query("SELECT a FROM w ORDER BY 1") == [("7",), ("x",)]


def test_nothing_of_ours_is_left_in_a_session_after_a_transaction(db: Any) -> None:
    make_table(db, "id bigint PRIMARY KEY, a text")
    target, table = dialect(db), Table(db.schema, "t", COLUMNS, ("id",))
    target._conflicts.add(table.full_name)
    connection = target.connect()
    session = connection.connection.dbapi_connection
    before = left(session)
    for end in (connection.commit, connection.rollback):
        target.share_lock(connection, "x")
        target.write(connection, table, target.encode(table, batch(0, "x")))
        end()
        assert left(session) == before
    target.close(connection)


def left(session: Any) -> Any:
    """Return what a session has, asked without a transaction of ours."""
    session.rollback()
    session.autocommit = True
    with session.cursor() as cursor:
        cursor.execute("SELECT name, setting FROM pg_settings ORDER BY 1")
        settings = cursor.fetchall()
        cursor.execute("SELECT count(*) FROM pg_class WHERE relpersistence = 't' AND pg_table_is_visible(oid)")
        tables = cursor.fetchall()
        cursor.execute("SELECT count(*) FROM pg_locks WHERE pid = pg_backend_pid() AND locktype = 'advisory'")
        locks = cursor.fetchall()
    session.autocommit = False
    return settings, tables, locks


# --- row-level security


@pytest.mark.parametrize("messages", [[schema("t", id=INT, at=STR)], [schema("t", keys=["other"], other=INT)]], ids=["type", "key"])
def test_rows_that_are_hidden_from_the_owner_are_not_taken_for_none(db: Any, messages: list[Any]) -> None:
    """FORCE ROW LEVEL SECURITY hides them from our checks, while an ALTER changes them."""
    with role(db) as (name, url):
        make_table(db, "id bigint PRIMARY KEY, at timestamptz")
        db.query(f"INSERT INTO {db.schema}.t VALUES (1, 'infinity'); ALTER TABLE {db.schema}.t ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY")
        db.query(f"GRANT ALL ON SCHEMA {db.schema} TO {name}; ALTER TABLE {db.schema}.t OWNER TO {name}")
        with pytest.raises(SchemaError, match=rf"row-level security .*ALTER ROLE {name} BYPASSRLS|primary key is \(id\)"):
            load(dialect(db, url), messages)
        assert db.query(f"SELECT id, at::text FROM {db.schema}.t") == [(1, "infinity")]
        db.query(f"ALTER TABLE {db.schema}.t NO FORCE ROW LEVEL SECURITY")
        with pytest.raises(SchemaError):
            load(dialect(db, url), messages)


# --- a session that ends


def test_a_session_that_is_ended_while_it_is_made_is_made_again(db: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    connect, made = psycopg2.connect, []

    def ended(**parameters: Any) -> Any:
        found = connect(**parameters)
        made.append(found)
        if len(made) < 3:
            db.query("SELECT pg_terminate_backend(%s)", (found.info.backend_pid,))
        return found

    monkeypatch.setattr(psycopg2, "connect", ended)
    load(dialect(db), [schema("t", id=INT), record("t", id=1)])
    assert (len(made), rows(db, "id")) == (3, [(1,)])


def test_a_transaction_that_lost_its_session_is_ended_and_no_other_one(db: Any) -> None:
    """A pooler may have given the session to others: then it is in another transaction."""
    target = dialect(db)
    ours, other = target.connect(), target.connect()
    ours.begin()
    begun = target.transaction_id(ours)
    assert begun
    ours.rollback()
    ours.begin()  # as somebody else would, in the same session
    target.end_transaction(other, begun)
    assert ours.exec_driver_sql("SELECT 1").scalar_one() == 1
    target.end_transaction(other, str(target.transaction_id(ours)))
    with pytest.raises(sa.exc.OperationalError):
        ours.exec_driver_sql("SELECT 1")
    target.close(ours)
    target.close(other)
