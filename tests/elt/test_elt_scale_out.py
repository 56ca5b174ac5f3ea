"""Runners and workers as docs/scale-out.md has them: checkouts of one project that share nothing but the warehouse."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil
import pytest
from elt_project import TAP, TestProject

TAPS = {"a": {"ids": 60}, "b": {"ids": 70}, "c": {"ids": 80}, "d": {"ids": 90}}
WAIT = 180.0  # seconds; more than a busy machine needs


@pytest.fixture
def machines(project: TestProject) -> list[TestProject]:
    """Four folders, each as a runner has it: their locks and logs are their own."""
    found = []
    for number in range(4):
        folder = project.folder / f"machine{number}"
        folder.mkdir()
        found.append(replace(project, folder=folder))
    return found


def events(**config: Any) -> dict[str, Any]:
    """Return the section of a tap whose table has no key: what came twice would be there twice."""
    return {"executable": TAP, "config": {"keys": [], **config}, "settings": {"batch_seconds": 0.2}}


def ended(started: list[subprocess.Popen[str]]) -> list[tuple[int, str]]:
    """Return the exit code and the output of each, in the order in which they were started."""
    found = []
    for one in started:
        out, _ = one.communicate(timeout=WAIT)
        found.append((one.returncode, out))
    return found


def until(condition: Callable[[], object]) -> None:
    end = time.monotonic() + WAIT
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.02)


def test_taps_load_side_by_side_from_machines_of_their_own(machines: list[TestProject], tmp_path: Path) -> None:
    """Each waits in the middle of its load until all have started: none waits for another one's end."""
    here = [tmp_path / name for name in TAPS]
    for machine in machines:
        machine.write({name: {**config, "seen": str(tmp_path / name), "wait": list(map(str, here))} for name, config in TAPS.items()})
    done = ended([machine.start("extract-load", tap) for machine, tap in zip(machines, TAPS, strict=True)])
    assert [code for code, _ in done] == [0] * 4, done
    assert [len(machines[0].ids(number)) for number in range(4)] == [60, 70, 80, 90]
    ledgers = [machines[0].query(f'SELECT rows_written FROM "{machines[0].schema(number)}".__loads') for number in range(4)]
    assert ledgers == [[(60,)], [(70,)], [(80,)], [(90,)]]


def test_one_tap_is_loaded_by_one_machine_and_others_are_refused_by_name_until_it_ends_or_dies(machines: list[TestProject]) -> None:
    machines[0].write({"a": events(ids=90, end="hang")})
    for machine in machines[1:]:
        machine.write({"a": events(ids=200)})
    first = machines[0].start("extract-load", "a")
    try:
        until(machines[0].ids)
        for code, out in ended([machine.start("extract-load", "a") for machine in machines[1:]]):
            assert (code, "a run with the state_id 'dev:a' is under way" in out) == (1, True), out
    finally:
        for process in [*psutil.Process(first.pid).children(recursive=True), first]:  # as if the machine had gone
            with suppress(psutil.NoSuchProcess):  # the end of one may have ended the next
                process.kill()
        first.communicate()
    assert machines[1].ids() == list(range(1, 91))
    assert machines[1].run("extract-load", "a").returncode == 0
    assert machines[1].ids() == list(range(1, 201))
