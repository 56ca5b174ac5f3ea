"""What a target rejected, dropped or changed is on the wrapper's screen, below its tap, and in the summary."""

from __future__ import annotations

import json
import os
import pty
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from elt_project import TARGET, WRAPPER, TestProject

from target_meltano.elt.pipeline import LONGEST_NOTICE, MOST_NOTICES, notices
from target_meltano.samples import INT, NUM, STR, record, schema, state

TAP = [sys.executable, "-c", "import json, sys; print(open(json.load(open(sys.argv[2]))['file']).read(), end='')"]


def tap(project: TestProject, name: str, *lines: Any, **settings: Any) -> dict[str, Any]:
    path = project.folder / f"{name}.singer"
    path.write_text("".join(json.dumps(line) + "\n" for line in [*lines, state(1)]))
    return {"executable": TAP, "config": {"file": str(path)}, "catalog": "none", "settings": settings}


def below(shown: str, name: str) -> tuple[str, list[str]]:
    """Return the line of a tap in the table at the end, and those below it."""
    lines = shown.splitlines()
    at = max(n for n, line in enumerate(lines) if line.startswith(f"{name} "))
    rest = lines[at + 1 :]
    return lines[at], [line.strip() for line in rest[: next((n for n, line in enumerate(rest) if line[:1] != " "), len(rest))]]


@pytest.mark.parametrize("command", ["run", "extract-load"])
def test_it_is_below_its_tap(project: TestProject, command: str) -> None:
    taps = {
        "extra": tap(project, "extra", schema("t"), record("t", id=1, email="ada@example.com", total=3), record("t", id=2, email="bo@example.com")),
        "bad": tap(project, "bad", schema("t"), record("t", id="x"), record("t", id=2), invalid_records="quarantine"),
        "grown": tap(project, "grown", schema("t", id=INT, n=INT), record("t", id=1, n=1)),
        "good": tap(project, "good", schema("t"), record("t", id=1)),
    }
    project.write(taps)
    assert project.run("extract-load", "grown").returncode == 0
    tap(project, "grown", schema("t", id=INT, n=NUM, s=STR), record("t", id=1, n=60.25, s="red"))
    done = project.run(command, "--summary", "summary.json")
    assert done.returncode == 0, done.stderr
    line, lines = below(done.stdout, "extra")
    assert line.endswith("2 rows of 1 streams, 3 dropped")
    assert [one.split(": ")[1] for one in lines] == ["$.email", "$.total"]
    assert lines[0].endswith(": 2 times")
    assert "ada@example.com" not in done.stdout + done.stderr
    line, lines = below(done.stdout, "bad")
    assert line.endswith("1 rows of 1 streams, 1 rejected")
    assert lines == ["stream 't': $.id: an invalid record is in __rejected (command rejected): once, first in line 2: 'x' is a string, wanted integer; setting column_types: \"t.id\": \"string\" holds it"]
    line, lines = below(done.stdout, "grown")
    assert line.endswith("1 column widened, 1 column added")
    assert lines == ["stream 't': column 'n' was bigint and is numeric", "stream 't': column 's' is new: text"]
    assert below(done.stdout, "good") == (below(done.stdout, "good")[0], [])
    assert "extra: ok, 2 rows of 1 streams, 3 dropped" in done.stderr
    steps = {step["name"]: step for step in json.loads((project.folder / "summary.json").read_text())}
    assert [len(steps[name]["notices"]) for name in taps] == [2, 1, 2, 0]
    assert steps["extra"]["summary"]["notices"][0]["count"] == 2
    assert "\x1b" not in done.stdout


def test_on_a_terminal_it_is_amber(project: TestProject) -> None:
    project.write({"a": tap(project, "a", schema("t"), record("t", id=1, email="x")), "b": tap(project, "b", schema("t"), record("t", id=1))})

    def shown(**variables: str) -> str:
        ours, theirs = pty.openpty()
        environment = {**project.environment(variables), "TERM": "xterm"}
        with subprocess.Popen([*WRAPPER, "extract-load"], cwd=project.folder, env=environment, stdout=theirs, stderr=subprocess.DEVNULL):
            os.close(theirs)
            found = b""
            try:
                while part := os.read(ours, 1 << 16):
                    found += part
            except OSError:  # Linux's word for the end of it
                pass
        os.close(ours)
        return found.decode()

    amber = [line for line in shown(NO_COLOR="").splitlines() if "\x1b[33m" in line]
    assert [line.split("\x1b[33m")[1].split()[0] for line in amber] == ["a", "stream"]
    assert all(line.endswith("\x1b[0m") for line in amber)
    assert "\x1b" not in shown(NO_COLOR="1")


def test_secrets_are_hidden_there(project: TestProject) -> None:
    """A tap that sends its own password in a field, or as its name."""
    secret = "hunter2-hunter2"
    bad = tap(project, "a", schema("t"), record("t", id=secret, **{secret: 1}), record("t", id=2), invalid_records="quarantine")
    project.write({"a": {**bad, "config": {**bad["config"], "password": "${TAP_PASSWORD}"}}})
    done = project.run("extract-load", "--summary", "summary.json", TAP_PASSWORD=secret)
    assert done.returncode == 0, done.stderr
    assert "1 rejected" in done.stdout
    assert "****" in done.stdout
    assert secret not in done.stdout + done.stderr + (project.folder / "summary.json").read_text()


def test_warnings_of_other_things_are_there_too() -> None:
    """After what is lost, and without what is told already; the first lines only, and these of one length."""
    told = [{"stream": "t", "kind": "dropped", "what": f"$.f{n}: it is not stored", "count": 1, "text": f"stream 't': $.f{n}: it is not stored: once"} for n in range(3)]
    other = {"stream": "t", "kind": "kept", "what": "$.k: it is kept", "count": 1, "text": "stream 't': $.k: it is kept: once"}
    warnings = [f"stream 't': {one['what']}, first in line 7" for one in told] + ["stream 't': bell\x07 and\nline", "x" * 1000, "last", "more"]
    lines = notices({"notices": [*told, other], "warnings": warnings}, Path("a.log"))
    assert lines[:4] == (*(one["text"] for one in told), "stream 't': bell and line")
    assert [len(lines), len(lines[4]), lines[-1]] == [MOST_NOTICES + 1, LONGEST_NOTICE + 1, "and 2 more: a.log"]
    assert notices({}, Path("a.log")) == ()


@pytest.mark.parametrize(("command", "who"), [("extract-load", "a"), ("check", "warehouse")])
def test_a_database_that_does_not_answer_is_told_at_once(project: TestProject, command: str, who: str) -> None:
    """Long before the target gives up."""
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        url = f"postgresql://u:hunter2@127.0.0.1:{held.getsockname()[1]}/d"
        project.write({"a": tap(project, "a", schema("t"))}, warehouse={"type": "postgres", "executable": TARGET, "settings": {"url": "${TEST_URL}"}})
        process = project.start(command, TEST_URL=url)
        assert process.stderr
        line = process.stderr.readline()
        assert process.poll() is None
        process.kill()
        process.communicate()
    assert line.startswith(f"{who}: cannot connect: ")
    assert line.endswith("; trying again for 30 s\n")
    assert "hunter2" not in line
