"""target-meltano verify: what a tap sends once more, beside the tables."""

from __future__ import annotations

import json

from elt_project import TestProject


def test_a_tap_is_run_once_more_from_its_beginning(project: TestProject) -> None:
    project.write({"a": {"ids": 20}})
    assert project.run("extract-load").returncode == 0
    done = project.run("verify", "a", "--whole", "--summary", "summary.json")
    assert done.returncode == 0
    assert done.stdout.split("  ", 1)[0] == "a"
    assert "ok" in done.stdout
    assert "20 rows of 1 streams as the tap says" in done.stdout
    assert f"{project.schema()}.events: equal: 20 records, 20 rows as they say" in done.stderr
    (step,) = json.loads((project.folder / "summary.json").read_text())
    assert step["summary"]["equal"] is True
    assert project.query(f'SELECT state FROM "{project.schema()}".__state') == [('{"id":20}',)]


def test_differences_are_shown_and_fail(project: TestProject) -> None:
    project.write({"a": {"ids": 20}, "b": {"ids": 5}})
    assert project.run("extract-load").returncode == 0
    project.query(f'UPDATE "{project.schema()}".events SET text = \'other\' WHERE id = 7')
    done = project.run("verify", "a")
    assert done.returncode == 1
    assert "$.text: column 'text' has another value: sent \"event 7\", stored \"other\"" in done.stderr
    assert f"not equal: {project.schema()}.events" in done.stdout
    assert project.run("verify", "b").returncode == 0


def test_streams_are_chosen_by_name(project: TestProject) -> None:
    project.write({"a": {"ids": 20}})
    assert project.run("extract-load").returncode == 0
    assert project.run("verify", "a", "events").returncode == 0
    done = project.run("verify", "a", "events", "others")
    assert done.returncode == 1
    assert "no stream is selected that is called others; there is: events" in done.stdout


def test_a_tap_that_fails_is_no_proof(project: TestProject) -> None:
    project.write({"a": {"ids": 20}})
    assert project.run("extract-load").returncode == 0
    project.write({"a": {"ids": 10, "end": 3}})
    done = project.run("verify", "a")
    assert done.returncode == 1
    assert "the tap ended with exit status 3" in done.stdout


def test_a_tap_that_is_not_there(project: TestProject) -> None:
    project.write({"a": {}})
    done = project.run("verify", "b")
    assert done.returncode == 2
    assert "b" in done.stderr


def test_a_secret_of_digits_hides_no_verdict(project: TestProject) -> None:
    """Texts are hidden, not what counts."""
    project.write({"a": {"ids": 1000, "every": 1000, "pin_secret": "${PIN}"}})
    assert project.run("extract-load", PIN="1000").returncode == 0
    done = project.run("verify", "a", "--summary", "summary.json", PIN="1000")
    assert done.returncode == 0, done.stdout
    (step,) = json.loads((project.folder / "summary.json").read_text())
    assert step["summary"]["streams"][0]["rows_equal"] == 1000
