"""The settings `grants` and `indexes`: done once, done to the tables of streams only, or refused before any row."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from on_postgres import dialect, role, run
from psycopg2.extensions import make_dsn

from target_meltano import DatabaseError, SchemaError, SettingsError, load
from target_meltano.report import Report
from target_meltano.settings import Settings, make
from target_meltano.tables import Plan
from target_meltano.target import Target

NESTED = {"type": "object", "properties": {"zip": {"type": "string"}}}


def schema(**others: Any) -> dict[str, Any]:
    properties = {"id": {"type": "integer"}, "Name": {"type": "string"}, "address": NESTED, **others}
    return {"type": "SCHEMA", "stream": "Orders", "key_properties": ["id"], "schema": {"properties": properties}}


def record(**values: Any) -> dict[str, Any]:
    return {"type": "RECORD", "stream": "Orders", "record": values}


@pytest.fixture
def reader(db: Any) -> Iterator[str]:
    with role(db) as (name, _):
        yield name


def readable(db: Any, reader: str) -> list[str]:
    """Return the tables that the role may read."""
    query = """SELECT relname FROM pg_class WHERE relnamespace = %s::regnamespace AND relkind = 'r'
        AND has_schema_privilege(%s, relnamespace, 'USAGE') AND has_table_privilege(%s, oid, 'SELECT') ORDER BY 1"""
    return [name for (name,) in db.query(query, (db.schema, reader, reader))]


def indexes(db: Any) -> list[tuple[str, str]]:
    query = "SELECT indexname, indexdef FROM pg_indexes WHERE schemaname = %s AND tablename = 'orders' ORDER BY 1"
    return [(name, definition.split(" USING ")[1]) for name, definition in db.query(query, (db.schema,))]


def test_streams_tables_are_readable(db: Any, reader: str) -> None:
    """Ours are not, and nor is what others have in the schema."""
    db.query(f"CREATE SCHEMA {db.schema}; CREATE TABLE {db.schema}.others ()")
    run(db, schema(), record(id=1), grants={"select": [reader]})
    assert readable(db, reader) == ["orders"]


@pytest.mark.parametrize("state_id", [None, "x"])
def test_a_table_that_is_there_gets_what_it_lacks_and_only_that(db: Any, reader: str, state_id: str | None) -> None:
    wanted: dict[str, Any] = {"grants": {"select": [reader]}, "indexes": {"Orders": [["Name"]]}, "state_id": state_id}
    state = {"type": "STATE", "value": 1}
    run(db, schema(), record(id=1), state, state_id=state_id)
    done = [run(db, schema(), record(id=1), state, **wanted).summary["streams"]["Orders"]["ddl"] for _ in range(2)]
    assert [[words.split()[0] for words in ddl] for ddl in done] == [["GRANT", "GRANT", "CREATE"], []]
    assert readable(db, reader) == ["orders"]


def test_who_may_read_already_gets_nothing(db: Any, reader: str) -> None:
    """Like a member of a role that may."""
    with role(db) as (group, _):
        db.query(f"GRANT {group} TO {reader}")
        run(db, schema(), grants={"select": [group]})
        assert run(db, schema(), grants={"select": [reader]}).summary["streams"] == {}


def test_an_unknown_role_is_refused_before_there_is_a_table(db: Any) -> None:
    with pytest.raises(SettingsError, match="the database has no role 'nobody there'"):
        run(db, schema(), record(id=1), grants={"select": ["nobody there"]})
    assert db.query("SELECT to_regclass(%s)", (f"{db.schema}.orders",)) == [(None,)]


def test_a_grant_that_only_warns_is_an_error(db: Any, reader: str) -> None:
    """PostgreSQL says no more than WARNING where a role may use a schema, but not let others."""
    with role(db) as (loader, _):
        db.query(f"CREATE SCHEMA {db.schema}; GRANT USAGE, CREATE ON SCHEMA {db.schema} TO {loader}")
        url = make_dsn(db.url, user=loader, password="secret")
        with pytest.raises(DatabaseError, match=f'our role may not, .* GRANT USAGE ON SCHEMA "{db.schema}" TO "{reader}"'):
            load(dialect(db, url, grants={"select": [reader]}), [schema(), record(id=1)])
        assert db.query("SELECT to_regclass(%s)", (f"{db.schema}.orders",)) == [(None,)]


def test_indexes_are_named_by_table_and_columns(db: Any) -> None:
    """By paths of properties or names of columns; that named twice is made once."""
    wanted = [["address.zip", "Name"], ["address__zip", "name"], ["__loaded_at"]]
    run(db, schema(), record(id=1, Name="a"), indexes={"Orders": wanted, "other": [["x"]]})
    assert indexes(db) == [
        ("orders____loaded_at__idx", "btree (__loaded_at)"),
        ("orders__address__zip__name__idx", "btree (address__zip, name)"),
        ("orders_pkey", "btree (id)"),
    ]


def test_a_long_name_is_cut(db: Any) -> None:
    long = {"x" * 60: {"type": "integer"}}
    for _ in range(2):
        run(db, schema(**long), indexes={"Orders": [["x" * 60]]})
    assert [len(name) for name, _ in indexes(db)] == [63, len("orders_pkey")]


def test_an_index_comes_with_its_column(db: Any) -> None:
    run(db, schema())
    run(db, schema(later={"type": "integer"}), indexes={"Orders": [["later"]]})
    assert indexes(db)[0] == ("orders__later__idx", "btree (later)")


@pytest.mark.parametrize("name", ["Address", "zip", "address"])
def test_an_unknown_column_is_refused_before_there_is_a_table(db: Any, name: str) -> None:
    with pytest.raises(SchemaError, match=f"line 1: stream 'Orders': the setting indexes names no .*: '{name}'"):
        run(db, schema(), record(id=1), indexes={"Orders": [["id", name]]})
    assert db.query("SELECT to_regclass(%s)", (f"{db.schema}.orders",)) == [(None,)]


def test_a_name_that_is_taken_is_an_error(db: Any) -> None:
    """IF NOT EXISTS would say nothing."""
    db.query(f"CREATE SCHEMA {db.schema}; CREATE TABLE {db.schema}.orders__name__idx ()")
    with pytest.raises(DatabaseError, match='the name is taken: CREATE INDEX IF NOT EXISTS "orders__name__idx"'):
        run(db, schema(), indexes={"Orders": [["Name"]]})


@pytest.mark.parametrize(
    "settings",
    [
        {"grants": {"insert": ["a"]}},
        {"grants": {"select": "a"}},
        {"grants": {"select": [1]}},
        {"indexes": {"t": ["a"]}},
        {"indexes": {"t": [[]]}},
        {"indexes": {"t": "a"}},
    ],
    ids=str,
)
def test_other_shapes_are_refused(db: Any, settings: dict[str, Any]) -> None:
    with pytest.raises(SettingsError, match=r"(grants|indexes): wanted \{"):
        dialect(db, **settings)


def test_plan_shows_them_and_does_nothing(db: Any, reader: str) -> None:
    shown: list[str] = []
    wanted = dialect(db, grants={"select": [reader]}, indexes={"Orders": [["Name"]]})
    Target(wanted, print, Report(quiet=True), plan=Plan(shown.append)).run([schema(), record(id=1)])
    assert [statement.split(" ON ")[0] for statement in shown[-3:]] == [
        "GRANT USAGE",
        "GRANT SELECT",
        'CREATE INDEX IF NOT EXISTS "orders__name__idx"',
    ]
    assert db.query("SELECT to_regnamespace(%s)", (db.schema,)) == [(None,)]


def test_keys_that_meltano_took_apart_are_put_together() -> None:
    """It makes {"a": {"b": ...}} of {"a.b": ...} in all settings that are objects."""
    nested = make(Settings, column_types={"orders": {"address": {"zip": "string"}, "total": "number"}}, indexes={"a": {"b": [["c"]]}})
    assert nested.column_types == {"orders.address.zip": "string", "orders.total": "number"}
    assert nested.indexes == {"a.b": [["c"]]}
    with pytest.raises(SettingsError, match=r"column_types: orders\.id: wanted a string, found an integer"):
        make(Settings, column_types={"orders": {"id": 1}})
