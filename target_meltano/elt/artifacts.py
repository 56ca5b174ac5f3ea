"""The folder that dbt writes manifest.json and run_results.json into: as dbt itself decides it, so that we look there."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from . import document
from .errors import ProjectError

FILE = "dbt_project.yml"
VARIABLES = ("DBT_ENGINE_TARGET_PATH", "DBT_TARGET_PATH")  # since dbt 1.11 it has two names; the first comes first


def target(project: Path, arguments: Sequence[str] = (), environment: Mapping[str, str] = os.environ) -> Path:
    """Return it for the dbt project in the folder *project*.

    It is that of --target-path in *arguments* of dbt, else of the variable DBT_TARGET_PATH, of target-path, or target.

    Raises:
        ProjectError: dbt_project.yml cannot be read, or has a target-path that only dbt knows.
    """
    said = _argument("--target-path", arguments) or next(filter(None, map(environment.get, VARIABLES)), None)
    return project / (said or _from_file(project / FILE) or "target")


def _argument(option: str, arguments: Sequence[str]) -> str | None:
    """Return the last value of an *option*, as --option VALUE or --option=VALUE."""
    found = None
    for number, argument in enumerate(arguments):
        name, has_value, value = argument.partition("=")
        if name == option:
            found = value if has_value else next(iter(arguments[number + 1 : number + 2]), None)
    return found


def setting(project: Path, *names: str | int) -> str | None:
    """Return a text in dbt_project.yml of the folder *project*, as `model-paths`, 0; None where it is not there.

    Raises:
        ProjectError: the file cannot be read, or has something else there.
    """
    read = document.read(project / FILE, last_counts=True)
    found = read.value
    for number, name in enumerate(names):
        if not isinstance(found, dict if isinstance(name, str) else list):
            raise ProjectError(read.fault(names[:number], "wanted keys with values" if isinstance(name, str) else "wanted a list"))
        found = dict(enumerate(found) if isinstance(found, list) else found).get(name)
        if found is None:
            return None
    if not isinstance(found, str):
        raise ProjectError(read.fault(names, "wanted a text"))
    return found


def _from_file(path: Path) -> str | None:
    if not path.exists():
        return None
    found = setting(path.parent, "target-path")
    if found and ("{{" in found or "{%" in found):
        raise ProjectError(document.read(path, last_counts=True).fault(("target-path",), f"dbt alone knows what Jinja makes of it; write the folder itself, or set the variable {VARIABLES[1]}"))
    return found
