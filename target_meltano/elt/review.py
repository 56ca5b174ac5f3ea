"""`target-meltano review`: a copy of the warehouse for a branch, or a schema for its models, made and removed.

The target does it, as it knows its database; we say what may be copied, and write review.env.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from . import options, pipeline, processes, relations, reviewed, transforms, warehouse
from .errors import ProjectError, RunError
from .project import FILE, Project
from .redaction import Redactor
from .spelling import shown

DOES = {
    "create": "make it, and write review.env",
    "drop": "remove what was made for BRANCH",
    "list": "show what there is",
    "gc": "remove what is older than review.keep",
}
KEEP = "14d"
Told = list[dict[str, str]]


def command(arguments: list[str]) -> int:
    """Run it and return the exit code."""
    parser = _parser()
    chosen = parser.parse_args(arguments)
    if (chosen.does in ("create", "drop")) != bool(chosen.branch):
        parser.error(f"{chosen.does}: {'name the BRANCH' if not chosen.branch else 'takes no BRANCH'}")
    sections = ["warehouse", "review", *(["transform"] if chosen.does == "create" else [])]  # taps and their secrets are not needed
    project = options.project(chosen, only=sections, review={})
    return {"create": _create, "drop": _drop, "list": _list, "gc": _gc}[chosen.does](project, chosen)


def _parser() -> argparse.ArgumentParser:
    parser = options.parser("review", "Make, list and remove copies of the warehouse for branches.")
    parser.add_argument("does", choices=DOES, help="; ".join(f"{name}: {does}" for name, does in DOES.items()))
    parser.add_argument("branch", nargs="?", metavar="BRANCH", help="of create and drop")
    parser.add_argument("--mode", choices=("clone", "schema"), help="clone: a copy of the database; schema: schemas for models beside production's; default: review.mode, or clone")
    parser.add_argument("--allow-pii", action="store_true", help="copy what taps without rules for personal data have loaded, too")
    parser.add_argument("--state", type=Path, metavar="DIR", help="with the manifest.json of production: models that are not built here are read there (--mode schema)")
    parser.add_argument("--force", action="store_true", help="drop: end the sessions of others in it")
    parser.add_argument("--older-than", metavar="TIME", help=f"gc: as 14d or 12h; default: review.keep, or {KEEP}")
    parser.add_argument("--json", action="store_true", help="list: as JSON")
    return parser


def _create(project: Project, chosen: argparse.Namespace) -> int:
    mode = chosen.mode or project.review.get("mode", "clone")
    if chosen.state and mode != "schema":
        raise ProjectError("--state goes with --mode schema; a clone has all models itself")
    if mode == "schema":
        variables, made = _schemas(project, chosen)
    else:
        _check_pii(project, allowed=chosen.allow_pii or project.review.get("allow_pii", False))
        made = _target(project, "create", branch=chosen.branch)
        variables = {reviewed.DATABASE: made[0]["name"]}
    path = reviewed.write(project.folder, variables)
    for one in made:
        print(f"{one['kind']} {one['name']}: {one.get('how', 'is there')}")
    print(f"{path.name} says so to the other commands: set -a; . ./{path.name}; set +a")
    return 0


def _check_pii(project: Project, *, allowed: bool) -> None:
    """Refuse a copy of rows of which nobody has said whether they hold personal data.

    Raises:
        ProjectError: naming their taps.
    """
    open_ = [tap.name for tap in project.taps.values() if not warehouse.pii_of(project, tap)]
    if open_ and not allowed:
        raise ProjectError(
            f"{project.folder / FILE}: pii: nothing is said of the personal data of {', '.join(open_)}, which a copy would hold unmasked; "
            'write rules for them, or plain: ["*"] if there is none; or allow it: review.allow_pii: true, or --allow-pii; '
            "or copy no rows: --mode schema"
        )


def _schemas(project: Project, chosen: argparse.Namespace) -> tuple[dict[str, str], Told]:
    """Make a schema for the models of the branch, and those that dbt puts beside it."""
    base = transforms.of(project).schema
    if chosen.state and not (project.folder / chosen.state / "manifest.json").exists():
        raise ProjectError(f"--state {chosen.state}: there is no manifest.json in it; keep target/manifest.json of production's last build there")
    state: dict[str, str] = {}
    if chosen.state:
        place = os.path.relpath(project.folder / chosen.state, transforms.of(project).project)  # from where dbt looks
        state = {"DBT_DEFER": "true", "DBT_STATE": place}  # which dbt reads itself
        reviewed.refuse_odd(state)
    first = _target(project, "create", "--models", base, branch=chosen.branch)[0]["name"]
    below = _below(reviewed.within(project, {reviewed.SCHEMA: first}), first)
    made = _target(project, "create", "--models", base, "--below", *below, branch=chosen.branch)
    return {reviewed.SCHEMA: first, **state}, made


def _below(project: Project, first: str) -> list[str]:
    """Return what dbt puts behind the name of the schema *first*.

    Raises:
        ProjectError: there are models that would go elsewhere, as into production.
    """
    with warehouse.held(project) as where:
        ours = {**warehouse.variables(project, where), **transforms.folders(transforms.of(project))}
        nodes = relations.nodes(transforms.command(project), project.folder, ours, warehouse.redactor(project, ours))
    for node in nodes:
        if node["schema"].lower() != first.lower() and not node["schema"].lower().startswith(f"{first}_".lower()):
            raise ProjectError(
                f"{node['name']}: goes into the schema {node['schema']}, whatever DBT_SCHEMA is; let generate_schema_name begin with target.schema, or use --mode clone"
            )
    return sorted({node["schema"][len(first) + 1 :] for node in nodes} - {""})


def _drop(project: Project, chosen: argparse.Namespace) -> int:
    dropped = [one["name"] for one in _target(project, "drop", *(["--force"] if chosen.force else []), branch=chosen.branch)]
    print("\n".join(f"{shown(name)}: dropped" for name in dropped) or f"there is nothing for {shown(chosen.branch)}")
    reviewed.forget(project.folder, dropped)
    return 0


def _gc(project: Project, chosen: argparse.Namespace) -> int:
    age = chosen.older_than or project.review.get("keep", KEEP)
    dropped = _target(project, "gc", "--older-than", age)
    print("\n".join(f"{shown(one['name'])}: dropped" for one in dropped) or f"nothing is older than {age}")
    return 0


def _list(project: Project, chosen: argparse.Namespace) -> int:
    found = _target(project, "list")
    if chosen.json:
        print(json.dumps(found, indent=2, ensure_ascii=False))
        return 0
    names = ("name", "kind", "created", "branch")
    rows = [names, *([shown(one[name]) for name in names] for one in found)]
    widths = [max(len(row[column]) for row in rows) for column in range(3)]
    for row in rows:
        print("  ".join([*(cell.ljust(width) for cell, width in zip(row, widths, strict=False)), row[-1]]).rstrip())
    return 0


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def _target(project: Project, does: str, *arguments: str, branch: str | None = None) -> Told:
    """Let the target do it, and return the lines that it told.

    Raises:
        RunError: it failed; why, it has said itself.
    """
    tap = next(iter(project.taps.values()))
    settings: Mapping[str, Any] = {**project.warehouse.settings, "schema": tap.schema}  # which every target wants
    with pipeline.locked(project, f"review.{does}", project.work / "logs", pipeline.Waiting(_say)) as place:
        call = [*warehouse.command(project), "review", does, "--config", place.write("target.json", settings), *arguments]
        call += ["--", branch] if branch is not None else []  # which may begin with -
        code, printed = processes.relayed(call, warehouse.environment(project), Redactor(project.secrets), subprocess.PIPE)
    told = [json.loads(line) for line in printed.split("\n") if line]  # not splitlines: a branch may have more that ends a line
    if code:
        dropped = f"; dropped: {', '.join(one['name'] for one in told)}" if told else ""
        raise RunError(f"review {does}: {project.warehouse.executable[0]} ended with exit status {code}{dropped}")
    return told
