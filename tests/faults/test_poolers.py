"""kill -9 of the target, of the pooler and of the server, behind pgbouncer: nothing is lost, with `state_id` nothing doubled."""

from __future__ import annotations

import os
import random
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import psycopg2
import pytest
from conftest import FAULTS  # type: ignore[import-not-found]
from running import KEYED, Run, Tables, line_of, tap_command

sys.path.insert(0, str(Path(__file__).parent.parent))
from pooler import Pooler, needs_pgbouncer, pooled

from target_meltano import TargetError, commands, make
from target_meltano_postgres import PostgresDialect, PostgresSettings, embedded

pytestmark = needs_pgbouncer

ROWS = int(os.environ.get("FAULT_ROWS", "100000" if FAULTS else "40000"))
SEED = 11
KILLS = max(3, FAULTS // 4)  # of each mode, with and without state_id
KILLS_A_LOAD = 12
WHO = ("target", "pooler", "server")
GONE = 3  # the exit code


@dataclass
class Count:
    """Of all loads of a test."""

    kills: dict[str, int] = field(default_factory=lambda: dict.fromkeys(WHO, 0))
    loads: int = 0
    lost: int = 0
    doubled: int = 0

    def __str__(self) -> str:
        killed = ", ".join(f"{who} {count}" for who, count in self.kills.items())
        return f"kill -9 ({killed}) in {self.loads} loads of {ROWS:,} records: {self.lost} lost, {self.doubled} doubled"


@pytest.fixture(scope="module")
def home(folder: Path) -> Iterator[Path]:
    made = folder / "pooled"
    yield made
    embedded.stop(made)


@pytest.mark.parametrize("state_id", [None, "pipeline"], ids=["states on stdout", "state_id"])
@pytest.mark.parametrize("mode", ["transaction", "session"])
def test_whoever_is_killed(
    mode: str, state_id: str | None, home: Path, chance: random.Random, record_property: Callable[[str, object], None]
) -> None:
    own, count = embedded.start(home), Count()
    expected = Tables(own.url, "undisturbed")
    if not expected.exists("events"):
        with Run({"url": own.url, "schema": expected.schema}, tap_command(ROWS, SEED, None)) as run:
            assert run.ended() == 0, run.errors()
    with pooled(own.url, mode, size=chance.choice((2, 5))) as pooler:
        while sum(count.kills.values()) < KILLS:
            schema = f"{mode}_{'kept' if state_id else 'told'}_{count.loads}"
            load(schema, own, pooler, home, state_id, chance, count)
            here = Tables(own.url, schema)
            for stream in (*KEYED, "events"):
                missing, extra = here.different(expected.schema, stream, distinct=stream == "events" and not state_id)
                count.lost += missing
                count.doubled += extra
            here.drop()
            print(f"\n{mode}, {state_id or 'states on stdout'}: {count}", flush=True)
    record_property("count", str(count))
    assert (count.lost, count.doubled) == (0, 0)


def load(schema: str, own: embedded.Server, pooler: Pooler, home: Path, state_id: str | None, chance: random.Random, count: Count) -> None:
    """Load with one kill after the other, and without one in the end."""
    count.loads += 1
    state: str | None = None
    kills = 0
    while True:
        settings = {"url": pooler.url, "schema": schema, "batch_rows": chance.randrange(500, 3000)}
        if state_id:
            settings["state_id"] = state_id
        is_last = kills >= (KILLS_A_LOAD if FAULTS else KILLS)
        who = WHO[sum(count.kills.values()) % 3]
        with Run(settings, tap_command(ROWS, SEED, state)) as run:
            if not is_last:
                with suppress(AssertionError):
                    run.wait_for_states(1, 10)
                time.sleep(chance.expovariate(1 / 0.2))
                if run.target.poll() is None:
                    kill(who, run, pooler, home, chance)
                    kills += 1
                    count.kills[who] += 1
            code = run.ended()
            assert code in (0, GONE, -signal.SIGKILL), run.errors()
            assert "Traceback" not in run.errors(), run.errors()
            emitted = run.states[-1] if run.states else state
        state = kept(settings) if state_id else emitted
        assert line_of(emitted) <= line_of(state)
        count.lost += Tables(own.url, schema).lost(line_of(state), SEED)
        if code == 0 and (is_last or line_of(state) == ROWS):
            return


def kill(who: str, run: Run, pooler: Pooler, home: Path, chance: random.Random) -> None:
    if who == "target":
        run.target.kill()
    elif who == "pooler":
        pooler.kill()
        time.sleep(chance.uniform(0, 1))
        pooler.start()
    else:
        os.kill(int((home / "data/postmaster.pid").read_text().split()[0]), signal.SIGKILL)
        time.sleep(chance.uniform(0, 1))
        embedded.start(home)


def kept(settings: dict[str, object]) -> str | None:
    """Return what `state get` says, once it says something."""
    until = time.monotonic() + 60
    while True:
        try:
            return commands.get_state(PostgresDialect(make(PostgresSettings, **settings)))
        except (TargetError, psycopg2.Error):
            assert time.monotonic() < until
            time.sleep(0.1)
