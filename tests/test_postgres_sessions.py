"""What is ours in a session of PostgreSQL ends with the transaction; few temporary objects are made in it."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
from on_postgres import dialect, make_table, rows
from psycopg2 import errors

from target_meltano import INTEGER, STRING, Column, Table
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
