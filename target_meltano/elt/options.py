"""The options that commands share."""

from __future__ import annotations

import argparse
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

from .project import MOST_JOBS, Project, read


def parser(command: str, does: str, *, taps: bool = False) -> argparse.ArgumentParser:
    """Return a parser with the options that every command on a project has."""
    made = argparse.ArgumentParser(prog=f"target-meltano {command}", description=does, allow_abbrev=False)
    made.add_argument("--project", type=Path, default=Path(), metavar="DIR", help="folder of elt.yml; default: this one")
    made.add_argument("--environment", metavar="NAME", help="part of each pipeline's state_id; default: what elt.yml says")
    if taps:
        made.add_argument("taps", nargs="*", metavar="TAP", help="default: all")
    return made


def add_loading(made: argparse.ArgumentParser) -> None:
    """Add the options of commands that load."""
    made.add_argument("--jobs", type=_jobs, metavar="N", help="taps side by side; default: what elt.yml says, or 4")
    made.add_argument("--full-refresh", action="store_true", help="load everything anew, and replace what is there when it is whole")


def add_summary(made: argparse.ArgumentParser) -> None:
    made.add_argument("--summary", metavar="FILE", help="write how each step ended as JSON")


def project(options: argparse.Namespace, *, only: Collection[str] | None = None, review: Mapping[str, str] | None = None) -> Project:
    """Return the project that the options name, with the taps that they name; the rest is as `read` takes it.

    Raises:
        ProjectError: with a line per fault.
    """
    taps: Sequence[str] = getattr(options, "taps", ())
    return read(options.project, taps or None, options.environment, only=only, review=review)


def _jobs(text: str) -> int:
    number = int(text) if text.isdecimal() and len(text) <= len(str(MOST_JOBS)) else 0
    if not 1 <= number <= MOST_JOBS:
        raise argparse.ArgumentTypeError(f"wanted a number from 1 to {MOST_JOBS}, found {text[:20]!r}")
    return number
