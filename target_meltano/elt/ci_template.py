"""The texts in templates/, filled in from a project.

@NAME@ is a value, written as YAML; @#NAME@ one in a comment. A line that has nothing but one that is empty goes.
What stands from `#? NAME` to `#. NAME` is there only if the project has that: transform, or clone, a copy of the
warehouse for reviews that can be loaded into.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping
from pathlib import Path

from target_meltano import __version__

from . import artifacts
from .errors import ProjectError
from .project import FILE, Project
from .variables import Reference
from .yaml_writer import Written, comment, inline

FOLDER = Path(__file__).with_name("templates")
DOCS = "static_index.html"  # that `dbt docs generate --static` writes
KEPT = ("elt-*.json", ".elt/logs")  # by each job
_PART = re.compile(r"^#\? (\w+)\n(.*?)^#\. \1\n", re.DOTALL | re.MULTILINE)
_PLACE = re.compile(r"(?m)^@(?P<line>\w+)@\n|@(?P<value>#?\w+)@")
_NO_PATH = re.compile(r"[*?\[\]{}!$%\\]|\A[\s#~]|\s\Z")  # of a file that a job keeps: a pattern, or a variable
_WIDTH = 30



def fill(name: str, project: Project, parts: Mapping[str, str], written: Mapping[str, Written]) -> str:
    """Return the template *name* with *parts*, which are texts of ours, and the values of *project*, *written* ones among them."""
    text = (FOLDER / name).read_text("utf-8")
    has = {"transform": project.transform is not None, "clone": is_copied(project)}
    while (part := _PART.search(text)) is not None:
        text = text[: part.start()] + (part[2] if has[part[1]] else "") + text[part.end() :]
    for place, own in parts.items():
        text = text.replace(f"@{place}@", own)
    values = {**_values(project), **written}

    def value(found: re.Match[str]) -> str:
        if found["line"]:
            return f"{lines}\n" if (lines := values[found["line"]]) else ""
        return values[found["value"]]

    return _PLACE.sub(value, text)  # once: what a value looks like is its own matter


def _values(project: Project) -> dict[str, Written]:
    """Return what templates have in common.

    Raises:
        ProjectError: the warehouse cannot be reached from where jobs run.
    """
    if project.warehouse.type == "embedded":
        raise ProjectError(
            f"{project.folder / FILE}: warehouse.type: embedded is a PostgreSQL on this machine, and jobs run on others; "
            "give them a warehouse that they reach: postgres or snowflake"
        )
    ci = project.ci
    return {
        "taps": inline(list(project.taps)),
        "schedule": inline(ci.schedule),
        "#schedule": comment(ci.schedule),
        "branch": inline(ci.branch),
        "#branch": comment(ci.branch),
    }


def kept(project: Project) -> list[str]:
    """Return the files that a job keeps, dbt's documentation among them where it is in the project.

    Raises:
        ProjectError: CI systems would take the path of the documentation for a pattern, or expand it.
    """
    if project.transform is None:
        return [*KEPT]
    docs = os.path.relpath(artifacts.target(project.transform.project, environment={}) / DOCS, project.folder)
    if _NO_PATH.search(docs) or not docs.isprintable():
        raise ProjectError(
            f"{project.folder / FILE}: transform.project: jobs keep {docs!r}, and CI systems take that for a pattern or a variable; "
            "give dbt's folders names of letters, digits, '-', '_' and '.'"
        )
    return [*KEPT] if docs.startswith("..") else [*KEPT, docs]


def installed(project: Project) -> str:
    """Return what jobs install, as it stands between double quotes of bash: $NAME and ${NAME} are variables there, and nothing else is."""
    extra = project.warehouse.dialect + (",embedded" if project.warehouse.type == "postgres" and is_copied(project) else "")  # it has pg_dump
    text = project.ci.install or f"target-meltano[{extra}]=={__version__}"
    return re.sub(r"\$\$|[\\\"`]", lambda found: rf"\{found[0][0]}", text)


def is_copied(project: Project) -> bool:
    """Tell whether reviews have a copy of the warehouse, and not schemas beside it."""
    return project.transform is not None and project.review.get("mode", "clone") == "clone"


def refuse_names(project: Project, kind: str, taken: Iterable[str]) -> None:
    """Refuse variables whose names are *taken* by the jobs themselves.

    Raises:
        ProjectError: with the first of them.
    """
    for one in project.variables:
        if one.name in taken and not one.is_file:
            raise ProjectError(f"{project.folder / FILE}: the variable {one.name} is one of the jobs of `ci {kind}`; give yours another name")


def variables(references: Iterable[Reference]) -> Written:
    """Return a comment with a line for each variable and file."""
    lines = [f"#   {comment(one.name):<{_WIDTH}} {_kind(one)}".rstrip() for one in references]
    return Written("\n".join(lines or ["#   none"]))


def _kind(one: Reference) -> str:
    if one.is_file:
        return "a file, which a job has to write first; better is a variable: ${NAME} in place of ${file:PATH}"
    return ", ".join(word for word, holds in (("secret", one.is_secret), ("optional", one.is_optional)) if holds)
