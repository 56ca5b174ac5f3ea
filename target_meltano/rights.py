"""What a run needs to be allowed, found out before it does anything."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa

from .dialect import Dialect
from .diff import Change, Need, Table
from .errors import DatabaseError


def refuse_lacking(
    dialect: Dialect[Any], connection: sa.Connection, table: Table, changes: Sequence[Change], ours: Sequence[Table]
) -> None:
    """Check that our role may change and load *table*, and what *ours*, the program's own tables, need.

    Raises:
        DatabaseError: with the statements that give it what it lacks, all at once.
    """
    statements = tuple(text for change in changes for text in dialect.statements(change))
    needs = [_need(dialect, table, statements), *(_need(dialect, one) for one in ours)]
    lacking = dialect.lacking_rights(connection, needs)
    if lacking:
        raise DatabaseError(f"table {table.full_name}: our role lacks rights; a superuser, or the owner, is to run: {'; '.join(lacking)}")


def _need(dialect: Dialect[Any], table: Table, changes: tuple[str, ...] = ()) -> Need:
    settings = dialect.settings
    is_ours = not table.source
    overwrites = settings.load_method == "overwrite" and not is_ours
    is_versioned = dialect.fold("__version") in {column.name for column in table.columns}
    is_hard = is_versioned and settings.activate_version == "hard"
    wanted = {
        "SELECT": True,
        "INSERT": True,
        "UPDATE": bool(table.keys) or is_versioned,
        "DELETE": bool(table.deletes) or is_hard or overwrites,
    }
    rows = tuple(name for name, is_wanted in wanted.items() if is_wanted)
    looks = is_versioned or overwrites or bool(table.deletes) or is_ours
    return Need(table, rows, looks, bool(table.keys) and not is_ours, overwrites, changes)
