"""Signals at random moments to every process of a run, whose tap misbehaves in every way that we know.

After each: rows are as STATE says, and no process, session, lock or file with settings is left. FAULTS is how many signals
there are for each way; 0, the default, is the short form. Run with -s it prints a line for each way.
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import odd_tap
import psutil
import pytest
from elt_traces import Traces, traced_project

ROUNDS = int(os.environ.get("FAULTS", "0")) or 1
IDS = 200
SIGNALS = ("SIGTERM", "SIGINT", "SIGHUP", "SIGKILL", "SIGSTOP")  # the last with SIGCONT behind it
WORDS = {"--discover": "discovery", odd_tap.__file__: "tap", "--tap-status-fd": "target", "--no-use-colors": "dbt"}
WITHIN = {"discovery": 0.1, "dbt": 4.0}  # seconds from its start, else 1.2
LATEST = 6.0  # seconds; what has not begun by then never does
LONGEST = 15.0  # seconds; a deaf tap is killed after 10


@pytest.fixture
def traces(postgres_url: str, tmp_path: Path) -> Iterator[Traces]:
    with traced_project(tmp_path, postgres_url) as made:
        yield made


@pytest.mark.parametrize("does", odd_tap.WAYS)
def test_rows_are_as_state_says_whatever_is_killed(traces: Traces, does: str) -> None:
    """The tables have no key: what came twice would be there twice."""
    chance = random.Random(f"{os.environ.get('FAULT_SEED', '1')} {does}")
    done: Counter[str] = Counter()
    for number in range(ROUNDS):
        write(traces, does, IDS * (number + 1))
        done[struck(traces, chance, "extract-load")] += 1
        assert traces.project.ids() == list(range(1, traces.position() + 1))
    write(traces, "well", IDS * ROUNDS)
    last = traces.project.run("extract-load", **traces.mark)
    assert (last.returncode, traces.project.ids()) == (0, list(range(1, IDS * ROUNDS + 1))), last.stdout
    print(f"\n{does}: {', '.join(f'{what} {count}' for what, count in done.items())}")


def test_dbt_ends_with_the_run(traces: Traces, dbt: Any) -> None:
    chance = random.Random(f"{os.environ.get('FAULT_SEED', '1')} dbt")
    done: Counter[str] = Counter()
    write(traces, "well", IDS, transform=traces.project.dbt(dbt))
    for _ in range(2 * ROUNDS):
        done[struck(traces, chance, "run")] += 1
        assert traces.project.ids() == list(range(1, traces.position() + 1))
    last = traces.project.run("run", **traces.mark)
    assert (last.returncode, traces.project.query(f"SELECT events FROM {traces.project.name}_models.numbers")) == (0, [(IDS,)]), last.stdout
    print(f"\ndbt: {', '.join(f'{what} {count}' for what, count in done.items())}")


def write(traces: Traces, does: str, ids: int, **sections: Any) -> None:
    config = {"does": does, "ids": ids, "every": 20, "pause": 0.1}
    traces.project.write({"tap": {"executable": [sys.executable, odd_tap.__file__], "config": config}}, **sections)


def struck(traces: Traces, chance: random.Random, command: str) -> str:
    """Signal a process of a run, and if the run goes on, once more that; return what was done when nothing is left."""
    name = chance.choice(["wrapper", "tap", "target", "discovery", "guard", *(["dbt"] * 3 if command == "run" else [])])
    how = chance.choice(SIGNALS)
    with traces.project.start(command, **traces.mark) as wrapper:
        latest = time.monotonic() + LATEST
        while name not in victims(wrapper) and wrapper.poll() is None and time.monotonic() < latest:
            time.sleep(0.01)
        until = time.monotonic() + chance.uniform(0, WITHIN.get(name, 1.2))
        while time.monotonic() < until and name in victims(wrapper):
            time.sleep(0.01)
        if victim := victims(wrapper).get(name):
            strike(victim, how, chance)
        try:
            out, told = wrapper.communicate(timeout=chance.uniform(0.5, 3))
        except subprocess.TimeoutExpired:
            wrapper.terminate()
            out, told = wrapper.communicate(timeout=LONGEST)
    assert 'File "' not in out + told, out + told  # a traceback of ours; of a tap's the last line is shown
    traces.nothing_left()
    return f"{how} {name}" if victim else "too late"


def victims(wrapper: subprocess.Popen[str]) -> dict[str, psutil.Process]:
    """Return what is there to be signalled, by name: the wrapper as soon as it has its guard, no longer in Python's own start."""
    found: dict[str, psutil.Process] = {}
    try:
        ours = psutil.Process(wrapper.pid)
        children = ours.children()
    except psutil.Error:
        return found
    for child in children:
        try:
            arguments = child.cmdline()
        except psutil.Error:
            continue
        if name := next((name for word, name in WORDS.items() if word in arguments), None):
            found[name] = child
        elif arguments and arguments[-1].endswith("/guard.py"):
            found |= {"guard": child, "wrapper": ours}
    return found


def strike(victim: psutil.Process, how: str, chance: random.Random) -> None:
    try:
        victim.send_signal(getattr(signal, how))
        if how == "SIGSTOP":
            time.sleep(chance.uniform(0.2, 1.5))
            victim.resume()
    except psutil.Error:  # it has just ended
        pass
