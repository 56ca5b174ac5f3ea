"""A run is the same however it is started: with signals ignored or blocked, odd variables, closed descriptors, in odd folders."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import odd_tap
import pytest
from elt_project import WRAPPER
from elt_traces import Traces, traced_project, wait_for

TAP = [sys.executable, odd_tap.__file__]
SOON = 8.0  # seconds; a tap that does not hear is killed after 10
ALL = list(range(1, 101))
CODE = """import json, os, sys
print('{"type": "STATE", "value": {"id": 9}}', flush=True)
sys.stderr.write(json.dumps([[name.hex(), value.hex()] for name, value in os.environb.items()]))
sys.exit(3)
"""
FAILS = {"executable": [sys.executable, "-c", CODE], "catalog": "none"}
BEFORE = {
    "SIGCHLD ignored": "signal.signal(signal.SIGCHLD, signal.SIG_IGN)",
    "SIGTERM ignored": "signal.signal(signal.SIGTERM, signal.SIG_IGN)",
    "all blocked": "signal.pthread_sigmask(signal.SIG_BLOCK, range(1, 32))",
}


@pytest.fixture
def traces(postgres_url: str, tmp_path: Path) -> Iterator[Traces]:
    with traced_project(tmp_path, postgres_url) as made:
        yield made


def started(traces: Traces, before: str, *arguments: str) -> subprocess.Popen[str]:
    """Start the wrapper from a Python that has done *before*."""
    code = f"import os, signal, sys\n{before}\nos.execv(sys.argv[1], sys.argv[1:])"
    return subprocess.Popen(
        [sys.executable, "-c", code, *WRAPPER, *arguments],
        cwd=traces.project.folder,
        env=traces.project.environment(traces.mark),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def odd(does: str, **config: Any) -> dict[str, Any]:
    return {"executable": TAP, "config": {"does": does, "at": "hangs", "odds": 1, **config}}


@pytest.mark.parametrize("before", BEFORE.values(), ids=BEFORE)
def test_a_tap_that_fails_is_told(traces: Traces, before: str) -> None:
    """Its exit status is known: else it would count as ended well, and its last STATE would be kept."""
    traces.project.write({"tap0": FAILS})
    with started(traces, before, "extract-load") as wrapper:
        out, _ = wrapper.communicate(timeout=30)
    assert (wrapper.returncode, "the tap ended with exit status 3" in out) == (1, True), out
    traces.nothing_left()


@pytest.mark.parametrize("before", BEFORE.values(), ids=BEFORE)
@pytest.mark.parametrize(("command", "does"), [("extract-load", "hangs"), ("check", "discovery hangs")])
def test_one_signal_is_enough(traces: Traces, before: str, command: str, does: str) -> None:
    traces.project.write({"tap0": odd(does)})
    with started(traces, before, command) as wrapper:
        wait_for((traces.project.folder / "hangs").exists)
        wrapper.send_signal(signal.SIGTERM)
        try:
            wrapper.communicate(timeout=SOON)
        finally:
            wrapper.kill()
    assert wrapper.returncode == (143 if command == "extract-load" else -signal.SIGTERM)
    traces.nothing_left()


@pytest.mark.parametrize("name", ["SIGHUP", "SIGINT"])
def test_what_nohup_ignores_ends_no_run(traces: Traces, name: str) -> None:
    traces.project.write({"tap0": odd("well", pause=0.2)})
    with started(traces, f"signal.signal(signal.{name}, signal.SIG_IGN)", "extract-load") as wrapper:
        wait_for(lambda: traces.processes(TAP[1]))
        time.sleep(0.5)
        wrapper.send_signal(getattr(signal, name))
        out, _ = wrapper.communicate(timeout=60)
    assert (wrapper.returncode, traces.project.ids()) == (0, ALL), out


def test_a_tap_gets_the_variables_that_we_have(traces: Traces) -> None:
    """All of them, byte by byte, and no others."""
    names = {"api.key": "1", "x-y": "2", "é": "ü", "LINES": "a\nb", "1": "x", "EMPTY": "", "BYTES": "\udcff", "BASH_FUNC_x%%": "() { :; }"}
    traces.project.write({"tap0": FAILS})
    ours = traces.project.environment({**traces.mark, **names})
    for name in ("PWD", "LANG", "LC_ALL", "LC_CTYPE"):
        ours.pop(name, None)
    subprocess.run([*WRAPPER, "extract-load"], cwd=traces.project.folder, env=ours, capture_output=True, check=False)
    (log,) = traces.project.folder.glob(".elt/logs/*/tap0.tap.log")
    found = {bytes.fromhex(name): bytes.fromhex(value) for name, value in json.loads(log.read_text())}
    wanted = {os.fsencode(name): os.fsencode(value) for name, value in ours.items() if name != "TEST_URL"}  # the warehouse's
    for both in (found, wanted):
        both.pop(b"PATH")
        both.pop(b"LC_CTYPE", None)  # of the tap's Python itself
    assert found == wanted


def test_there_is_one_guard() -> None:
    """Taps start side by side; a second guard would end what it knows as soon as it is forgotten."""
    code = (
        "from concurrent.futures import ThreadPoolExecutor\nfrom target_meltano.elt.guard import guard\n"
        "with ThreadPoolExecutor(8) as threads:\n    print(len(set(map(id, threads.map(lambda _: guard(), range(8))))))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "1\n"


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"exit 3\n", "a script needs a first line that names what runs it, as #!/usr/bin/env python3"),
        (b"", "a script needs a first line"),
        (b"#!/not/there\n", "what its first line names is not there"),
        (b"#!/bin/sh\r\nexit 3\r\n", "what its first line names is not there"),
    ],
    ids=["no first line", "empty", "no interpreter", "CRLF"],
)
def test_a_program_that_cannot_be_started(traces: Traces, content: bytes, why: str) -> None:
    path = traces.project.folder / "tap.sh"
    path.write_bytes(content)
    path.chmod(0o755)
    traces.project.write({"tap0": {"executable": ["./tap.sh"], "catalog": "none"}})
    done = traces.project.run("extract-load", **traces.mark)
    assert done.returncode == 1
    assert f"{path} cannot be started: " in done.stdout
    assert why in done.stdout
    traces.nothing_left()


@pytest.mark.parametrize("name", ["é a'b \"c\nd $(touch x) %s\\", "\udcff"])
def test_a_project_in_an_odd_folder(postgres_url: str, tmp_path: Path, name: str) -> None:
    folder = tmp_path / name
    folder.mkdir()
    with traced_project(folder, postgres_url) as traces:
        traces.project.write({"tap0": odd("hangs", ids=20)})
        with started(traces, "", "extract-load") as wrapper:
            wait_for((folder / "hangs").exists)
            wrapper.kill()
        traces.nothing_left()
        traces.project.write({"tap0": odd("well")})
        done = traces.project.run("extract-load", **traces.mark)
        assert (done.returncode, traces.project.ids()) == (0, ALL), done.stdout


@pytest.mark.parametrize("closed", [(1, 2), (0, 1, 2)])
def test_closed_descriptors(traces: Traces, closed: tuple[int, ...]) -> None:
    traces.project.write({"tap0": odd("well"), "tap1": odd("well")}, jobs=2)
    with started(traces, "\n".join(f"os.close({number})" for number in closed), "extract-load") as wrapper:
        out, _ = wrapper.communicate(timeout=60)
    assert [traces.project.ids(number) for number in (0, 1)] == [ALL, ALL], out
    assert wrapper.returncode == (1 if 1 in closed else 0)
    traces.nothing_left()


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="only Linux has subreapers, which get children as PID 1 does")
def test_as_pid_1_what_a_tap_leaves_is_reaped() -> None:
    """Else it counts as running until it is killed in vain after 10 seconds."""
    code = """if True:
        import ctypes, os, pathlib, time
        from target_meltano.elt.processes import Process
        from target_meltano.elt.redaction import Redactor
        assert ctypes.CDLL(None).prctl(36, 1, 0, 0, 0) == 0  # PR_SET_CHILD_SUBREAPER
        command = ["/bin/sh", "-c", "sleep 60 >/dev/null 2>&1 & exit 3"]
        started = time.monotonic()
        print(Process(command, pathlib.Path("/"), os.environ, None, Redactor(())).wait(), time.monotonic() - started)
        """
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    status, seconds = done.stdout.split()
    assert (status, float(seconds) < SOON) == ("3", True)
