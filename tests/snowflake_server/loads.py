"""What COPY remembers of the files that a table has loaded, and does not load again unless FORCE says so.

The engine remembers within the transaction. Whether Snowflake forgets with a ROLLBACK its documentation does not
say (user-guide/data-load-considerations-load, sql-reference/sql/copy-into-table), so here it does not: the worst
case. TRUNCATE makes it forget (sql-reference/sql/truncate-table).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import duckdb

if TYPE_CHECKING:
    from strict import Cursor

HISTORY = "_fs_information_schema._fs_load_history"


def noted(cursor: Cursor) -> list[Any]:
    """Return what the open transaction knows of; nothing where it has failed."""
    try:
        return list(cursor._duck_conn.execute(f"SELECT * FROM {HISTORY}").fetchall())
    except duckdb.Error:
        return []


def keep(cursor: Cursor, before: list[Any]) -> None:
    """Remember, after a ROLLBACK, what was known *before* it."""
    known = set(noted(cursor)) if before else set()
    for row in before:
        if row not in known:
            cursor._duck_conn.execute(f"INSERT INTO {HISTORY} VALUES ({', '.join('?' * len(row))})", row)


def forget(cursor: Cursor, schema: str, table: str) -> None:
    cursor._duck_conn.execute(f"DELETE FROM {HISTORY} WHERE schema_name = ? AND table_name = ?", [schema, table])
