"""What the settings `grants` and `indexes` want of a table: who may read it, and by what it is found."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import sqlalchemy as sa

from target_meltano import SettingsError, Table


def lacking(connection: sa.Connection, table: Table, quote: Callable[[str], str]) -> Iterator[str]:
    """Yield the statements for what *table*, which need not be there yet, lacks.

    A role that may read the table already, through another one too, gets nothing more.

    Raises:
        SettingsError: a role does not exist.
    """
    name = f"{quote(table.schema)}.{quote(table.name)}"
    rows = connection.exec_driver_sql(_READERS, (list(table.readers), table.schema, table.name)) if table.readers else ()
    for role, is_known, may_use, may_select in rows:
        if not is_known:
            raise SettingsError(f"settings: grants: the database has no role {role!r}")
        if not may_use:
            yield f"GRANT USAGE ON SCHEMA {quote(table.schema)} TO {quote(role)}"
        if not may_select:
            yield f"GRANT SELECT ON {name} TO {quote(role)}"
    if table.indexes:
        found = set(connection.exec_driver_sql(_INDEXES, (table.schema, table.name)).scalars())
        for index in table.indexes:
            if index.name not in found:
                columns = ", ".join(map(quote, index.columns))
                yield f"CREATE INDEX IF NOT EXISTS {quote(index.name)} ON {name} ({columns})"


_READERS = """
SELECT r.name, g.oid IS NOT NULL,
  COALESCE(pg_catalog.has_schema_privilege(g.oid, n.oid, 'USAGE'), false),
  COALESCE(pg_catalog.has_table_privilege(g.oid, c.oid, 'SELECT'), false)
FROM pg_catalog.unnest(%s::text[]) r (name)
LEFT JOIN pg_catalog.pg_roles g ON g.rolname = r.name
LEFT JOIN pg_catalog.pg_namespace n ON n.nspname = %s
LEFT JOIN pg_catalog.pg_class c ON c.relnamespace = n.oid AND c.relname = %s
"""

_INDEXES = """
SELECT i.relname::text
FROM pg_catalog.pg_index x
JOIN pg_catalog.pg_class i ON i.oid = x.indexrelid
JOIN pg_catalog.pg_class c ON c.oid = x.indrelid
JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
WHERE n.nspname = %s AND c.relname = %s
"""
