"""The tables that a target has made, as its database and its ledger tell of them.

dbt asks, with macros of ours: it has the connection and the driver, for every warehouse.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from . import artifacts, processes, transforms, warehouse, writing, yaml_writer
from .errors import RunError
from .pipeline import Place
from .project import Project

MACROS = Path(__file__).with_name("macros")
MARK = "target-meltano: "
NAME = "target_meltano_scaffold"


@dataclass(frozen=True)
class Column:
    """*path* is the way to its property, as the comment has it; None for a column of our own."""

    name: str
    type: str
    path: str | None


@dataclass(frozen=True)
class Table:
    """A stream's table. *keys* are names of columns; with *versions* each key has a row per version."""

    name: str
    stream: str
    columns: tuple[Column, ...]
    keys: tuple[str, ...]
    versions: bool = False

    def has(self, column: str) -> bool:
        return any(one.name.lower() == column.lower() for one in self.columns)


@dataclass(frozen=True)
class Found:
    """A schema, as the macros print it: rows of text."""

    schema: str
    columns: Sequence[Sequence[str | None]]  # table, column, type, comment
    keys: Sequence[Sequence[str]]  # table, column
    streams: Sequence[Sequence[str | None]]  # stream, DDL, SCHEMA, time; oldest first


def ask(project: Project, schemas: Sequence[str], variables: Mapping[str, str], place: Place) -> list[Found]:
    """Return what is in *schemas*, in that order.

    Raises:
        RunError: dbt is not there, or cannot connect.
    """
    transform = transforms.of(project)
    profile = artifacts.setting(transform.project, "profile")
    folder = place.files / NAME
    layout = yaml_writer.document({"name": NAME, "version": "1.0", "profile": profile})
    writing.write_all({folder / "dbt_project.yml": layout.encode(), **{folder / "macros" / path.name: path.read_bytes() for path in MACROS.glob("*.sql")}})
    arguments = yaml_writer.document({"schemas": list(schemas)})
    command = [*transforms.command(project), "--quiet", "--no-use-colors", "run-operation", "target_meltano_catalogue"]
    ours = {**variables, **transforms.folders(transform), "DBT_PROJECT_DIR": str(folder)}
    redact = warehouse.redactor(project, ours)
    command += ["--target-path", "target", "--args", arguments]  # not that of the project, whatever DBT_TARGET_PATH says
    code, told, errors = processes.output(command, folder, ours, redact)
    found = [Found(**json.loads(line.removeprefix(MARK))) for line in told.split("\n") if line.startswith(MARK)]
    if code or len(found) != len(schemas):
        whole = re.sub(r"\n\s+(?=\S)", " ", redact(told))  # behind "Database Error", on lines of its own, is what the database said
        lines = [line for line in whole.split("\n") if line.strip() and not line.startswith(MARK)]
        raise RunError("\n".join([f"dbt run-operation ended with exit status {code}", *processes.telling(lines[-processes.LAST_LINES :]), *errors.splitlines()]))
    return found


def tables(found: Found, names: Mapping[str, str], keys: Mapping[str, Sequence[str]], *, versions: bool) -> list[Table]:
    """Return the tables of streams in a schema, by their names.

    *names* is the target's setting table_names. *keys* are the key_properties of streams, as far as
    a catalog tells; those of a table's primary key or of the ledger's SCHEMA come first. *versions*:
    the target appends every version of a record.
    """
    columns: dict[str, list[Column]] = {}
    for table, name, type_, comment in found.columns:
        columns.setdefault(str(table), []).append(Column(str(name), str(type_), comment))
    primary: dict[str, list[str]] = {}
    for table, name in found.keys:
        primary.setdefault(table, []).append(name)
    made = []
    for stream, told in _streams(found).items():
        table = _table(stream, told["ddl"], columns, names)
        if table is None:
            continue
        properties = _key_properties(told["schema"]) or list(keys.get(stream, ()))
        by_path = {column.path: column.name for column in columns[table]}
        named = [by_path[one] for one in properties if one in by_path]
        known = primary.get(table) or (named if len(named) == len(properties) else [])
        made.append(Table(table, stream, tuple(columns[table]), tuple(known), versions and table not in primary))
    return sorted(made, key=lambda table: table.name)


def _streams(found: Found) -> dict[str, dict[str, str]]:
    """Return the latest CREATE TABLE and the latest SCHEMA of each stream, as far as they are kept."""
    streams: dict[str, dict[str, str]] = {}
    for stream, ddl, schema, _ in found.streams:
        told = streams.setdefault(str(stream), {"ddl": "", "schema": ""})
        told["ddl"] = ddl if ddl and "CREATE TABLE" in ddl else told["ddl"]
        told["schema"] = schema or told["schema"]
    return {stream: told for stream, told in streams.items() if stream}


def _table(stream: str, ddl: str, tables: Mapping[str, Any], names: Mapping[str, str]) -> str | None:
    """Return the name of a stream's table: as it was created, or as it is set, or the one that is spelt alike."""
    created = re.search(r'CREATE TABLE "(?:[^"]|"")*"\."((?:[^"]|"")*)"', ddl)
    candidates = [created[1].replace('""', '"')] if created else []
    candidates += [names[stream]] if stream in names else []
    candidates += [table for table in tables if _letters(table) == _letters(stream)]
    return next((table for table in candidates if table in tables), None)


def _letters(name: str) -> str:
    return re.sub(r"[\W_]+", "", name).casefold()


def _key_properties(schema: str) -> list[str]:
    return list(json.loads(schema).get("key_properties") or []) if schema else []
