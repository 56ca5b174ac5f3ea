"""load_method overwrite: the rows of a run take the place of all others, at once or not at all."""

from __future__ import annotations

import io
from typing import Any

import psycopg2
import pytest
from on_postgres import dialect, rows, run

from target_meltano import IncompleteError, MessageError, load
from target_meltano.report import Report
from target_meltano.samples import INT, STR, record, schema, state


def overwrite(db: Any, *lines: Any, **settings: Any) -> list[str]:
    states: list[str] = []
    load(dialect(db, load_method="overwrite", **settings), lines, on_state=states.append)
    return states


def test_the_rows_of_a_run_replace_all_others(db: Any) -> None:
    assert overwrite(db, schema("t"), record("t", id=1), state(1), record("t", id=2), state(2)) == ["2"]
    assert overwrite(db, schema("t"), record("t", id=3), record("t", id=3), state(3), batch_rows=1) == ["3"]
    assert rows(db, "id") == [(3,)]
    tables = db.query("SELECT relname FROM pg_class WHERE relkind = 'r' AND relnamespace = %s::regnamespace ORDER BY 1", (db.schema,))
    assert tables == [("__loads",), ("t",)]


def test_no_state_comes_before_the_swap(db: Any) -> None:
    overwrite(db, schema("t"), record("t", id=1), state(1))
    seen = []
    lines = [schema("t"), record("t", id=2), state(2), record("t", id=3), state(3)]
    load(
        dialect(db, load_method="overwrite", batch_rows=1), lines, on_state=lambda text: seen.append((text, rows(db, "id")))
    )
    assert seen == [("3", [(2,), (3,)])]


@pytest.mark.parametrize(
    "lines",
    [
        [schema("t"), record("t", id=2)],
        [schema("t"), record("t", id=2), state(2), record("t", id=3)],
        [state(0), schema("t")],
    ],
    ids=["no state", "a record behind it", "a stream behind it"],
)
def test_an_input_that_may_be_cut_off_changes_nothing(db: Any, lines: Any) -> None:
    overwrite(db, schema("t"), record("t", id=1), state(1))
    log = io.StringIO()
    report = Report(log)
    with pytest.raises(IncompleteError, match="the old rows of 't' stay as they are"):
        load(dialect(db, load_method="overwrite", batch_rows=1), lines, report=report)
    assert rows(db, "id") == [(1,)]
    assert [("INFO    0 rows of" in log.getvalue()), sum(one["written"] for one in report.summary()["streams"].values())] == [True, 0]


def test_a_fault_changes_nothing_and_the_next_run_starts_anew(db: Any) -> None:
    overwrite(db, schema("t"), record("t", id=1), state(1))
    with pytest.raises(MessageError, match="line 4"):
        overwrite(db, schema("t"), record("t", id=2), state(2), record("t", id="x"), batch_rows=1)
    assert rows(db, "id") == [(1,)]
    overwrite(db, schema("t"), record("t", id=3), state(3))
    assert rows(db, "id") == [(3,)]


def test_an_empty_stream_empties_its_table(db: Any) -> None:
    overwrite(db, schema("t"), record("t", id=1), state(1))
    overwrite(db, schema("t"), state(2))
    assert rows(db, "id") == []


def test_readers_and_views_see_old_or_new_rows(db: Any) -> None:
    """Also one whose snapshot is older than the swap."""
    overwrite(db, schema("t"), record("t", id=1), state(1))
    db.query(f"CREATE VIEW {db.schema}.v AS SELECT id FROM {db.schema}.t")
    reader = psycopg2.connect(db.url)
    reader.set_session(isolation_level="REPEATABLE READ")
    cursor = reader.cursor()
    cursor.execute("SELECT 1")
    overwrite(db, schema("t", id=INT, more=STR), record("t", id=2, more="x"), state(2))
    cursor.execute(f"SELECT id FROM {db.schema}.v")
    assert cursor.fetchall() == [(1,)]
    reader.close()
    assert rows(db, "id", "v") == [(2,)]


def test_a_schema_change_on_the_way(db: Any) -> None:
    lines = [schema("t"), record("t", id=1), schema("t", id=INT, v=STR), record("t", id=2, v="x"), state(1)]
    overwrite(db, *lines)
    assert rows(db, "id, v") == [(1, None), (2, "x")]


def test_with_state_id_the_state_is_kept_with_the_swap(db: Any) -> None:
    assert overwrite(db, schema("t"), record("t", id=1), state(1), record("t", id=2), state(2), state_id="p") == ["2"]
    assert rows(db, "state", "__state") == [("2",)]
    with pytest.raises(IncompleteError):
        overwrite(db, schema("t"), record("t", id=1), state(3), record("t", id=2), state_id="p")
    assert rows(db, "state", "__state") == [("2",)]
    run(db, schema("t"))
