"""The snippets of docs/orchestration.md are run, by Dagster and Luigi, as they stand there."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from elt_ci import long
from elt_project import ROOT, TestProject

PAGE = (ROOT / "docs/orchestration.md").read_text("utf-8")
TOOLS = {
    "dagster": ("dagster==1.13.*", "elt.py", ["bin/dagster", "job", "execute", "-f", "elt.py", "-j", "elt"]),
    "luigi": ("luigi==3.8.1", "elt_luigi.py", ["bin/python", "elt_luigi.py"]),
}


@long
@pytest.mark.parametrize("tool", TOOLS)
def test_the_snippet_loads_transforms_and_tests_and_fails_with_a_load(project: TestProject, dbt: Path, environments: Any, tool: str) -> None:
    pip_url, name, command = TOOLS[tool]
    place = environments(pip_url, tool)
    (snippet,) = [text for text in re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL) if text.startswith(f"# {name};")]
    (project.folder / name).write_text(snippet)
    project.program()
    transform = project.dbt(dbt)
    project.write({"shop": {"end": 1}, "crm": {}}, transform=transform)
    assert run(project, place, command) != 0
    assert len(project.ids(1)) == 10, "the other tap is loaded"
    assert not project.query("SELECT 1 FROM pg_namespace WHERE nspname = %s", (f"{project.name}_models",))
    project.write({"shop": {}, "crm": {}}, transform=transform)
    assert run(project, place, command) == 0
    assert project.query(f"SELECT * FROM {project.name}_models.numbers") == [(10,)]


def run(project: TestProject, place: Path, command: Sequence[str]) -> int:
    ours = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    ours |= {"PATH": f"{project.folder / 'bin'}{os.pathsep}{os.environ['PATH']}", "TEST_URL": project.url}
    done = subprocess.run([place / command[0], *command[1:]], cwd=project.folder, env=ours, capture_output=True, text=True, check=False)
    print(done.stdout[-3000:], done.stderr[-3000:])
    return done.returncode
