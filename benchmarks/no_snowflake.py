"""target-meltano-snowflake with nothing behind it: files are written, looked at instead of sent, and gone.

    python -m benchmarks.no_snowflake REPORT < messages

REPORT gets, in JSON, the processor seconds that the second thread spent on rows to Parquet, how many
rows there are, and the sizes of the files in bytes.
"""

from __future__ import annotations

import json
import re
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
from snowflake import connector

from target_meltano import load, make
from target_meltano_snowflake import SnowflakeDialect, SnowflakeSettings
from target_meltano_snowflake.stage import Spool
from target_meltano_snowflake.work import Work

SIZES: list[int] = []  # of the files
ROWS: dict[str, int] = {}  # by folder of the stage
TABLES: dict[str, list[tuple[str, str]]] = {}  # by name: columns with their types
COLUMN = re.compile(r'"((?:[^"]|"")+)" ([A-Z_]+(?:\(\d+(?:,\d+)?\))?)')
SPENT = [0.0]


class Cursor:
    """Says what the adapter asks for, of tables that hold nothing."""

    description: list[tuple[Any, ...]] = []  # noqa: RUF012 - as drivers have it
    rowcount = -1
    lastrowid = None

    def execute(self, sql: str, parameters: Any = None, **_: Any) -> Cursor:
        self._answer([], [])
        if sql.startswith("CREATE TABLE"):
            TABLES[sql.partition("EXISTS ")[2].partition(" (")[0]] = COLUMN.findall(sql.partition(" (")[2])
        elif sql.startswith("DESCRIBE"):
            self._answer(["name", "type"], TABLES[sql.removeprefix("DESCRIBE TABLE ")])
        elif sql.startswith("SHOW"):
            self._answer(["name", "kind", "rows"], [])
        elif sql.startswith("SELECT"):
            self._answer(["one"], [("1" if "CURRENT_TRANSACTION" in sql else None,)])
        elif sql.startswith("PUT"):
            path = Path(sql.split("'")[1].removeprefix("file://"))
            folder = path.name.partition("-")[0]
            SIZES.append(path.stat().st_size)
            ROWS[folder] = ROWS.get(folder, 0) + pq.read_metadata(path).num_rows
            self._answer(["status"], [("UPLOADED",)])
        elif sql.startswith("COPY"):
            self._answer(["rows_loaded"], [(rows,) for folder, rows in ROWS.items() if f"/{folder}/" in sql])
        return self

    def _answer(self, names: list[str], rows: list[Any]) -> None:
        self.description = [(name, 2, None, None, None, None, True) for name in names]
        self._rows = rows

    def fetchall(self) -> list[Any]:
        rows, self._rows = self._rows, []
        return rows

    def fetchone(self) -> Any:
        return self._rows.pop(0) if self._rows else None

    def close(self) -> None:
        pass


class Connection:
    role = "LOADER"
    database = "BENCH"

    def cursor(self) -> Cursor:
        return Cursor()

    def close(self) -> None:
        pass


def timed(function: Callable[..., Any]) -> Callable[..., Any]:
    """Return *function* with the processor time of its thread added to SPENT."""

    def run(*arguments: Any) -> Any:
        started = time.thread_time()
        try:
            return function(*arguments)
        finally:
            SPENT[0] += time.thread_time() - started

    return run


def main() -> None:
    vars(connector)["connect"] = lambda **_: Connection()
    SnowflakeDialect.write = timed(SnowflakeDialect.write)  # type: ignore[method-assign]
    Work.release_mark = timed(Work.release_mark)  # type: ignore[method-assign]
    Spool.complete = timed(Spool.complete)  # type: ignore[method-assign]
    settings = make(SnowflakeSettings, schema="bench", database="bench", account="x", password="x")
    load(SnowflakeDialect(settings), sys.stdin.buffer)
    Path(sys.argv[1]).write_text(json.dumps({"seconds": SPENT[0], "rows": sum(ROWS.values()), "sizes": SIZES}), "utf-8")


if __name__ == "__main__":
    main()
