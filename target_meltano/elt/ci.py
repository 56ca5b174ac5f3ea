"""`target-meltano ci`: the files that run the project in a CI system or by a scheduler, written from elt.yml.

Each kind is a module `ci_KIND` with `files(project)`: path in the project -> what is in the file; nothing: it is to go.
"""

from __future__ import annotations

import argparse
from importlib import import_module
from pathlib import Path

from . import owned
from .owned import Change
from .project import as_written

KINDS = ("gitlab", "github", "airflow", "meltano")
DONE = {"create": "created", "update": "updated", "remove": "removed", "same": "same", "edited": "edited: yours, and left as it is", "foreign": "not ours, and left as it is"}


def command(arguments: list[str]) -> int:
    """Write the files, or tell which are not as elt.yml is, and return the exit code."""
    does = "Write the files that run the project in a CI system or by a scheduler, from elt.yml; no variable is needed."
    parser = argparse.ArgumentParser(prog="target-meltano ci", description=does, allow_abbrev=False)
    parser.add_argument("kind", choices=KINDS)
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 if something would be")
    parser.add_argument("--project", type=Path, default=Path(), metavar="DIR", help="folder of elt.yml; default: this one")
    chosen = parser.parse_args(arguments)
    project = as_written(chosen.project)
    wanted: dict[Path, str] = import_module(f".ci_{chosen.kind}", __package__).files(project)
    changes = owned.changes({project.folder / path: body for path, body in wanted.items() if body}, (), f"ci {chosen.kind}")
    changes += [Change(project.folder / path, "remove") for path, body in wanted.items() if not body and owned.is_ours(project.folder / path)]
    todo = [change for change in changes if change.does in ("create", "update", "remove")]
    if chosen.check:
        for change in todo:
            print(f"{change.does:7} {change.path.relative_to(project.folder)}")
        print(f"{len(todo)} files are not as elt.yml is; run target-meltano ci {chosen.kind}" if todo else "all files are as elt.yml is")
        return 1 if todo else 0
    owned.carry_out(todo)
    for change in changes:
        print(_told(change, project.folder, wanted))
    return 0


def _told(change: Change, folder: Path, wanted: dict[Path, str]) -> str:
    """Return what became of a file; of one that never was ours, what to add to it."""
    path = change.path.relative_to(folder)
    if change.does != "foreign":
        return f"{path}: {DONE[change.does]}"
    lines = [f"    {line}".rstrip() for line in wanted[path].splitlines()]
    return "\n".join([f"{path}: {DONE[change.does]}. Add to it:", "", *lines, ""])
