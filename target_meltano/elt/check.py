"""`target-meltano check`: is all in place for a run? Nothing is loaded."""

from __future__ import annotations

import secrets
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial

from target_meltano import TargetError

from . import artifacts, catalogs, options, pipeline, processes, relations, transforms, warehouse
from .display import table
from .errors import RunError, of_system, unexpected
from .pipeline import Outcome
from .project import Project, Tap
from .redaction import Redactor


def command(arguments: list[str]) -> int:
    """Run it and return the exit code."""
    does = "Check elt.yml, the programs, the connection to the warehouse and the discovery of taps; load nothing."
    parser = options.parser("check", does, taps=True)
    parser.add_argument("--offline", action="store_true", help="only elt.yml and the programs")
    chosen = parser.parse_args(arguments)
    project = options.project(chosen)
    outcomes = [Outcome("elt.yml", "ok", did=f"{len(project.taps)} taps, environment {project.environment}")]
    if not chosen.offline:
        outcomes.append(_tried(project, "warehouse", partial(_warehouse, project)))
    outcomes += [_tried(project, tap.name, partial(_tap, project, tap, chosen.offline)) for tap in project.taps.values()]
    if project.transform:
        outcomes.append(_tried(project, "dbt", partial(_dbt, project, chosen.offline)))
    print(table(outcomes))
    return 0 if all(one.is_ok for one in outcomes) else 1


def _tried(project: Project, name: str, step: Callable[[], str]) -> Outcome:
    started = time.monotonic()
    try:
        return Outcome(name, "ok", (), step(), time.monotonic() - started)
    except TargetError as error:
        why = str(error).splitlines()
    except OSError as error:  # the system may refuse to run or to write a file
        why = [of_system(error, project.work)]
    except Exception as error:  # a fault of ours: how the others are is told all the same
        why = [unexpected(error, project.work / f"logs/check.{name}.error.log", Redactor(project.secrets))]
    return Outcome(name, "failed", tuple(why), "", time.monotonic() - started)


def _warehouse(project: Project) -> str:
    """Connect with the settings of every tap, under a name that no run has."""
    for tap in project.taps.values():
        other = replace(tap, name=f"check-{secrets.token_hex(4)}")
        with pipeline.locked(project, f"check.{tap.name}", project.work / "logs") as place:
            config = place.write("target.json", {**warehouse.settings(project, tap), "state_id": project.state_of(other)})
            command = [*warehouse.command(project), "state", "get", "--config", config]
            code, _, told = processes.output(command, project.folder, warehouse.environment(project), Redactor(project.secrets), _say)
        if code:
            raise RunError(told.replace("CRITICAL ", ""))
    return f"{project.warehouse.type} answers"


def _say(text: str) -> None:
    print(f"warehouse: {text}", file=sys.stderr, flush=True)


def _tap(project: Project, tap: Tap, offline: bool) -> str:
    with pipeline.locked(project, f"check.{tap.name}", project.work / "logs") as place:
        program = pipeline.tap_command(project, tap, place)[0]
        if offline:
            return program
        catalog = pipeline.catalog(project, tap, place)
        return f"{program}, without a catalog" if catalog is None else f"{catalogs.count(catalog)} streams selected"


def _dbt(project: Project, offline: bool) -> str:
    program = transforms.command(project)
    transform = transforms.of(project)
    if not (transform.project / "dbt_project.yml").exists():
        raise RunError(f"{transform.project}: there is no dbt_project.yml in it")
    artifacts.target(transform.project)
    if offline and project.warehouse.type != "embedded":  # which says where it is when it is up
        warehouse.variables(project, project.warehouse.settings)
    if not offline:
        with warehouse.held(project) as where:
            ours = {**warehouse.variables(project, where), **transforms.folders(transform)}
        relations.refuse(project, program, ours, warehouse.redactor(project, ours))
    return program[0]
