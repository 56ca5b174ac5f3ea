"""dbt, called as an executable, and what it did as steps of a run."""

from __future__ import annotations

import json
import secrets
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from . import artifacts, executables, relations, warehouse
from .errors import ProjectError
from .pipeline import Outcome, Waiting, locked
from .processes import Process, Stop, telling
from .project import FILE, Project, Transform
from .redaction import Redactor

TESTS = ("test", "unit_test")
BUILD = ("build",)
MODELS = ("build", "--exclude-resource-type", "test", "unit_test")
ONLY_TESTS = ("test",)
_NOTED = "DBT_ENV_CUSTOM_ENV_"  # dbt notes variables that begin so in the metadata of run_results.json, less these words
_RUN = "ELT_RUN"


def of(project: Project) -> Transform:
    """Return the section transform.

    Raises:
        ProjectError: there is none.
    """
    if project.transform is None:
        raise ProjectError(f"{project.folder / FILE}: there is no section transform; add one: transform: {{project: transform}}")
    return project.transform


def command(project: Project) -> list[str]:
    """Return dbt's program with its arguments.

    Raises:
        RunError: dbt is not installed.
    """
    transform = of(project)
    own = None if transform.executable else executables.environment_of(project.work, executables.DBT)
    return executables.find(transform.executable or ("dbt",), project.folder, own)


def folders(transform: Transform) -> dict[str, str]:
    """Return the variables that tell dbt where its project is, and its profiles if they are there."""
    found = {"DBT_PROJECT_DIR": str(transform.project)}
    if (transform.project / "profiles.yml").exists():
        found["DBT_PROFILES_DIR"] = str(transform.project)
    return found


def run(
    project: Project, arguments: Sequence[str], variables: Mapping[str, str], logs: Path, stop: Stop, say: Callable[[str], None]
) -> tuple[Outcome, ...]:
    """Run dbt with *arguments*, and return how its models and its tests did."""
    started = time.monotonic()
    transform = of(project)
    results = artifacts.target(transform.project, arguments, variables) / "run_results.json"
    own = secrets.token_hex(8)
    redact = warehouse.redactor(project, variables)
    with locked(project, "dbt.run", logs, Waiting(say, stop)) as place:
        results.unlink(missing_ok=True)
        environment = {**variables, **folders(transform), f"{_NOTED}{_RUN}": own}
        program = command(project)
        if relations.BUILDS & {*arguments}:
            relations.refuse(project, program, environment, redact, stop, arguments)
        dbt = Process(
            [*program, "--no-use-colors", *arguments],
            project.folder,
            environment,
            logs / "dbt.log",
            redact,
            pass_fds=(place.lock,),
            joined=True,
            on_line=say,
        )
        with stop.ends(dbt):
            code = dbt.wait()
    seconds = time.monotonic() - started
    if dbt.log_fault:
        say(dbt.log_fault)
    found = _results(results, own)
    name = "test" if arguments[0] == "test" else "transform"
    if not found and code:
        return (Outcome(name, "stopped" if stop.signal else "failed", (f"dbt ended with exit status {code}", *telling(dbt.last)), "", seconds),)
    if found is None:
        return (Outcome(name, "ok", (), f"dbt ended with exit status 0, and {results} tells nothing of it; what it printed: {logs / 'dbt.log'}", seconds),)
    tests = [one for one in found if _kind(one) in TESTS]
    models = [one for one in found if _kind(one) not in TESTS]
    outcomes = [] if name == "test" else [_outcome("transform", models, seconds, redact)]
    if name == "test" or (tests and arguments[0] == "build"):
        outcomes.append(_outcome("test", tests, seconds if name == "test" else 0.0, redact))
    if code and all(one.is_ok for one in outcomes):
        outcomes.append(Outcome("dbt", "failed", (f"dbt ended with exit status {code}", *telling(dbt.last))))
    return tuple(outcomes)


def _results(path: Path, run: str) -> list[dict[str, Any]] | None:
    """Return the results of *run*; None where there are none, or they are those of a dbt that somebody else has started."""
    with suppress(OSError, ValueError, KeyError, TypeError):
        told = json.loads(path.read_text("utf-8"))
        return list(told["results"]) if told["metadata"]["env"][_RUN] == run else None
    return None


def _kind(result: Mapping[str, Any]) -> str:
    return str(result["unique_id"]).split(".")[0]


def _outcome(name: str, results: Sequence[Mapping[str, Any]], seconds: float, redact: Redactor) -> Outcome:
    counts = Counter(result["status"] for result in results)
    bad = [result for result in results if result["status"] in ("error", "fail", "runtime error")]
    why = [f"{'.'.join(result['unique_id'].split('.')[2:])}: {_first(redact(result.get('message') or 'failed'))}" for result in bad]
    if counts.get("skipped"):
        why.append(f"{counts['skipped']} skipped, because what they are built on failed")
    done = ", ".join(f"{count} {status}" for status, count in counts.items())
    return Outcome(name, "failed" if why else "ok", tuple(why), done or "nothing to do", seconds)


def _first(message: str) -> str:
    return " ".join(message.split())[:200]
