"""`target-meltano install`: an environment for each tap that has a pip_url, and one for dbt."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial

from . import executables, options, pipeline, runs, settings, writing
from .display import table
from .errors import RunError, of_system
from .pipeline import Outcome, Waiting
from .processes import Stop
from .project import SCHEMA, Project
from .redaction import Redactor


def command(arguments: list[str]) -> int:
    """Run it and return the exit code."""
    does = "Make a virtual environment for each tap that has a pip_url, and one for dbt; those that are there already stay."
    parser = options.parser("install", does, taps=True)
    parser.add_argument("--force", action="store_true", help="make them anew")
    chosen = parser.parse_args(arguments)
    project = options.project(chosen, only=["taps", "transform"])
    project.work.mkdir(exist_ok=True)
    _write_schema(project)
    with runs.stoppable() as stop:
        with ThreadPoolExecutor(2) as threads:
            outcomes = list(threads.map(partial(_install, project, chosen.force, stop), _wanted(project, bool(chosen.taps))))
        print(table(outcomes) if outcomes else "nothing to install: no tap has a pip_url, and there is no transform")
        if stop.signal:
            return 128 + stop.signal
    return 0 if all(one.is_ok for one in outcomes) else 1


def _write_schema(project: Project) -> None:
    """Write the JSON Schema of elt.yml, for editors; its first line names the file."""
    schema = json.loads(SCHEMA.read_text("utf-8"))
    with suppress(RunError):  # the target is not there yet
        schema = settings.described(schema, settings.about(project.warehouse.executable, project.folder))
    writing.write(project.work / SCHEMA.name, json.dumps(schema, indent=2))


def _wanted(project: Project, only_taps: bool) -> Iterator[tuple[str, str, str | None]]:
    """Yield name, pip_url and Python of each environment."""
    transform = project.transform
    if transform and not transform.executable and not only_taps:
        yield executables.DBT, transform.pip_url, transform.python
    for tap in project.taps.values():
        if tap.pip_url:
            yield tap.name, tap.pip_url, tap.python


def _install(project: Project, force: bool, stop: Stop, wanted: tuple[str, str, str | None]) -> Outcome:
    name, pip_url, python = wanted
    started = time.monotonic()
    place, redact = executables.environment_of(project.work, name), Redactor(project.secrets)
    if stop.signal:
        return Outcome(name, "stopped")
    try:
        # The lock is pip's, too: one that we have left behind is waited for.
        with pipeline.locked(project, f"install.{name}", project.work / "logs", Waiting(_say, stop)) as own:
            if not force and executables.is_installed(place, executables.wanted(pip_url, python)):
                return Outcome(name, "ok", (), "is there already")
            executables.make(place, pip_url, python, project.folder, redact, stop, [own.lock])
    except (RunError, OSError) as error:
        why = of_system(error, place) if isinstance(error, OSError) else str(error)
        return Outcome(name, "stopped" if stop.signal else "failed", tuple(why.splitlines()), "", time.monotonic() - started)
    return Outcome(name, "ok", (), redact(pip_url), time.monotonic() - started)


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
