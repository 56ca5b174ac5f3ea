"""What Snowflake refuses when files are loaded is traced to the record that it came with."""

from __future__ import annotations

from typing import Any

import pytest
from on_snowflake import Snowflake

from target_meltano import DatabaseError, RecordError
from target_meltano.samples import INT, STR, record, schema, state

BAD = "what COPY refuses"
TELLS = pytest.mark.parametrize("tells", [True, False], ids=["with its row", "without"])


def lines(*bad: int) -> list[Any]:
    """Return two streams of nine rows each, of which those in *bad* are refused in `orders`."""
    rows = [(record("events", id=i), record("orders", id=i % 8, a=BAD if i in bad else str(i))) for i in range(9)]
    return [schema("orders", id=INT, a=STR), schema("events", keys=(), id=INT), state(0), *(row for pair in rows for row in pair), state(9)]


def ids(here: Snowflake, table: str) -> list[int]:
    return sorted(row["ID"] for row in here.rows(table))


@TELLS
@pytest.mark.parametrize("state_id", [None, "p"], ids=["", "state_id"])
def test_it_is_kept_and_the_others_are_loaded(standin: Snowflake, tells: bool, state_id: str | None) -> None:
    assert standin.server
    standin.server.refuse(BAD, tells)
    states: list[Any] = []
    standin.run(*lines(2, 5), states=states, invalid_records="quarantine", **({"state_id": state_id} if state_id else {}))
    assert (ids(standin, "ORDERS"), ids(standin, "EVENTS"), states[-1]) == ([0, 1, 3, 4, 6, 7], list(range(9)), 9)
    assert [row["A"] for row in standin.rows("ORDERS") if row["ID"] == 0] == ["8"]
    rejected = sorted(standin.rows("__REJECTED"), key=lambda row: row["LINE"])
    assert [(row["STREAM"], row["LINE"]) for row in rejected] == [("orders", 9), ("orders", 15)]
    column = "column 'A': " if tells else ""
    assert {row["REASON"] for row in rejected} == {f"the database refuses it: {column}100071: Failed to cast variant value … to FIXED"}
    (load,) = [row for row in standin.rows("__LOADS") if row["STREAM"] == "orders"]
    assert (load["ROWS_READ"], load["ROWS_REJECTED"]) == (9, 2)


@TELLS
def test_without_a_quarantine_what_came_before_is_committed(standin: Snowflake, tells: bool) -> None:
    assert standin.server
    standin.server.refuse(BAD, tells)
    states: list[Any] = []
    with pytest.raises(RecordError, match=r"line 9: stream 'orders': .*the database refuses it: .*100071"):
        standin.run(*lines(2, 5), states=states)
    assert (ids(standin, "ORDERS"), ids(standin, "EVENTS"), states) == ([0, 1], [0, 1, 2], [0])


def test_rows_that_wait_are_not_blamed_on_those_that_make_them_load(standin: Snowflake) -> None:
    """A DELETE sees what was written before it, so the files before it are loaded, and one of them is refused."""
    assert standin.server
    deleted = {"type": ["null", "string"], "format": "date-time"}
    standin.server.refuse(BAD)
    kept = schema(id=INT, a=STR, _sdc_deleted_at=deleted)
    changed = schema(id=INT, a=STR, b=INT, _sdc_deleted_at=deleted)
    messages = [kept, record(id=1, a=BAD), record(id=2, a="x"), changed, record(id=2, _sdc_deleted_at="2024-01-01T00:00:00Z"), state(1)]
    standin.run(*messages, hard_delete=True, invalid_records="quarantine", state_id="p")
    assert ids(standin, "ORDERS") == []
    assert [row["LINE"] for row in standin.rows("__REJECTED")] == [2]


def test_what_no_row_is_to_blame_for_ends_the_run(standin: Snowflake) -> None:
    assert standin.server
    standin.server.fault("^MERGE", "error", number=100_090, times=9)
    states: list[Any] = []
    with pytest.raises(DatabaseError, match="100090"):
        standin.run(*lines(), states=states)
    assert (ids(standin, "ORDERS"), ids(standin, "EVENTS"), states) == ([], [], [0])
    merges = [statement for statement in standin.statements() if statement.startswith("MERGE")]
    assert len(merges) == 2


def test_after_a_commit_rows_are_not_tried_any_more(standin: Snowflake) -> None:
    assert standin.server
    standin.server.refuse(BAD)
    standin.run(*lines(2), *(record("orders", id=i, a="x") for i in range(20, 40)), state(10), invalid_records="quarantine", batch_rows=18)
    *_, after, _ = "\n".join(standin.statements()).split("\nCOMMIT\n")
    assert after.count("COPY INTO") == 1
