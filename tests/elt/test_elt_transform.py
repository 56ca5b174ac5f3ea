"""`transform`, `test` and `run`: results are those of this run, wherever dbt writes them; two of one checkout take turns."""

from __future__ import annotations

import fcntl
import json
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from elt_project import TestProject

from target_meltano.elt import artifacts, pipeline
from target_meltano.elt import project as project_module
from target_meltano.elt.errors import ProjectError, RunError

ONE = [{"unique_id": "model.w.a", "status": "success", "message": ""}]


@contextmanager
def taken(project: TestProject, name: str) -> Iterator[None]:
    """Have the lock *name*, as another command of the same checkout has it."""
    path = project.folder / ".elt/locks" / f"{name}.lock"
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "a+b") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def said(process: subprocess.Popen[str], words: str) -> None:
    """Wait until a process says *words* on stderr."""
    assert process.stderr
    lines = []
    for line in process.stderr:
        lines.append(line)
        if words in line:
            return
    pytest.fail(f"it ended: {lines}")


def fake(project: TestProject, *, noted: bool = True, where: str = "transform/target") -> None:
    """Write a project whose dbt notes itself in its results, or leaves some of another run behind."""
    env = "{n[19:]: v for n, v in os.environ.items() if n.startswith('DBT_ENV_CUSTOM_ENV_')}" if noted else "{}"
    told = f"dict(results=json.loads({json.dumps(json.dumps(ONE))}), metadata=dict(env={env}))"
    program = project.folder / "dbt"
    program.write_text(f"#!{sys.executable}\nimport json, os\nos.makedirs('{where}', exist_ok=True)\njson.dump({told}, open('{where}/run_results.json', 'w'))\n")
    program.chmod(0o755)
    project.write({"a": {}}, transform={"executable": "./dbt"})
    (project.folder / "transform").mkdir()


def test_results_are_where_dbt_writes_them(project: TestProject, dbt: Path) -> None:
    """Real dbt decides: by its option, its variable, dbt_project.yml."""
    project.write({"a": {}}, transform=project.dbt(dbt))
    layout = project.folder / "transform/dbt_project.yml"
    layout.write_text(f"{layout.read_text()}target-path: 'our build'\n")
    assert project.run("extract-load").returncode == 0
    done = project.run("run")
    assert (done.returncode, "1 success" in done.stdout, "1 pass" in done.stdout) == (0, True, True), done.stdout
    done = project.run("test", "--target-path", "by_option", DBT_TARGET_PATH="by_variable")
    assert "1 pass" in done.stdout, done.stdout
    found = {path.parent.name for path in (project.folder / "transform").rglob("run_results.json")}
    assert found == {"our build", "by_option"}
    assert "nothing to do" in project.run("transform", "--select", "no_such_model").stdout


@pytest.mark.parametrize(
    ("file", "arguments", "environment", "wanted"),
    [
        ("", (), {}, "target"),
        ("target-path: build\n", (), {}, "build"),
        ("target-path: /b/c\n", (), {}, "/b/c"),
        ("models: {a: {+tags: x}}\nmodels: {a: {+tags: y}}\ntarget-path: a\ntarget-path: b\n", (), {}, "b"),  # a warning of dbt
        ("target-path: build\n", (), {"DBT_TARGET_PATH": "x"}, "x"),
        ("target-path: build\n", (), {"DBT_TARGET_PATH": ""}, "build"),
        ("", (), {"DBT_TARGET_PATH": "x", "DBT_ENGINE_TARGET_PATH": "y"}, "y"),
        ("", ("build", "--target-path", "a", "--target-path=b"), {"DBT_TARGET_PATH": "x"}, "b"),
        ("target-path: '{{ env_var(\"X\") }}'\n", (), {"DBT_TARGET_PATH": "x"}, "x"),
    ],
)
def test_the_folder_is_the_one_that_dbt_takes(file: str, arguments: tuple[str, ...], environment: dict[str, str], wanted: str, tmp_path: Path) -> None:
    (tmp_path / "dbt_project.yml").write_text(f"name: x\n{file}")
    assert artifacts.target(tmp_path, arguments, environment) == tmp_path / wanted


def test_a_folder_that_only_dbt_knows_is_refused_by_name(project: TestProject) -> None:
    fake(project)
    (project.folder / "transform/dbt_project.yml").write_text("name: x\ntarget-path: \"{{ env_var('X') }}\"\n")
    with pytest.raises(ProjectError, match=r"dbt_project\.yml:2: target-path: dbt alone knows .* set the variable DBT_TARGET_PATH"):
        artifacts.target(project.folder / "transform", (), {})
    for command in ("transform", "check"):
        done = project.run(command)
        assert (done.returncode, "dbt_project.yml:2: target-path: dbt alone knows" in done.stdout) == (1, True), done.stdout


def test_results_of_a_dbt_that_somebody_else_started_are_not_those_of_this_run(project: TestProject) -> None:
    fake(project)
    assert "1 success" in project.run("transform").stdout
    (project.folder / "transform").rename(project.folder / "was")
    fake(project, noted=False)
    done = project.run("transform")
    assert done.returncode == 0
    assert "1 success" not in done.stdout
    assert "run_results.json tells nothing of it; what it printed: " in done.stdout


def test_a_second_dbt_of_a_checkout_waits_for_the_first(project: TestProject) -> None:
    fake(project)
    with taken(project, "dbt.run"):
        second = project.start("transform")
        said(second, "another run of dbt.run is under way; waiting for its end, 60 minutes at most")
        time.sleep(0.3)
        assert second.poll() is None
    out, _ = second.communicate(timeout=30)
    assert (second.returncode, "1 success" in out) == (0, True), out


def test_one_that_waits_ends_when_it_is_told_to(project: TestProject) -> None:
    fake(project)
    with taken(project, "dbt.run"):
        second = project.start("transform")
        said(second, "waiting for its end")
        second.send_signal(signal.SIGTERM)
        out, _ = second.communicate(timeout=30)
    assert (second.returncode, "transform  stopped" in out) == (128 + signal.SIGTERM, True), out


def test_it_does_not_wait_for_ever(project: TestProject, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pipeline, "LONGEST_WAIT", 0.3)
    project.write({"a": {}})
    made = project_module.as_written(project.folder)
    told: list[str] = []
    with taken(project, "x.y"), pytest.raises(RunError, match=r"another run of x\.y is under way"), pipeline.locked(made, "x.y", project.folder, pipeline.Waiting(told.append)):
        pass
    assert len(told) == 1
