"""Snowflake beside others: their columns, collations, clustering keys and policies, and what a change of type leaves."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from contextlib import suppress
from decimal import Decimal
from typing import Any

import pytest
from on_snowflake import Snowflake
from snowflake import connector

from target_meltano import DatabaseError, SchemaError, UpgradeError
from target_meltano.samples import INT, NUM, STR, record, schema, state
from target_meltano_snowflake.work import Work

TIME = {"type": ["string", "null"], "format": "date-time"}


def made(here: Snowflake, *columns: str, rows: Sequence[str] = (), table: str = "ORDERS", more: str = "") -> None:
    here.query(f'CREATE SCHEMA IF NOT EXISTS "{here.schema}"')
    here.query(f'CREATE TABLE "{here.schema}"."{table}" ({", ".join(columns)}) {more}')
    for row in rows:
        here.query(f'INSERT INTO "{here.schema}"."{table}" VALUES ({row})')


def read(here: Snowflake, *columns: str, table: str = "ORDERS") -> list[tuple[Any, ...]]:
    return sorted((tuple(row[column] for column in columns) for row in here.rows(table)), key=str)


def described(here: Snowflake, column: int, table: str = "ORDERS") -> dict[str, Any]:
    return {row[0]: row[column] for row in here.query(f'DESCRIBE TABLE "{here.schema}"."{table}"')}


# --- columns of others

KEY = ('"ID" NUMBER(38,0)', 'PRIMARY KEY ("ID")')


@pytest.mark.parametrize("how", ["upgrade", "add", "fail"])
@pytest.mark.parametrize("name", ["PRICE (old)", "PRICE (new)", "TOTAL (old)", "TOTAL (new)"])
def test_columns_of_others_stay_whatever_their_names_are(standin: Snowflake, name: str, how: str) -> None:
    made(standin, KEY[0], '"PRICE" FLOAT', f'"{name}" FLOAT', '"__LOADED_AT" TIMESTAMP_TZ', KEY[1], rows=["1, 7.5, 8.5, NULL"])
    standin.run(schema(id=INT, price=NUM), record(id=2, price=1.5), schema_changes=how)
    assert read(standin, "ID", "PRICE", name) == [(1, Decimal("7.5"), Decimal("8.5")), (2, Decimal("1.5"), None)]
    if how == "upgrade":
        standin.run(schema(id=INT, price=STR, total=NUM), record(id=3, price="x", total=5))
        assert read(standin, "ID", "PRICE", name) == [(1, "7.5", Decimal("8.5")), (2, "1.5", None), (3, "x", None)]


@pytest.mark.parametrize("name", ["V (new)", "V (old)"])
def test_a_column_of_the_stream_may_have_such_a_name(standin: Snowflake, name: str) -> None:
    its = {"column_names": {"orders.w": name}, "naming": "preserve"}
    for _ in range(2):
        standin.run(schema(id=INT, v=INT, w=INT), record(id=1, v=2, w=3), **its)
    standin.run(schema(id=INT, v=STR, w=STR), record(id=2, v="a", w="b"), **its)
    assert read(standin, "id", "v", name, table="orders") == [(1, "2", "3"), (2, "a", "b")]


def test_the_names_of_a_change_are_nobodys(standin: Snowflake) -> None:
    """A change of type that others have anticipated, name by name, takes other names."""
    standin.run(schema(id=INT, v=INT), record(id=1, v=1))
    dialect = standin.dialect()
    dialect.run_id = "20261128T000000000000-0badcafe"
    for name in ("V (new 0badcafe)", "V (old 0badcafe)", "V (new 0badcafe 2)"):
        standin.query(f'ALTER TABLE "{standin.schema}"."ORDERS" ADD COLUMN "{name}" VARCHAR DEFAULT \'mine\'')
    connection = dialect.connect()
    found = dialect.found(connection, standin.schema, "ORDERS")
    dialect.close(connection)
    assert found and set(found.columns) >= {"V (new 0badcafe)", "V (old 0badcafe)", "V (new 0badcafe 2)", "V"}
    from target_meltano.diff import ChangeType, Column, Table

    table = Table(standin.schema, "ORDERS", (Column("ID", found.columns["ID"].kind, "id"), Column("V", dialect.reads["varchar"], "v")), ("ID",), "orders")
    names = set(re.findall(r'"(V \([^"]*)"', " ".join(dialect.change_type(ChangeType(table, table.column("V"), found.columns["V"])))))
    assert names == {"V (new 0badcafe 3)", "V (old 0badcafe 2)"}


# --- a change of type that ends in between


def steps_of_a_change(here: Snowflake, keyed: bool) -> list[str]:
    """Return the statements of a change of type, by a run of it."""
    here.run(schema(id=INT, v=INT), record(id=1, v=1))
    assert here.server
    here.server.clear()
    change = schema(id=STR, v=INT) if keyed else schema(id=INT, v=STR)
    here.run(change)
    here.query(f'DROP TABLE "{here.schema}"."ORDERS"')
    return [one for one in here.statements() if re.match(r"ALTER TABLE|/\* committed by itself", one)]


class Killed(BaseException):
    pass


def ends_at(patch: pytest.MonkeyPatch, number: int, end: str) -> None:
    """Let that statement of a change be refused, or the run be killed right behind it."""
    execute, steps = Work.execute, iter(range(99))

    def ending(self: Work, cursor: Any, statement: str, parameters: Any) -> None:
        is_due = re.match(r"ALTER TABLE|/\* committed by itself", statement) and next(steps) == number
        if is_due and end == "refused":
            raise connector.errors.ProgrammingError(msg="as planned", errno=2443, sqlstate="42601")
        execute(self, cursor, statement, parameters)
        if is_due:
            raise Killed

    patch.setattr(Work, "execute", ending)


@pytest.mark.parametrize("keyed", [False, True], ids=["a column", "a key"])
@pytest.mark.parametrize("end", ["refused", "killed"])
@pytest.mark.parametrize("then", ["again", "as before"])
def test_wherever_a_change_ends_the_next_run_carries_on(standin: Snowflake, monkeypatch: pytest.MonkeyPatch, keyed: bool, end: str, then: str) -> None:
    """No value is lost, no column of ours stays, and comments are what they should be, after each step."""
    steps = steps_of_a_change(standin, keyed)
    assert len(steps) == (10 if keyed else 7)
    assert standin.server
    wide = schema(id=STR, v=INT) if keyed else schema(id=INT, v=STR)
    for at, step in enumerate(steps):
        standin.run(schema(id=INT, v=INT), record(id=1, v=1), record(id=2, v=None))
        with monkeypatch.context() as patch, suppress(DatabaseError, Killed):
            ends_at(patch, at, end)
            standin.run(wide, record(**({"id": "3", "v": 3} if keyed else {"id": 3, "v": "3"})))
        now = wide if then == "again" else schema(id=INT, v=INT)
        new = {"id": "4" if now is wide and keyed else 4, "v": "4" if now is wide and not keyed else 4}
        standin.run(now, record(**new), narrowing="keep")
        rows = [(str(id_), None if v is None else str(v)) for id_, v in read(standin, "ID", "V")]
        assert rows in ([("1", "1"), ("2", None), ("4", "4")], [("1", "1"), ("2", None), ("3", "3"), ("4", "4")]), step
        assert (described(standin, 9)["ID"], described(standin, 9)["V"], set(described(standin, 9))) == ("id", "v", {"ID", "V", "__LOADED_AT"}), (at, step)
        assert [name for name, is_key in described(standin, 5).items() if is_key == "Y"] == ["ID"], step
        standin.query(f'DROP TABLE "{standin.schema}"."ORDERS"')


def test_an_old_column_that_cannot_be_dropped_is_told_and_in_nobodys_way(standin: Snowflake) -> None:
    standin.run(schema(id=INT, v=INT), record(id=1, v=1))
    assert standin.server
    standin.server.fault("DROP COLUMN", "error", times=3, number=2443)
    for number in (2, 3):
        result = standin.run(schema(id=INT, v=STR), record(id=number, v="x"))
        assert any("DROP COLUMN" in one and "nothing needs it" in one for one in result.summary["warnings"])
    standin.server.clear()
    standin.run(schema(id=INT, v=STR), record(id=4, v="x"))
    assert read(standin, "ID", "V") == [(1, "1"), (2, "x"), (3, "x"), (4, "x")]
    assert set(described(standin, 0)) == {"ID", "V", "__LOADED_AT"}


# --- collations


def collated(here: Snowflake) -> None:
    here.query(f'CREATE SCHEMA IF NOT EXISTS "{here.schema}"')
    here.query(f"ALTER SCHEMA \"{here.schema}\" SET DEFAULT_DDL_COLLATION = 'en-ci'")


def test_keys_that_differ_stay_apart_in_a_schema_with_a_collation(standin: Snowflake) -> None:
    collated(standin)
    standin.run(schema(id=STR, v=INT), record(id="AAPL", v=1), record(id="aapl", v=2))
    standin.run(schema(id=STR, v=INT), record(id="aapl", v=3), record(id="Aapl", v=4))
    assert read(standin, "ID", "V") == [("AAPL", 1), ("Aapl", 4), ("aapl", 3)]
    for table in ("ORDERS", "__LOADS"):
        assert not any("COLLATE" in spelt for spelt in described(standin, 1, table).values())


def test_state_ids_that_differ_stay_apart(standin: Snowflake) -> None:
    collated(standin)
    for name in "pP":
        standin.run(schema(id=INT), record(id=1), state({name: 1}), state_id=name)
    assert sorted((row["STATE_ID"], json.loads(row["STATE"])) for row in standin.rows("__STATE")) == [("P", {"P": 1}), ("p", {"p": 1})]


@pytest.mark.parametrize("settings", [{}, {"hard_delete": True}], ids=str)
def test_a_key_with_a_collation_is_refused_by_name(standin: Snowflake, settings: Any) -> None:
    made(standin, "\"ID\" VARCHAR COLLATE 'en-ci'", '"V" NUMBER(38,0)', 'PRIMARY KEY ("ID")', rows=["'a', 1"])
    with pytest.raises(SchemaError, match="key column 'ID' has the collation 'en-ci', by which keys that differ may be equal"):
        standin.run(schema(id=STR, v=INT), record(id="A", v=1), **settings)
    assert read(standin, "ID", "V") == [("a", 1)]
    standin.run(schema(id=STR, v=INT), record(id="A", v=1), table_names={"orders": "OTHERS"}, **settings)


def test_a_state_table_with_a_collation_is_refused_by_name(standin: Snowflake) -> None:
    standin.run(schema(id=INT), record(id=1), state({"p": 1}), state_id="p")
    columns = ", ".join(f'"{name}" {spelt} {"COLLATE " + chr(39) + "en-ci" + chr(39) if name == "STATE_ID" else ""}' for name, spelt in described(standin, 1, "__STATE").items())
    standin.query(f'DROP TABLE "{standin.schema}"."__STATE"')
    standin.query(f'CREATE TABLE "{standin.schema}"."__STATE" ({columns}, PRIMARY KEY ("STATE_ID"))')
    with pytest.raises(SchemaError, match="__STATE: key column 'STATE_ID' has the collation"):
        standin.run(schema(id=INT), record(id=1), state({"p": 1}), state_id="p")


def test_other_columns_with_a_collation_keep_their_values(standin: Snowflake) -> None:
    made(standin, '"ID" NUMBER(38,0)', "\"S\" VARCHAR COLLATE 'en-ci'", "\"T\" VARCHAR(3) COLLATE 'de'", 'PRIMARY KEY ("ID")', rows=["1, 'a', 'b'"])
    standin.run(schema(id=INT, s=STR, t=STR), record(id=2, s="A", t="long enough"), record(id=3, s="a", t="b"))
    assert read(standin, "ID", "S", "T") == [(1, "a", "b"), (2, "A", "long enough"), (3, "a", "b")]
    standin.run(schema(id=INT, s={}, t=STR), record(id=4, s=[5], t="c"))
    assert read(standin, "ID", "S") == [(1, "a"), (2, "A"), (3, "a"), (4, [5])]
