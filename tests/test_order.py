"""What is refused is what the database would refuse record by record, in the order of arrival over all streams."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from on_postgres import dialect, rows, run

from target_meltano import DatabaseError, RecordError, lines, load, outbox, replay, target
from target_meltano.samples import INT, STR, record, schema, state

LATE = "DEFERRABLE INITIALLY DEFERRED"


@pytest.fixture
def tables(db: Any) -> Any:
    """Makes tables in the schema, `{s}` in SQL."""

    def make(sql: str) -> None:
        db.query(f'CREATE SCHEMA IF NOT EXISTS "{db.schema}"')
        db.query(sql.replace("{s}", f'"{db.schema}"'))

    return make


@pytest.fixture(params=[1, 1 << 20], ids=["line by line", "in chunks"])
def chunked(request: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each line is a chunk, settled and sent by itself, or all come at once."""
    for module, name in ((lines, "CHUNK"), (target, "SETTLE_BYTES"), (outbox, "SEND_BYTES")):
        monkeypatch.setattr(module, name, min(getattr(module, name), request.param))


def refused(db: Any) -> list[tuple[str, int]]:
    found: list[tuple[str, int]] = db.query(f'SELECT stream, line FROM "{db.schema}".__rejected ORDER BY line')
    return found


HOUSES = "CREATE TABLE {s}.street (id bigint PRIMARY KEY); CREATE TABLE {s}.house (id bigint PRIMARY KEY, street bigint REFERENCES {s}.street %s)"
HOUSE, STREET = schema("house", id=INT, street=INT), schema("street", id=INT)


@pytest.mark.parametrize("late", ["", LATE], ids=["at once", "at commit"])
def test_a_row_may_need_one_of_another_stream_that_came_before_it(db: Any, tables: Any, chunked: None, late: str) -> None:
    """Though the SCHEMA of its own stream is the first one."""
    tables(HOUSES % late)
    messages = [HOUSE, STREET]
    for i in range(1, 31):
        messages += [record("street", id=i), record("house", id=i, street=i if i % 10 else 99)]
    run(db, *messages, state(1), invalid_records="quarantine")
    assert rows(db, "id", "street") == [(i,) for i in range(1, 31)]
    assert rows(db, "id", "house") == [(i,) for i in range(1, 31) if i % 10]
    assert refused(db) == [("house", 2 + 2 * i) for i in (10, 20, 30)]


def test_a_row_that_comes_before_what_it_needs_is_refused(db: Any, tables: Any) -> None:
    tables(HOUSES % "")
    run(db, HOUSE, STREET, record("house", id=1, street=1), record("street", id=1), record("house", id=2, street=1), invalid_records="quarantine")
    assert rows(db, "id", "house") == [(2,)]
    assert refused(db) == [("house", 3)]


def test_a_constraint_that_waits_for_commit_lets_rows_come_in_any_order(db: Any, tables: Any, chunked: None) -> None:
    """Two need each other, one needs what comes later, one is replaced before it could be wrong; and one is wrong."""
    tables(
        f"CREATE TABLE {{s}}.a (id bigint PRIMARY KEY, b bigint); CREATE TABLE {{s}}.b (id bigint PRIMARY KEY, a bigint REFERENCES {{s}}.a {LATE});"
        f"ALTER TABLE {{s}}.a ADD FOREIGN KEY (b) REFERENCES {{s}}.b {LATE}"
    )
    messages = [
        *(schema("a", id=INT, b=INT), schema("b", id=INT, a=INT)),
        *(record("a", id=1, b=1), record("b", id=1, a=1)),  # each other
        *(record("b", id=2, a=7), record("b", id=3, a=5)),  # 3 needs what comes later, 2 what never comes
        *(record("a", id=4, b=99), record("a", id=4, b=None), record("a", id=5)),
    ]
    run(db, *messages, invalid_records="quarantine")
    assert rows(db, "id, b", "a") == [(1, 1), (4, None), (5, None)]
    assert rows(db, "id, a", "b") == [(1, 1), (3, 5)]
    assert refused(db) == [("b", 5)]


def test_a_value_is_free_when_another_row_has_given_it_up(db: Any, tables: Any, chunked: None) -> None:
    tables("CREATE TABLE {s}.seat (id bigint PRIMARY KEY, place text UNIQUE, __loaded_at timestamptz); INSERT INTO {s}.seat VALUES (1, '12A'), (2, '14C')")
    moves = [(1, "aisle"), (2, "12A"), (1, "14C"), (3, "14C")]
    messages = [schema("seat", id=INT, place=STR), *(record("seat", id=i, place=place) for i, place in moves)]
    run(db, *messages, invalid_records="quarantine")
    assert rows(db, "id, place", "seat") == [(1, "14C"), (2, "12A")]
    assert refused(db) == [("seat", 5)]


RAISES = """
CREATE TABLE {s}.t (id bigint PRIMARY KEY, v bigint, __loaded_at timestamptz);
CREATE FUNCTION {s}.check() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
  IF NEW.v = 13 THEN RAISE EXCEPTION 'not that one' USING ERRCODE = '%s'; END IF; RETURN NEW; END $$;
CREATE TRIGGER check_v %s ON {s}.t FOR EACH ROW EXECUTE FUNCTION {s}.check()
"""
TRIGGERS = {
    "before": "BEFORE INSERT OR UPDATE",
    "after": "AFTER INSERT OR UPDATE",
}


@pytest.mark.parametrize("code", ["P0001", "P0004", "XY123", "42P01", "XX000"])
@pytest.mark.parametrize("when", TRIGGERS)
def test_what_a_trigger_raises_is_the_fault_of_its_row(db: Any, tables: Any, code: str, when: str) -> None:
    tables(RAISES % (code, TRIGGERS[when]))
    messages = [schema("t", id=INT, v=INT), *(record("t", id=i, v=i) for i in range(1, 41)), state("end")]
    run(db, *messages, invalid_records="quarantine")
    assert refused(db) == [("t", 14)]
    assert len(rows(db)) == 39


def test_a_constraint_trigger_is_heard_before_commit(db: Any, tables: Any) -> None:
    tables(RAISES.replace("CREATE TRIGGER", "CREATE CONSTRAINT TRIGGER") % ("P0001", "AFTER INSERT OR UPDATE"))
    db.query(f'DROP TRIGGER check_v ON "{db.schema}".t')
    db.query(f'CREATE CONSTRAINT TRIGGER late AFTER INSERT ON "{db.schema}".t {LATE} FOR EACH ROW EXECUTE FUNCTION "{db.schema}".check()')
    run(db, schema("t", id=INT, v=INT), *(record("t", id=i, v=i) for i in range(1, 41)), invalid_records="quarantine")
    assert refused(db) == [("t", 14)]
    assert len(rows(db)) == 39


def test_without_quarantine_what_came_before_is_committed(db: Any, tables: Any, chunked: None) -> None:
    """In the order of arrival, and its STATE with it; the fault names the line."""
    tables(HOUSES % "")
    states: list[str] = []
    messages: list[Any] = [HOUSE, STREET]
    for i in range(1, 30):
        messages += [record("street", id=i), record("house", id=i, street=i), state(i)]
    messages[2 + 3 * 20 + 1] = record("house", id=21, street=99)
    with pytest.raises(RecordError, match="line 64: stream 'house': .*foreign key"):
        load(dialect(db), messages, on_state=states.append)
    assert states[-1:] == ["20"]
    assert len(rows(db, "id", "street")) == 21
    assert len(rows(db, "id", "house")) == 20


@pytest.mark.parametrize("name", ["state_id", "plain"])
def test_ddl_comes_in_its_place(db: Any, tables: Any, chunked: None, name: str) -> None:
    """A column that is added between rows whose order is in doubt."""
    tables(HOUSES % "")
    more = schema("house", id=INT, street=INT, name=STR)
    messages = [HOUSE, STREET, record("street", id=1), record("house", id=1, street=1), record("house", id=2, street=2)]
    messages += [more, record("house", id=3, street=1, name="end"), record("street", id=4), record("house", id=4, street=4, name="x")]
    messages += [schema("third", id=INT), record("third", id=1), record("house", id=5, street=5), state(1)]
    settings = {"state_id": "p"} if name == "state_id" else {}
    run(db, *messages, invalid_records="quarantine", **settings)
    assert rows(db, "id, name", "house") == [(1, None), (3, "end"), (4, "x")]
    assert rows(db, "id", "third") == [(1,)]
    assert refused(db) == [("house", 5), ("house", 12)]


def test_what_was_put_in_order_is_done_again_after_a_lost_connection(db: Any, tables: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    tables(HOUSES % "")
    ours = dialect(db, invalid_records="quarantine", state_id="p")
    write, calls = ours.write, iter(range(10_000))

    def lost_now_and_then(connection: Any, table: Any, its: Any) -> Any:
        if next(calls) in (1, 5, 9, 30):
            db.query(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid = %s",
                (connection.exec_driver_sql("SELECT pg_backend_pid()").scalar(),),
            )
        return write(connection, table, its)

    monkeypatch.setattr(ours, "write", lost_now_and_then)
    messages: list[Any] = [HOUSE, STREET]
    for i in range(1, 31):
        messages += [record("street", id=i), record("house", id=i, street=i if i % 10 else 99)]
    load(ours, [*messages, state(1)])
    assert next(calls) > 31
    assert rows(db, "id", "house") == [(i,) for i in range(1, 31) if i % 10]
    assert refused(db) == [("house", 2 + 2 * i) for i in (10, 20, 30)]


def test_what_no_row_is_the_cause_of_is_no_rows_fault(db: Any, tables: Any) -> None:
    """A trigger for statements, or a privilege: nothing is rejected, nothing is committed."""
    tables(RAISES % ("P0001", "BEFORE INSERT"))
    db.query(f'CREATE FUNCTION "{db.schema}".closed() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION $q$closed on Sundays$q$; END $$')
    db.query(f'CREATE TRIGGER closed BEFORE INSERT ON "{db.schema}".t FOR EACH STATEMENT EXECUTE FUNCTION "{db.schema}".closed()')
    with pytest.raises(DatabaseError, match="closed on Sundays"):
        run(db, schema("t", id=INT, v=INT), record("t", id=1, v=1), invalid_records="quarantine")
    assert refused(db) == []


VALUES = st.lists(st.tuples(st.sampled_from("ab"), st.integers(0, 12), st.sampled_from([None, "", "x", "long", "bad"])), max_size=40)
ROW_BY_ROW = """
CREATE TABLE {s}.known (id bigint PRIMARY KEY); INSERT INTO {s}.known SELECT generate_series(0, 9);
CREATE FUNCTION {s}.check() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
  IF NEW.v = 'bad' THEN RAISE EXCEPTION 'bad'; END IF; RETURN NEW; END $$;
"""


def row_by_row(db: Any, values: list[Any]) -> tuple[list[Any], list[int]]:
    """Return what the database itself keeps and refuses of single INSERTs, each in a transaction of its own."""
    bad = []
    for line, (stream, known, text) in enumerate(values, 3):
        try:
            db.query(f'INSERT INTO "{db.schema}".{stream}1 VALUES (%s, %s, %s)', (line, known, text))
        except Exception:
            bad.append(line)
    kept = [(stream, *row) for stream in "ab" for row in rows(db, "id, known, v", f"{stream}1")]
    return kept, bad


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(values=VALUES, first=st.sampled_from([1, 3, 8, 256]), keyed=st.booleans())
def test_the_outcome_is_that_of_single_rows(db: Any, values: list[Any], first: int, keyed: bool) -> None:
    """Of several constraints of two streams, with blocks of any size."""
    db.query(f'DROP SCHEMA IF EXISTS "{db.schema}" CASCADE; CREATE SCHEMA "{db.schema}"')
    db.query(ROW_BY_ROW.replace("{s}", f'"{db.schema}"'))
    columns = f'id bigint, known bigint REFERENCES "{db.schema}".known, v text CHECK (length(v) < 4)'
    for name in ("a", "b", "a1", "b1"):
        key = ", PRIMARY KEY (id)" if keyed else ""
        db.query(f'CREATE TABLE "{db.schema}".{name} ({columns}{key})')
        db.query(f'CREATE TRIGGER t BEFORE INSERT ON "{db.schema}".{name} FOR EACH ROW EXECUTE FUNCTION "{db.schema}".check()')
    keys = ("id",) if keyed else ()
    messages = [schema(name, keys=keys, id=INT, known=INT, v=STR) for name in "ab"]
    messages += [record(stream, id=line, known=known, v=text) for line, (stream, known, text) in enumerate(values, 3)]
    before, replay.FIRST = replay.FIRST, first
    try:
        run(db, *messages, invalid_records="quarantine")
    finally:
        replay.FIRST = before
    kept, bad = row_by_row(db, values)
    assert [(stream, *row) for stream in "ab" for row in rows(db, "id, known, v", stream)] == kept
    assert [line for _, line in refused(db)] == bad


@pytest.mark.parametrize(("count", "bad", "times"), [(20_000, 100, 8), (2_000, 40, 5)])
def test_refused_rows_are_cheap(db: Any, tables: Any, count: int, bad: int, times: int) -> None:
    """Beside a load of the same rows that are all fine, and half a second for a busy machine."""
    tables("CREATE TABLE {s}.known (id bigint PRIMARY KEY); INSERT INTO {s}.known SELECT generate_series(0, 9)")
    for name in ("clean", "refused"):
        db.query(f'CREATE TABLE "{db.schema}".{name} (id bigint PRIMARY KEY, known bigint REFERENCES "{db.schema}".known)')

    def seconds(stream: str, step: int) -> float:
        messages = [schema(stream, id=INT, known=INT)]
        messages += [record(stream, id=i, known=99 if step and i % step == 7 else i % 10) for i in range(count)]
        text = b"".join(json.dumps(message).encode() + b"\n" for message in messages)
        start = time.monotonic()
        run(db, *text.splitlines(), invalid_records="quarantine")
        return time.monotonic() - start

    clean = min(seconds("clean", 0) for _ in range(2))
    assert seconds("refused", count // bad) < times * (clean + 0.4) + 0.5  # a process takes 0.4 s to start
    assert len(refused(db)) == bad


def test_tables_that_the_transaction_made_are_no_others_when_it_is_done_again(db: Any, tables: Any) -> None:
    """With `state_id`, as a constraint that waits for COMMIT is violated."""
    tables(HOUSES % LATE)
    sent = [HOUSE, schema("a", id=INT), record("a", id=1), schema("b", id=INT), schema("b", id=INT, v=STR), schema("c", id=INT), record("c", id=1), record("house", id=1, street=9)]
    run(db, *sent, state_id="p", invalid_records="quarantine")
    assert (rows(db, "id", "a"), rows(db, "id", "c"), refused(db)) == ([(1,)], [(1,)], [("house", 8)])
