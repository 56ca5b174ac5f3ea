"""`target-meltano init`: a project that runs as it is."""

from __future__ import annotations

import argparse
from pathlib import Path

from . import writing
from .errors import ProjectError, RunError
from .project import SCHEMA, WORK

TEMPLATE = Path(__file__).with_name("template")
RENAMED = {"gitignore": ".gitignore"}
PROGRAMS = ("taps/tap-shop",)  # a wheel keeps no mode
SHOWN = ("elt.yml", "taps/", "transform/", "README.md", ".gitignore")


def command(arguments: list[str]) -> int:
    """Write the project and return the exit code."""
    parser = argparse.ArgumentParser(prog="target-meltano init", description="Write a project that runs as it is, into DIR.")
    parser.add_argument("folder", type=Path, nargs="?", default=Path(), metavar="DIR", help="default: this folder")
    folder: Path = parser.parse_args(arguments).folder
    write(folder)
    go = f"cd {folder} && " if folder != Path() else ""
    print(f"{folder / SHOWN[0]} is written, with {', '.join(SHOWN[1:])}. Now: {go}target-meltano install && target-meltano run")
    return 0


def write(folder: Path) -> None:
    """Write all files of the template into *folder*.

    Raises:
        ProjectError: one of them is there already.
        RunError: one of them cannot be written. Nothing is written then.
    """
    sources = [path for path in sorted(TEMPLATE.rglob("*")) if path.is_file() and "__pycache__" not in path.parts]
    targets = {source: folder / _place(source.relative_to(TEMPLATE)) for source in sources}
    there = [str(target) for target in targets.values() if target.exists()]
    if there:
        raise ProjectError(f"{', '.join(there)}: there already; nothing is written. Give another folder")
    files = {target: source.read_bytes() for source, target in targets.items()}
    try:
        writing.write_all({**files, folder / WORK / SCHEMA.name: SCHEMA.read_bytes()}, [folder / program for program in PROGRAMS])
    except OSError as error:
        raise RunError(f"{error.filename}: {error.strerror}; nothing is written") from None


def _place(path: Path) -> Path:
    return path.with_name(RENAMED.get(path.name, path.name))
