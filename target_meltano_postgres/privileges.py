"""What our role may not do and needs, as the statements that a superuser or the owner has to run.

It is looked up before anything is done, all of it in one query: the first load of an empty table needs
less than the second one, and nobody wants to hear of one right after the other.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import sqlalchemy as sa

from target_meltano import Need

Quote = Callable[[str], str]


def lacking(connection: sa.Connection, needs: Sequence[Need], quote: Quote) -> list[str]:
    """Return the statements that let our role do what *needs* say, each once, in their order."""
    wanted = [
        {
            "schema": need.table.schema,
            "name": need.table.name,
            "rows": need.rows,
            "columns": [column.name for column in need.table.columns],
        }
        for need in needs
    ]
    grants: dict[str, list[str]] = {}  # what is lacking, by the object
    changes: list[str] = []
    role = ""
    for need, found in zip(needs, connection.exec_driver_sql(_RIGHTS, (json.dumps(wanted),)).all(), strict=True):
        role = quote(found.role)
        for thing, privilege in _lacking(need, found, quote):
            if privilege not in grants.setdefault(thing, []):
                grants[thing].append(privilege)
        if found.is_there and not found.is_owner:
            changes += need.changes
        if found.is_filtered and need.all_rows:
            changes.append(f"ALTER ROLE {role} BYPASSRLS")
    given = [f"GRANT {', '.join(privileges)} ON {thing} TO {role}" for thing, privileges in grants.items()]
    return [*given, *dict.fromkeys(changes)]


def _lacking(need: Need, found: sa.Row[Any], quote: Quote) -> Iterator[tuple[str, str]]:
    """Yield pairs of an object and a privilege on it."""
    database, schema = f"DATABASE {quote(found.database)}", quote(need.table.schema)
    if not found.has_schema and not found.may_create_schema:
        yield database, "CREATE"
    if found.has_schema and not found.may_use:
        yield f"SCHEMA {schema}", "USAGE"
    if found.has_schema and not found.may_create and (need.creates or not found.is_there):
        yield f"SCHEMA {schema}", "CREATE"
    for privilege in found.lacking:
        yield f"TABLE {schema}.{quote(need.table.name)}", privilege
    if (need.temporary or found.is_filtered) and not found.may_temporary:
        yield database, "TEMPORARY"


# A right on all columns that are there is as good as one on the table.
_RIGHTS = """
SELECT CURRENT_USER::text AS role, pg_catalog.current_database()::text AS database,
  n.oid IS NOT NULL AS has_schema, c.oid IS NOT NULL AS is_there,
  COALESCE(pg_catalog.has_schema_privilege(n.oid, 'USAGE'), false) AS may_use,
  COALESCE(pg_catalog.has_schema_privilege(n.oid, 'CREATE'), false) AS may_create,
  pg_catalog.has_database_privilege(pg_catalog.current_database(), 'CREATE') AS may_create_schema,
  pg_catalog.has_database_privilege(pg_catalog.current_database(), 'TEMPORARY') AS may_temporary,
  COALESCE(pg_catalog.row_security_active(c.oid), false) AS is_filtered,
  COALESCE(pg_catalog.pg_has_role(c.relowner, 'USAGE'), false) AS is_owner,
  ARRAY(
    SELECT p FROM pg_catalog.unnest(w.rows) p
    WHERE c.oid IS NOT NULL AND NOT pg_catalog.has_table_privilege(c.oid, p)
      AND (p = 'DELETE' OR EXISTS (
        SELECT FROM pg_catalog.pg_attribute a
        WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped AND a.attname = ANY (w.columns)
          AND NOT pg_catalog.has_column_privilege(c.oid, a.attnum, p)))
  ) AS lacking
FROM ROWS FROM (
  pg_catalog.json_to_recordset(%s::json) AS (schema text, name text, rows text[], columns text[])
) WITH ORDINALITY w (schema, name, rows, columns, at)
LEFT JOIN pg_catalog.pg_namespace n ON n.nspname = w.schema
LEFT JOIN pg_catalog.pg_class c ON c.relnamespace = n.oid AND c.relname = w.name AND c.relkind IN ('r', 'p')
ORDER BY w.at
"""
