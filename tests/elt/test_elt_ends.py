"""A run ends when it is told: whatever its tap does, with one signal, and with nothing of it left."""

from __future__ import annotations

import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import odd_tap
import psutil
import pytest
from elt_project import WRAPPER
from elt_traces import Traces, traced_project, wait_for

from target_meltano.elt import runs

TAP = [sys.executable, odd_tap.__file__]
SCHEMA = {"type": "SCHEMA", "stream": "events", "key_properties": ["id"], "schema": odd_tap.SCHEMA}
RECORD = {"type": "RECORD", "stream": "events", "record": {"id": 1, "text": "late"}}
SOON = 5.0  # seconds; a tap that obeys ends at once
DEAF = 15.0  # seconds; one that does not is killed after 10


@pytest.fixture
def traces(postgres_url: str, tmp_path: Path) -> Iterator[Traces]:
    with traced_project(tmp_path, postgres_url) as made:
        yield made


def taps(traces: Traces, *ways: str) -> dict[str, Any]:
    """Return taps that misbehave in *ways*; each writes a file `hangs.NUMBER` when it does."""
    at = f"{traces.project.folder}/hangs."
    return {f"tap{number}": {"executable": TAP, "config": {"does": does, "at": f"{at}{number}", "odds": 1}} for number, does in enumerate(ways)}


def hanging(traces: Traces, count: int, *arguments: str) -> subprocess.Popen[str]:
    """Start a run and return it when so many of its taps hang."""
    folder = traces.project.folder
    for path in folder.glob("hangs.*"):
        path.unlink()
    wrapper = traces.project.start(*arguments, **traces.mark)
    wait_for(lambda: len(list(folder.glob("hangs.*"))) == count)
    time.sleep(0.3)
    return wrapper


@pytest.mark.parametrize("how", ["SIGTERM", "SIGKILL"])
@pytest.mark.parametrize("ways", [odd_tap.IN_DISCOVERY, odd_tap.HANGS], ids=["discovery", "load"])
def test_all_that_hangs_ends_with_the_run(traces: Traces, ways: tuple[str, ...], how: str) -> None:
    """One signal is enough, also where the tap itself has ended and a child of it holds its output, as a tunnel does."""
    traces.project.write(taps(traces, *ways), jobs=len(ways))
    with hanging(traces, len(ways), "extract-load") as wrapper:
        wrapper.send_signal(getattr(signal, how))
        slow = [does for does in ways if "deaf" in does or "stops" in does]  # these do not hear of it, and are killed
        wait_for(lambda: len(traces.processes(TAP[1])) <= len(slow), SOON)
        out, _ = wrapper.communicate(timeout=DEAF)
    assert wrapper.returncode == (143 if how == "SIGTERM" else -9)
    traces.nothing_left()
    for number, _ in enumerate(ways):
        assert how == "SIGKILL" or re.search(f"^tap{number} +stopped", out, re.M), out
        assert traces.project.ids(number) == list(range(1, traces.position(number) + 1))


@pytest.mark.parametrize("how", ["SIGTERM", "SIGINT", "SIGKILL"])
@pytest.mark.parametrize("command", [["check"], ["verify", "tap0"], ["mock", "--tap", "tap0"]], ids=" ".join)
def test_a_discovery_ends_with_every_command(traces: Traces, command: list[str], how: str) -> None:
    traces.project.write(taps(traces, "discovery hangs"))
    with hanging(traces, 1, *command) as wrapper:
        wrapper.send_signal(getattr(signal, how))
        out, told = wrapper.communicate(timeout=SOON)
    assert wrapper.returncode
    assert "Traceback" not in out + told
    traces.nothing_left()


def test_what_a_child_of_the_tap_still_sends_is_loaded(traces: Traces) -> None:
    """The tap ends at once; it is no fault that a child of it does the work."""
    late = "import sys, time; sys.stdout.flush(); time.sleep(11); print(sys.argv[1], flush=True)"
    code = f"import json, subprocess, sys\nif '--discover' in sys.argv: sys.exit(0)\nprint(json.dumps({SCHEMA!r}))\nsys.stdout.flush()\n"
    code += f"subprocess.Popen([sys.executable, '-c', {late!r}, json.dumps({RECORD!r})])"
    traces.project.write({"tap0": {"executable": [sys.executable, "-c", code], "catalog": "none"}})
    done = traces.project.run("extract-load", **traces.mark)
    assert (done.returncode, traces.project.ids()) == (0, [1]), done.stdout
    assert "a process that it has started holds its output open; waiting for that" in done.stdout + done.stderr
    traces.nothing_left()


def test_a_second_signal_ends_at_once_and_leaves_nothing(traces: Traces) -> None:
    traces.project.write(taps(traces, "is deaf and hangs"))
    with hanging(traces, 1, "extract-load") as wrapper:
        wrapper.send_signal(signal.SIGTERM)
        time.sleep(1.5)
        assert traces.files()
        assert wrapper.poll() is None, "it waits for the tap"
        wrapper.send_signal(signal.SIGINT)
        wrapper.communicate(timeout=1)
    assert wrapper.returncode == 130
    wait_for(lambda: not traces.files(), 1)
    traces.nothing_left()


@pytest.mark.skipif(not shutil.which("timeout"), reason="install GNU coreutils, which has the program timeout")
def test_timeout_of_gnu_is_one_signal(traces: Traces) -> None:
    """It signals its child and then the group, of which that is one, too: when the time is up, and when it is signalled itself."""
    traces.project.write(taps(traces, "hangs"))
    at = traces.project.folder / "hangs.0"
    for _ in range(4):
        at.unlink(missing_ok=True)
        with subprocess.Popen(
            ["timeout", "60", *WRAPPER, "extract-load"],
            cwd=traces.project.folder,
            env=traces.project.environment(traces.mark),
            stdout=subprocess.PIPE,
            text=True,
        ) as timeout:
            wait_for(at.exists)
            timeout.send_signal(signal.SIGTERM)
            out, _ = timeout.communicate(timeout=DEAF)
        assert (timeout.returncode, "tap0  stopped" in out) == (143, True), out
        assert not traces.files()


def test_logs_of_a_load_stay_while_it_runs(traces: Traces) -> None:
    """However many runs end meanwhile; those of the oldest that have ended go."""
    traces.project.write(taps(traces, "hangs after the last line", "well"))
    logs = traces.project.folder / ".elt/logs"
    with hanging(traces, 1, "extract-load", "tap0") as wrapper:
        (own,) = logs.iterdir()
        for number in range(runs.KEPT_LOGS + 5):
            (logs / f"29990101T0000{number:02}Z").mkdir()
        assert traces.project.run("extract-load", "tap1", **traces.mark).returncode == 0
        assert len(list(logs.iterdir())) == runs.KEPT_LOGS + 2  # with the two that run
        wrapper.send_signal(signal.SIGTERM)
        out, _ = wrapper.communicate(timeout=SOON)
        assert f"logs: {own}" in out
    assert traces.project.run("extract-load", "tap1", **traces.mark).returncode == 0
    assert not own.exists()


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="only Linux has /dev/full, which is a full disk")
def test_a_run_goes_on_where_its_log_cannot_be_written(traces: Traces) -> None:
    """Its tap tells more than a pipe takes: unread, it would wait for ever."""
    traces.project.write(taps(traces, "tells much"))
    now = datetime.now(timezone.utc)
    for second in range(runs.KEPT_LOGS):
        logs = traces.project.folder / f".elt/logs/{now + timedelta(seconds=second):%Y%m%dT%H%M%SZ}"
        logs.mkdir(parents=True)
        (logs / "tap0.tap.log").symlink_to("/dev/full")
    done = traces.project.run("extract-load", **traces.mark)
    assert done.returncode == 0, done.stdout
    assert "tap0.tap.log: No space left on device; what is told from there on is not kept" in done.stdout
    assert traces.project.ids() == list(range(1, 101))
    assert "Traceback" not in done.stdout + done.stderr


def test_the_guard_knows_no_secret_and_ends_with_the_run(traces: Traces, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of all variables it has only where Python's own library may be."""
    monkeypatch.setenv("LD_LIBRARY_PATH", "/nowhere")
    traces.project.write(taps(traces, "hangs after the last line"))
    with hanging(traces, 1, "extract-load") as wrapper:
        (guard,) = [one for one in psutil.Process(wrapper.pid).children() if "guard.py" in " ".join(one.cmdline())]
        known = guard.environ()
        wrapper.send_signal(signal.SIGTERM)
        wrapper.communicate(timeout=SOON)
    assert known.pop("LD_LIBRARY_PATH") == "/nowhere"
    assert not known.keys() - {"LC_CTYPE"}  # which Python sets by itself
    assert psutil.wait_procs([guard], timeout=SOON)[1] == []


def test_a_run_goes_on_without_its_guard(traces: Traces) -> None:
    traces.project.write(taps(traces, "hangs after the last line"))
    with hanging(traces, 1, "extract-load") as wrapper:
        (guard,) = [one for one in psutil.Process(wrapper.pid).children() if "guard.py" in " ".join(one.cmdline())]
        guard.kill()
        wrapper.send_signal(signal.SIGTERM)
        wrapper.communicate(timeout=SOON)
    traces.nothing_left()
    assert traces.project.ids() == list(range(1, 101))
