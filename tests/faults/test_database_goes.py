"""The database goes away: the target goes on, or ends with one line and 3; a STATE never runs ahead."""

from __future__ import annotations

import os
import random
import resource
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg2
import pytest
from conftest import FAULTS  # type: ignore[import-not-found]
from proxy import Plan, between
from psycopg2.extensions import make_dsn
from running import KEYED, Run, Tables, line_of, tap_command

from target_meltano_postgres import embedded

ROWS = int(os.environ.get("FAULT_ROWS", "200000" if FAULTS else "30000"))
TIMES = max(1, FAULTS // 20)  # of each kind
SEED = 7
GONE = 3  # the exit code
QUICK = "?keepalives_idle=1&keepalives_interval=1&tcp_user_timeout=2000"  # instead of minutes
STATE_IDS = [None, "pipeline"] if FAULTS else ["pipeline"]
COMMITS = [(how, freeze) for how in ("before", "during", "after") for freeze in (False, True)]
PLACES = [(direction, freeze) for direction in ("up", "down") for freeze in (False, True)]


@dataclass
class Case:
    """One schema, what should be in it in the end, and settings that load it."""

    here: Tables
    expected: str
    settings: dict[str, Any]
    state_id: str | None = None

    def tap(self) -> list[str]:
        return tap_command(ROWS, SEED, self.here.state(self.state_id) if self.state_id else None)

    def check(self, run: Run, codes: tuple[int, ...] = (0,)) -> None:
        """Check what a run left behind; where it was not complete, after another one."""
        code = run.ended()
        assert code in codes, run.errors()
        emitted = run.states[-1] if run.states else None
        assert self.here.lost(line_of(emitted), SEED) == 0
        if code:
            run.fault()
            state = self.here.state(self.state_id) if self.state_id else emitted
            with Run(self.settings, tap_command(ROWS, SEED, state)) as rest:
                assert rest.ended() == 0, rest.errors()
        for stream in KEYED:
            assert self.here.different(self.expected, stream) == (0, 0)
        is_exact = self.state_id or not code
        assert self.here.different(self.expected, "events", distinct=not is_exact) == (0, 0), run.errors()


@pytest.fixture(params=STATE_IDS, ids=lambda state_id: state_id or "stdout")
def case(
    request: pytest.FixtureRequest,
    postgres_url: str,
    tables: Callable[..., Tables],
    undisturbed: Callable[[int, int], str],
    chance: random.Random,
) -> Case:
    here = tables()
    settings = {"url": postgres_url, "schema": here.schema, "batch_rows": chance.randrange(1000, 5000)}
    if request.param:
        settings["state_id"] = request.param
    return Case(here, undisturbed(ROWS, SEED), settings, request.param)


def sessions(here: Tables, query: str = "") -> list[int]:
    """Return the processes of the server that work for targets on this schema's database."""
    found = here.query(
        "SELECT pid FROM pg_stat_activity WHERE application_name LIKE 'target-meltano%%' AND query LIKE %s", (f"%{query}%",)
    )
    return [pid for (pid,) in found]


@pytest.mark.parametrize("doing", ["", "COPY", "INSERT", "COMMIT"] if FAULTS else [""])
@pytest.mark.parametrize("turn", range(TIMES))
def test_a_session_that_is_terminated_is_replaced(case: Case, doing: str, turn: int, chance: random.Random) -> None:
    with Run(case.settings, case.tap()) as run:
        terminated = 0
        run.wait_for_states(1)
        until = time.monotonic() + 60
        while run.target.poll() is None and terminated < 3 and time.monotonic() < until:
            for pid in sessions(case.here, doing):
                terminated += case.here.query("SELECT pg_terminate_backend(%s)", (pid,)) == [(True,)]
                time.sleep(chance.uniform(0, 0.3))
        case.check(run)


@pytest.mark.parametrize(("how", "freeze"), COMMITS if FAULTS else [("before", False), ("after", False), ("during", True)])
@pytest.mark.parametrize("turn", range(TIMES))
def test_a_commit_without_an_answer_is_looked_up(case: Case, how: str, freeze: bool, turn: int, chance: random.Random) -> None:
    with between(case.settings["url"]) as proxy:
        proxy.plan = Plan(commits=chance.randrange(7, 10), how=how, freeze=freeze)
        through = case.settings | {"url": f"{proxy.url}{QUICK}"}
        with Run(through, case.tap()) as run:
            case.check(run)
            assert proxy.plan.done.is_set()
            found = "COMMIT got no answer; it was found to be "
            assert found + {"before": "undone", "after": "done", "during": ""}[how] in run.errors(), run.errors()


@pytest.mark.parametrize(("direction", "freeze"), PLACES if FAULTS else [("up", False), ("down", False)])
@pytest.mark.parametrize("turn", range(TIMES))
def test_a_connection_that_fails_anywhere(case: Case, direction: str, freeze: bool, turn: int, chance: random.Random) -> None:
    with between(case.settings["url"]) as proxy:
        proxy.plan = Plan(freeze=freeze, **{direction: chance.randrange(1, 2_000_000 if direction == "up" else 20_000)})
        through = case.settings | {"url": f"{proxy.url}{QUICK}"}
        with Run(through, case.tap()) as run:
            case.check(run, (0, GONE))


# --- a server of our own, which may be killed


@pytest.fixture(scope="module")
def home(folder: Path) -> Iterator[Path]:
    made = folder / "server"
    yield made
    embedded.stop(made)


@pytest.fixture
def own(home: Path) -> Iterator[embedded.Server]:
    yield embedded.start(home)
    embedded.stop(home)


def crash(home: Path) -> None:
    """End the server at once, as "immediate" does: nothing is written that is not yet."""
    os.kill(int((home / "data/postmaster.pid").read_text().split()[0]), signal.SIGQUIT)


@pytest.mark.parametrize("state_id", STATE_IDS)
@pytest.mark.parametrize("turn", range(TIMES))
def test_a_server_that_crashes_and_comes_back(
    home: Path, own: embedded.Server, state_id: str | None, turn: int, chance: random.Random
) -> None:
    expected, here = Tables(own.url, "undisturbed"), Tables(own.url, f"crashed_{turn}_{state_id}".lower())
    if not expected.exists("events"):
        with Run({"url": own.url, "schema": "undisturbed"}, tap_command(ROWS, SEED, None)) as run:
            assert run.ended() == 0, run.errors()
    settings = {"url": own.url, "schema": here.schema, "batch_rows": 1000, **({"state_id": state_id} if state_id else {})}
    with Run(settings, tap_command(ROWS, SEED, None)) as run:
        run.wait_for_states(1)
        time.sleep(chance.uniform(0, 0.5))
        crash(home)
        time.sleep(chance.uniform(0, 1))
        embedded.start(home)
        here = Tables(own.url, here.schema)
        Case(here, "undisturbed", settings, state_id).check(run)


def test_a_full_disk_ends_the_run(home: Path) -> None:
    """No file of the server may be larger than 20 MB, which is more than one of its WAL."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20 << 20, hard))
    try:
        own = embedded.start(home)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    here = Tables(own.url, "full")
    filler = [sys.executable, "-c", FILLER]
    try:
        with Run({"url": own.url, "schema": "full", "batch_rows": 10_000}, filler) as run:
            assert run.ended() == GONE, run.errors()
            assert "File too large" in run.fault() or "No space" in run.fault()
            assert run.states
            rows = here.query("SELECT count(*) FROM \"full\".big")[0][0]
            assert rows >= line_of(run.states[-1])
    finally:
        embedded.stop(home)


FILLER = """
print('{"type":"SCHEMA","stream":"big","key_properties":[],"schema":{"properties":{"t":{"type":"string"}}}}')
for n in range(1, 100_001):
    print('{"type":"RECORD","stream":"big","record":{"t":"%s"}}' % (str(n) * 60))
    if n % 1000 == 0:
        print('{"type":"STATE","value":{"line":%d}}' % n)
"""


# --- timeouts and others in the way


@pytest.mark.parametrize("name", ["statement_timeout", "lock_timeout"])
def test_a_timeout_of_the_server_ends_the_run_or_passes(name: str, case: Case) -> None:
    """Another session has the table locked for a while; what was set for the role stays so."""
    limited = case.settings | {"url": f"{case.settings['url']}?options=-c%20{name}%3D500"}
    with Run(limited, case.tap()) as run:
        run.wait_for_states(1)
        with psycopg2.connect(case.settings["url"]) as other:
            other.cursor().execute(f'LOCK TABLE "{case.here.schema}".orders IN ACCESS EXCLUSIVE MODE')
            time.sleep(2.5)
            other.rollback()
        other.close()
        case.check(run, (0,) if name == "lock_timeout" else (0, GONE))


def test_a_deadlock_is_done_again(case: Case) -> None:
    """Another session has a row that we want, and then wants one that we have."""
    slow = Tables(case.settings["url"], case.here.schema)
    with Run(case.settings, case.tap()) as run:
        run.wait_for_states(1)
        until = time.monotonic() + 30
        deadlocks = 0
        while run.target.poll() is None and not deadlocks and time.monotonic() < until:
            with psycopg2.connect(case.settings["url"]) as other:
                cursor = other.cursor()
                try:
                    cursor.execute("SET deadlock_timeout TO '10s'")  # so that it is ours that is ended
                    cursor.execute(f'LOCK TABLE "{case.here.schema}".people IN SHARE MODE')
                    cursor.execute(f'LOCK TABLE "{case.here.schema}".orders IN SHARE MODE')
                except psycopg2.errors.DeadlockDetected:
                    pass
                other.rollback()
            other.close()
            deadlocks += "deadlock detected" in run.errors()
        slow.close()
        case.check(run)


def test_sessions_that_are_ended_within_copy_print_nothing(postgres_url: str, tables: Callable[[], Tables], chance: random.Random) -> None:
    """psycopg2 prints a SystemError of its own where a COPY ends in two errors: there is one line for it, ours."""
    here = tables()
    lines = b"".join(b'{"type":"RECORD","stream":"s","record":{"t":"%b"}}\n' % (b"x" * 1000) for _ in range(20_000))
    url = make_dsn(postgres_url, application_name=here.schema)
    ended = 0
    with Run({"url": url, "schema": here.schema}) as run:
        assert run.target.stdin
        run.target.stdin.write(b'{"type":"SCHEMA","stream":"s","key_properties":[],"schema":{"properties":{"t":{"type":"string"}}}}\n')
        feeding = threading.Thread(target=lambda: (run.target.stdin.write(lines), run.target.stdin.close()))  # type: ignore[union-attr]
        feeding.start()
        while run.target.poll() is None:
            if ended < 4:
                busy = "application_name = %s AND state = 'active' AND query LIKE 'COPY%%'"
                ended += len(here.query(f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE {busy}", (here.schema,)))
            time.sleep(chance.uniform(0, 0.01))
        feeding.join()
        assert run.ended() == 0, run.errors()
        told = run.errors()
    assert ended
    assert "SystemError" not in told
    assert "exception" not in told
    assert here.query(f'SELECT count(*) FROM "{here.schema}".s') == [(20_000,)]
