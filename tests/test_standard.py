"""stdin, stdout and stderr that are closed, full, or have nobody at their end: one line, and the right exit code."""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import threading
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from on_postgres import dialect, rows

from target_meltano import load
from target_meltano.notes import MOST_NAMES
from target_meltano.report import MOST_WARNINGS, Report
from target_meltano.samples import record, schema, state
from target_meltano.standard import Log

COMMAND = [sys.executable, "-c", "from target_meltano_postgres import main; main()"]
LINES = [schema("t"), record("t", id=1), state(1), record("t", id=2), state(2)]


@pytest.fixture
def started(db: Any, tmp_path: Path) -> Any:
    """Runs the command behind a shell's redirections; returns the exit code, stdout and stderr."""
    config = tmp_path / "c.json"
    config.write_text(json.dumps({"url": db.url, "schema": db.schema}))
    source = tmp_path / "input"
    source.write_text("".join(json.dumps(line) + "\n" for line in LINES))

    def run(redirections: str, *options: str, **more: Any) -> tuple[int, str, str]:
        words = " ".join(f"'{word}'" for word in (*COMMAND, *options, "--config", str(config)))
        start = "" if "<" in redirections else f"<'{source}'"
        environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parent.parent)}
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **more}
        done = subprocess.run(["sh", "-c", f"{words} {start} {redirections}"], text=True, check=False, env=environment, timeout=60, **pipes)
        told = done.stderr or ""
        assert "Traceback" not in told
        assert "Exception ignored" not in told
        return done.returncode, done.stdout, told

    return run


def critical(told: str) -> list[str]:
    return [line for line in told.splitlines() if line.startswith("CRITICAL ")]


@pytest.mark.parametrize("where", ["2>&-", "2>/dev/full"], ids=["closed", "full"])
def test_a_stderr_that_takes_nothing_fails_no_load(db: Any, started: Any, where: str) -> None:
    assert started(where) == (0, "2\n", "")
    assert rows(db, "id") == [(1,), (2,)]


def test_a_stderr_whose_reader_goes_fails_no_load(db: Any, started: Any) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    try:
        assert started("", stderr=writing) == (0, "2\n", "")
    finally:
        os.close(writing)
    assert rows(db, "id") == [(1,), (2,)]


def test_the_exit_code_of_a_fault_needs_no_stderr(started: Any, tmp_path: Path) -> None:
    (tmp_path / "bad").write_text("no message\n")
    for where in ("2>&-", "2>/dev/full"):
        assert started(f"{where} <'{tmp_path}/bad'") == (1, "", "")
        assert started(where, "--config", str(tmp_path / "none")) == (2, "", "")


@pytest.mark.parametrize("where", [">&-", ">/dev/full"], ids=["closed", "full"])
def test_a_stdout_that_takes_nothing_is_told(db: Any, started: Any, where: str) -> None:
    """The rows are committed, and a STATE could not be delivered."""
    code, _, told = started(where)
    assert code == 1
    (line,) = critical(told)
    assert "stdout is gone (" in line
    assert "could not be delivered" in line
    assert (1,) in rows(db, "id")


@pytest.mark.parametrize("where", [">&-", ">/dev/full"], ids=["closed", "full"])
@pytest.mark.parametrize("options", [("--version",), ("--about",), ("--plan",), ("rejected", "list"), ("rejected", "replay")], ids=" ".join)
def test_what_a_command_prints_is_no_less(started: Any, tmp_path: Path, where: str, options: tuple[str, ...]) -> None:
    if options[0] == "rejected":
        (tmp_path / "more.json").write_text('{"invalid_records": "quarantine"}')
        assert started("", "--config", str(tmp_path / "more.json"))[0] == 0
    code, _, told = started(where, *options)
    if options[0] == "rejected":
        assert (code, critical(told)) == (0, [])  # nothing was to be printed
    else:
        assert (code, len(critical(told))) == (1, 1)


@pytest.mark.parametrize(("where", "words"), [("<&-", "stdin is closed"), ("<&- 0>/dev/null", "the input cannot be read: Bad file descriptor")], ids=["closed", "to be written"])
def test_a_stdin_that_gives_nothing_is_told(started: Any, where: str, words: str) -> None:
    code, _, told = started(where)
    (line,) = critical(told)
    assert (code, words in line) == (1, True)


def test_nothing_else_takes_the_place_of_what_is_closed(db: Any, started: Any) -> None:
    """With all three closed the connection to the database would else get the number of stdout."""
    code, _, _ = started("<&- >&- 2>&-")
    assert code == 1
    assert started("", "--tap-status-fd", "77")[2].startswith("CRITICAL --tap-status-fd 77: no descriptor")


def test_more_than_1024_descriptors_are_open(db: Any, tmp_path: Path) -> None:
    """As in a program that has many connections of its own."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if 0 <= hard < 1400:
        pytest.skip("the limit of descriptors is too low: ulimit -Hn 2000")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, 1400), hard))
    held = [os.open(os.devnull, os.O_RDONLY) for _ in range(1100)]
    path = tmp_path / "input"
    path.write_text("".join(json.dumps(line) + "\n" for line in LINES))
    try:
        with path.open("rb") as source:
            assert source.fileno() > 1024
            assert load(dialect(db), source).state == "2"
    finally:
        for one in held:
            os.close(one)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


# --- what is told has an end, and may be told by two threads


def test_unknown_fields_without_end(db: Any) -> None:
    """The first ones are named, the others counted; all records are loaded."""
    report = Report(StringIO())
    many = [{"id": i, f"f{i}": i, "g" * 300: i} for i in range(3000)]
    load(dialect(db, batch_rows=500), [schema("t"), *(record("t", **one) for one in many)], report=report)
    assert rows(db, "count(*)") == [(3000,)]
    summary = report.summary()
    assert len(summary["warnings"]) == MOST_NAMES + 1
    assert sum(one["count"] for one in summary["notices"]) == 6000
    assert max(len(warning) for warning in summary["warnings"]) < 400
    assert summary["warnings"][-1].startswith(f"stream 't': fields after the first {MOST_NAMES}: ")


def test_one_record_with_many_unknown_fields(db: Any) -> None:
    report = Report(quiet=True)
    wide = {f"f{i}": i for i in range(20_000)}
    load(dialect(db), [schema("t"), *(record("t", id=i, **wide) for i in range(3))], report=report)
    assert rows(db, "id") == [(0,), (1,), (2,)]
    assert sum(one["count"] for one in report.summary()["notices"]) == 60_000
    assert len(report.summary()["notices"]) == MOST_NAMES + 1


def test_messages_of_unknown_types_are_counted(db: Any) -> None:
    report = Report(out := StringIO())
    lines = [{"type": "OTHER"}] * 50 + [{"type": f"X{i}"} for i in range(3 * MOST_WARNINGS)]
    load(dialect(db), lines, report=report)
    summary = report.summary()
    assert summary["warnings"][0] == "a message of type 'OTHER' is skipped"
    assert len(summary["warnings"]) == MOST_WARNINGS
    assert sum(one["count"] for one in summary["notices"]) == len(lines)
    assert len(out.getvalue().splitlines()) < 3 * MOST_WARNINGS


def test_warnings_have_an_end() -> None:
    report = Report(out := StringIO())
    for number in range(MOST_WARNINGS + 5):
        report.warn(f"warning {number}")
    report.finish()
    assert len(report.summary()["warnings"]) == MOST_WARNINGS
    assert report.summary()["more_warnings"] == 5
    assert "5 more warnings" in out.getvalue()
    assert len(out.getvalue().splitlines()) == MOST_WARNINGS + 3


def test_two_threads_tell_and_count() -> None:
    """Each line is whole, and no count is lost or in the way of another thread's look at all of them."""
    report, faults = Report(out := StringIO()), []

    def count(name: str) -> None:
        try:
            for number in range(3000):
                report.of(f"{name}{number}").read += 1
                report.summary() if number % 100 == 0 else report.info(f"{name} tells")
        except Exception as error:
            faults.append(error)

    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        threads = [threading.Thread(target=count, args=(name,)) for name in "abc"]
        for one in threads:
            one.start()
        for one in threads:
            one.join()
    finally:
        sys.setswitchinterval(before)
    assert not faults
    assert len(report.streams) == 9000
    assert set(out.getvalue().splitlines()) == {f"INFO    {name} tells" for name in "abc"}


def test_a_log_goes_on_when_there_is_room_again(tmp_path: Path) -> None:
    class Full(StringIO):
        def flush(self) -> None:
            raise OSError(28, "No space left on device")

        def fileno(self) -> int:
            return descriptor

    path = tmp_path / "log"
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT)
    try:
        log = Log(Full())
        log.say("info", "lost")
        log.say("warning", "kept")
    finally:
        os.close(descriptor)
    log.say("info", "to nobody")
    assert path.read_text() == "WARNING kept\n"


@pytest.mark.parametrize("unbuffered", ["", "1"], ids=["buffered", "unbuffered"])
@pytest.mark.parametrize("arguments", ["--version", "--help"])
def test_the_wrapper_tells_in_a_line_that_stdout_is_full(arguments: str, unbuffered: str) -> None:
    command = f"{sys.executable} -c 'from target_meltano.elt import main; main()' {arguments} >/dev/full"
    environment = {**os.environ, "PYTHONUNBUFFERED": unbuffered}
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=False, cwd=Path(__file__).parent.parent, env=environment)
    assert (done.returncode, done.stderr) == (1, "CRITICAL stdout: No space left on device\n")
