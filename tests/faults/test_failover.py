"""A primary that dies in the middle of a load, and its hot standby, promoted: with `state_id` nothing is lost, nothing doubled."""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import psycopg2
import pytest
from conftest import FAULTS  # type: ignore[import-not-found]
from running import KEYED, Run, Tables, tap_command

from target_meltano import commands, make
from target_meltano_postgres import PostgresDialect, PostgresSettings, embedded

ROWS = int(os.environ.get("FAULT_ROWS", "100000"))
SEED = 17
TIMES = max(1, FAULTS // 20)
REPLICATES = {"wal_level": "replica", "max_wal_senders": "4", "hot_standby": "on"}


@dataclass(frozen=True)
class Pair:
    """Two servers; the *standby* has all that a COMMIT of the *primary* has told of."""

    primary: embedded.Server
    standby: embedded.Server
    home: Path

    @property
    def url(self) -> str:
        """Both, the standby first: libpq has to look which one takes writes."""
        who = f"{self.primary.user}:{self.primary.password}"
        hosts = f"{self.standby.host}:{self.standby.port},{self.primary.host}:{self.primary.port}"
        return f"postgresql://{who}@{hosts}/{self.primary.dbname}?target_session_attrs=read-write"

    def fail_over(self) -> None:
        os.kill(int((self.home / "data/postmaster.pid").read_text().split()[0]), signal.SIGKILL)
        ask(self.standby, "SELECT pg_promote()")


@pytest.fixture
def pair(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Pair]:
    monkeypatch.setattr(embedded, "SERVER_SETTINGS", {**embedded.SERVER_SETTINGS, **REPLICATES})
    first, second = folder / "primary", folder / "standby"
    embedded.start(first)
    embedded.stop(first)
    subprocess.run(["cp", "-a", first, second], check=True)
    (second / "port").unlink()
    primary = embedded.start(first)
    shutil.copy(first / "password", second / "password")
    source = f"host={primary.host} port={primary.port} user={primary.user} password={primary.password}"
    with open(second / "data/postgresql.auto.conf", "a") as settings:
        settings.write(f"primary_conninfo = '{source}'\n")
    (second / "data/standby.signal").touch()
    standby = embedded.start(second)
    ask(primary, "ALTER SYSTEM SET synchronous_standby_names = '*'")
    ask(primary, "SELECT pg_reload_conf()")
    until = time.monotonic() + 60
    while ask(primary, "SELECT count(*) FROM pg_stat_replication WHERE sync_state = 'sync'") != [(1,)]:
        assert time.monotonic() < until, (second / "log").read_text()[-2000:]
        time.sleep(0.05)
    yield Pair(primary, standby, first)
    for home in (second, first):
        embedded.stop(home)
        shutil.rmtree(home)


def ask(server: embedded.Server, sql: str) -> list[tuple[object, ...]]:
    connection = psycopg2.connect(server.url)
    connection.autocommit = True  # as ALTER SYSTEM wants it
    try:
        with connection.cursor() as cursor:
            cursor.execute(sql)
            return list(cursor.fetchall()) if cursor.description else []
    finally:
        connection.close()


@pytest.mark.parametrize("turn", range(TIMES))
def test_a_load_goes_on_at_the_standby_that_was_promoted(pair: Pair, turn: int, chance: random.Random, record_property: Callable[[str, object], None]) -> None:
    settings = {"url": pair.url, "schema": "s", "state_id": "p", "batch_rows": chance.randrange(500, 3000)}
    with Run(settings, tap_command(ROWS, SEED, None)) as run:
        run.wait_for_states(1)
        time.sleep(chance.uniform(0, 0.2))
        assert run.target.poll() is None, "the load was over before the primary died: more FAULT_ROWS"
        pair.fail_over()
        code = run.ended()
        assert code in (0, 3), run.errors()
        assert "Traceback" not in run.errors(), run.errors()
    record_property("ended", code)
    if code:  # where the standby took longer to take over than is waited for
        state = commands.get_state(PostgresDialect(make(PostgresSettings, **settings)))
        with Run(settings, tap_command(ROWS, SEED, state)) as run:
            assert run.ended() == 0, run.errors()
    with Run({"url": pair.standby.url, "schema": "undisturbed"}, tap_command(ROWS, SEED, None)) as run:
        assert run.ended() == 0, run.errors()
    here = Tables(pair.standby.url, "s")
    found = {stream: here.different("undisturbed", stream) for stream in (*KEYED, "events")}
    here.close()
    assert found == dict.fromkeys(found, (0, 0)), "(missing, doubled)"
