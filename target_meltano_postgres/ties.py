"""What hangs on a table in PostgreSQL's catalogue: foreign keys onto it, rules, heirs, publications."""

from __future__ import annotations

from collections.abc import Callable

import sqlalchemy as sa

from target_meltano import Link, Table, Ties

ACTIONS = {"c": "CASCADE", "n": "SET NULL", "d": "SET DEFAULT"}


def found(connection: sa.Connection, table: Table, publications: bool, quote: Callable[[str], str]) -> Ties:
    """Return what hangs on *table* and its partitions, with *publications*, if these are wanted: they may list every table."""
    name = f"{quote(table.schema)}.{quote(table.name)}"
    one = connection.exec_driver_sql(_TIES, (name,)).one()
    published = connection.exec_driver_sql(_PUBLICATIONS, (name,)).all() if publications and one.are_publications else ()
    links = connection.exec_driver_sql(_LINKS, (name,)) if one.is_referenced else ()
    return Ties(
        tuple(
            Link(row.name, row.schema, row.relation, tuple(row.columns), tuple(row.referenced), ACTIONS.get(row.action, ""), row.is_visible)
            for row in links
        ),
        tuple(one.rules),
        one.has_heirs,
        one.has_triggers or bool(published),
        tuple(row.name for row in published if row.is_lacking),
        f"ALTER TABLE {name} REPLICA IDENTITY FULL",
    )


_PARTS = """
WITH RECURSIVE parts (oid) AS (
  SELECT %s::pg_catalog.regclass::oid
  UNION ALL
  SELECT i.inhrelid FROM pg_catalog.pg_inherits i JOIN parts p ON p.oid = i.inhparent
  JOIN pg_catalog.pg_class c ON c.oid = i.inhrelid AND c.relispartition
)
"""

_TIES = f"""{_PARTS}
SELECT
  EXISTS (SELECT 1 FROM pg_catalog.pg_constraint f JOIN parts p ON p.oid = f.confrelid WHERE f.contype = 'f') AS is_referenced,
  ARRAY(SELECT pg_catalog.format('the rule %%s of %%s', pg_catalog.quote_literal(r.rulename), p.oid::pg_catalog.regclass)
    FROM pg_catalog.pg_rewrite r JOIN parts p ON p.oid = r.ev_class
    WHERE r.ev_type = '4' AND r.ev_enabled <> 'D' ORDER BY 1) AS rules,
  EXISTS (SELECT 1 FROM pg_catalog.pg_inherits i JOIN pg_catalog.pg_class c ON c.oid = i.inhrelid
    JOIN pg_catalog.pg_class t ON t.oid = i.inhparent
    WHERE i.inhparent = (SELECT oid FROM parts LIMIT 1) AND NOT c.relispartition AND t.relkind = 'r') AS has_heirs,
  EXISTS (SELECT 1 FROM pg_catalog.pg_trigger g JOIN parts p ON p.oid = g.tgrelid WHERE NOT g.tgisinternal) AS has_triggers,
  EXISTS (SELECT 1 FROM pg_catalog.pg_publication) AS are_publications
"""

# By the index that is the replica identity a row is found on the other side; a table without one
# has none, unless it says FULL. Rows are in tables without partitions only.
_PUBLICATIONS = f"""{_PARTS}
SELECT 'the publication ' || pg_catalog.quote_literal(b.pubname) AS name,
  pg_catalog.bool_or((b.pubupdate OR b.pubdelete) AND c.relpersistence = 'p' AND c.relreplident <> 'f' AND NOT EXISTS (
    SELECT 1 FROM pg_catalog.pg_index x WHERE x.indrelid = c.oid
    AND CASE c.relreplident WHEN 'd' THEN x.indisprimary WHEN 'i' THEN x.indisreplident END)) AS is_lacking
FROM pg_catalog.pg_publication b
JOIN pg_catalog.pg_publication_tables s ON s.pubname = b.pubname
JOIN pg_catalog.pg_namespace n ON n.nspname = s.schemaname
JOIN pg_catalog.pg_class o ON o.relnamespace = n.oid AND o.relname = s.tablename
CROSS JOIN parts p
JOIN pg_catalog.pg_class c ON c.oid = p.oid AND c.relkind = 'r'
WHERE o.oid = c.oid OR o.oid IN (SELECT pg_catalog.pg_partition_ancestors(c.oid))
GROUP BY b.pubname
ORDER BY b.pubname
"""

# Each partition has a copy of a foreign key; the one that was declared is enough. What is NOT ENFORCED, from 18 on, does nothing ON DELETE.
_LINKS = f"""{_PARTS}
SELECT f.conname::text AS name, n.nspname::text AS schema, c.relname::text AS relation,
  CASE pg_catalog.to_jsonb(f) ->> 'conenforced' WHEN 'false' THEN '' ELSE f.confdeltype::text END AS action,
  ARRAY(SELECT a.attname::text FROM pg_catalog.unnest(f.conkey) WITH ORDINALITY k (num, place)
    JOIN pg_catalog.pg_attribute a ON a.attrelid = f.conrelid AND a.attnum = k.num ORDER BY k.place) AS columns,
  ARRAY(SELECT a.attname::text FROM pg_catalog.unnest(f.confkey) WITH ORDINALITY k (num, place)
    JOIN pg_catalog.pg_attribute a ON a.attrelid = f.confrelid AND a.attnum = k.num ORDER BY k.place) AS referenced,
  pg_catalog.has_schema_privilege(n.oid, 'USAGE') AND NOT pg_catalog.row_security_active(c.oid)
    AND (SELECT pg_catalog.bool_and(pg_catalog.has_column_privilege(c.oid, num, 'SELECT')) FROM pg_catalog.unnest(f.conkey) k (num))
    AS is_visible
FROM pg_catalog.pg_constraint f
JOIN parts p ON p.oid = f.confrelid
JOIN pg_catalog.pg_class c ON c.oid = f.conrelid
JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
WHERE f.contype = 'f'
AND NOT EXISTS (SELECT 1 FROM pg_catalog.pg_constraint d JOIN parts q ON q.oid = d.confrelid WHERE d.oid = f.conparentid)
ORDER BY c.oid, f.conname
"""
