"""PostgreSQL as others have set it up: sessions, refusals, and others at work at the same time."""

from __future__ import annotations

import secrets
import threading
import time
from contextlib import closing
from decimal import Decimal
from typing import Any

import psycopg2
import pyarrow as pa
import pytest
from on_postgres import database, dialect, make_table, rows, run
from psycopg2.extensions import make_dsn, parse_dsn

from target_meltano import DatabaseError, RecordError, SettingsError, load, make
from target_meltano.samples import INT, NUM, STR, record, schema, state
from target_meltano_postgres import PostgresDialect, PostgresSettings, begin, session
from target_meltano_postgres.dialect import _ascends

Lines = list[dict[str, Any]]


# --- sessions


def test_a_session_is_set_whatever_the_database_says(db: Any) -> None:
    odd = {
        "DateStyle": "'SQL, DMY'",
        "extra_float_digits": "0",
        "TimeZone": "'America/New_York'",
        "bytea_output": "escape",
        "search_path": "nowhere, public",
        "quote_all_identifiers": "on",
        "standard_conforming_strings": "off",
        "synchronous_commit": "off",
        "default_transaction_isolation": "serializable",
        "client_encoding": "LATIN1",
    }
    times = {"type": "string", "format": "date-time"}
    with database(db, **odd) as url:
        target = dialect(db, url)
        connection = target.connect()
        wanted = {**begin.SETTINGS, "synchronous_commit": "on", "client_encoding": "UTF8", "transaction_isolation": "read committed"}
        if db.connection.info.host.startswith("/"):  # a socket that has no such settings
            wanted = {name: value for name, value in wanted.items() if not name.startswith("tcp_")}
        assert {name: connection.exec_driver_sql(f"SHOW {name}").scalar_one() for name in wanted} == wanted
        connection.rollback()
        assert connection.exec_driver_sql("SHOW TimeZone").scalar_one() == "UTC"
        connection.close()
        load(
            target, [schema("t", id=INT, at=times, **{"a\\'b": STR}), record("t", id=1, at="2024-07-01T12:00:00-04:00")]
        )
        load(target, [schema("t", id=INT, at=STR)])
        with psycopg2.connect(url) as look, look.cursor() as cursor:
            cursor.execute(f"SELECT at FROM {db.schema}.t")
            assert cursor.fetchall() == [("2024-07-01T16:00:00Z",)]
            cursor.execute(f"SELECT col_description('{db.schema}.t'::regclass, 3)")
            assert cursor.fetchall() == [("a\\'b",)]
        look.close()


@pytest.mark.parametrize(
    ("level", "wanted"), [("local", "on"), ("remote_write", "on"), ("remote_apply", "remote_apply")]
)
def test_commits_wait_for_the_disk_at_least(db: Any, level: str, wanted: str) -> None:
    with database(db, synchronous_commit=level) as url:
        connection = dialect(db, url).connect()
        assert connection.exec_driver_sql("SHOW synchronous_commit").scalar_one() == wanted
        connection.close()


def test_a_database_that_cannot_hold_every_text_is_refused(db: Any) -> None:
    with database(db, "ENCODING 'LATIN1' LOCALE 'C'") as url, pytest.raises(DatabaseError, match="LATIN1, wanted UTF8"):
        dialect(db, url).connect()


def test_what_cannot_mend_itself_is_told_at_once(db: Any) -> None:
    start = time.monotonic()
    with pytest.raises(DatabaseError, match=r'cannot connect: .*database "nowhere" does not exist'):
        dialect(db, make_dsn(db.url, dbname="nowhere")).connect()
    with pytest.raises(DatabaseError, match=r'role "nobody" does not exist|authentication failed'):
        dialect(db, make_dsn(db.url, user="nobody", password="secret")).connect()
    assert time.monotonic() - start < 5


def test_a_server_that_is_starting_is_waited_for(db: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    connect, calls = psycopg2.connect, []

    def starting(**parameters: Any) -> Any:
        calls.append(parameters)
        if len(calls) < 3:
            raise psycopg2.OperationalError("FATAL:  the database system is starting up")
        return connect(**parameters)

    monkeypatch.setattr(psycopg2, "connect", starting)
    dialect(db).connect().close()
    assert len(calls) == 3


def test_waiting_has_an_end(db: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(session, "CONNECT_SECONDS", 0.5)
    with pytest.raises(DatabaseError, match=r"cannot connect: .*refused"):
        dialect(db, make_dsn(db.url, host="127.0.0.1", port="1")).connect()


@pytest.mark.parametrize(
    "url",
    ["postgresql//u:secret@h/d", "postgresql://u:secr/et@h/d", "postgresql://u:secr@et@h/d", "secret"],
)
def test_no_error_shows_the_password_of_a_url(db: Any, url: str) -> None:
    with pytest.raises(SettingsError) as error:
        dialect(db, url).connect()
    assert "secr" not in str(error.value)
    assert "%40 for @" in str(error.value)


def test_the_parts_of_an_address_come_from_settings_url_or_environment(
    db: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    parts = parse_dsn(db.url)
    known = {name: parts[name] for name in ("host", "user", "password", "dbname") if name in parts}
    by_parts = make(PostgresSettings, schema="x", port=parts.get("port", 5432), **known)
    for name, variable in {
        "host": "PGHOST",
        "port": "PGPORT",
        "user": "PGUSER",
        "password": "PGPASSWORD",
        "dbname": "PGDATABASE",
    }.items():
        if name in parts:
            monkeypatch.setenv(variable, parts[name])
    for settings in (by_parts, make(PostgresSettings, schema="x")):
        connection = PostgresDialect(settings).connect()
        name = "SELECT current_database(), current_setting('application_name')"
        assert tuple(connection.exec_driver_sql(name).one()) == (parts["dbname"], "target-meltano-postgres")
        connection.close()
    named = dialect(db, make_dsn(db.url, application_name="mine")).connect()
    assert named.exec_driver_sql("SHOW application_name").scalar_one() == "mine"
    named.close()


def test_no_transaction_stays_open_while_the_tap_is_silent(db: Any) -> None:
    """The catalogue is read for each SCHEMA, and a state alone needs no COMMIT."""
    seen = []

    def look(_: str) -> None:
        query = "SELECT state FROM pg_stat_activity WHERE application_name = %s"
        seen.extend(db.query(query, (db.schema,)))

    url = make_dsn(db.url, application_name=db.schema)
    for _ in range(2):
        load(dialect(db, url), [schema("t"), state(1)], on_state=look)
    assert seen == [("idle",)] * 2


# --- what the database refuses


REFUSALS = [
    ("id text PRIMARY KEY", {"id": secrets.token_hex(5000)}, "index row "),
    ("id text PRIMARY KEY, v text NOT NULL", {"id": "k", "v": None}, "null value in column \"v\".* not-null constraint"),
    ("id text PRIMARY KEY, v text CHECK (v <> 'secret')", {"id": "k", "v": "secret"}, "new row for relation .* violates check constraint"),
    ("id text PRIMARY KEY, v text UNIQUE", {"id": "k", "v": "secret"}, 'duplicate key value violates unique constraint "t_v_key"'),
]  # fmt: skip


@pytest.mark.parametrize(("columns", "fields", "words"), REFUSALS, ids=[words[:20] for _, _, words in REFUSALS])
def test_refusals_are_one_line_without_values(db: Any, columns: str, fields: Any, words: str) -> None:
    make_table(db, columns)
    if "UNIQUE" in columns:
        db.query(f"INSERT INTO {db.schema}.t VALUES ('other', 'secret')")
    before = rows(db)
    with pytest.raises(RecordError, match=rf"^line 2: stream 't': \$: the database refuses it: {words}") as error:
        run(db, schema("t", id=STR, **({"v": STR} if "v" in fields else {})), record("t", **fields))
    text = str(error.value)
    assert "\n" not in text
    assert "secret" not in text
    assert len(text) < 300
    assert [row[:2] for row in rows(db)] == [row[:2] for row in before]


def test_rows_that_break_an_index_of_others_in_an_append_only_table(db: Any) -> None:
    make_table(db, "v text UNIQUE")
    with pytest.raises(RecordError, match='line 3: .* unique constraint "t_v_key"'):
        run(db, schema("t", keys=(), v=STR), record("t", v="x"), record("t", v="x"))


def test_a_number_that_numeric_cannot_hold(db: Any) -> None:
    with pytest.raises(
        RecordError, match=r"line 2: .*column 'v': found a number with 200001 digits before the point.*at most 131072"
    ):
        run(db, schema("t", id=INT, v=NUM), record("t", id=1, v=Decimal("1e200000")))


def test_a_connection_that_is_lost_is_made_again(db: Any) -> None:
    url, states = make_dsn(db.url, application_name=db.schema), []

    def kill(text: str) -> None:
        states.append(text)
        query = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = %s"
        db.query(query, (db.schema,))

    lines = [schema("t"), record("t", id=1), state(1), record("t", id=2), state(2)]
    load(dialect(db, url, batch_rows=1), lines, on_state=kill)
    assert (states, rows(db, "id")) == (["1", "2"], [(1,), (2,)])


# --- others at the same time


def test_ddl_waits_for_others_and_tries_again(db: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("target_meltano_postgres.dialect.LOCK_TIMEOUT", "100ms")
    run(db, schema("t"), record("t", id=1))
    other = psycopg2.connect(db.url)
    other.cursor().execute(f"LOCK TABLE {db.schema}.t IN ACCESS SHARE MODE")
    threading.Timer(0.5, other.close).start()
    run(db, schema("t", id=INT, more=STR), record("t", id=1, more="x"))
    assert rows(db, "id, more") == [(1, "x")]


def test_ddl_does_not_wait_for_ever(db: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("target_meltano_postgres.dialect.LOCK_TIMEOUT", "50ms")
    monkeypatch.setattr("target_meltano.tables.DDL_TRIES", 2)
    monkeypatch.setattr("target_meltano.session.RETRY_SECONDS", 0.5)  # instead of a minute
    run(db, schema("t"), record("t", id=1))
    with closing(psycopg2.connect(db.url)) as other:
        other.cursor().execute(f"LOCK TABLE {db.schema}.t IN ACCESS SHARE MODE")
        with pytest.raises(DatabaseError, match="lock timeout"):
            run(db, schema("t", id=INT, more=STR))


def test_targets_that_start_at_once_make_one_table(db: Any) -> None:
    """Each makes what it found missing, and finds that another one was faster."""
    for fault in together(db, [[schema("t", id=INT, **{f"c{i}": STR}), record("t", id=i)] for i in range(4)]):
        raise fault
    assert rows(db, "id") == [(0,), (1,), (2,), (3,)]


@pytest.mark.parametrize("there", [0, 200])
def test_targets_with_the_same_keys_do_not_block_each_other_for_ever(db: Any, there: int) -> None:
    run(db, schema("t", id=INT, n=INT), *(record("t", id=i) for i in range(there)))
    inputs = []
    for n in range(3):
        order = sorted(range(200), key=lambda i: hash((n, i)))
        inputs.append([schema("t", id=INT, n=INT), *(record("t", id=i, n=n) for i in order)])
    for fault in together(db, inputs):
        raise fault
    assert len({n for _, n in rows(db, "id, n")}) == 1


def together(db: Any, inputs: list[Lines]) -> list[BaseException]:
    """Load each of *inputs* by a target of its own, all at once; return what was raised."""
    start, faults = threading.Barrier(len(inputs)), []

    def target(lines: Lines) -> None:
        start.wait()
        try:
            run(db, *lines)
        except BaseException as fault:
            faults.append(fault)

    threads = [threading.Thread(target=target, args=(lines,)) for lines in inputs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return faults


@pytest.mark.parametrize(
    ("keys", "ascends"),
    [
        (pa.array([1, 2, 5]), True),
        (pa.array([1, 1, 5]), False),
        (pa.array([2, 1]), False),
        (pa.array([7]), True),
        (pa.array([1, 2], pa.timestamp("us", "UTC")), True),
        (pa.array(["a", "b"]), False),  # the database may sort texts otherwise
        (pa.array([1, 2], pa.date32()), False),
    ],
)
def test_what_is_sorted_is_known(keys: pa.Array, ascends: bool) -> None:
    assert _ascends(keys) == ascends
