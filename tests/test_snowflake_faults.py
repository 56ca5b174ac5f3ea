"""The network and the session fail: no row is lost or doubled, no STATE runs ahead."""

from __future__ import annotations

import json
from typing import Any

import pytest
from on_snowflake import MAJOR, Snowflake

from target_meltano import DatabaseError
from target_meltano.samples import INT, STR, record, schema, state
from target_meltano_snowflake import session

LINES = [
    schema("orders", id=INT, a=STR),
    schema("events", keys=(), id=INT),
    *(line for i in range(1, 7) for line in (record("orders", id=i % 4, a=str(i)), record("events", id=i))),
    state(6),
]
# What a statement of each kind is met by: before it is done, or after it.
HOWS = ["503", "before", "after", "390112", "gone"]
PLACES = {
    "PUT": r"^PUT 'file:///",
    "BEGIN": "^BEGIN",
    "COPY into a staging table": r'^COPY INTO "\w+"\."staged',
    "COPY into the table": r'^COPY INTO "\w+"\."EVENTS"',
    "MERGE": "^MERGE",
    "our own table": '^INSERT INTO .*"__LOADS"',
    "COMMIT": "^COMMIT",
    "REMOVE": "^REMOVE",
}


def ids(here: Snowflake, table: str) -> list[int]:
    return sorted(row["ID"] for row in here.rows(table))


@pytest.mark.parametrize("how", HOWS)
@pytest.mark.parametrize("place", ["MERGE", "COMMIT"])
@pytest.mark.parametrize("state_id", [None, "pipeline"])
def test_what_fails_once_is_done_once(standin: Snowflake, place: str, how: str, state_id: str | None) -> None:
    check_once(standin, place, how, state_id)


@pytest.mark.parametrize("how", ["after", "gone"])
@pytest.mark.parametrize("place", sorted(set(PLACES) - {"MERGE", "COMMIT"}))
def test_it_may_fail_anywhere(standin: Snowflake, place: str, how: str) -> None:
    check_once(standin, place, how, None)


def check_once(here: Snowflake, place: str, how: str, state_id: str | None) -> None:
    assert here.server
    here.server.fault(PLACES[place], how)
    states: list[Any] = []
    settings = {"state_id": state_id} if state_id else {}
    here.run(*LINES, states=states, **settings)
    assert any(entry.get("fault") for entry in here.server.log())
    assert ids(here, "ORDERS") == [0, 1, 2, 3]
    assert ids(here, "EVENTS") == [1, 2, 3, 4, 5, 6]
    assert states == [6]
    (load,) = [row for row in here.rows("__LOADS") if row["STREAM"] == "events"]
    assert (load["ROWS_WRITTEN"], load["STATE"]) == (6, "6")


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """The connectors give up after seconds instead of minutes."""
    quick = {"network_timeout": 2} if MAJOR < 5 else {"retry_max_attempts": 2, "request_timeout": 5}
    monkeypatch.setattr(session, "_timeouts", lambda: {"login_timeout": 10, **quick})


@pytest.mark.usefixtures("impatient")
def test_a_commit_whose_answer_never_comes_is_looked_up(standin: Snowflake) -> None:
    """The connectors give up; the session is another one then."""
    assert standin.server
    standin.server.fault("^COMMIT", "commits")
    states: list[Any] = []
    result = standin.run(*LINES, states=states)
    assert any("it was found to be done" in warning for warning in result.summary["warnings"])
    assert (ids(standin, "EVENTS"), states) == ([1, 2, 3, 4, 5, 6], [6])


@pytest.mark.usefixtures("impatient")
def test_a_lost_session_with_an_open_transaction_is_ended_before_it_is_done_again(standin: Snowflake) -> None:
    """Else the old COMMIT could still come, after the rows were sent again."""
    assert standin.server
    standin.server.fault("^COMMIT", "deaf")
    result = standin.run(*LINES)
    assert any("it was found to be undone" in warning for warning in result.summary["warnings"])
    assert ids(standin, "EVENTS") == [1, 2, 3, 4, 5, 6]
    aborts = [sql for sql in standin.statements() if "SYSTEM$ABORT_TRANSACTION" in sql]
    assert len(aborts) == 1


def test_a_lock_that_others_hold_is_waited_for(standin: Snowflake) -> None:
    assert standin.server
    standin.server.fault("^MERGE", "error", number=625)
    result = standin.run(*LINES)
    assert any("done again" in warning for warning in result.summary["warnings"])
    assert (ids(standin, "ORDERS"), ids(standin, "EVENTS")) == ([0, 1, 2, 3], [1, 2, 3, 4, 5, 6])


def test_what_cannot_pass_ends_the_run_and_emits_nothing(standin: Snowflake) -> None:
    assert standin.server
    standin.server.fault("^MERGE", "error", number=3001, times=9)
    states: list[Any] = []
    with pytest.raises(DatabaseError, match="003001"):
        standin.run(*LINES, states=states)
    assert (ids(standin, "ORDERS"), ids(standin, "EVENTS"), states) == ([], [], [])


def test_a_run_that_died_leaves_what_the_state_covers(standin: Snowflake) -> None:
    """With state_id the next run goes on from there, and append-only tables have each row once."""
    assert standin.server
    events = [schema("events", keys=(), id=INT)]
    standin.run(*events, record("events", id=1), state(1), state_id="p")
    standin.server.fault("^COMMIT", "error", number=3001)
    with pytest.raises(DatabaseError):
        standin.run(*events, record("events", id=2), state(2), state_id="p")
    states: list[Any] = []
    standin.run(*events, record("events", id=2), state(2), state_id="p", states=states)
    assert (ids(standin, "EVENTS"), states) == ([1, 2], [2])


# --- a transaction that the server has ended, while the session lives on


@pytest.mark.parametrize("keys", [("id",), ()], ids=["upsert", "append"])
@pytest.mark.parametrize("at", ["^COMMIT", "^INSERT INTO .*__LOADS", "^UPDATE .*__STATE", "CURRENT_TRANSACTION", "^(MERGE|COPY INTO .*ORDERS)"])
def test_no_state_goes_on_without_its_rows(standin: Snowflake, at: str, keys: tuple[str, ...]) -> None:
    standin.run(schema(keys=keys, id=INT), record(id=0), state({"at": 0}), state_id="p")
    assert standin.server
    standin.server.fault(at, "aborts", skip=1 if at == "CURRENT_TRANSACTION" else 0)
    states: list[Any] = []
    standin.run(schema(keys=keys, id=INT), record(id=1), record(id=2), state({"at": 2}), states=states, state_id="p")
    assert any(entry.get("fault") == "aborts" for entry in standin.server.log())
    assert (sorted(row["ID"] for row in standin.rows("ORDERS")), states) == ([0, 1, 2], [{"at": 2}])
    assert [json.loads(row["STATE"]) for row in standin.rows("__STATE")] == [{"at": 2}]


def test_a_run_that_dies_behind_an_ended_transaction_keeps_no_state(standin: Snowflake) -> None:
    """What comes behind it is committed by nobody: AUTOCOMMIT is off."""
    standin.run(schema(id=INT), record(id=0), state({"at": 0}), state_id="p")
    assert standin.server
    standin.server.fault("^UPDATE .*__STATE", "aborts", times=99)
    standin.server.fault("^COMMIT", "error", times=99, number=2)
    with pytest.raises(DatabaseError):
        standin.run(schema(id=INT), record(id=1), state({"at": 1}), state_id="p")
    assert [row["ID"] for row in standin.rows("ORDERS")] == [0]
    assert [json.loads(row["STATE"]) for row in standin.rows("__STATE")] == [{"at": 0}]
