"""Load demo.singer with the installed target into a PostgreSQL of its own, and show the tables.

All that it writes is in one folder below /tmp, which is gone afterwards, as is the server.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg2
from psycopg2 import sql
from rich.console import Console
from rich.table import Table
from rich.text import Text

from target_meltano_postgres import embedded

INPUT = Path(__file__).with_name("demo.singer")
TARGET = Path(sys.executable).with_name("target-meltano-postgres")
SCHEMA = "raw"
WIDTH = 100
ROWS = 2  # of each table

COLUMNS = """
    SELECT a.attname, format_type(a.atttypid, a.atttypmod), coalesce(a.attnum = ANY (i.indkey), false)
    FROM pg_attribute a LEFT JOIN pg_index i ON i.indrelid = a.attrelid AND i.indisprimary
    WHERE a.attrelid = %s::regclass AND a.attnum > 0 AND NOT a.attisdropped
    ORDER BY a.attnum
"""


def main() -> None:
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda number, _: sys.exit(128 + number))  # clean up as on Ctrl-C
    console = Console(width=WIDTH, highlight=False)
    with throw_away_home() as home:
        console.rule(f"A PostgreSQL is made in {home}")
        with embedded.running() as server:
            console.rule(f"{TARGET.name} < examples/{INPUT.name}")
            started = time.monotonic()
            states = load()
            console.print(f"exit 0 after {time.monotonic() - started:.1f} s")
            connection = psycopg2.connect(server.url, options="-c timezone=UTC")
            show_tables(console, connection)
            connection.close()
            show_states(console, states)
        console.rule("The server is stopped, and all its files are removed")


@contextmanager
def throw_away_home() -> Iterator[Path]:
    """Let the target's own server live in a new folder, whatever databases the user works with."""
    for name in [name for name in os.environ if name.startswith(("PG", "TARGET_MELTANO_"))]:
        del os.environ[name]
    folder = tempfile.mkdtemp(prefix="target-meltano-demo-", dir="/tmp")
    os.chmod(folder, 0o755)  # root's server runs as another user, who has to enter
    home = Path(folder, "home")
    os.environ["TARGET_MELTANO_HOME"] = str(home)
    try:
        yield home
    finally:
        shutil.rmtree(folder)


def load() -> list[str]:
    """Run the target on the tap's output and return the STATEs that it wrote; its log is shown."""
    with INPUT.open("rb") as tap:
        done = subprocess.run([TARGET], stdin=tap, stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode:
        sys.exit(f"the target ended with exit code {done.returncode}")
    return done.stdout.splitlines()


def show_tables(console: Console, connection: Any) -> None:
    with connection.cursor() as cursor:
        cursor.execute("SELECT tablename FROM pg_tables WHERE schemaname = %s ORDER BY 1", [SCHEMA])
        for (name,) in cursor.fetchall():
            show_table(console, cursor, name)


def show_table(console: Console, cursor: Any, name: str) -> None:
    """Print a table on its side: a line for each column, with its values in the last rows."""
    table = sql.Identifier(SCHEMA, name)
    cursor.execute(COLUMNS, [table.as_string(cursor)])
    columns = cursor.fetchall()
    keys = [column for column, _, is_key in columns if is_key] or columns[0][:1]
    cursor.execute(sql.SQL("SELECT count(*) FROM {}").format(table))
    (count,) = cursor.fetchone()
    select = sql.SQL("SELECT {} FROM {} ORDER BY {} LIMIT {}").format(
        sql.SQL(", ").join(sql.SQL("{}::text").format(sql.Identifier(column)) for column, _, _ in columns),
        table,
        sql.SQL(", ").join(sql.SQL("{} DESC").format(sql.Identifier(name, key)) for key in keys),
        sql.Literal(ROWS),
    )
    cursor.execute(select)
    rows = cursor.fetchall()
    shown = Table(box=None, padding=(0, 1, 0, 0), header_style="dim")
    for heading, width in (("column", 27), ("type", 12), ("last row", 30), ("the one before", 30)):
        shown.add_column(heading, width=width, no_wrap=True)
    for number, (column, kind, is_key) in enumerate(columns):
        label = f"{column} [dim](key)[/dim]" if is_key else column
        shown.add_row(label, short(kind), *(cell(row[number]) for row in rows))
    console.print(f"\n[bold]{SCHEMA}.{name}[/bold]: {count} rows\n")
    console.print(shown)


def short(kind: str) -> str:
    return "timestamptz" if kind == "timestamp with time zone" else kind


def cell(value: str | None) -> Text:
    return Text("null", style="dim") if value is None else Text(value.replace("\n", "⏎"))


def show_states(console: Console, states: list[str]) -> None:
    console.print(f"\n{len(states)} STATEs on stdout, each after the COMMIT of all rows before it. The last one:", style="bold")
    console.print(Text(states[-1]))


if __name__ == "__main__":
    main()
