"""Projects for tests of the wrapper: an elt.yml with taps of `elt_tap.py`, and the wrapper as a process."""

from __future__ import annotations

import json
import os
import secrets
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg2
from psycopg2 import sql

from target_meltano.elt.init import TEMPLATE

TAP = [sys.executable, str(Path(__file__).with_name("elt_tap.py"))]
TARGET = [sys.executable, "-c", "from target_meltano_postgres import main; main()"]
WRAPPER = [sys.executable, "-c", "from target_meltano.elt import main; main()"]
ROOT = Path(__file__).parent.parent.parent


@contextmanager
def new_project(folder: Path, url: str) -> Iterator[TestProject]:
    """Yield a project in *folder* that loads into schemas of its own, which are dropped afterwards."""
    connection = psycopg2.connect(url, options="-c timezone=UTC")
    connection.autocommit = True
    made = TestProject(folder, url, f"elt_{secrets.token_hex(4)}", connection)
    yield made
    names = made.query("SELECT nspname FROM pg_namespace WHERE starts_with(nspname, %s)", (made.name,))
    for (name,) in names:
        made.query(sql.SQL("DROP SCHEMA {} CASCADE").format(sql.Identifier(name)).as_string(connection))
    connection.close()


@dataclass(frozen=True)
class TestProject:
    """A folder with an elt.yml. All its schemas in the database *url* begin with *name*."""

    __test__ = False
    folder: Path
    url: str
    name: str
    connection: Any

    def write(self, taps: Mapping[str, Mapping[str, Any]], **sections: Any) -> None:
        """Write elt.yml; each of *taps* is the config of a tap, or a whole section with an executable."""
        made = {name: tap if "executable" in tap else {"executable": TAP, "config": tap} for name, tap in taps.items()}
        for number, tap in enumerate(made.values()):
            tap.setdefault("schema", self.schema(number))
        warehouse = {"type": "postgres", "executable": TARGET, "settings": {"url": "${TEST_URL}"}}
        content = {"version": 1, "warehouse": warehouse, "taps": made, **sections}
        (self.folder / "elt.yml").write_text(json.dumps(content, indent=1))  # JSON is YAML

    def schema(self, number: int = 0) -> str:
        """Return the schema of a tap by its number."""
        return f"{self.name}_{number}"

    def query(self, sql: str, parameters: Any = None) -> list[tuple[Any, ...]]:
        """Return the rows of a statement, none where it has no result."""
        with self.connection.cursor() as cursor:
            cursor.execute(sql, parameters)
            return list(cursor.fetchall()) if cursor.description else []

    def run(self, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
        """Run a command of the wrapper to its end."""
        return subprocess.run(
            [*WRAPPER, *arguments], cwd=self.folder, env=self.environment(variables), capture_output=True, text=True, check=False
        )

    def start(self, *arguments: str, **variables: str) -> subprocess.Popen[str]:
        """Start a command of the wrapper."""
        pipe = subprocess.PIPE
        return subprocess.Popen(
            [*WRAPPER, *arguments], cwd=self.folder, env=self.environment(variables), stdout=pipe, stderr=pipe, text=True
        )

    def environment(self, variables: Mapping[str, str]) -> dict[str, str]:
        return {**os.environ, "PYTHONPATH": str(ROOT), "TEST_URL": self.url, **variables}

    def ids(self, number: int = 0) -> list[int]:
        """Return the ids that are in the table of a tap, in order."""
        name = f'"{self.schema(number)}".events'
        if not self.query("SELECT to_regclass(%s)", (name,))[0][0]:
            return []
        return [row[0] for row in self.query(f"SELECT id FROM {name} ORDER BY id")]

    def program(self) -> None:
        """Write the wrapper as a program, in the folder bin."""
        (self.folder / "bin").mkdir()
        wrapper = self.folder / "bin/target-meltano"
        wrapper.write_text(f'#!/bin/sh\nPYTHONPATH={ROOT} exec {shlex.join(WRAPPER)} "$@"\n')
        wrapper.chmod(0o755)

    def dbt(self, environment: Path) -> dict[str, Any]:
        """Write a dbt project: a model on the events of the first tap, and a test of it. Return the section `transform`."""
        marts = self.folder / "transform/models/marts"
        marts.mkdir(parents=True)
        for name in ("dbt_project.yml", "profiles.yml", "tests"):
            copy = shutil.copytree if name == "tests" else shutil.copy
            copy(TEMPLATE / "transform" / name, self.folder / "transform" / name)
        (marts / "numbers.sql").write_text(f'select count(*) as events from "{self.schema()}".events\n')
        columns = [{"name": "events", "data_tests": ["not_null"]}]
        (marts / "_marts.yml").write_text(json.dumps({"models": [{"name": "numbers", "columns": columns}]}))
        return {"executable": str(environment / "bin/dbt"), "schema": f"{self.name}_models"}
