"""What operators meet: outages at sign-in, timeouts of statements, files that are sent again, privileges that lack."""

from __future__ import annotations

import re
import socket
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest
from on_snowflake import MAJOR, Snowflake
from snowflake.connector import errors

from target_meltano import DatabaseError
from target_meltano.samples import INT, NUM, STR, record, schema, state
from target_meltano_snowflake import faults, session

ROWS = [schema(id=INT), record(id=1), record(id=2), state(2)]


# --- sign-in


@pytest.fixture
def deaf() -> Iterator[int]:
    """A port on which somebody listens, and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        yield listening.getsockname()[1]


@pytest.mark.parametrize(
    "error",
    [
        errors.OperationalError("Failed to login: login timed out after 30s", errno=14, sqlstate="HYT00"),  # 5.2
        errors.OperationalError("Could not connect to Snowflake backend after 2 attempt(s).Aborting", errno=250001),  # 4.8
        errors.DatabaseError("Failed to login: HTTP request failed after retries: login request. Connection refused", errno=250001, sqlstate="08001"),
    ],
    ids=["connector 5", "connector 4", "connector 5, where nobody listens"],
)
def test_a_login_that_times_out_is_transient(error: errors.Error) -> None:
    assert faults.is_transient(error)
    assert faults.may_come(error)


@pytest.mark.parametrize(
    ("number", "state"), [(390100, "28000"), (250001, "08001"), (290404, "08001")], ids=["password", "account or provider of connector 5", "account"]
)
def test_an_answer_to_a_sign_in_is_the_last_word(number: int, state: str) -> None:
    assert not faults.may_come(errors.DatabaseError("Failed to login", errno=number, sqlstate=state))


@pytest.mark.skipif(MAJOR < 5, reason="connector 4 takes a minute, whatever login_timeout says")
def test_a_server_that_is_deaf_is_told_in_one_line(standin: Snowflake, deaf: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(session, "CONNECT_SECONDS", 3.0)
    monkeypatch.setattr(session, "LOGIN_SECONDS", 1)
    dialect, told = standin.dialect(port=deaf), list[str]()
    dialect.tell = told.append
    with pytest.raises(DatabaseError, match=r"^cannot connect: 000014: Failed to login: login timed out after 1s$"):
        dialect.connect()
    assert told == ["cannot connect: 000014: Failed to login: login timed out after 1s; trying again for 3 s"]


def test_an_outage_at_the_start_is_waited_for(standin: Snowflake, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody listens when the run begins; two seconds later somebody does."""
    monkeypatch.setattr(session, "LOGIN_SECONDS", 1)
    assert standin.server
    port = standin.server.port
    with socket.socket() as late:
        late.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        late.bind(("127.0.0.1", 0))
        threading.Timer(2.5, late.listen).start()
        threading.Thread(target=_pass_on, args=(late, port), daemon=True).start()
        result = standin.run(*ROWS, port=late.getsockname()[1])
    assert [row["ID"] for row in standin.rows("ORDERS")] == [1, 2]
    assert any("trying again for 60 s" in warning for warning in result.summary["warnings"])


def _pass_on(listening: socket.socket, port: int) -> None:
    """Let what connects talk with *port*."""
    while True:
        try:
            near, _ = listening.accept()
        except OSError:
            if listening.fileno() < 0:
                return
            time.sleep(0.1)  # it does not listen yet
            continue
        far = socket.create_connection(("127.0.0.1", port))
        for one, other in ((near, far), (far, near)):
            threading.Thread(target=_copy, args=(one, other), daemon=True).start()


def _copy(one: socket.socket, other: socket.socket) -> None:
    try:
        while data := one.recv(1 << 16):
            other.sendall(data)
        other.shutdown(socket.SHUT_WR)
    except OSError:
        pass


# --- statements that are cancelled, or take too long


def test_a_statement_that_is_cancelled_is_done_again(standin: Snowflake) -> None:
    assert standin.server
    standin.server.fault("^MERGE", "error", number=604)
    standin.run(*ROWS)
    assert [row["ID"] for row in standin.rows("ORDERS")] == [1, 2]


def test_a_statement_that_takes_too_long_is_done_once_and_its_parameter_is_named(standin: Snowflake) -> None:
    assert standin.server
    standin.server.fault("^MERGE", "error", number=630, times=9)
    states: list[Any] = []
    with pytest.raises(DatabaseError, match=r"000630: as planned; raise STATEMENT_TIMEOUT_IN_SECONDS .* larger warehouse, or a smaller batch_rows") as told:
        standin.run(*ROWS, states=states)
    assert len([sql for sql in standin.statements() if sql.startswith("MERGE")]) == 1
    assert (standin.rows("ORDERS"), states) == ([], [])
    assert len(str(told.value).splitlines()) == 1


def test_a_change_of_type_that_takes_too_long_is_done_once(standin: Snowflake) -> None:
    standin.run(*ROWS)
    assert standin.server
    standin.server.fault(r"UPDATE \S*ORDERS", "error", number=630, times=9)
    with pytest.raises(DatabaseError, match="STATEMENT_TIMEOUT_IN_SECONDS"):
        standin.run(schema(id=INT, v=INT), record(id=1, v=1))
        standin.run(schema(id=INT, v=STR), record(id=1, v="a"))
    assert len([sql for sql in standin.statements() if re.search(r"UPDATE \S*ORDERS", sql)]) == 1


# --- files that are sent again


def test_files_of_a_transaction_that_was_rolled_back_are_loaded_again(standin: Snowflake) -> None:
    """A change of type comes in the middle of what one COMMIT takes, and looks at the rows before; COPY remembers the files."""
    lines = [
        schema("events", keys=(), id=INT),
        schema("orders", id=INT, v=INT),
        record("events", id=1),
        record("orders", id=1, v=1),
        schema("orders", id=INT, v=NUM),
        record("orders", id=2, v=0.5),
        record("events", id=2),
        state(2),
    ]
    states: list[Any] = []
    standin.run(*lines, states=states, state_id="p")
    folders = [sql.split("FROM @")[1].split(")")[0] for sql in standin.statements() if sql.startswith("COPY")]
    assert len(folders) == len(set(folders)) + 2
    assert sorted(row["ID"] for row in standin.rows("EVENTS")) == [1, 2]
    assert [(row["ID"], row["V"]) for row in standin.rows("ORDERS")] == [(1, 1), (2, 0.5)]
    assert states == [2]


def test_the_options_of_copy_are_said_where_a_default_could_change(standin: Snowflake) -> None:
    standin.run(schema(keys=(), id=INT), record(id=1), state(1))
    (copy,) = [sql for sql in standin.statements() if sql.startswith("COPY")]
    assert copy.endswith("FORCE = TRUE")
    assert "USE_VECTORIZED_SCANNER = FALSE" in copy


# --- kinds of tables


def test_a_transient_table_is_a_table(standin: Snowflake) -> None:
    standin.query(f'CREATE SCHEMA "{standin.schema}"')
    standin.query(f'CREATE TRANSIENT TABLE "{standin.schema}"."ORDERS" ("ID" NUMBER(38,0) NOT NULL, PRIMARY KEY ("ID"))')
    assert [row[4] for row in standin.query(f'SHOW OBJECTS IN SCHEMA "{standin.schema}"')] == ["TRANSIENT"]
    standin.run(*ROWS)
    assert [row["ID"] for row in standin.rows("ORDERS")] == [1, 2]
