"""SIGTERM, SIGINT, a reader that goes: what is complete is committed, and no STATE is out without its rows."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import time
from collections.abc import Callable

import pytest
from conftest import FAULTS  # type: ignore[import-not-found]
from psycopg2.extensions import make_dsn
from running import Run, Tables, line_of, tap_command

ROWS = int(os.environ.get("FAULT_ROWS", "100000" if FAULTS else "30000"))
TIMES = max(1, FAULTS // 8)
SEED = 3


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=["SIGTERM", "SIGINT"])
@pytest.mark.parametrize("state_id", [None, "pipeline"] if FAULTS else ["pipeline"])
@pytest.mark.parametrize("turn", range(TIMES))
def test_a_signal_ends_the_run_after_what_is_complete(
    number: signal.Signals, state_id: str | None, turn: int, postgres_url: str, tables: Callable[[], Tables], chance: random.Random
) -> None:
    here = tables()
    settings = {"url": postgres_url, "schema": here.schema, "batch_rows": chance.randrange(1000, 5000)}
    if state_id:
        settings["state_id"] = state_id
    with Run(settings, tap_command(ROWS, SEED, None)) as run:
        run.wait_for_states(1)
        time.sleep(chance.uniform(0, 0.5))
        run.target.send_signal(number)
        code = run.ended()
        is_done = f"{ROWS:,} rows of 3 streams committed" in run.errors()  # and the handlers may be gone
        assert code in ((0, -number, 128 + number) if is_done else (128 + number,)), run.errors()
        if code > 0:
            assert f"signal {number.value}" in run.fault()
        assert not run.partial
        assert here.lost(line_of(run.states[-1]), SEED) == 0
        if state_id:
            assert here.state(state_id) == run.states[-1]
            assert here.query(f'SELECT max(n) FROM "{here.schema}".events')[0][0] <= line_of(run.states[-1])


@pytest.mark.parametrize("turn", range(TIMES))
def test_a_reader_that_goes_ends_the_run(turn: int, postgres_url: str, tables: Callable[[], Tables], chance: random.Random) -> None:
    """The rows whose STATE could not be told are committed; that is said, with 1."""
    here = tables()
    reading, writing = os.pipe()
    with Run({"url": postgres_url, "schema": here.schema, "batch_rows": 1000}, tap_command(ROWS, SEED, None), stdout=writing) as run:
        os.close(writing)
        with open(reading, encoding="utf-8") as states:
            told = [states.readline() for _ in range(chance.randrange(4))]
        assert run.ended() == 1, run.errors()
        assert "stdout is gone" in run.fault()
        assert here.lost(line_of(told[-1] if told else None), SEED) == 0


def test_a_silent_tap_costs_nothing(postgres_url: str, tables: Callable[[], Tables]) -> None:
    """With `state_id` rows wait for their STATE, and nothing is done meanwhile, for as long as it takes."""
    import psutil

    settings = {"url": postgres_url, "schema": tables().schema, "state_id": "silent", "batch_seconds": 1}
    with Run(settings) as run:
        assert run.target.stdin
        for line in (*SCHEMA, record(1)):
            run.target.stdin.write(line)
        run.target.stdin.flush()
        time.sleep(3.5)
        process = psutil.Process(run.target.pid)
        before = process.cpu_times()
        time.sleep(2)
        after = process.cpu_times()
        run.target.stdin.write(b'{"type":"STATE","value":{"line":1}}\n')
        run.target.stdin.flush()
        run.wait_for_states(1)
        run.target.stdin.close()
        assert run.ended() == 0
        assert after.user + after.system - before.user - before.system < 0.5


SCHEMA = (b'{"type":"SCHEMA","stream":"s","key_properties":[],"schema":{"properties":{"n":{"type":"integer"}}}}\n',)


def record(n: int) -> bytes:
    return b'{"type":"RECORD","stream":"s","record":{"n":%d}}\n' % n


def test_a_database_that_goes_while_the_tap_is_silent(postgres_url: str, tables: Callable[[], Tables]) -> None:
    """What waits for its STATE is written again, on a new connection."""
    here = tables()
    url = make_dsn(postgres_url, application_name=here.schema)  # to be told from those of other tests
    with Run({"url": url, "schema": here.schema, "state_id": "silent", "batch_seconds": 1}) as run:
        assert run.target.stdin
        for line in (*SCHEMA, record(1)):
            run.target.stdin.write(line)
            run.target.stdin.flush()
        time.sleep(2.5)
        terminate(here)
        run.target.stdin.write(b'{"type":"STATE","value":{"line":1}}\n' + SCHEMA[0].replace(b'"n":', b'"m":{"type":"string"},"n":'))
        run.target.stdin.flush()
        run.wait_for_states(1)
        terminate(here)
        for line in (record(2), b'{"type":"STATE","value":{"line":2}}\n'):
            run.target.stdin.write(line)
        run.target.stdin.close()
        assert run.ended() == 0, run.errors()
        assert here.query(f'SELECT n FROM "{here.schema}".s ORDER BY n') == [(1,), (2,)]
        assert run.states == ['{"line":1}', '{"line":2}']


def terminate(here: Tables) -> None:
    ended = here.query("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = %s", (here.schema,))
    assert ended == [(True,)]
    time.sleep(0.3)


def test_stdin_and_stdout_closed(postgres_url: str, tables: Callable[[], Tables]) -> None:
    """Without stdout a STATE cannot be told; that is no traceback."""
    with Run({"url": postgres_url, "schema": tables().schema}, tap_command(10, SEED, None), stdout=subprocess.DEVNULL) as run:
        assert run.ended() == 0, run.errors()
