"""Where dbt's models, seeds and snapshots go, asked of dbt before it builds: never into the schema of a tap.

dbt takes seconds to answer, so it is asked only where one of them might: by default each goes into DBT_SCHEMA,
or that with a word behind it.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from . import artifacts, processes
from .errors import ProjectError, RunError
from .ownership import same
from .processes import Stop
from .project import Project, Transform
from .redaction import Redactor

Nodes = list[dict[str, Any]]
BUILDS = frozenset({"build", "run", "seed", "snapshot", "clone", "retry"})  # commands of dbt that make relations
_KEYS = "name schema database config"
_ELSEWHERE = re.compile(rb"generate_schema_name|target_schema")  # what makes them go somewhere else
_LITERAL = re.compile(rb"\bschema\W*:(?![^\n]*DBT_SCHEMA)")  # in profiles.yml: of one of its targets
_PLACING = ("--target", "-t", "--profile", "--profiles-dir", "--project-dir")  # options of dbt that choose where it builds
_READING = (*_PLACING, "--vars")  # and by which it reads the project
_TEXTS = (".sql", ".yml", ".yaml")
_NOT_LOOKED_INTO = ("target", "logs", ".git")


def refuse(
    project: Project, dbt: Sequence[str], environment: Mapping[str, str], redact: Redactor, stop: Stop | None = None, arguments: Sequence[str] = ()
) -> None:
    """Refuse to build, with *arguments* of dbt, what would go into the schema of a tap.

    What dbt cannot list it cannot build either, and then tells why itself.

    Raises:
        ProjectError: naming it, and the tap.
    """
    transform = project.transform
    if transform is None or not (_given(_PLACING, arguments) or _might(project, transform)):
        return
    databases = _databases(project, environment)
    found: Nodes = []
    with suppress(RunError):
        found = nodes(dbt, project.folder, environment, redact, stop, _given(_READING, arguments))
    for node in found:
        if node["config"].get("materialized") == "ephemeral" or (databases and str(node["database"]).casefold() not in databases):
            continue
        for tap, schema in project.schemas.items():
            if same(schema, node["schema"], project.warehouse.dialect):
                raise ProjectError(
                    f"{transform.project}: {node['name']}: goes into the schema {node['schema']}, which is that of the tap {tap}, and dbt puts a model "
                    "in the place of a table of its name; give it or the tap another schema"
                )


def nodes(
    dbt: Sequence[str], folder: Path, environment: Mapping[str, str], redact: Redactor, stop: Stop | None = None, options: Sequence[str] = ()
) -> Nodes:
    """Return what dbt would build with *options*: of each its name, schema, database and config.

    Raises:
        RunError: with what dbt told, where it fails.
    """
    arguments = ["--quiet", "--no-use-colors", "ls", "--select", "fqn:*", "--resource-type", "model", "seed", "snapshot", "--output", "json", "--output-keys", _KEYS, *options]
    code, told, errors = processes.output([*dbt, *arguments], folder, environment, redact, stop=stop)
    if code:
        whole = re.sub(r"\n\s+(?=\S)", " ", redact(told))  # behind "Runtime Error", on lines of its own, is what it is
        raise RunError("\n".join(["dbt ls failed", *processes.telling([*whole.splitlines(), *errors.splitlines()])]))
    return [json.loads(line) for line in told.split("\n") if line.startswith("{")]


def _given(options: Sequence[str], arguments: Sequence[str]) -> list[str]:
    """Return those of *options* that are in *arguments*, with their values: as --option VALUE or --option=VALUE."""
    found: list[str] = []
    for number, argument in enumerate(arguments):
        if argument in options:
            found += arguments[number : number + 2]
        elif argument.partition("=")[0] in options:
            found.append(argument)
    return found


def _might(project: Project, transform: Transform) -> bool:
    """Tell whether anything could go into a tap's schema, by what the files of the dbt project have in them."""
    profiles = transform.project / "profiles.yml"
    own = f"{transform.schema}_".casefold()
    return (
        any(schema.strip('"').casefold().startswith(own) for schema in project.schemas.values())
        or not profiles.exists()
        or _LITERAL.search(found := profiles.read_bytes()) is not None
        or b"DBT_SCHEMA" not in found
        or any(map(_has_elsewhere, _parts(transform.project)))
    )


def _parts(root: Path) -> Iterator[Path]:
    """Yield the files of a dbt project, and the links to folders in it."""
    for place, folders, files in os.walk(root):
        folders[:] = [name for name in folders if name not in _NOT_LOOKED_INTO]
        yield from (path for name in folders if (path := Path(place, name)).is_symlink())
        yield from (Path(place, name) for name in files if name.endswith(_TEXTS))


def _has_elsewhere(path: Path) -> bool:
    """Tell whether a part may make things go elsewhere; of what we do not look into, as links of editors that lead nowhere, dbt knows."""
    try:
        text = path.read_bytes()
    except OSError:
        return True
    return _ELSEWHERE.search(text) is not None or (path.name == artifacts.FILE and b"../" in text)


def _databases(project: Project, environment: Mapping[str, str]) -> set[str]:
    """Return the databases that taps load into, where there may be several; those of PostgreSQL do not see each other."""
    if project.warehouse.dialect == "postgres":
        return set()
    own = [one for tap in project.taps.values() for name in ("database", "dbname") if (one := tap.settings.get(name))]
    return {str(one).strip('"').casefold() for one in (environment.get("SNOWFLAKE_DATABASE", ""), *own)} - {""}
