"""Behind a pgbouncer that shares sessions: nothing of ours is left in them, by transaction and by session."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, replace
from typing import Any

import psycopg2
import pytest
from on_postgres import database, dialect
from pooler import needs_pgbouncer, pooled
from psycopg2.extensions import make_dsn

from target_meltano import DatabaseError, commands, load
from target_meltano.samples import INT, STR, record, schema, state

pytestmark = needs_pgbouncer

MODES = ["transaction", "session"]
ROLE = {"search_path": "others, public", "synchronous_commit": "off", "TimeZone": "'Asia/Tokyo'", "quote_all_identifiers": "on"}
TOLD = """
    CREATE SCHEMA others; CREATE TABLE others.app (id int); INSERT INTO others.app VALUES (7);
    CREATE TABLE others.commits (setting text);
    CREATE FUNCTION others.note() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
      INSERT INTO commits VALUES (current_setting('synchronous_commit')); RETURN NEW; END $$"""


@dataclass
class Pool:
    """A database of its own, and a target of a role that shares its only session with others."""

    db: Any
    url: str

    def target(self, **settings: Any) -> Any:
        return dialect(self.db, self.url, **settings)

    def left(self) -> Any:
        """Return what another client finds in the session."""
        with closing(psycopg2.connect(self.url)) as client, client.cursor() as cursor:
            cursor.execute("SELECT id FROM app")  # as a program of others says it
            assert cursor.fetchall() == [(7,)]
            cursor.execute("SELECT name, setting FROM pg_settings WHERE name <> 'application_name' ORDER BY 1")
            settings = cursor.fetchall()
            cursor.execute("SELECT count(*) FROM pg_class WHERE relpersistence = 't'")
            tables = cursor.fetchall()
        return settings, tables, self.db.query("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND database = (SELECT oid FROM pg_database WHERE datname = current_database())")


@pytest.fixture(params=MODES)
def pool(request: pytest.FixtureRequest, db: Any) -> Iterator[Pool]:
    with database(db, **ROLE) as url, pooled(url, request.param, size=1) as pooler, closing(psycopg2.connect(url)) as connection:
        connection.autocommit = True
        there = replace(db, url=url, connection=connection)
        there.query(TOLD)
        yield Pool(there, pooler.url)


@pytest.mark.parametrize("settings", [{}, {"state_id": "p"}, {"load_method": "overwrite"}, {"invalid_records": "quarantine"}], ids=str)
def test_nothing_of_ours_is_left_in_the_pool(pool: Pool, settings: dict[str, Any]) -> None:
    before = pool.left()
    for text in ("a", "b"):
        lines = [schema("t", id=INT, a=STR), record("t", id=1, a=text), record("t", id=2, a=text), state(text)]
        load(pool.target(batch_rows=1, **settings), lines)
        assert pool.left() == before
    load(pool.target(**settings), [schema("t", id=INT, a=STR, b=INT), record("t", id=3, a="c", b=3), state("c")])
    assert pool.left() == before
    found = [(1, "b"), (2, "b"), (3, "c")]
    assert pool.db.query(f"SELECT id, a FROM {pool.db.schema}.t ORDER BY 1") == (found[2:] if "load_method" in settings else found)


def test_every_commit_waits_for_the_disk(pool: Pool) -> None:
    """The role says it need not; a server that crashes would have forgotten what a STATE covers."""
    load(pool.target(), [schema("t", id=INT), record("t", id=1)])
    pool.db.query(f"CREATE CONSTRAINT TRIGGER note AFTER INSERT ON {pool.db.schema}.t DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION others.note()")
    load(pool.target(batch_rows=1), [schema("t", id=INT), record("t", id=2), state(2), record("t", id=3), state(3)])
    assert set(pool.db.query("SELECT setting FROM others.commits")) == {("on",)}


def test_the_state_is_read_and_written(pool: Pool) -> None:
    load(pool.target(state_id="p"), [schema("t", id=INT), record("t", id=1), state("one")])
    assert commands.get_state(pool.target(state_id="p")) == '"one"'
    commands.set_state(pool.target(state_id="p"), b'{"t": "two"}')
    assert commands.get_state(pool.target(state_id="p")) == '{"t":"two"}'
    commands.clear_state(pool.target(state_id="p"))
    assert commands.get_state(pool.target(state_id="p")) is None


# --- two runs with one state_id


@pytest.fixture(params=["transaction", "session"])
def roomy(request: pytest.FixtureRequest, db: Any) -> Iterator[str]:
    with pooled(db.url, request.param) as pooler:
        yield pooler.url


def events(*ids: int) -> list[Any]:
    return [record("t", id=n) for n in ids]


def test_a_second_run_is_refused_while_a_transaction_is_open(db: Any, roomy: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("target_meltano.outbox.SEND_BYTES", 1)
    start = [schema("t", keys=(), id=INT)]
    big = {"type": "STATE", "value": 0, "filler": "x" * (2 << 20)}  # so that a chunk ends, and is written
    told: list[str] = []

    def source() -> Iterator[Any]:
        yield from [*start, *events(1, 2), state(2), big, *events(3), big]
        wait_for(lambda: bool(db.query("SELECT 1 FROM pg_locks WHERE locktype = 'advisory' AND mode = 'ShareLock'")))
        for act in (lambda: load(dialect(db, roomy, state_id="p"), [*start, *events(9), state(9)]), lambda: commands.set_state(dialect(db, roomy, state_id="p"), b'{"t": 9}')):
            with pytest.raises(DatabaseError, match=r"run with the state_id 'p' is under way.*run 20"):
                act()
            told.append("refused")
        yield from [*events(4), state(4)]

    load(dialect(db, roomy, state_id="p", batch_rows=2), source())
    assert told == ["refused"] * 2
    assert db.query(f"SELECT id FROM {db.schema}.t ORDER BY 1") == [(1,), (2,), (3,), (4,)]


def test_a_run_that_was_taken_over_while_it_was_silent_commits_nothing_more(db: Any, roomy: str) -> None:
    """No lock of a session tells that it is there; the fence decides, and nothing is doubled."""
    start, taken, states = [schema("t", keys=(), id=INT)], threading.Event(), []

    def source() -> Iterator[Any]:
        yield from [*start, *events(1, 2), state(2), {"type": "STATE", "value": 2, "filler": "x" * (2 << 20)}]
        wait_for(lambda: bool(states))
        assert commands.get_state(dialect(db, roomy, state_id="p")) == "2"
        load(dialect(db, roomy, state_id="p"), [*start, *events(3, 4), state(4)])
        taken.set()
        yield from [*events(3, 4), state(4)]

    with pytest.raises(DatabaseError, match="another run has taken over the state_id 'p'"):
        load(dialect(db, roomy, state_id="p", batch_rows=2), source(), on_state=states.append)
    assert taken.is_set()
    assert db.query(f"SELECT id FROM {db.schema}.t ORDER BY 1") == [(1,), (2,), (3,), (4,)]


def wait_for(is_so: Callable[[], bool]) -> None:
    for _ in range(400):
        if is_so():
            return
        threading.Event().wait(0.05)
    raise AssertionError("it never came")


# --- what cannot be


def test_a_pooler_that_shares_by_statement_is_refused_in_a_line(db: Any) -> None:
    with pooled(db.url, "statement") as pooler, pytest.raises(DatabaseError, match="cannot connect: the session ends at BEGIN: .*pool_mode"):
        load(dialect(db, pooler.url), [schema("t", id=INT), record("t", id=1)])


def test_options_that_the_pooler_lets_pass(db: Any) -> None:
    """Neither libpq's options nor ours are needed; a pooler that drops them is as good."""
    with pooled(db.url, "transaction", ignored="options,extra_float_digits") as pooler:
        load(dialect(db, make_dsn(pooler.url, options="-c search_path=nowhere")), [schema("t", id=INT), record("t", id=1)])
    assert db.query(f"SELECT id FROM {db.schema}.t") == [(1,)]
