"""`target-meltano dbt`: scaffold the staging layer, or run dbt itself with the warehouse's connection."""

from __future__ import annotations

import os
import signal
from collections.abc import Sequence
from pathlib import Path

from . import (
    artifacts,
    catalog_file,
    catalogue,
    options,
    owned,
    pipeline,
    relations,
    relay,
    staging,
    transforms,
    warehouse,
)
from .errors import RunError
from .project import Project, Tap


def command(arguments: list[str]) -> int:
    """Run it and return the exit code."""
    if arguments[:1] == ["scaffold"]:
        return scaffold(arguments[1:])
    does = "scaffold writes sources and staging models; everything else is run by dbt, with the warehouse's connection."
    parser = options.parser("dbt", does)
    parser.usage = "target-meltano dbt scaffold [TAP...] [--check] | target-meltano dbt [--project DIR] COMMAND-OF-DBT ..."
    chosen, others = parser.parse_known_args(arguments)
    project = options.project(chosen)
    dbt = transforms.command(project)
    with warehouse.held(project) as where:
        ours = {**warehouse.variables(project, where), **transforms.folders(transforms.of(project))}
        if relations.BUILDS & {*others}:
            relations.refuse(project, dbt, ours, warehouse.redactor(project, ours), arguments=others)
        before = signal.signal(signal.SIGINT, signal.SIG_IGN)  # it is for dbt
        try:
            return relay.run([*dbt, *others], project.folder, ours, warehouse.redactor(project, ours))
        finally:
            signal.signal(signal.SIGINT, before)


def scaffold(arguments: list[str]) -> int:
    """Write sources and staging models from the tables of taps, or tell what is not as it should be."""
    parser = options.parser("dbt scaffold", "Write dbt's sources and staging models from the tables that taps have filled.", taps=True)
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 if something would be")
    chosen = parser.parse_args(arguments)
    project = options.project(chosen)
    changes = owned.changes(*_wanted(project), "dbt scaffold")
    todo = [change for change in changes if change.does in ("create", "update", "remove")]
    for change in [change for change in changes if change.does != "same"]:
        does = "edited" if change.does == "foreign" else change.does  # without our first line, it is theirs all the same
        print(f"{does:7} {os.path.relpath(change.path, project.folder)}")
    if chosen.check:
        print(f"{len(todo)} files are not as the tables are; run target-meltano dbt scaffold" if todo else "all files are as the tables are")
        return 1 if todo else 0
    owned.carry_out(todo)
    print(f"{len(todo)} files written or removed, {len(changes) - len(todo)} left as they are")
    return 0


def _wanted(project: Project) -> tuple[dict[Path, str], list[Path]]:
    """Return the texts of all files, and the folders that have nothing else of ours."""
    root = transforms.of(project).project
    models = root / (artifacts.setting(root, "model-paths", 0) or "models") / "staging"
    tests = root / (artifacts.setting(root, "test-paths", 0) or "tests") / "generic"
    wanted = {tests / "unique_combination.sql": staging.UNIQUE_COMBINATION}
    folders = []
    for source in _sources(project):
        folders.append(models / source.name)
        wanted |= {folders[-1] / name: text for name, text in staging.files(source).items()}
    return wanted, folders


def _sources(project: Project) -> list[staging.Source]:
    taps = list(project.taps.values())
    made = []
    with warehouse.held(project) as where, pipeline.locked(project, "dbt.scaffold", project.work / "logs") as place:
        all_found = catalogue.ask(project, [tap.schema for tap in taps], warehouse.variables(project, where), place)
    for tap, found in zip(taps, all_found, strict=True):
        given = {**project.warehouse.settings, **tap.settings}
        versions = warehouse.keeps_versions(given)
        keys = _keys(project, tap) if versions else {}
        tables = catalogue.tables(found, given.get("table_names") or {}, keys, versions=versions)
        if not tables:
            raise RunError(f"{tap.name}: the schema {found.schema} has no tables of streams yet; run target-meltano extract-load {tap.name}")
        stamp = given.get("timestamp_column", staging.Source.stamp)
        made.append(staging.Source(tap.name, found.schema, tables, project.warehouse.dialect, stamp, tap.freshness))
    return made


def _keys(project: Project, tap: Tap) -> dict[str, Sequence[str]]:
    """Return the keys of streams as the tap's catalog has them: a table of all versions has no key."""
    try:
        with pipeline.locked(project, f"check.{tap.name}", project.work / "logs") as place:
            catalog = pipeline.catalog(project, tap, place) or {"streams": []}
    except RunError as error:
        raise RunError(f"{tap.name}: {error}") from None
    return {name: catalog_file.keys(stream) for stream in catalog["streams"] for name in catalog_file.names(stream)}
