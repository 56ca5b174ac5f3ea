"""pg_dump into pg_restore: a database into another one on the same server, while others work in the first."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from target_meltano import DatabaseError, SettingsError

from . import binaries

_NAMES = {"dbname": "PGDATABASE", "connect_timeout": "PGCONNECT_TIMEOUT"}  # whose variable is not PG and the name


class DumpError(DatabaseError):
    """One of the programs has failed; *is_of_restore* tells which."""

    def __init__(self, words: str, *, is_of_restore: bool) -> None:
        super().__init__(words)
        self.is_of_restore = is_of_restore


@dataclass(frozen=True)
class Programs:
    """pg_dump and pg_restore in *folder*."""

    folder: Path
    major: int


def find(server: int) -> Programs:
    """Return programs of the *server*'s major version, or else of the next newer one.

    Raises:
        SettingsError: all that are here are older, or there are none.
    """
    found = [one for one in map(_programs, dict.fromkeys(_folders())) if one]
    fit = sorted((one for one in found if one.major >= server), key=lambda one: one.major)
    if fit:
        return fit[0]
    there = f"here is {', '.join(str(one.major) for one in found)}" if found else "none is here"
    raise SettingsError(
        f"review: others are in the database, so that it is copied by pg_dump and pg_restore, which must be of "
        f"PostgreSQL {server} or newer, and {there}; install postgresql-client-{server}, or end the other sessions"
    )


def _folders() -> Iterator[Path]:
    yield from Path("/usr/lib/postgresql").glob("*/bin")
    if program := shutil.which("pg_dump"):
        yield Path(program).parent
    if packed := binaries.wheel():
        yield packed / "pginstall/bin"


def _programs(folder: Path) -> Programs | None:
    if not ((folder / "pg_dump").exists() and (folder / "pg_restore").exists()):
        return None
    told = subprocess.run([folder / "pg_dump", "--version"], capture_output=True, text=True, check=False).stdout
    found = re.search(r"\) (\d+)", told)
    return Programs(folder, int(found[1])) if found else None


def copy(programs: Programs, known: Mapping[str, Any], source: str, name: str, *, with_owners: bool) -> None:
    """Copy all of *source* into the empty database *name*; *known* are libpq's parameters.

    What replicates is left out: a copy must not take part in that.

    Raises:
        DumpError: with the first error that a program told, without its details, which show rows.
    """
    ours = {**os.environ, **variables(known), "LC_ALL": "C"}
    no_replication = ("--no-publications", "--no-subscriptions")
    dump = [str(programs.folder / "pg_dump"), "--format=custom", "--compress=0", *no_replication]
    restore = [str(programs.folder / "pg_restore"), "--exit-on-error", f"--dbname={name}", *([] if with_owners else ["--no-owner"])]
    with tempfile.TemporaryFile() as of_dump, tempfile.TemporaryFile() as of_restore:
        # Passwords go by the environment: others can read arguments.
        sender = subprocess.Popen(dump, env={**ours, "PGDATABASE": source}, stdout=subprocess.PIPE, stderr=of_dump, stdin=subprocess.DEVNULL)
        try:
            receiver = subprocess.Popen(restore, env=ours, stdin=sender.stdout, stdout=subprocess.DEVNULL, stderr=of_restore)
            assert sender.stdout
            sender.stdout.close()
            try:
                codes = receiver.wait(), sender.wait()
            finally:
                _end(receiver)
        finally:
            _end(sender)
        of_dump_alone = _words(of_dump, codes[1]) if codes[1] > 0 else None  # else pg_restore has gone before
        if of_dump_alone and "Broken pipe" not in of_dump_alone:
            raise DumpError(f"pg_dump: {of_dump_alone}", is_of_restore=False)
        if any(codes):
            raise DumpError(f"pg_restore: {_words(of_restore, codes[0])}", is_of_restore=True)


def variables(known: Mapping[str, Any]) -> dict[str, str]:
    """Return libpq's parameters as its environment variables."""
    return {_NAMES.get(name, "PG" + name.replace("_", "").upper()): str(value) for name, value in known.items() if value}


def _end(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is None:
        process.kill()
        process.wait()


def _words(told: Any, code: int) -> str:
    """Return what a program that failed said of its first error."""
    told.seek(0)
    lines: list[str] = told.read().decode("utf-8", "replace").splitlines()
    faults = [line.split("error: ", 1)[1] for line in lines if "error: " in line]
    return (faults or lines or [f"ended with exit status {code}"])[0][:300]
