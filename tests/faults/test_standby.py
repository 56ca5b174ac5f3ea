"""A server that only repeats another one is refused: what it does not know yet may have happened."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from proxy import Plan, between
from running import Tables

from target_meltano import DatabaseError, commands, load, make
from target_meltano.samples import INT, record, schema, state
from target_meltano_postgres import PostgresDialect, PostgresSettings, embedded, faults, session

LINES = [schema("t", keys=(), id=INT), record("t", id=1), state(1), record("t", id=2), state(2)]


@pytest.fixture
def standby(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[embedded.Server]:
    monkeypatch.setattr(embedded, "SERVER_SETTINGS", {**embedded.SERVER_SETTINGS, "wal_level": "replica", "hot_standby": "on"})
    home = folder / "standby"
    url = embedded.start(home).url
    load(PostgresDialect(make(PostgresSettings, url=url, schema="s", state_id="p")), LINES)
    embedded.stop(home)
    (home / "data/standby.signal").touch()
    yield embedded.start(home)
    embedded.stop(home)


def test_a_standby_is_refused_at_once_until_it_is_promoted(standby: embedded.Server) -> None:
    def dialect() -> PostgresDialect:
        return PostgresDialect(make(PostgresSettings, url=standby.url, schema="s", state_id="p"))

    started = time.monotonic()
    for act in (lambda: load(dialect(), LINES), lambda: commands.get_state(dialect())):  # its STATE may be old
        with pytest.raises(DatabaseError, match="cannot connect: the server is a read-only standby, wanted the primary"):
            act()
    assert time.monotonic() - started < 5
    here = Tables(standby.url, "s")
    here.query("SELECT pg_promote()")
    load(dialect(), [*LINES[:1], record("t", id=3), state(3)])
    assert here.query("SELECT id FROM s.t ORDER BY 1") == [(1,), (2,), (3,)]
    here.close()


@pytest.fixture
def lost(postgres_url: str, tables: Callable[[], Tables], monkeypatch: pytest.MonkeyPatch) -> Any:
    """Return how to load where a COMMIT with rows gets no answer, and the server is a standby so often after it."""
    here = tables()

    def loaded(often: int, **settings: Any) -> list[str]:
        states: list[str] = []
        met = 0
        with between(postgres_url) as proxy:
            start = session._start

            def standby(*arguments: Any) -> Any:
                nonlocal met
                if proxy.plan.done.is_set() and met < often:
                    met += 1
                    raise faults.Standby
                return start(*arguments)

            monkeypatch.setattr(session, "_start", standby)
            proxy.plan = Plan(commits=5 if settings else 3, how="after")  # before it: the tables, and to take over
            target = PostgresDialect(make(PostgresSettings, url=proxy.url, schema=here.schema, batch_rows=1, **settings))
            load(target, LINES, on_state=states.append)
        assert met == often
        return states

    return loaded, here


@pytest.mark.parametrize("settings", [{}, {"state_id": "p"}], ids=str)
def test_the_outcome_of_a_commit_is_asked_of_a_primary(lost: Any, settings: dict[str, Any]) -> None:
    loaded, here = lost
    assert loaded(3, **settings)[-1] == "2"
    assert here.query(f'SELECT id FROM "{here.schema}".t ORDER BY 1') == [(1,), (2,)]


def test_where_there_is_no_primary_the_outcome_is_said_to_be_unknown(lost: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("target_meltano.session.RETRY_SECONDS", 0.5)
    loaded, here = lost
    with pytest.raises(DatabaseError, match="the outcome of a COMMIT is not known: .*standby"):
        loaded(1000)
    assert here.query(f'SELECT id FROM "{here.schema}".t ORDER BY 1') in ([(1,)], [(1,), (2,)])
