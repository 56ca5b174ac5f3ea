"""A project in a review: what review.env says takes the place of what elt.yml says.

ELT_DATABASE is the database of a clone: the target and dbt use it instead of the one that the settings
name. ELT_SCHEMA is the schema that models are built in, beside production's: nothing is loaded then.
"""

from __future__ import annotations

import os
import re
from collections.abc import Collection, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from . import libpq, writing
from .errors import ProjectError

if TYPE_CHECKING:
    from .project import Project, Warehouse

FILE = "review.env"
DATABASE, SCHEMA = "ELT_DATABASE", "ELT_SCHEMA"
NAMES = {"postgres": "dbname", "snowflake": "database"}  # of the setting; each is the other's alias
URL = "TARGET_MELTANO_POSTGRES_URL"  # which the target reads, too, and in which a database is named


def within(project: Project, review: Mapping[str, str]) -> Project:
    """Return *project* with the database and the schema of models that *review* has, if it has.

    Raises:
        ProjectError: there is a schema of models, and no models.
    """
    database, schema = review.get(DATABASE), review.get(SCHEMA)
    if database:
        warehouse = project.warehouse
        settings = warehouse.settings if warehouse.type == "embedded" else _settings(warehouse, database)
        taps = {name: replace(tap, settings=_of_tap(tap.settings, database)) for name, tap in project.taps.items()}
        secrets = {str(one["url"]) for one in (settings, *(tap.settings for tap in taps.values())) if one.get("url")}
        warehouse = replace(warehouse, settings=settings, review=database)
        project = replace(project, warehouse=warehouse, taps=taps, secrets=project.secrets | secrets)
    if not schema:
        return project
    if not project.transform:
        raise ProjectError(f"the variable {SCHEMA} is set, and elt.yml has no section transform; unset it, or load into production itself")
    return replace(project, transform=replace(project.transform, schema=schema, review=schema))


def _settings(warehouse: Warehouse, database: str) -> dict[str, Any]:
    elsewhere = {"url": os.environ[URL]} if warehouse.type == "postgres" and os.environ.get(URL) else {}
    found = _of_tap({**elsewhere, **warehouse.settings}, database)
    return found if found.get("url") else {**found, NAMES[warehouse.type]: database}


def _of_tap(settings: Mapping[str, Any], database: str) -> dict[str, Any]:
    """Return settings that name no other database: what a tap has of its own goes into the review all the same."""
    found = {name: value for name, value in settings.items() if name not in NAMES.values()}
    return {**found, "url": with_database(str(found["url"]), database)} if found.get("url") else found


def with_database(url: str, database: str) -> str:
    """Return what says where PostgreSQL is, in whichever of libpq's forms, as `name=value …` with another database.

    Raises:
        ProjectError: it says nothing of the sort.
    """
    try:
        return libpq.spelt({**libpq.parse(url), "dbname": database})
    except ValueError as error:
        raise ProjectError(f"warehouse.settings.url: {error}; it has to be postgresql://user:password@host:port/dbname or host=… dbname=…") from None


def write(folder: Path, variables: Mapping[str, str]) -> Path:
    """Write review.env, for `set -a; . ./review.env`, or as CI takes it; return its path.

    Raises:
        ProjectError: see refuse_odd.
    """
    refuse_odd(variables)
    path = folder / FILE
    writing.write(path, "".join(f"{name}={value}\n" for name, value in variables.items()))
    return path


def refuse_odd(variables: Mapping[str, str]) -> None:
    """Refuse values that a shell, GitLab and GitHub would read in different ways: none has quotes that the others know.

    Raises:
        ProjectError: naming the first variable.
    """
    for name, value in variables.items():
        if not re.fullmatch(r"[\w./:@%+,=-]*", value):
            raise ProjectError(f"{FILE}: {name} would be {value!r}, which a shell and CI systems read in different ways; use letters, digits and ./:@%+,=-_ only")


def forget(folder: Path, dropped: Collection[str]) -> None:
    """Remove review.env if it leads to what was *dropped*."""
    path = folder / FILE
    if path.exists() and any(line.partition("=")[2] in dropped for line in path.read_text("utf-8").splitlines()):
        path.unlink()
