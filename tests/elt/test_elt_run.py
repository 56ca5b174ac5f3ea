"""target-meltano run: when dbt is called, how, and what is made of what it says. Here dbt is a script of the tests."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest
from elt_project import TestProject

DBT = """\
#!{python}
import json, os, sys
print("arguments", json.dumps(sys.argv[1:]))
print("password", os.environ.get("PGPASSWORD"))
told = json.load(open("told.json"))
if told["results"] is not None:
    os.makedirs("transform/target", exist_ok=True)
    start = "DBT_ENV_CUSTOM_ENV_"
    noted = {{name.removeprefix(start): value for name, value in os.environ.items() if name.startswith(start)}}
    json.dump(dict(results=told["results"], metadata=dict(env=noted)), open("transform/target/run_results.json", "w"))
print(told["says"])
sys.exit(told["exit"])
"""


@pytest.fixture
def dbt(project: TestProject) -> Any:
    """Writes a project with the taps that are given, and a dbt that gives these results."""

    def write(results: list[tuple[str, str]] | None = None, exit: int = 0, says: str = "", **taps: Any) -> None:
        program = project.folder / "dbt"
        program.write_text(DBT.format(python=sys.executable))
        program.chmod(0o755)
        found = None if results is None else [{"unique_id": name, "status": status, "message": "it is so"} for name, status in results]
        (project.folder / "told.json").write_text(json.dumps({"results": found, "exit": exit, "says": says}))
        project.write(taps, transform={"executable": "./dbt"})

    return write


def arguments(project: TestProject) -> list[str]:
    """Return what dbt was called with last, [] where it was not."""
    logs = sorted(project.folder.glob(".elt/logs/*/dbt.log"))
    lines = [line for path in logs for line in path.read_text().splitlines() if line.startswith("arguments ")]
    return json.loads(lines[-1].removeprefix("arguments ")) if lines else []


GOOD = [("model.w.a", "success"), ("test.w.t", "pass")]


def test_dbt_builds_what_is_loaded(project: TestProject, dbt: Any) -> None:
    dbt(GOOD, a={})
    done = project.run("run", "--summary", "summary.json")
    assert done.returncode == 0, done.stdout
    assert arguments(project) == ["--no-use-colors", "build"]
    steps = json.loads((project.folder / "summary.json").read_text())
    assert [(step["name"], step["status"], step["did"]) for step in steps] == [
        ("a", "ok", "10 rows of 1 streams"),
        ("transform", "ok", "1 success"),
        ("test", "ok", "1 pass"),
    ]
    password = project.url.split(":")[2].split("@")[0]
    assert password not in "".join(path.read_text() for path in project.folder.glob(".elt/logs/*/*.log"))


def test_dbt_builds_on_the_sources_of_the_taps_that_are_named(project: TestProject, dbt: Any) -> None:
    dbt(GOOD, **{"my-tap": {}, "b": {}})
    assert project.run("run", "my-tap").returncode == 0
    assert arguments(project)[2:] == ["--select", "source:my_tap+"]


def test_dbt_does_not_run_on_a_failed_load_unless_told(project: TestProject, dbt: Any) -> None:
    dbt(GOOD, a={}, b={"end": 1})
    done = project.run("run")
    assert done.returncode == 1
    assert "transform  skipped" in done.stdout
    assert arguments(project) == []
    done = project.run("run", "--keep-going")
    assert done.returncode == 1
    assert "transform  ok" in done.stdout
    assert "failed: b;" in done.stdout


@pytest.mark.parametrize(
    ("results", "says", "words"),
    [
        ([("model.w.a", "error"), ("model.w.b", "skipped")], "", ["transform  failed", "a: it is so", "1 skipped, because"]),
        ([("model.w.a", "success"), ("test.w.t", "fail")], "", ["transform  ok", "test       failed", "t: it is so"]),
        (None, "Runtime Error: no such profile", ["transform  failed", "dbt ended with exit status 1", "Runtime Error: no such profile"]),
        ([("model.w.a", "success")], "Error: odd", ["dbt        failed", "dbt ended with exit status 1"]),
    ],
    ids=["model", "test", "nothing", "else"],
)
def test_what_fails_is_named(project: TestProject, dbt: Any, results: Any, says: str, words: list[str]) -> None:
    """The results of an earlier run do not count."""
    (project.folder / "transform/target").mkdir(parents=True)
    stale = {"results": [{"unique_id": "model.w.stale", "status": "success", "message": ""}]}
    Path(project.folder, "transform/target/run_results.json").write_text(json.dumps(stale))
    dbt(results, 1, says, a={})
    done = project.run("run")
    assert done.returncode == 1
    for word in words:
        assert word in done.stdout


@pytest.mark.parametrize(
    ("command", "wanted"),
    [("transform", ["build", "--exclude-resource-type", "test", "unit_test", "--select", "x"]), ("test", ["test", "--select", "x"])],
)
def test_options_of_dbt_are_passed_on(project: TestProject, dbt: Any, command: str, wanted: list[str]) -> None:
    dbt([("model.w.a", "success")], a={})
    assert project.run(command, "--select", "x").returncode == 0
    assert arguments(project)[1:] == wanted
