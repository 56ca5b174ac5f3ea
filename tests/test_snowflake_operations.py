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
from snowflake import connector
from snowflake.connector import errors

from target_meltano import DatabaseError, Need, Table
from target_meltano.samples import INT, NUM, STR, record, schema, state
from target_meltano_snowflake import faults, rights, session

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


def test_a_reconnect_that_times_out_is_tried_again(standin: Snowflake, monkeypatch: pytest.MonkeyPatch) -> None:
    """The session is lost in the middle of a run, and so is the next sign-in."""
    connect, tries = connector.connect, list[float]()

    def late(**parameters: Any) -> Any:
        tries.append(time.monotonic())
        if len(tries) == 2:
            raise errors.OperationalError("Failed to login: login timed out after 30s", errno=14, sqlstate="HYT00")
        return connect(**parameters)

    monkeypatch.setattr(connector, "connect", late)
    monkeypatch.setattr(session, "CONNECT_SECONDS", 0.0)
    assert standin.server
    standin.server.fault("^MERGE", "gone")
    states: list[Any] = []
    standin.run(*ROWS, states=states)
    assert len(tries) == 3
    assert ([row["ID"] for row in standin.rows("ORDERS")], states) == ([1, 2], [2])


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


# --- privileges of the role


@pytest.fixture
def newcomer(standin: Snowflake) -> Iterator[str]:
    """A role that may do nothing."""
    role = standin.schema.replace("TEST", "POOR")
    standin.query(f'CREATE ROLE "{role}"')
    yield role
    standin.query(f'REVOKE ALL ON DATABASE "TESTS" FROM ROLE "{role}"')


@pytest.fixture
def poor(standin: Snowflake, newcomer: str) -> str:
    """The same, where the schema is there, and somebody else's."""
    standin.query(f'CREATE SCHEMA "{standin.schema}"')
    return newcomer


def allow(here: Snowflake, role: str, schema: str = "USAGE, CREATE TABLE, CREATE STAGE") -> None:
    here.query(f'GRANT {schema} ON SCHEMA "{here.schema}" TO ROLE "{role}"')


def test_what_a_role_lacks_is_told_at_once_and_is_enough(standin: Snowflake, poor: str) -> None:
    standin.query(f'CREATE TABLE "{standin.schema}"."ORDERS" ("ID" NUMBER(38,0) NOT NULL, PRIMARY KEY ("ID"))')
    standin.query(f'GRANT SELECT ON TABLE "{standin.schema}"."ORDERS" TO ROLE "{poor}"')
    allow(standin, poor, "USAGE")
    with pytest.raises(DatabaseError) as told:
        standin.run(*ROWS, role=poor, warehouse="LOADING")
    given = str(told.value).partition("is to run: ")[2].split("; ")
    assert given == [
        f'GRANT USAGE ON WAREHOUSE LOADING TO ROLE "{poor}"',
        f'GRANT CREATE STAGE, CREATE TABLE ON SCHEMA "TESTS"."{standin.schema}" TO ROLE "{poor}"',
        f'GRANT OWNERSHIP ON TABLE "TESTS"."{standin.schema}"."ORDERS" TO ROLE "{poor}" COPY CURRENT GRANTS',
    ]
    assert [row[1] for row in standin.query(f'SHOW OBJECTS IN SCHEMA "{standin.schema}"')] == ["ORDERS"]
    for statement in given:
        standin.query(statement)
    standin.run(*ROWS, role=poor, warehouse="LOADING")
    assert [row["ID"] for row in standin.rows("ORDERS")] == [1, 2]


def test_rights_on_rows_are_enough_for_a_table_that_stays_as_it_is(standin: Snowflake, poor: str) -> None:
    standin.run(*ROWS)
    for table in ("ORDERS", "__LOADS"):
        standin.query(f'GRANT SELECT ON TABLE "{standin.schema}"."{table}" TO ROLE "{poor}"')
    allow(standin, poor, "USAGE, CREATE STAGE")
    with pytest.raises(DatabaseError) as told:
        standin.run(schema(id=INT), record(id=3), state(3), role=poor)
    given = str(told.value).partition("is to run: ")[2].split("; ")
    assert given == [f'GRANT INSERT, UPDATE ON TABLE "TESTS"."{standin.schema}"."{table}" TO ROLE "{poor}"' for table in ("ORDERS", "__LOADS")]
    for statement in given:
        standin.query(statement)
    standin.run(schema(id=INT), record(id=3), state(3), role=poor)
    assert sorted(row["ID"] for row in standin.rows("ORDERS")) == [1, 2, 3]


def test_a_schema_that_is_missing_needs_one_privilege(standin: Snowflake, newcomer: str) -> None:
    with pytest.raises(DatabaseError) as told:
        standin.run(*ROWS, role=newcomer)
    (statement,) = str(told.value).partition("is to run: ")[2].split("; ")
    assert statement == f'GRANT CREATE SCHEMA ON DATABASE "TESTS" TO ROLE "{newcomer}"'
    standin.query(statement)
    standin.run(*ROWS, role=newcomer)
    assert [row["ID"] for row in standin.rows("ORDERS")] == [1, 2]


def test_privileges_by_way_of_another_role_count(standin: Snowflake, poor: str) -> None:
    base = poor.replace("POOR", "BASE")
    standin.query(f'CREATE ROLE "{base}"')
    standin.query(f'GRANT ROLE "{base}" TO ROLE "{poor}"')
    allow(standin, base)
    standin.run(*ROWS, role=poor)
    standin.run(schema(id=INT, note=STR), record(id=3, note="x"), role=poor)
    assert sorted(row["ID"] for row in standin.rows("ORDERS")) == [1, 2, 3]


def test_grants_are_looked_up_once_per_run(standin: Snowflake, poor: str) -> None:
    allow(standin, poor)
    lines = [line for name in ("a", "b", "c") for line in (schema(name, id=INT), record(name, id=1))]
    for _ in range(2):
        assert standin.server
        standin.server.clear()
        standin.run(*lines, role=poor)
        asked = [sql for sql in standin.statements() if sql.startswith(("SHOW GRANTS", "SELECT CURRENT_ROLE", "SELECT IS_ROLE"))]
        assert len(asked) <= 3, asked


@pytest.mark.parametrize("number", [3001, 2003], ids=["refused", "not to see"])
def test_grants_that_cannot_be_read_refuse_nothing(standin: Snowflake, number: int) -> None:
    assert standin.server
    standin.server.fault("^SHOW GRANTS", "error", number=number, times=99)
    standin.run(*ROWS)
    assert [row["ID"] for row in standin.rows("ORDERS")] == [1, 2]


def test_the_stand_in_refuses_what_was_not_granted(standin: Snowflake, poor: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """So what is told to be enough is enough, and what is not told is not needed."""
    monkeypatch.setattr(rights, "lacking", lambda *_: [])
    allow(standin, poor, "USAGE, CREATE TABLE")
    with pytest.raises(DatabaseError, match="003001: .*Insufficient privileges to operate on schema"):
        standin.run(*ROWS, role=poor)


# What SHOW GRANTS says, (privilege, to what, grantee), and what is lacking by it for a table that is to be made.
OWNER = ("OWNERSHIP", "ROLE", "ADMIN")


@pytest.mark.parametrize(
    ("grants", "lacking"),
    [
        ([OWNER], "CREATE STAGE, CREATE TABLE"),
        ([OWNER, ("CREATE TABLE", "ROLE", "LOADER")], "CREATE STAGE"),
        ([OWNER, ("CREATE TABLE", "ROLE", "BASE"), ("CREATE STAGE", "ROLE", "BASE")], ""),
        ([OWNER, ("CREATE TABLE", "ROLE", "OTHER"), ("CREATE STAGE", "ROLE", "BASE")], "CREATE TABLE"),
        ([OWNER, ("CREATE TABLE", "DATABASE_ROLE", "X"), ("CREATE STAGE", "USER", "U")], ""),
        ([OWNER, ("CREATE TABLE", "ROLE", "mixed Case"), ("CREATE STAGE", "ROLE", "LOADER")], ""),
        ([("OWNERSHIP", "ROLE", "LOADER")], ""),
        ([("OWNERSHIP", "DATABASE_ROLE", "X")], ""),
        ([("USAGE", "ROLE", "LOADER")], ""),
        ([], ""),
    ],
    ids=["none", "one", "by another role", "to others", "to what is no role", "to a name in quotes", "owned", "owned by what is no role", "without an owner", "empty"],
)
def test_only_what_is_certain_is_lacking(grants: list[tuple[str, str, str]], lacking: str) -> None:
    def look(statement: str) -> list[dict[str, Any]]:
        if statement == rights.SESSION:
            return [{"ROLE": "LOADER", "DATABASE": "D", "WAREHOUSE": None}]
        if statement.startswith("SHOW"):
            return [{"privilege": privilege, "granted_to": to, "grantee_name": name} for privilege, to, name in grants]
        return [{name: name == "BASE" for name in re.findall("'(.*?)'", statement)}]

    need = Need(Table("S", "T", (), (), "t"), ("SELECT", "INSERT"))
    wanted = [f'GRANT {lacking} ON SCHEMA "D"."S" TO ROLE "LOADER"'] if lacking else []
    assert rights.lacking(look, [need], lambda _: None, None, '"{}"'.format) == wanted
