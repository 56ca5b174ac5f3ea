"""stdout and stderr of the wrapper may be closed or full."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
from pathlib import Path

import pytest
from elt_project import WRAPPER, TestProject

FULL, CLOSED = "CRITICAL stdout: No space left on device\n", "CRITICAL stdout: Bad file descriptor\n"
MOCK = "mock --catalog flags.json --no-faker"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A catalog of which mock warns: its key has two values."""
    flags = {"stream": "flags", "key_properties": ["is_on"], "schema": {"type": "object", "properties": {"is_on": {"type": "boolean"}}}}
    (tmp_path / "flags.json").write_text(json.dumps({"streams": [flags]}))
    return tmp_path


def told(folder: Path, arguments: str, *, unbuffered: str = "") -> tuple[int, str, str]:
    done = subprocess.run(
        ["bash", "-c", f"{shlex.join(WRAPPER)} {arguments}"], capture_output=True, text=True, check=False, cwd=folder, env={**os.environ, "PYTHONUNBUFFERED": unbuffered}
    )
    return done.returncode, done.stdout, done.stderr


@pytest.mark.parametrize("unbuffered", ["", "1"], ids=["buffered", "unbuffered"])
@pytest.mark.parametrize("arguments", ["--version", "--help", "mock --help", "run --help", "init made", "mock --catalog flags.json --rows 0"])
def test_stdout_that_is_full_or_closed_is_told_in_a_line(folder: Path, arguments: str, unbuffered: str) -> None:
    assert told(folder, f"{arguments} >/dev/full", unbuffered=unbuffered) == (1, "", FULL)
    again = arguments.replace("made", "other")
    assert told(folder, f"{again} >&-", unbuffered=unbuffered) == (1, "", CLOSED)


@pytest.mark.parametrize("where", ["2>/dev/full", "2>&-"], ids=["full", "closed"])
def test_what_cannot_be_told_on_stderr_changes_nothing(folder: Path, where: str) -> None:
    """Neither the exit code nor stdout, where it has no place either."""
    code, whole, warning = told(folder, MOCK)
    assert (code, warning) == (0, "WARNING stream 'flags': its key has no more than 2 values\n")
    assert told(folder, f"{MOCK} {where}") == (0, whole, "")
    assert told(folder, f"nothing {where}") == (2, "", "")


def test_a_reader_that_is_gone_ends_it_quietly(folder: Path) -> None:
    assert told(folder, "--help | true; exit ${PIPESTATUS[0]}")[1:] == ("", "")
    assert told(folder, "mock --catalog flags.json --rows 0 | true")[1:] == ("", "")


def test_mask_says_that_stdin_is_closed(folder: Path) -> None:
    (folder / "pii.json").write_text('{"pii": {"rules": [{"stream": "flags", "columns": ["is_on"], "method": "redact"}]}}')
    assert told(folder, "mask --config pii.json <&-") == (1, "", "CRITICAL stdin is closed, where a tap's output should come from\n")


@pytest.mark.parametrize(("where", "code"), [("2>/dev/full", 0), ("2>&-", 0), ("<&- 2>&-", 0), (">/dev/full", 1), (">&- 2>&-", 1)])
def test_a_load_is_whole_whatever_cannot_be_told(project: TestProject, where: str, code: int) -> None:
    """And the summary has it, also where the table that a run ends with has no room."""
    project.write({"a": {"ids": 20}, "b": {"ids": 10}})
    line = f"{shlex.join(WRAPPER)} extract-load --summary told.json {where}"
    done = subprocess.run(["bash", "-c", line], cwd=project.folder, env=project.environment({}), capture_output=True, text=True, check=False)
    assert done.returncode == code, done.stderr
    assert (project.ids(0), project.ids(1)) == (list(range(1, 21)), list(range(1, 11)))
    assert [one["status"] for one in json.loads((project.folder / "told.json").read_text())] == ["ok", "ok"]
