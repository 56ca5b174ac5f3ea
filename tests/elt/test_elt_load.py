"""target-meltano extract-load: taps into the warehouse, each continued from where it was."""

from __future__ import annotations

import json
import re
import signal
import time
from pathlib import Path
from typing import Any

import pytest
from elt_project import TestProject


def test_a_run_continues_where_the_last_one_ended(project: TestProject) -> None:
    """Without a key a row that comes twice would be there twice."""
    seen = str(project.folder / "seen")
    project.write({"a": {"ids": 20, "keys": [], "seen": seen}})
    assert project.run("extract-load").returncode == 0
    project.write({"a": {"ids": 30, "keys": [], "seen": seen}})
    done = project.run("extract-load")
    assert (done.returncode, json.loads(Path(seen).read_text())) == (0, {"id": 20})
    assert project.ids() == list(range(1, 31))
    assert re.match("a  ok .* 10 rows of 1 streams", done.stdout)


def test_environments_have_states_of_their_own(project: TestProject) -> None:
    project.write({"a": {"ids": 10, "keys": []}})
    for name in ("dev", "prod", "prod"):
        assert project.run("extract-load", "--environment", name).returncode == 0
    states = project.query(f'SELECT state_id, state FROM "{project.schema()}".__state ORDER BY 1')
    assert states == [("dev:a", '{"id":10}'), ("prod:a", '{"id":10}')]
    assert len(project.ids()) == 20


def test_full_refresh_replaces_what_is_there_and_goes_on_from_its_own_state(project: TestProject) -> None:
    project.write({"a": {"ids": 20, "keys": []}})
    assert project.run("extract-load").returncode == 0
    project.write({"a": {"ids": 10, "keys": []}})
    assert project.run("extract-load", "--full-refresh").returncode == 0
    assert project.ids() == list(range(1, 11))
    project.write({"a": {"ids": 30, "keys": []}})
    assert project.run("extract-load").returncode == 0
    assert project.ids() == list(range(1, 31))


@pytest.mark.parametrize("end", [3, "kill"])
def test_a_full_refresh_that_fails_leaves_rows_and_state_as_they_were(project: TestProject, end: int | str) -> None:
    project.write({"a": {"ids": 20}})
    assert project.run("extract-load").returncode == 0
    project.write({"a": {"ids": 10, "end": end}})
    assert project.run("extract-load", "--full-refresh").returncode == 1
    assert project.ids() == list(range(1, 21))
    assert project.query(f'SELECT state FROM "{project.schema()}".__state') == [('{"id":20}',)]


@pytest.mark.parametrize(("end", "status"), [(3, "3"), ("kill", "137")], ids=["exit", "kill -9"])
def test_rows_behind_the_last_state_of_a_tap_that_fails_are_not_there(project: TestProject, end: int | str, status: str) -> None:
    project.write({"a": {"ids": 25, "keys": [], "end": end, "say": ["working", "ERROR no such account"]}})
    done = project.run("extract-load")
    assert done.returncode == 1
    assert project.ids() == list(range(1, 21))
    assert f"the tap ended with exit status {status}" in done.stdout
    assert "ERROR no such account" in done.stdout
    assert "working" not in done.stdout
    project.write({"a": {"ids": 25, "keys": []}})
    assert project.run("extract-load").returncode == 0
    assert project.ids() == list(range(1, 26))


def test_a_tap_that_fails_stops_no_other_one(project: TestProject) -> None:
    project.write({"a": {"end": 1}, "b": {}, "c": {}})
    done = project.run("extract-load", "--jobs", "2", "--summary", "summary.json")
    assert done.returncode == 1
    assert project.ids(1) == project.ids(2) == list(range(1, 11))
    summary = json.loads((project.folder / "summary.json").read_text())
    assert [(step["name"], step["status"]) for step in summary] == [("a", "failed"), ("b", "ok"), ("c", "ok")]
    assert "failed: a;" in done.stdout


def test_taps_run_side_by_side(project: TestProject) -> None:
    """Each waits for a file that another one writes when it starts."""
    paths = [str(project.folder / name) for name in "abc"]
    taps = {name: {"seen": mine, "wait": others} for name, mine, others in zip("abc", paths, [paths] * 3, strict=True)}
    project.write(taps)
    assert project.run("extract-load", "--jobs", "3").returncode == 0


def test_only_the_taps_that_are_named_run(project: TestProject) -> None:
    """And only their variables are needed."""
    project.write({"a": {}, "b": {"missing": "${NOT_SET}"}})
    assert project.run("extract-load", "a").returncode == 0
    assert (project.ids(), project.ids(1)) == (list(range(1, 11)), [])
    done = project.run("extract-load", "z")
    assert (done.returncode, "there is no tap 'z'; there is: a, b" in done.stderr) == (2, True)


def test_secrets_are_in_no_log_and_no_output(project: TestProject) -> None:
    """The tap tells its own: as it is, and as JSON has it."""
    secret = 'canary"9f8e7d'
    project.write({"a": {"api_key": "${KEY}", "say": ["ERROR key ${KEY}", 'ERROR {"key": "canary\\"9f8e7d"}'], "end": 1}})
    done = project.run("extract-load", KEY=secret)
    told = done.stdout + done.stderr + "".join(path.read_text() for path in project.folder.glob(".elt/**/*.log"))
    assert "ERROR key ****" in told
    assert "canary" not in told
    assert list(project.folder.glob(".elt/run/*")) == []


def test_what_the_target_refuses_is_told(project: TestProject) -> None:
    project.write({"a": {"executable": ["sh", "-c", "echo nonsense; sleep 60"], "catalog": "none"}})
    started = time.monotonic()
    done = project.run("extract-load")
    assert done.returncode == 1
    assert "the target ended with exit status 1" in done.stdout
    assert "line 1" in done.stdout
    assert time.monotonic() - started < 30, "a silent tap is ended when its target is gone"


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="only Linux has /dev/full, which is a full disk")
def test_a_summary_that_cannot_be_written_is_told_and_the_table_shown(project: TestProject) -> None:
    project.write({"a": {"ids": 10}})
    done = project.run("extract-load", "--summary", "/dev/full")
    assert done.returncode == 1
    assert re.match("a  ok .* 10 rows of 1 streams", done.stdout)
    assert done.stderr.splitlines()[-1] == "CRITICAL --summary /dev/full: No space left on device; what it would tell is above"


def test_a_tap_that_is_not_there_is_told(project: TestProject) -> None:
    project.write({"a": {"executable": "tap-nowhere"}, "b": {"executable": "./no"}, "c": {"executable": "tap-x", "pip_url": "tap-x"}})
    done = project.run("extract-load")
    assert done.returncode == 1
    for words in ("the program tap-nowhere is not on PATH; install it", "no is not there", "run target-meltano install"):
        assert words in done.stdout


def test_discovery_that_fails_is_told(project: TestProject) -> None:
    project.write({"a": {"discovery": 1, "say": ["ERROR wrong password"]}})
    done = project.run("extract-load")
    assert "the tap's discovery ended with exit status 1; if it has no discovery, write catalog: none" in done.stdout
    assert "ERROR wrong password" in done.stdout


def test_sigterm_ends_the_tap_and_keeps_what_is_complete(project: TestProject) -> None:
    project.write({"a": {"ids": 25, "keys": [], "end": "hang"}})
    with project.start("extract-load") as wrapper:
        wait_for(lambda: "event" in str(list(project.folder.glob(".elt/logs/*/a.tap.log"))) or list(project.folder.glob(".elt/run/a/*/catalog.json")))
        time.sleep(1.5)
        wrapper.send_signal(signal.SIGTERM)
        out, _ = wrapper.communicate(timeout=60)
    assert wrapper.returncode == 128 + signal.SIGTERM
    assert "a  stopped" in out
    assert project.ids() == list(range(1, 21))


def wait_for(condition: Any, seconds: float = 30) -> None:
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.02)


def test_state_is_read_written_and_forgotten_with_all_its_digits(project: TestProject) -> None:
    seen = project.folder / "seen"
    project.write({"a": {"ids": 10, "seen": str(seen)}})
    assert project.run("extract-load").returncode == 0
    assert project.run("state", "get", "a").stdout == '{"id":10}\n'
    (project.folder / "state.json").write_text('{"id": 10, "digits": 12345678901234567890.10}')
    assert project.run("state", "set", "a", "state.json").returncode == 0
    assert "12345678901234567890.10" in project.run("state", "get", "a").stdout
    assert project.run("extract-load").returncode == 0
    assert json.loads(seen.read_text(), parse_float=str)["digits"] == "12345678901234567890.10"
    assert project.run("state", "clear", "a").returncode == 0
    assert project.run("state", "get", "a").stdout == ""


def test_each_tap_has_its_own_rules_for_personal_data(project: TestProject) -> None:
    rules = [{"tap": "a", "stream": "events", "columns": ["text"], "method": "redact"}]
    project.write({"a": {"ids": 1}, "b": {"ids": 1}}, pii={"rules": rules})
    done = project.run("extract-load")
    assert done.returncode == 0, done.stdout
    texts = [project.query(f'SELECT text FROM "{project.schema(number)}".events') for number in range(2)]
    assert texts == [[("redacted",)], [("event 1",)]]
