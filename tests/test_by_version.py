"""What single versions of PostgreSQL have brought, in tables and databases of others."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import forms
import psycopg2
import pytest
from on_postgres import Watched, database, dialect, make_table, needs, role, rows, run

from target_meltano import DatabaseError, UpgradeError, commands, load
from target_meltano.samples import INT, NUM, STR, record, schema, state

QUARANTINE = {"invalid_records": "quarantine"}
EVERY_WAY = pytest.mark.parametrize("settings", [{}, {"load_method": "overwrite"}], ids=["upsert", "overwrite"])


@EVERY_WAY
def test_virtual_generated_columns_are_left_to_the_table(db: Any, settings: Any) -> None:
    needs(db, 18, "virtual generated columns")
    make_table(db, "id bigint PRIMARY KEY, v bigint, twice bigint GENERATED ALWAYS AS (v * 2) CHECK (twice < 100)")
    for v in (3, 4):
        run(db, schema("t", id=INT, v=INT), record("t", id=1, v=v), record("t", id=2, v=50), state(1), **QUARANTINE, **settings)
        assert rows(db, "id, v, twice") == [(1, v, 2 * v)]
    with pytest.raises(UpgradeError, match="default value for column twice"):
        run(db, schema("t", id=INT, v=NUM), record("t", id=3, v=1.5), **settings)


@EVERY_WAY
def test_nulls_that_are_not_distinct_are_refused_by_their_line(db: Any, settings: Any) -> None:
    needs(db, 15, "NULLS NOT DISTINCT")
    make_table(db, "id bigint PRIMARY KEY, v text UNIQUE NULLS NOT DISTINCT")
    for _ in range(2):
        run(db, schema("t", id=INT, v=STR), *(record("t", id=n, v=None) for n in (1, 2)), state(1), **QUARANTINE, **settings)
        assert rows(db, "id, v") == [(1, None)]
    assert rows(db, "line", "__rejected") == [(3,), (3,)]


@EVERY_WAY
def test_constraints_that_are_not_enforced_refuse_nothing(db: Any, settings: Any) -> None:
    needs(db, 18, "NOT ENFORCED")
    make_table(db, "id bigint PRIMARY KEY, v bigint CHECK (v > 0) NOT ENFORCED, w bigint")
    db.query(f"CREATE TABLE {db.schema}.parent (id bigint PRIMARY KEY); ALTER TABLE {db.schema}.t ADD FOREIGN KEY (w) REFERENCES {db.schema}.parent NOT ENFORCED")
    for v in (-1, -2):
        run(db, schema("t", id=INT, v=INT, w=INT), record("t", id=1, v=v, w=7), state(1), **settings)
        assert rows(db, "id, v, w") == [(1, v, 7)]


def test_a_foreign_key_that_is_not_enforced_reaches_no_rows(db: Any) -> None:
    needs(db, 18, "NOT ENFORCED")
    deleted = {"type": ["string", "null"], "format": "date-time"}
    lines = [schema("t", id=INT, _sdc_deleted_at=deleted), record("t", id=1), record("t", id=2)]
    run(db, *lines)
    db.query(f"CREATE TABLE {db.schema}.child (t bigint REFERENCES {db.schema}.t ON DELETE CASCADE NOT ENFORCED); INSERT INTO {db.schema}.child VALUES (1), (3)")
    run(db, lines[0], record("t", id=1, _sdc_deleted_at="2024-01-01T00:00:00Z"), hard_delete=True)
    assert (rows(db, "id"), rows(db, "t", "child")) == ([(2,)], [(1,), (3,)])
    run(db, lines[0], record("t", id=5), state(1), load_method="overwrite")
    assert (rows(db, "id"), rows(db, "t", "child")) == ([(5,)], [(1,), (3,)])


@EVERY_WAY
def test_not_null_that_is_not_valid_yet_is_for_new_rows(db: Any, settings: Any) -> None:
    needs(db, 18, "NOT NULL NOT VALID")
    make_table(db, "id bigint PRIMARY KEY, v text")
    db.query(f"INSERT INTO {db.schema}.t VALUES (1, NULL); ALTER TABLE {db.schema}.t ADD CONSTRAINT filled NOT NULL v NOT VALID")
    run(db, schema("t", id=INT, v=STR), record("t", id=2, v="a"), record("t", id=3, v=None), state(1), **QUARANTINE, **settings)
    assert rows(db, "id, v") == [*([] if settings else [(1, None)]), (2, "a")]


def test_the_schema_public_is_closed_since_15_and_the_grant_is_told(db: Any) -> None:
    with database(db) as url, role(db) as (name, _):
        theirs = psycopg2.extensions.make_dsn(url, user=name, password="secret")
        target = dialect(replace(db, schema="public"), theirs)
        lines = [schema("t", id=INT), record("t", id=1)]
        if db.connection.server_version >= 150_000:
            with pytest.raises(DatabaseError, match=f'GRANT CREATE ON SCHEMA "public" TO "{name}"'):
                load(target, lines)
            with psycopg2.connect(url) as admin, admin.cursor() as cursor:
                cursor.execute(f'GRANT CREATE ON SCHEMA "public" TO "{name}"')
        load(target, lines)
        with psycopg2.connect(url) as admin, admin.cursor() as cursor:
            cursor.execute("SELECT id FROM public.t")
            assert cursor.fetchall() == [(1,)]
            cursor.execute(f"DROP OWNED BY {name} CASCADE")


# --- sessions that the server ends, or lets read only


@pytest.mark.parametrize(
    ("setting", "since"),
    [("idle_in_transaction_session_timeout", 13), ("idle_session_timeout", 14), ("transaction_timeout", 17)],
    ids=["idle in a transaction", "idle", "of a transaction"],
)
@pytest.mark.parametrize("is_open", [False, True], ids=["between transactions", "within one"])
def test_a_tap_that_is_silent_for_longer_than_the_server_waits(db: Any, setting: str, since: int, is_open: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    needs(db, since, setting)
    filler = "x" * (2 << 20)  # so that a chunk ends, and is written
    if is_open:
        monkeypatch.setattr("target_meltano.outbox.SEND_BYTES", 1)
    states: list[str] = []
    seen: set[str] = set()
    with database(db, **{setting: "'700ms'"}) as url, looking(url) as look:

        def silence() -> None:
            until = time.monotonic() + 1.5
            while time.monotonic() < until:
                seen.update(now for (now,) in look.query("SELECT state FROM pg_stat_activity WHERE application_name ~ 'target-meltano' AND datname = current_database()"))
                time.sleep(0.05)

        def slow() -> Iterator[Any]:
            yield schema("t", keys=(), id=INT)
            for n in range(3):
                yield from (record("t", id=n), record("t", id=n))
                if is_open:
                    yield {"type": "STATE", "value": n, "filler": filler}
                    yield from (record("t", id=-n), {"type": "NOTHING", "filler": filler})
                silence()
                yield state(n)

        load(dialect(db, url, state_id="p", batch_rows=1), slow(), on_state=states.append)
        assert states[-1] == "2"
        found = [row for n in range(3) for row in [n, n, *([-n] if is_open else [])]]
        assert look.query(f"SELECT id FROM {db.schema}.t ORDER BY 1") == [(row,) for row in sorted(found)]
        assert not is_open or "idle in transaction" in seen


def test_what_a_read_only_database_refuses_is_no_fault_of_a_record(db: Any) -> None:
    """As a service makes it whose disk is nearly full. What only reads goes on."""
    with database(db) as url, looking(url) as look:
        lines = [schema("t", id=INT), record("t", id=1), state(1)]
        settings = {"state_id": "p", **QUARANTINE}
        load(dialect(db, url, **settings), lines)
        look.query(f"ALTER DATABASE {look.connection.info.dbname} SET default_transaction_read_only = on")
        with pytest.raises(DatabaseError, match="read-only transaction"):
            load(dialect(db, url, **settings), [*lines[:1], record("t", id=2), state(2)])
        assert commands.get_state(dialect(db, url, **settings)) == "1"
        assert list(commands.rejected(dialect(db, url, **settings), None, None)) == []
        assert look.query(f"SELECT id FROM {db.schema}.t") == [(1,)]


@contextmanager
def looking(url: str) -> Iterator[Watched]:
    with forms.looking(url) as connection:
        yield Watched(url, connection)
