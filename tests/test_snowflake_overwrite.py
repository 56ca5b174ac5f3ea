"""load_method overwrite on Snowflake: names of the run, marks, tables of others; what comes again is updated."""

from __future__ import annotations

from typing import Any

import pytest
from on_snowflake import Snowflake

from target_meltano import DatabaseError, load
from target_meltano.samples import INT, STR, record, schema, state

RUN = "20260101T000000000000-00000000"


def overwrite(here: Snowflake, *lines: Any) -> list[Any]:
    states: list[Any] = []
    here.run(*lines, state(1), states=states, load_method="overwrite")
    return states


def tables(here: Snowflake) -> list[str]:
    rows = here.query(f'SELECT table_name FROM information_schema.tables WHERE table_schema = \'{here.schema}\'')
    return sorted(name for (name,) in rows if not name.startswith("__LOADS") and "@" not in name)


def test_keys_that_come_again_are_updated_and_columns_of_others_stay(standin: Snowflake) -> None:
    standin.run(schema(id=INT, v=STR), record(id=1, v="a"), record(id=2, v="b"))
    standin.query(f'ALTER TABLE "{standin.schema}"."ORDERS" ADD COLUMN "MINE" NUMBER(38,0)')
    standin.query(f'UPDATE "{standin.schema}"."ORDERS" SET "MINE" = "ID" * 7')
    assert overwrite(standin, schema(id=INT, v=STR), record(id=2, v="x"), record(id=3, v="y")) == [1]
    found = sorted((row["ID"], row["V"], row["MINE"]) for row in standin.rows("ORDERS") if row["MINE"])
    assert found == [(2, "x", 14)]
    assert sorted(row["ID"] for row in standin.rows("ORDERS")) == [2, 3]
    assert tables(standin) == ["ORDERS"]


def test_a_table_without_our_mark_is_never_touched_and_one_with_it_is_dropped(standin: Snowflake) -> None:
    standin.run(schema(), record(id=1))
    mark = f"target-meltano: rows of run {RUN} that are to replace those of ORDERS; the next run drops what a dead one left"
    standin.query(f'CREATE TABLE "{standin.schema}"."__new_ORDERS" (a NUMBER(38,0))')
    standin.query(f"CREATE TABLE \"{standin.schema}\".\"__new_ORDERS_00000000\" (a NUMBER(38,0)) COMMENT = '{mark}'")
    standin.query(f"CREATE TABLE \"{standin.schema}\".\"__new_OTHER_00000000\" (a NUMBER(38,0)) COMMENT = '{mark.replace('ORDERS', 'OTHER')}'")
    overwrite(standin, schema(), record(id=2))
    assert [row["ID"] for row in standin.rows("ORDERS")] == [2]
    assert tables(standin) == ["ORDERS", "__new_ORDERS", "__new_OTHER_00000000"]  # whose run may be alive


def test_a_run_whose_table_another_one_has_dropped_is_refused(standin: Snowflake, monkeypatch: pytest.MonkeyPatch) -> None:
    """The last one to begin wins here: nothing tells whether the other is alive."""
    monkeypatch.setattr("target_meltano.lines.CHUNK", 1)
    standin.run(schema(), record(id=1))
    states: list[Any] = []

    def lines() -> Any:
        yield from (schema(), record(id=2), state(1))
        assert overwrite(standin, schema(), record(id=3)) == [1]

    with pytest.raises(DatabaseError, match="ORDERS"):
        load(standin.dialect(load_method="overwrite"), lines(), on_state=states.append)
    assert ([row["ID"] for row in standin.rows("ORDERS")], states) == ([3], [])

