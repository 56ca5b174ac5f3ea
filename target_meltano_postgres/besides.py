"""The table beside another one, for the new rows of an overwrite: it refuses the rows that the other would refuse.

So a row that a constraint refuses is found when it is written, and its line is known. What is left
for the swap: triggers, foreign keys onto tables whose rows may come in the same run, and what the rows
of others hold against ours.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import sqlalchemy as sa

from target_meltano import Dialect, Table, Ties

from . import begin, ties
from .session import PostgresSettings

MOST_PARTITIONS = 200  # each row is compared with the bounds of all of them
Quote = Callable[[str], str]


class Neighbours(Dialect[PostgresSettings]):
    """What the dialect says of tables beside those that it loads."""

    insert_clause = "OVERRIDING SYSTEM VALUE"

    def create_beside(
        self, connection: sa.Connection, table: Table, beside: Table, mark: str, others: Sequence[Table] = ()
    ) -> list[str]:
        made = statements(connection, table, beside, others, self.create_table(beside), self.quote)
        return [*made, f"COMMENT ON TABLE {self.full_name(beside)} IS {self.literal(mark)}"]

    def marked(self, connection: sa.Connection, schema: str, start: str) -> Mapping[str, str]:
        return {row.name: row.comment for row in connection.exec_driver_sql(_MARKED, (schema, start))}

    def released(self, connection: sa.Connection, table: Table, besides: Sequence[Table]) -> list[str]:
        rows = connection.exec_driver_sql(_REFERENCES, (self.full_name(table), table.schema, [one.name for one in besides]))
        return [f"ALTER TABLE {self.quote(table.schema)}.{self.quote(row.relation)} DROP CONSTRAINT {self.quote(row.name)}" for row in rows]

    def is_used(self, connection: sa.Connection, table: Table) -> bool:
        return connection.exec_driver_sql(_USERS, (table.schema, table.name)).first() is not None

    def lock_writers(self, connection: sa.Connection, tables: Sequence[Table], besides: Sequence[Table]) -> None:
        """In the order of names, so that two who lock several do not wait for each other."""
        names = [f"{'ONLY ' * self.ties(connection, table).has_heirs}{self.full_name(table)}" for table in tables]
        connection.exec_driver_sql(f"LOCK TABLE {', '.join(sorted(names))} IN SHARE ROW EXCLUSIVE MODE")
        connection.exec_driver_sql(f"LOCK TABLE {', '.join(map(self.full_name, besides))} IN ROW EXCLUSIVE MODE")

    def ties(self, connection: sa.Connection, table: Table, *, publications: bool = False) -> Ties:
        return ties.found(connection, table, publications, self.quote)


def statements(
    connection: sa.Connection, table: Table, beside: Table, others: Sequence[Table], plain: str, quote: Quote
) -> Iterator[str]:
    """Yield what makes *beside*, whose rows may refer to *others*; *plain* makes it without the constraints of *table*.

    A trigger that runs before a row is written may change it, so that it fits: then only the key counts.
    """
    name, old = _name(beside, quote), _name(table, quote)
    with begin.full_names(connection):
        one = connection.exec_driver_sql(_TABLE, (old,)).one()
        constraints = [] if one.has_triggers else list(_constraints(connection, table, old, others))
    if one.has_triggers:
        yield plain
    else:
        like = "INCLUDING DEFAULTS INCLUDING CONSTRAINTS INCLUDING GENERATED INCLUDING IDENTITY"
        yield f"CREATE TABLE {name} (LIKE {old} {like})"
        if beside.keys:
            yield f"ALTER TABLE {name} ADD PRIMARY KEY ({', '.join(map(quote, beside.keys))})"
        for kind, text in constraints:
            yield f"CREATE UNIQUE INDEX ON {name}{text}" if kind == "index" else f"ALTER TABLE {name} ADD {text}"


def _constraints(connection: sa.Connection, table: Table, old: str, others: Sequence[Table]) -> Iterator[tuple[str, str]]:
    come = [other.name for other in others]
    rows: Sequence[Any] = connection.exec_driver_sql(_CONSTRAINTS, (old, come, table.stamp or "")).all()
    yield from ((row.kind, row.text) for row in rows)
    bounds = list(connection.exec_driver_sql(_BOUNDS, (old,)).scalars())
    if bounds and None not in bounds and len(bounds) <= MOST_PARTITIONS:
        yield "check", f"CONSTRAINT partitions CHECK ({' OR '.join(f'({bound})' for bound in bounds)})"


def _name(table: Table, quote: Quote) -> str:
    return f"{quote(table.schema)}.{quote(table.name)}"


# Row triggers that run BEFORE an INSERT or an UPDATE: bits 0, 1, and 2 or 4.
_TABLE = """
SELECT EXISTS (
  SELECT 1 FROM pg_catalog.pg_trigger t WHERE t.tgrelid = %s::pg_catalog.regclass AND NOT t.tgisinternal
  AND t.tgenabled IN ('O', 'A') AND (t.tgtype & 1) > 0 AND (t.tgtype & 2) > 0 AND (t.tgtype & 20) > 0
) AS has_triggers
"""

# The primary key is made from its columns: it may be one that waits for COMMIT, which no upsert takes.
# A foreign key waits for the swap where its rows may come in the same run: onto the table itself, onto one
# whose rows do, or one of the schema that a run has loaded before, as its time of receipt shows.
_CONSTRAINTS = """
WITH the (oid) AS (SELECT %s::pg_catalog.regclass::oid)
SELECT 'constraint' AS kind, pg_catalog.pg_get_constraintdef(k.oid) AS text
FROM pg_catalog.pg_constraint k
JOIN pg_catalog.pg_class c ON c.oid = k.conrelid
LEFT JOIN pg_catalog.pg_class r ON r.oid = k.confrelid
WHERE c.oid = (SELECT the.oid FROM the) AND (k.contype IN ('u', 'x') OR k.contype = 'f' AND r.oid <> c.oid
  AND (r.relnamespace <> c.relnamespace OR r.relname <> ALL (%s::text[]) AND NOT EXISTS (
    SELECT 1 FROM pg_catalog.pg_attribute a WHERE a.attrelid = r.oid AND a.attnum > 0 AND a.attname = %s))
  AND pg_catalog.has_table_privilege(r.oid, 'REFERENCES') AND pg_catalog.has_schema_privilege(r.relnamespace, 'USAGE'))
UNION ALL
SELECT 'index', pg_catalog.substr(pg_catalog.pg_get_indexdef(i.oid), 1 + pg_catalog.length(pg_catalog.format(
  'CREATE UNIQUE INDEX %%I ON %%s%%I.%%I', i.relname, CASE i.relkind WHEN 'I' THEN 'ONLY ' ELSE '' END, n.nspname, c.relname)))
FROM pg_catalog.pg_index x
JOIN pg_catalog.pg_class i ON i.oid = x.indexrelid
JOIN pg_catalog.pg_class c ON c.oid = x.indrelid
JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
WHERE c.oid = (SELECT the.oid FROM the) AND x.indisunique AND x.indisvalid
AND NOT EXISTS (SELECT 1 FROM pg_catalog.pg_constraint k WHERE k.conindid = i.oid AND k.contype IN ('p', 'u', 'x'))
ORDER BY 1, 2
"""

_REFERENCES = """
SELECT c.relname::text AS relation, f.conname::text AS name
FROM pg_catalog.pg_constraint f
JOIN pg_catalog.pg_class c ON c.oid = f.conrelid
JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
WHERE f.contype = 'f' AND f.confrelid = %s::pg_catalog.regclass AND n.nspname = %s AND c.relname = ANY (%s)
"""

# A row has to be in one of the partitions; the table may be one itself.
_BOUNDS = """
WITH RECURSIVE parts (oid, kind) AS (
  SELECT c.oid, c.relkind FROM pg_catalog.pg_class c WHERE c.oid = %s::pg_catalog.regclass
  UNION ALL
  SELECT c.oid, c.relkind FROM parts p JOIN pg_catalog.pg_inherits i ON i.inhparent = p.oid AND p.kind = 'p'
  JOIN pg_catalog.pg_class c ON c.oid = i.inhrelid
)
SELECT COALESCE(pg_catalog.pg_get_partition_constraintdef(p.oid), CASE WHEN NOT c.relispartition THEN NULL ELSE 'true' END)
FROM parts p JOIN pg_catalog.pg_class c ON c.oid = p.oid WHERE p.kind <> 'p'
"""

_MARKED = """
SELECT c.relname::text AS name, d.description AS comment
FROM pg_catalog.pg_class c
JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
JOIN pg_catalog.pg_description d ON d.objoid = c.oid AND d.classoid = 'pg_catalog.pg_class'::pg_catalog.regclass AND d.objsubid = 0
WHERE n.nspname = %s AND c.relkind = 'r' AND pg_catalog.starts_with(d.description, %s)
"""

_USERS = """
SELECT 1 FROM pg_catalog.pg_locks l
JOIN pg_catalog.pg_class c ON c.oid = l.relation
JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
WHERE n.nspname = %s AND c.relname = %s AND l.locktype = 'relation' AND l.pid <> pg_catalog.pg_backend_pid()
AND l.database = (SELECT oid FROM pg_catalog.pg_database WHERE datname = pg_catalog.current_database())
AND l.mode IN ('RowExclusiveLock', 'ShareRowExclusiveLock', 'AccessExclusiveLock')
"""
