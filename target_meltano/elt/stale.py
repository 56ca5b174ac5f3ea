"""Columns that changed their type below a dbt model which keeps the old one: incremental models and snapshots.

dbt makes their tables once, with the types of then, and casts to them what comes later: 1.5 becomes 2
where an integer became a number. Nothing fails, so it is told here, from dbt's own manifest.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from . import artifacts
from .errors import ProjectError
from .pipeline import Outcome
from .project import Project, Transform

_NAME = r'"((?:[^"]|"")+)"'
_TABLE = rf"ALTER TABLE (?:{_NAME}\.)?{_NAME}\.{_NAME} "
_CHANGES = (
    re.compile(rf"^{_TABLE}ALTER COLUMN {_NAME} (?:SET DATA )?TYPE (.+?)(?: USING .*)?\Z", re.DOTALL),
    re.compile(rf'^{_TABLE}RENAME COLUMN "((?:[^"]|"")+) \(new\)" TO ()'),  # Snowflake puts a new column in the place
)


@dataclass(frozen=True)
class Changed:
    """A column that has another type since this run."""

    schema: str
    table: str
    column: str
    type: str


def changes(outcomes: Sequence[Outcome]) -> Iterator[Changed]:
    """Yield the columns whose types the targets have changed, by what they tell."""
    for outcome in outcomes:
        for counts in outcome.summary.get("streams", {}).values():
            for statement in counts.get("ddl", ()):
                found = next(filter(None, (pattern.match(statement) for pattern in _CHANGES)), None)
                if found:
                    schema, table, column = (name.replace('""', '"') for name in found.groups()[1:4])
                    yield Changed(schema, table, column, found[5].strip())


def has_manifest(project: Project) -> bool:
    """Tell whether dbt has looked at its project here before."""
    return project.transform is not None and (path := _manifest(project.transform)) is not None and path.exists()


def warnings(project: Project, outcomes: Sequence[Outcome]) -> list[str]:
    """Return a line for each changed column that incremental models or snapshots are built on."""
    changed = list(dict.fromkeys(changes(outcomes)))
    if not changed or project.transform is None:
        return []
    manifest: dict[str, Any] = {}
    with suppress(OSError, ValueError):
        if path := _manifest(project.transform):
            manifest = json.loads(path.read_text("utf-8"))
    return [line for one in changed for line in _told(one, manifest)]


def _manifest(transform: Transform) -> Path | None:
    """Return dbt's manifest, None where only dbt knows where it is: its own step says so."""
    try:
        return artifacts.target(transform.project) / "manifest.json"
    except ProjectError:
        return None


def _told(changed: Changed, manifest: Mapping[str, Any]) -> Iterator[str]:
    below = list(_below(changed, manifest))
    models = [node["name"] for node in below if node.get("resource_type") == "model" and _keeps_types(node)]
    snapshots = [node["name"] for node in below if node.get("resource_type") == "snapshot"]
    what = f"column {changed.column!r} of {changed.schema}.{changed.table} has another type now"
    if models:
        yield (
            f"warning: {what}, and dbt keeps the old one in the incremental {_named('model', models)}, rounding what comes: "
            f"target-meltano dbt run --full-refresh --select {' '.join(models)}"
        )
    if snapshots:
        yield (
            f"warning: {what}, and dbt keeps the old one in the {_named('snapshot', snapshots)}, rounding what comes: "
            "give its column the new type by ALTER TABLE (docs/beside-others.md)"
        )


def _below(changed: Changed, manifest: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """Yield what is built on the table, directly or not, each once."""
    place = (changed.schema.lower(), changed.table.lower())
    children, nodes = manifest.get("child_map", {}), manifest.get("nodes", {})
    seen = {
        name
        for name, source in manifest.get("sources", {}).items()
        if (str(source.get("schema")).lower(), str(source.get("identifier") or source.get("name")).lower()) == place
    }
    waiting = sorted(seen)
    while waiting:
        for child in children.get(waiting.pop(0), ()):
            if child not in seen:
                seen.add(child)
                waiting.append(child)
                if child in nodes:
                    yield nodes[child]


def _keeps_types(node: Mapping[str, Any]) -> bool:
    """`on_schema_change: sync_all_columns` follows types, too."""
    config = node.get("config", {})
    return bool(config.get("materialized") == "incremental" and config.get("on_schema_change") != "sync_all_columns")


def _named(what: str, names: Sequence[str]) -> str:
    return f"{what}{'s' * (len(names) > 1)} {', '.join(names)}"
