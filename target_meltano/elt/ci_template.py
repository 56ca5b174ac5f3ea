"""The texts in templates/, filled in from a project.

@NAME@ is a value; a line with one that is empty goes. What stands from `#? NAME` to `#. NAME` is there only if
the project has that: transform, or clone, a copy of the warehouse for reviews that can be loaded into.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable, Mapping
from pathlib import Path

from target_meltano import __version__

from .errors import ProjectError
from .project import FILE, Project
from .variables import Reference

FOLDER = Path(__file__).with_name("templates")
DOCS = "target/static_index.html"  # that `dbt docs generate --static` writes, in dbt's project
_PART = re.compile(r"^#\? (\w+)\n(.*?)^#\. \1\n", re.DOTALL | re.MULTILINE)


def fill(name: str, project: Project, more: Mapping[str, str]) -> str:
    """Return the template *name* with the values of *project*, and *more* of them."""
    text = (FOLDER / name).read_text("utf-8")
    has = {"transform": project.transform is not None, "clone": _is_copied(project)}
    while (part := _PART.search(text)) is not None:
        text = text[: part.start()] + (part[2] if has[part[1]] else "") + text[part.end() :]
    for value, filled in {**more, **_values(project)}.items():  # *more* may have values of the project in it
        text = text.replace(f"\n@{value}@\n", f"\n{filled}\n" if filled else "\n").replace(f"@{value}@", filled)
    return text


def _values(project: Project) -> dict[str, str]:
    """Return what all templates have in common.

    Raises:
        ProjectError: the warehouse cannot be reached from where jobs run.
    """
    if project.warehouse.type == "embedded":
        raise ProjectError(
            f"{project.folder / FILE}: warehouse.type: embedded is a PostgreSQL on this machine, and jobs run on others; "
            "give them a warehouse that they reach: postgres or snowflake"
        )
    ci = project.ci
    extra = project.warehouse.dialect + (",embedded" if project.warehouse.type == "postgres" and _is_copied(project) else "")  # it has pg_dump
    return {
        "taps": json.dumps(list(project.taps)),
        "schedule": ci.schedule,
        "branch": ci.branch,
        "docs": os.path.relpath(project.transform.project / DOCS, project.folder) if project.transform else "",
        "image": json.dumps(ci.image),
        "install": json.dumps(ci.install or f"target-meltano[{extra}]=={__version__}"),
    }


def _is_copied(project: Project) -> bool:
    """Tell whether reviews have a copy of the warehouse, and not schemas beside it."""
    return project.transform is not None and project.review.get("mode", "clone") == "clone"


def variables(references: Iterable[Reference]) -> str:
    """Return a comment with a line for each variable and file."""
    lines = [f"#   {one.name:<{_WIDTH}} {_kind(one)}".rstrip() for one in references]
    return "\n".join(lines or ["#   none"])


_WIDTH = 30


def _kind(one: Reference) -> str:
    if one.is_file:
        return "a file, which a job has to write first; better is a variable: ${NAME} in place of ${file:PATH}"
    return ", ".join(word for word, holds in (("secret", one.is_secret), ("optional", one.is_optional)) if holds)
