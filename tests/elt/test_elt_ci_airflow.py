"""The DAG of `target-meltano ci airflow`, loaded and run by Airflow itself, on a PostgreSQL, with dbt.

Another version of Airflow: AIRFLOW=2.10.5 (Python 3.12 or earlier).
"""

from __future__ import annotations

import ast
import json
import os
import subprocess
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from elt_ci import long
from elt_project import TestProject

LOOK = """
import json, sys
from elt import dag
tasks = {task.task_id: [sorted(task.upstream_task_ids), task.bash_command, task.retries, task.trigger_rule] for task in dag.tasks}
print(json.dumps({"tasks": tasks, "runs": dag.max_active_runs, "side_by_side": dag.max_active_tasks, "catchup": dag.catchup,
    "timezone": str(dag.timezone), "cwd": {task.cwd for task in dag.tasks}.pop(),
    "ours": [name for name in sys.modules if name.startswith("target_meltano")]}))
"""


@dataclass(frozen=True)
class Airflow:
    """Airflow with a home of its own, whose folder of DAGs is that of a project."""

    programs: Path
    home: Path

    def environment(self, project: Path, **variables: str) -> dict[str, str]:
        ours = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
        path = f"{project / 'bin'}{os.pathsep}{self.programs}{os.pathsep}{os.environ['PATH']}"
        settings = {"DAGS_FOLDER": str(project / "dags"), "LOAD_EXAMPLES": "False"}
        ours |= {f"AIRFLOW__CORE__{name}": value for name, value in settings.items()}
        return {**ours, "PATH": path, "AIRFLOW_HOME": str(self.home), **variables}

    def run(self, project: Path, *command: str, **variables: str) -> subprocess.CompletedProcess[str]:
        """Run *command*, a program of Airflow's environment, with the wrapper of *project* on PATH."""
        return subprocess.run(
            [str(self.programs / command[0]), *command[1:]], cwd=project, env=self.environment(project, **variables),
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False,
        )  # fmt: skip


@pytest.fixture(scope="module")
def scheduler(airflow: Path, tmp_path_factory: pytest.TempPathFactory) -> Airflow:
    """Airflow with its database, in SQLite."""
    made = Airflow(airflow / "bin", tmp_path_factory.mktemp("airflow"))
    done = made.run(made.home, "airflow", "db", "migrate")
    assert done.returncode == 0, done.stdout
    return made


def scheduled(project: TestProject, taps: Mapping[str, Mapping[str, Any]], **sections: Any) -> None:
    """Write elt.yml, the DAG, and the wrapper as a program in bin."""
    project.write(taps, **sections)
    project.program()
    done = project.run("ci", "airflow")
    assert done.returncode == 0, done.stderr


def test_the_dag_imports_airflow_alone_and_reads_nothing(project: TestProject) -> None:
    """Airflow parses it every few seconds, with a Python that has no target-meltano."""
    scheduled(project, {"a": {}, "b": {}})
    tree = ast.parse((project.folder / "dags/elt.py").read_text())
    imported = {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    imported |= {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    assert {str(name).split(".")[0] for name in imported} == {"__future__", "airflow", "datetime", "os"}
    called = {ast.unparse(node.func) for node in ast.walk(tree) if isinstance(node, ast.Call)}
    paths = {"os.environ.get", "os.path.dirname", "os.path.realpath"}
    assert called == {*paths, "DAG", "BashOperator", "step", "datetime", "timedelta"}


def test_the_dag_follows_elt_yml_and_check_tells_what_has_drifted(project: TestProject) -> None:
    scheduled(project, {"a": {"token": "${TOKEN}"}}, ci={"name": "warehouse"})
    dag = project.folder / "dags/warehouse.py"
    assert "TOKEN, TEST_URL" in dag.read_text() or "TEST_URL, TOKEN" in dag.read_text()
    assert project.run("ci", "airflow", "--check").returncode == 0
    project.write({"a": {}, "b": {}}, ci={"name": "warehouse", "schedule": "5 * * * 1-5"})
    assert project.run("ci", "airflow", "--check").returncode == 1
    assert project.run("ci", "airflow").returncode == 0
    for words in ('TAPS = [\n    "a",\n    "b",\n]', 'schedule="5 * * * 1-5"'):
        assert words in dag.read_text()
    assert "transform" not in {node.value for node in ast.walk(ast.parse(dag.read_text())) if isinstance(node, ast.Constant)}


def test_airflow_loads_the_dag_with_a_task_per_tap(project: TestProject, scheduler: Airflow) -> None:
    scheduled(project, {"a": {}, "My-tap_2": {}, "transform": {}}, transform={}, jobs=3)
    done = scheduler.run(project.folder, "python", "-c", LOOK, PYTHONPATH=str(project.folder / "dags"))
    assert done.returncode == 0, done.stdout
    found = json.loads(done.stdout.splitlines()[-1])
    loads = {f"load_{tap}": [[], f"target-meltano extract-load {tap}", 2, "all_success"] for tap in ("a", "My-tap_2", "transform")}
    assert found["tasks"] == {
        **loads,
        "transform": [sorted(loads), "target-meltano transform", 0, "all_success"],
        "test": [["transform"], "target-meltano test", 0, "all_success"],
    }
    del found["tasks"]
    folder = str(project.folder.resolve())
    assert found == {"runs": 1, "side_by_side": 3, "catchup": False, "timezone": "UTC", "cwd": folder, "ours": []}


def test_a_run_loads_transforms_and_tests(project: TestProject, scheduler: Airflow, dbt: Path) -> None:
    scheduled(project, {"a": {}, "b": {"ids": 7}}, transform=project.dbt(dbt))
    done = scheduler.run(project.folder, "airflow", "dags", "test", "elt", TEST_URL=project.url)
    assert done.returncode == 0, done.stdout
    assert (len(project.ids(0)), len(project.ids(1))) == (10, 7)
    assert project.query(f"SELECT * FROM {project.name}_models.numbers") == [(10,)]
    assert "1 pass" in done.stdout
    password = project.url.split(":")[2].split("@")[0]
    assert password not in done.stdout


def test_a_failing_load_fails_the_run_and_nothing_is_built_on_it(project: TestProject, scheduler: Airflow, dbt: Path) -> None:
    """It is tried three times, and keeps what it had loaded; the other taps load."""
    fails = {"ids": 25, "every": 10, "end": 3}
    scheduled(project, {"a": fails, "b": {}}, transform=project.dbt(dbt))
    dag = project.folder / "dags/elt.py"
    soon = dag.read_text().replace("timedelta(minutes=5)", "timedelta(seconds=0)")
    assert soon != dag.read_text()
    dag.write_text(soon)
    done = scheduler.run(project.folder, "airflow", "dags", "test", "elt", TEST_URL=project.url)
    assert done.returncode == 1, done.stdout
    assert "DagRun failed" in done.stdout
    assert "the tap ended with exit status 3" in done.stdout
    assert project.query(f'SELECT count(DISTINCT run_id) FROM "{project.schema()}".__loads') == [(3,)]
    assert (len(project.ids(0)), len(project.ids(1))) == (20, 10)
    assert not project.query("SELECT 1 FROM pg_namespace WHERE nspname = %s", (f"{project.name}_models",))
    assert "target-meltano transform" not in done.stdout


@long
def test_a_load_that_takes_too_long_commits_what_is_complete_and_fails(project: TestProject, scheduler: Airflow) -> None:
    """Airflow ends the task by SIGTERM to its process group; nothing of it runs on."""
    scheduled(project, {"a": {"ids": 25, "every": 10, "end": "hang"}})
    dag = project.folder / "dags/elt.py"
    soon = dag.read_text().replace('"retries": 2', '"retries": 0').replace("timedelta(hours=6)", "timedelta(seconds=30)")
    dag.write_text(soon)
    assert soon.count('"retries": 0') == soon.count("timedelta(seconds=30)") == 1
    done = scheduler.run(project.folder, "airflow", "dags", "test", "elt", TEST_URL=project.url)
    assert done.returncode == 1, done.stdout
    assert "Sending SIGTERM signal to process group" in done.stdout
    until = time.monotonic() + 60  # Airflow does not wait for the end of what it ends
    while len(project.ids()) < 20 and time.monotonic() < until:
        time.sleep(0.1)
    assert project.ids() == list(range(1, 21))
