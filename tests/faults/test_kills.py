"""kill -9 of the target: what a STATE covers is there, and a run from it ends as if nothing had been."""

from __future__ import annotations

import os
import random
import signal
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

import pytest
from conftest import FAULTS  # type: ignore[import-not-found]
from running import HERE, KEYED, TARGET, Run, Tables, line_of, tap_command

KILLS = FAULTS or 3
ROWS = int(os.environ.get("FAULT_ROWS", "300000" if FAULTS else "20000"))
KILLS_A_LOAD = 25 if FAULTS else 3
PLACES = ("before COMMIT", "after COMMIT", "after STATE")


@dataclass
class Count:
    """Of all loads of a test."""

    loads: int = 0
    kills: int = 0
    placed: int = 0
    lost: int = 0
    doubled: int = 0
    again: int = 0  # rows of an append-only table that a STATE did not cover, and came once more

    def __str__(self) -> str:
        told = f"{self.kills} kills ({self.placed} of them placed at a COMMIT) in {self.loads} loads of {ROWS:,} records"
        return f"{told}: {self.lost} lost, {self.doubled} doubled, {self.again} sent again"


@pytest.mark.parametrize("state_id", [None, "pipeline"], ids=["states on stdout", "state_id"])
def test_a_killed_run_goes_on_from_its_state(
    state_id: str | None,
    postgres_url: str,
    tables: Callable[[], Tables],
    undisturbed: Callable[[int, int], str],
    chance: random.Random,
    record_property: Callable[[str, object], None],
) -> None:
    count = Count()
    while count.kills < KILLS:
        seed = chance.randrange(1000) if FAULTS else 1
        here, expected = tables(), undisturbed(ROWS, seed)
        load(here, seed, postgres_url, state_id, chance, count)
        for stream in KEYED:
            missing, extra = here.different(expected, stream)
            count.lost += missing
            count.doubled += extra
        missing, extra = here.different(expected, "events", distinct=not state_id)
        count.lost += missing
        count.doubled += extra
        if not state_id:
            count.again += here.different(expected, "events")[1]
        here.drop()
        print(f"\n{state_id or 'states on stdout'}: {count}", flush=True)
    record_property("count", str(count))
    assert (count.lost, count.doubled) == (0, 0)


def load(here: Tables, seed: int, url: str, state_id: str | None, chance: random.Random, count: Count) -> None:
    """Load with one kill after the other, and without one in the end."""
    count.loads += 1
    kills, state = 0, None
    while True:
        settings = {"url": url, "schema": here.schema, "batch_rows": chance.randrange(1000, 5000)}
        if state_id:
            settings["state_id"] = state_id
        is_last = kills >= KILLS_A_LOAD
        is_placed = not is_last and (chance.random() < 0.4 if FAULTS else kills != 1)
        count_of_place = chance.randrange(1, 12 if FAULTS else 4)
        place = [sys.executable, str(HERE / "wrapped.py"), chance.choice(PLACES), str(count_of_place)]
        with Run(settings, tap_command(ROWS, seed, state), place if is_placed else TARGET) as run:
            if not is_last and not is_placed:
                kill_somewhen(run, chance)
            code = run.ended()
            assert code in (0, -signal.SIGKILL), run.errors()
            assert "Traceback" not in run.errors(), run.errors()
            assert not run.partial
        kills += code != 0
        count.placed += is_placed and code != 0
        emitted = run.states[-1] if run.states else state
        state = here.state(state_id) if state_id else emitted
        assert line_of(emitted) <= line_of(state)
        count.lost += here.lost(line_of(state), seed)
        if code == 0:
            count.kills += kills
            return


def kill_somewhen(run: Run, chance: random.Random) -> None:
    """Kill at once, or while it loads."""
    if chance.random() < 0.1:
        time.sleep(chance.uniform(0, 0.8))
    else:
        run.wait_for_states(1)
        time.sleep(chance.expovariate(1 / 0.3))
    with suppress(ProcessLookupError):
        run.target.kill()
