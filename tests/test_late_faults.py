"""Faults that show only after later lines were read: what is committed ends before them, whatever came since."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from both_paths import PATHS, reading_with
from sqlite_dialect import SqliteDialect, SqliteSettings

from target_meltano import RecordError, RowCounts, lines, load, loader, outbox, target
from target_meltano.samples import INT, STR, record, schema, state

INVALID = [record("a", i="bad") for _ in range(3)]


class Loading:
    """Loads into a file of SQLite."""

    def __init__(self, path: Path):
        self.path = path
        self.states: list[Any] = []

    def load(self, *messages: Any, dialect: Any = None, **settings: Any) -> None:
        dialect = dialect or SqliteDialect(SqliteSettings(path=str(self.path), **settings))
        load(dialect, messages, on_state=lambda text: self.states.append(json.loads(text)))

    def query(self, sql: str) -> list[Any]:
        with sa.create_engine(f"sqlite:///{self.path}").connect() as connection:
            return [tuple(row) for row in connection.exec_driver_sql(sql)]

    def count(self, table: str) -> int:
        count: int = self.query(f"SELECT count(*) FROM {table}")[0][0]
        return count


@pytest.fixture
def loading(tmp_path: Path) -> Loading:
    return Loading(tmp_path / "x.db")


def rows(stream: str, start: int, stop: int) -> list[Any]:
    return [record(stream, i=i) for i in range(start, stop)]


@pytest.mark.parametrize("settings", [{}, {"state_id": "p"}], ids=["stdout", "state_id"])
def test_no_state_covers_a_record_that_was_one_too_many(loading: Loading, settings: dict[str, Any]) -> None:
    messages = [schema("a", keys=(), i=INT), *rows("a", 0, 5), state(1), *INVALID, record("a", i=9), state(2)]
    with pytest.raises(RecordError, match="max_rejected"):
        loading.load(*messages, invalid_records="quarantine", max_rejected=2, **settings)
    assert loading.states == [1]
    assert loading.count("a") == 5


@pytest.mark.parametrize("path", PATHS)
def test_the_fault_of_a_row_is_no_other_lines(loading: Loading, monkeypatch: pytest.MonkeyPatch, path: Any) -> None:
    """It shows while a SCHEMA is taken, which sends what waits before it; the SCHEMA is not rejected in its place."""
    write = loader.Loader.write
    monkeypatch.setattr(loader.Loader, "write", lambda self, written: (time.sleep(0.05), write(self, written)))
    messages = [schema(name, keys=(), i=INT) for name in "ab"] + [*rows("a", 0, 5), state(1), *INVALID, *rows("b", 0, 5)]
    messages += [schema("a", keys=(), i=INT, j=STR), *rows("b", 5, 55), state(2)]
    with reading_with(path), pytest.raises(RecordError, match="max_rejected"):
        loading.load(*messages, invalid_records="quarantine", max_rejected=2, state_id="p")
    assert loading.states == [1]
    assert (loading.count("a"), loading.count("b")) == (5, 0)


def test_an_overwrite_that_is_done_again_doubles_nothing(loading: Loading, monkeypatch: pytest.MonkeyPatch) -> None:
    """The second stream's table is there, and making one beside it ends a transaction."""
    for module, name in ((lines, "CHUNK"), (target, "SETTLE_BYTES"), (outbox, "SEND_BYTES")):
        monkeypatch.setattr(module, name, 1)
    messages = [schema("a", keys=(), i=INT), *rows("a", 0, 5), schema("b", keys=(), i=INT), *rows("b", 0, 5), state(1)]
    loading.load(*messages, load_method="overwrite")
    dialect = SqliteDialect(SqliteSettings(path=str(loading.path), load_method="overwrite"))
    write, lost = dialect.write, iter([True])

    def once_lost(connection: sa.Connection, table: Any, its: Any) -> RowCounts:
        if "__new_b" in table.name and next(lost, False):
            raise sa.exc.OperationalError("INSERT", {}, Exception("connection lost"))
        return write(connection, table, its)

    monkeypatch.setattr(dialect, "write", once_lost)
    monkeypatch.setattr(dialect, "is_transient", lambda error: True)
    loading.load(*messages, dialect=dialect)
    assert next(lost, "was lost") == "was lost"
    assert (loading.count("a"), loading.count("b")) == (5, 5)
