"""A project as `init` writes it, in a git repository, with two taps and a database of its own."""

from __future__ import annotations

import os
import secrets
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psycopg2
import pytest

from target_meltano.elt import init

ELT = """\
version: 1
warehouse: {{type: postgres, settings: {{url: "${{WAREHOUSE_URL}}"}}}}
taps:
  shop: {{executable: taps/tap-meets}}
  store: {{executable: taps/tap-meets, config: {{token: "${{STORE_TOKEN}}", fails: "${{FAILS:-no}}"}}}}
transform: {{project: transform, executable: {dbt}}}
pii: {{plain: ["*"]}}
ci: {{install: "target-meltano[postgres]"}} # what is there already
"""
# Each of the two waits until the other one runs: one after the other, both fail.
TAP = """\
#!{python}
import json, os, sys, time
options = dict(zip(sys.argv[1::2], sys.argv[2::2])) if "--discover" not in sys.argv else {{}}
if options:
    here = os.environ["MEETING"]
    open(f"{{here}}/{{os.getpid()}}", "w").close()
    until = time.monotonic() + 120
    while len(os.listdir(here)) < 2:
        if time.monotonic() > until:
            sys.exit("the other tap does not run")
        time.sleep(0.05)
    if json.load(open(options["--config"])).get("fails") == "yes":
        sys.exit("out of order")
os.execv("taps/tap-shop", ["taps/tap-shop", *sys.argv[1:]])
"""
COUNTS = "SELECT (SELECT count(*) FROM shop.orders), (SELECT count(*) FROM store.orders), (SELECT count(*) FROM analytics.customer_orders)"

long = pytest.mark.skipif("CI_TEMPLATES" not in os.environ, reason="make ci-templates runs it, too")


@dataclass(frozen=True)
class CiProject:
    """The project in *folder*; its *variables* are what a CI system gives to jobs."""

    folder: Path
    url: str
    variables: Mapping[str, str]

    def command(self, command: Sequence[str], folder: Path | None = None, **variables: str) -> subprocess.CompletedProcess[str]:
        """Run a command with the variables, and the programs of this Python on PATH, in the project or another *folder*."""
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        # Node gives bash a socket as stdin; as the first shell it would take that for ssh, read ~/.bashrc, and might find another Python.
        given = {**os.environ, "PATH": path, "SHLVL": "2", "LC_ALL": "C.UTF-8", **self.variables, **variables}
        return subprocess.run(command, cwd=folder or self.folder, env=given, capture_output=True, text=True, check=False)

    def must(self, *command: str) -> str:
        done = self.command(command)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def branch(self, name: str) -> None:
        """Go to a new branch, with all files committed."""
        self.must("git", "checkout", "-q", "-B", name)
        self.must("git", "add", "--all")
        self.must("git", "commit", "--quiet", "--allow-empty", "--message", name)
        if name == "main":
            self.must("git", "update-ref", "refs/remotes/origin/main", "HEAD")
            self.must("git", "symbolic-ref", "refs/remotes/origin/HEAD", "refs/remotes/origin/main")

    def query(self, sql: str, database: str | None = None) -> list[tuple[Any, ...]]:
        """Return the rows of a statement, none where it has no result; in another *database* than the warehouse."""
        url = urlsplit(self.url)._replace(path=f"/{database}").geturl() if database else self.url
        connection = psycopg2.connect(url)
        try:
            connection.autocommit = True
            with connection.cursor() as cursor:
                cursor.execute(sql)
                return list(cursor.fetchall()) if cursor.description else []
        finally:
            connection.close()

    def databases(self) -> set[str]:
        """Return the names of the copies of the warehouse."""
        (own,) = self.query("SELECT current_database()")[0]
        return {name for (name,) in self.query("SELECT datname FROM pg_database") if name.startswith(f"{own}_")}


@contextmanager
def new_ci_project(folder: Path, url: str, dbt: Path, kind: str) -> Iterator[CiProject]:
    """Yield a project on its branch main, with the files of `ci` *kind*."""
    name = f"ci_{secrets.token_hex(4)}"
    meeting = folder / "meeting"
    meeting.mkdir()
    server = CiProject(folder, url, {})
    server.query(f"CREATE DATABASE {name}")
    own = urlsplit(url)._replace(path=f"/{name}").geturl()
    variables = {"WAREHOUSE_URL": own, "STORE_TOKEN": "t0ken-of-the-store", "MEETING": str(meeting)}
    made = replace(server, folder=folder / "project", url=own, variables=variables)
    try:
        init.write(made.folder)
        (made.folder / "elt.yml").write_text(ELT.format(dbt=dbt / "bin/dbt"))
        program = made.folder / "taps/tap-meets"
        program.write_text(TAP.format(python=sys.executable))
        program.chmod(0o755)
        made.must("target-meltano", "ci", kind)
        made.must("git", "init", "--quiet", "--initial-branch", "main")
        made.must("git", "config", "user.email", "ci@example.com")
        made.must("git", "config", "user.name", "ci")
        made.branch("main")
        yield made
    finally:
        for database in (*made.databases(), name):
            server.query(f'DROP DATABASE "{database}" WITH (FORCE)')
