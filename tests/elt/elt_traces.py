"""What a run of the wrapper may leave behind: processes, settings, sessions and locks of the database."""

from __future__ import annotations

import json
import secrets
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import psutil
import psycopg2
from elt_project import TestProject, new_project

VARIABLE = "RUN_OF_TESTS"
SECONDS = 20.0  # the guard gives 10 from SIGTERM to SIGKILL


def wait_for(found: Callable[[], Any], seconds: float = 60) -> Any:
    """Return what *found* gives as soon as it gives something.

    Raises:
        AssertionError: it gives nothing in so many *seconds*.
    """
    until = time.monotonic() + seconds
    while not (it := found()):
        assert time.monotonic() < until, f"not within {seconds} s"
        time.sleep(0.01)
    return it


@dataclass(frozen=True)
class Traces:
    """Of the runs of one project that have the variables *mark*, in a database that nobody else uses."""

    project: TestProject
    mark: dict[str, str] = field(default_factory=lambda: {VARIABLE: secrets.token_hex(8)})

    def processes(self, word: str = "") -> list[psutil.Process]:
        """Return all processes of the runs, and what these have started, that have *word* among their arguments; not their guards."""
        return [one for one in psutil.process_iter() if _variable(one) == self.mark[VARIABLE] and (not word or word in _arguments(one))]

    def files(self) -> list[Path]:
        """Return the files with settings."""
        return [path for path in (self.project.folder / ".elt/run").rglob("*") if not path.is_dir()]

    def sessions(self) -> list[Any]:
        """Return the sessions in the database but ours, and what locks there are by name."""
        mine = "datname = current_database() AND pid <> pg_backend_pid()"
        locks = "locktype = 'advisory' AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"
        return self.project.query(
            f"SELECT application_name, state, query FROM pg_stat_activity WHERE {mine}"
            f" UNION ALL SELECT locktype, mode, objid::text FROM pg_locks WHERE {locks}"
        )

    def position(self, number: int = 0) -> int:
        """Return the id that the STATE of a tap is at, 0 where it has none."""
        name = f'"{self.project.schema(number)}".__state'
        if not self.project.query("SELECT to_regclass(%s)", (name,))[0][0]:
            return 0
        return sum(int(json.loads(state)["id"]) for (state,) in self.project.query(f"SELECT state FROM {name} WHERE state IS NOT NULL"))

    def nothing_left(self) -> None:
        """Wait until nothing of all this is left.

        Raises:
            AssertionError: something is left all the same.
        """
        until = time.monotonic() + SECONDS
        while left := [*map(_told, self.processes()), *self.files(), *self.sessions()]:
            assert time.monotonic() < until, left
            time.sleep(0.05)


@contextmanager
def traced_project(folder: Path, url: str) -> Iterator[Traces]:
    """Yield the traces of a new project with a database of its own on the server of *url*."""
    name = f"elt_{secrets.token_hex(4)}"
    server = psycopg2.connect(url)
    server.autocommit = True
    with server.cursor() as cursor:
        cursor.execute(f"CREATE DATABASE {name}")
    with new_project(folder, urlunsplit(urlsplit(url)._replace(path=f"/{name}"))) as project:
        yield Traces(project)
    with server.cursor() as cursor:
        cursor.execute(f"DROP DATABASE {name} WITH (FORCE)")
    server.close()


def _variable(process: psutil.Process) -> str | None:
    try:
        return process.environ().get(VARIABLE)
    except psutil.Error:
        return None


def _arguments(process: psutil.Process) -> list[str]:
    try:
        return process.cmdline()
    except psutil.Error:
        return []


def _told(process: psutil.Process) -> str:
    try:
        return f"{process.pid} {process.status()} {' '.join(process.cmdline())[:200]}"
    except psutil.Error:
        return f"{process.pid} just ended"
