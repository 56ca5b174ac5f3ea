"""load_method overwrite into tables of many shapes: partitions, circles of foreign keys, keys of several columns, odd names."""

from __future__ import annotations

from typing import Any

import pytest
from on_postgres import dialect, make_table, rows

from target_meltano import DatabaseError, load
from target_meltano.samples import INT, STR, record, schema, state


def overwrite(db: Any, *lines: Any, **settings: Any) -> list[str]:
    states: list[str] = []
    load(dialect(db, load_method="overwrite", **settings), [*lines, state(1)], on_state=states.append)
    return states


def partitioned(db: Any) -> None:
    make_table(db, "id bigint, v text, PRIMARY KEY (id)) PARTITION BY RANGE (id", "shop")
    db.query(f"CREATE TABLE {db.schema}.low PARTITION OF {db.schema}.shop FOR VALUES FROM (0) TO (10)")
    db.query(f"CREATE TABLE {db.schema}.high PARTITION OF {db.schema}.shop FOR VALUES FROM (10) TO (20)")
    db.query(f"INSERT INTO {db.schema}.shop VALUES (1, 'a'), (11, 'b')")


@pytest.mark.parametrize("onto", ["shop", "high"], ids=["onto the table", "onto a partition"])
@pytest.mark.parametrize("parts", ["", "PARTITION BY HASH (no)"], ids=["from a table", "from partitions"])
def test_foreign_keys_of_partitions(db: Any, onto: str, parts: str) -> None:
    partitioned(db)
    db.query(f"CREATE TABLE {db.schema}.till (no int, shop bigint REFERENCES {db.schema}.{onto} ON DELETE CASCADE) {parts}")
    if parts:
        db.query(f"CREATE TABLE {db.schema}.part PARTITION OF {db.schema}.till FOR VALUES WITH (MODULUS 1, REMAINDER 0)")
    db.query(f"INSERT INTO {db.schema}.till VALUES (8, 11)")
    lines = [schema("shop", id=INT, v=STR), record("shop", id=2, v="y")]
    with pytest.raises(DatabaseError, match="till_shop_fkey"):
        overwrite(db, *lines)
    assert (rows(db, "id, v", "shop"), rows(db, "no, shop", "till")) == ([(1, "a"), (11, "b")], [(8, 11)])
    overwrite(db, *lines, record("shop", id=11, v="x"))
    assert (rows(db, "id, v", "shop"), rows(db, "no, shop", "till")) == ([(2, "y"), (11, "x")], [(8, 11)])
    overwrite(db, *lines, delete_actions="allow")
    assert (rows(db, "id, v", "shop"), rows(db, "no, shop", "till")) == ([(2, "y")], [])


def test_two_tables_that_refer_to_each_other_in_a_circle(db: Any) -> None:
    make_table(db, "id bigint PRIMARY KEY, b bigint", "a")
    make_table(db, "id bigint PRIMARY KEY, a bigint", "b")
    for one, other in ("ab", "ba"):
        words = f"FOREIGN KEY ({other}) REFERENCES {db.schema}.{other} DEFERRABLE"
        db.query(f"ALTER TABLE {db.schema}.{one} ADD {words}")
    lines = [schema("a", id=INT, b=INT), record("a", id=1, b=2), schema("b", id=INT, a=INT), record("b", id=2, a=1)]
    overwrite(db, *lines)
    overwrite(db, lines[0], record("a", id=3, b=4), lines[2], record("b", id=4, a=3))
    assert (rows(db, "id, b", "a"), rows(db, "id, a", "b")) == ([(3, 4)], [(4, 3)])
    with pytest.raises(DatabaseError, match="_fkey"):
        overwrite(db, lines[0], record("a", id=3, b=5), lines[2], record("b", id=4, a=3))
    assert (rows(db, "id, b", "a"), rows(db, "id, a", "b")) == ([(3, 4)], [(4, 3)])


def test_keys_of_several_columns_and_names_that_need_quotes(db: Any) -> None:
    make_table(db, '"Select" bigint, "a b" text, n int DEFAULT 1, PRIMARY KEY ("a b", "Select")', '"My ""t"')
    make_table(db, f'x bigint, y text, FOREIGN KEY (y, x) REFERENCES {db.schema}."My ""t" ON DELETE SET NULL', '"till "')
    db.query(f"""INSERT INTO {db.schema}."My ""t" VALUES (1, 'a', 5), (1, 'b', 6); INSERT INTO {db.schema}."till " VALUES (1, 'b')""")
    names = {"table_names": {"t": 'My "t'}, "column_names": {"t.s": "Select", "t.w": "a b"}}
    lines = [schema("t", ("s", "w"), s=INT, w=STR), record("t", s=1, w="a"), record("t", s=2, w="b")]
    with pytest.raises(DatabaseError, match="SET NULL"):
        overwrite(db, *lines, **names)
    overwrite(db, *lines, record("t", s=1, w="b"), **names)
    assert db.query(f'SELECT "Select", "a b", n FROM {db.schema}."My ""t" ORDER BY 1, 2') == [(1, "a", 5), (1, "b", 6), (2, "b", 1)]


def test_a_long_name_is_that_of_the_run_too(db: Any) -> None:
    name = "n" * 63
    overwrite(db, schema(name), record(name, id=1))
    overwrite(db, schema(name), record(name, id=2))
    assert rows(db, "id", name) == [(2,)]
    assert db.query("SELECT count(*) FROM pg_class WHERE relnamespace = %s::regnamespace AND relkind = 'r'", (db.schema,)) == [(2,)]


def test_columns_of_others_beside_a_key_that_the_database_makes(db: Any) -> None:
    make_table(db, "id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, mine int DEFAULT 4")
    overwrite(db, schema("t"), record("t", id=1), record("t", id=2))
    db.query(f"UPDATE {db.schema}.t SET mine = 9 WHERE id = 2")
    overwrite(db, schema("t"), record("t", id=2), record("t", id=3))
    assert rows(db, "id, mine") == [(2, 9), (3, 4)]


@pytest.mark.parametrize("state_id", [None, "p"])
def test_a_table_beside_that_was_made_in_a_lost_transaction_is_made_again(
    db: Any, state_id: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With `state_id` a transaction ends at a STATE only, so the second stream's is made within one that has rows."""
    for name in ("target_meltano.lines.CHUNK", "target_meltano.target.SETTLE_BYTES", "target_meltano.outbox.SEND_BYTES"):
        monkeypatch.setattr(name, 1)
    its = dialect(db, load_method="overwrite", state_id=state_id)
    write, left = its.write, [1]

    def once_lost(connection: Any, table: Any, encoded: Any) -> Any:
        if table.name.startswith("__new_b") and left and left.pop():
            (pid,) = connection.exec_driver_sql("SELECT pg_backend_pid()").one()
            db.query("SELECT pg_terminate_backend(%s)", (pid,))
        return write(connection, table, encoded)

    monkeypatch.setattr(its, "write", once_lost)
    states: list[str] = []
    load(its, [schema("a"), record("a", id=1), schema("b"), record("b", id=2), record("a", id=3), state(1)], on_state=states.append)
    assert (left, states) == ([], ["1"])
    assert (rows(db, "id", "a"), rows(db, "id", "b")) == ([(1,), (3,)], [(2,)])


@pytest.mark.parametrize("keys", [("id",), ()], ids=["with a key", "without"])
def test_values_of_a_column_that_a_later_schema_does_not_name(db: Any, keys: Any) -> None:
    """They were in the table beside, and went with it."""
    lines = [schema(keys=keys, id=INT, a=STR, b=STR), record(id=1, a="x", b="y"), schema(keys=keys, id=INT, b=STR), record(id=2, b="z")]
    for _ in range(2):
        overwrite(db, *lines)
        assert rows(db, "id, a, b", "orders") == [(1, "x", "y"), (2, None, "z")]
