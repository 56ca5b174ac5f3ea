"""Names that settings give: cut by the rule of all names, compared as they end, and none that is for tables of our own."""

from __future__ import annotations

from typing import Any

import pytest
from on_postgres import dialect, rows, run
from sqlite_dialect import SqliteDialect

from target_meltano import SchemaError, load, make, samples
from target_meltano.messages import Schema
from target_meltano.naming import in_bytes
from target_meltano.samples import INT, STR, record, state
from target_meltano.wanting import Names, Wanted, wanted
from target_meltano_snowflake.dialect import SnowflakeDialect
from target_meltano_snowflake.session import SnowflakeSettings


def schema(stream: str, **properties: Any) -> dict[str, Any]:
    return samples.schema(stream, id=INT, **properties)


LONG = "ledger_entries_of_every_branch_and_of_its_warehouses_by_week_and_"
TWO = [schema("t", v=STR), schema("u", v=STR), record("t", id=1, v="of t"), record("u", id=1, v="of u"), state(1)]


def test_two_long_names_of_tables_are_two_tables(db: Any) -> None:
    """PostgreSQL would cut both to the same 63 bytes."""
    names = {"t": f"{LONG}2031", "u": f"{LONG}2032"}
    for _ in range(2):
        run(db, *TWO, table_names=names)
    tables = [name for (name,) in db.query("SELECT tablename::text FROM pg_tables WHERE schemaname = %s ORDER BY 1", (db.schema,))]
    assert sorted(rows(db, "v", name)[0][0] for name in tables if name != "__loads") == ["of t", "of u"]
    assert {name[:54] for name in tables if name != "__loads"} == {LONG[:54]}


def test_a_second_run_finds_the_columns_of_long_names(db: Any) -> None:
    settings = {"column_names": {"t.v": f"{LONG}a", "t.w": f"{LONG}b"}, "timestamp_column": f"{LONG}c"}
    for n in range(2):
        run(db, schema("t", v=STR, w=STR), record("t", id=n, v="v", w="w"), state(1), **settings)
    names = [name for (name,) in db.query("SELECT attname::text FROM pg_attribute WHERE attname ~ %s", (f"^{LONG[:50]}",))]
    assert len(names) == 3
    (row, _) = rows(db)
    assert row[:3] == (0, "v", "w")


def test_a_long_name_of_a_schema_is_cut_by_the_same_rule(db: Any) -> None:
    there = dialect(db)
    for _ in range(2):
        load(type(there)(make(type(there.settings), url=db.url, schema=f"{db.schema}{LONG}")), TWO)
    try:
        (name,) = db.query("SELECT nspname::text FROM pg_namespace WHERE nspname LIKE %s", (f"{db.schema}%",))[0]
        assert in_bytes(name) == 63
        assert db.query(f'SELECT v FROM "{name}".t') == [("of t",)]
    finally:
        db.query(f'DROP SCHEMA "{name}" CASCADE')


def test_an_overwrite_keeps_tables_apart_whose_names_differ_in_a_character_that_others_fold(db: Any) -> None:
    run(db, *TWO, table_names={"t": "a-b", "u": "a_b"}, load_method="overwrite")
    assert [rows(db, "v", name) for name in ("a-b", "a_b")] == [[("of t",)], [("of u",)]]


def test_a_name_that_ends_as_that_of_another_stream_is_refused(db: Any) -> None:
    """Though no two settings are the same: the other one is what a long name is cut to."""
    cut = wanted_of(SqliteDialect, {"t": f"{LONG}2031"}).table.name
    with pytest.raises(SchemaError, match=r"^line 2: stream 'u': .*'t' and 'u' would both be named .*setting table_names"):
        run(db, *TWO, table_names={"t": f"{LONG}2031", "u": cut})


def test_a_column_that_ends_as_another_is_refused(db: Any) -> None:
    with pytest.raises(SchemaError, match=r"^line 1: stream 't': properties 'v' and 'w' would both be named 'w'.*setting column_names"):
        run(db, schema("t", v=STR, w=STR), column_names={"t.v": "w"})
    with pytest.raises(SchemaError, match=r"properties '__EXTRA' and '__extra \(all unknown fields\)'.*column_names"):
        run(db, schema("t", __EXTRA=STR), unknown_fields="keep")
    with pytest.raises(SchemaError, match="setting timestamp_column"):
        run(db, schema("t"), timestamp_column="__version")


def test_indexes_of_two_streams_are_no_one_index() -> None:
    names = Names()
    names.claim("a", wanted_of(SqliteDialect, {}, stream="a", indexes={"a": [["b__c"]]}, b__c=INT).table)
    with pytest.raises(SchemaError, match="'a' and 'a__b' would both be named 'a__b__c__idx'"):
        names.claim("a__b", wanted_of(SqliteDialect, {}, stream="a__b", indexes={"a__b": [["c"]]}, c=INT).table)


def wanted_of(kind: Any, tables: dict[str, str], *, stream: str = "t", indexes: Any = None, columns: Any = None, **properties: Any) -> Wanted:
    more = {"account": "a", "user": "u", "password": "p", "database": "d"} if kind is SnowflakeDialect else {}
    cls = SnowflakeSettings if kind is SnowflakeDialect else kind.settings_type
    made = kind(make(cls, schema="s", table_names=tables, indexes=indexes or {}, column_names=columns or {}, **more))
    found = {"type": "object", "properties": {"id": INT, **properties}}
    return wanted(Schema(stream, found, ("id",)), made.settings, made)


def test_snowflake_cuts_at_255_characters() -> None:
    found = [wanted_of(SnowflakeDialect, {"t": "é" * 300 + end}, columns={"t.v": "x" * 300}, v=STR).table for end in "ab"]
    assert {len(one.name) for one in found} == {SnowflakeDialect.name_size}
    assert found[0].name != found[1].name
    assert len(found[0].columns[1].name) == SnowflakeDialect.name_size <= 255


OURS = {
    "folded": ("--loads", {}),
    "other case": ("__Rejected", {}),
    "state": ("__state", {}),
    "by setting": ("t", {"t": "__loads"}),
    "by setting, other case": ("t", {"t": "__STATE"}),
    "beside": ("__new_orders", {}),
    "beside, by setting": ("t", {"t": "__NEW_x"}),
}


@pytest.mark.parametrize(("stream", "names"), OURS.values(), ids=OURS)
def test_no_stream_has_a_table_of_our_own(db: Any, stream: str, names: dict[str, str]) -> None:
    with pytest.raises(SchemaError, match=r"^line 1: stream '.*for tables of our own \(setting table_names"):
        run(db, schema(stream), record(stream, id=1), state(1), table_names=names)
    assert db.query("SELECT tablename FROM pg_tables WHERE schemaname = %s", (db.schema,)) == []
    run(db, schema(stream), record(stream, id=1), state(1), table_names={stream: "mine"})
    assert rows(db, "id", "mine") == [(1,)]


@pytest.mark.parametrize("name", ["a\0b", "\ud800"], ids=["NUL", "surrogate"])
def test_a_name_that_no_database_takes_is_refused(db: Any, name: str) -> None:
    for settings in ({"table_names": {"t": name}}, {"column_names": {"t.v": name}}, {"timestamp_column": name}):
        with pytest.raises(SchemaError, match="line 1: stream 't': the settings give the name"):
            run(db, schema("t", v=STR), **settings)
