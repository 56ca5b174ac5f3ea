"""Views that depend on columns whose types change: how they are dropped, and made again as they were.

PostgreSQL alters no column that a view reads, so the views are saved, dropped, and made again in the
same transaction; never by CASCADE. Each is made by its owner (SET ROLE): what it may read, and what
others may read of it, stays the same, and none of its code runs with rights that are only ours.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import sqlalchemy as sa

Quote = Callable[[str], str]

KINDS = {"v": "view", "m": "materialized view"}
DEEPEST = 50  # views on views; only views that read each other, which PostgreSQL cannot run, are deeper


@dataclass(frozen=True)
class View:
    """A view as the catalogue has it. *row* has what `_VIEWS` selects; names in statements are quoted."""

    row: Any
    name: str
    columns: Sequence[Any]
    indexes: Sequence[Any]
    grants: Sequence[Any]

    @property
    def kind(self) -> str:
        return KINDS[self.row.relkind]


@dataclass(frozen=True)
class Views:
    """All views that depend on some columns, those before that others read."""

    views: Sequence[View] = ()
    others: Sequence[str] = ()  # what else depends on them, in words
    role: str = ""  # ours
    quote: Quote = field(default=str)
    literal: Quote = field(default=str)

    def obstacles(self) -> list[str]:
        """Return in words what cannot be made again: what depends on views, views whose owners do not let us."""
        found = []
        for view in self.views:
            wanted = list(self._wanted_grants(view))
            if wanted:
                found.append(f"{view.kind} {view.name} (to have it made again, run: {'; '.join(wanted)})")
        return [*found, *self.others]

    def _wanted_grants(self, view: View) -> Iterator[str]:
        owner, schema = self.quote(view.row.owner), self.quote(view.row.nspname)
        if not view.row.is_ours and not view.row.may_become_owner:
            yield f"GRANT {owner} TO {self.quote(self.role)}"
        for privilege in view.row.owner_lacks:
            yield f"GRANT {privilege} ON SCHEMA {schema} TO {owner}"

    def drops(self) -> list[str]:
        """Return the statements that drop the views, the last one first."""
        return [
            statement
            for view in reversed(self.views)
            for statement in self._as_owner(view, [f"DROP {view.kind.upper()} {view.name}"])
        ]

    def makes(self) -> list[str]:
        """Return the statements that make them again, with all that belongs to them."""
        return [statement for view in self.views for statement in self._as_owner(view, self._made(view))]

    def _as_owner(self, view: View, statements: Sequence[str]) -> list[str]:
        if view.row.is_ours:
            return list(statements)
        return [f"SET LOCAL ROLE {self.quote(view.row.owner)}", *statements, "RESET ROLE"]

    def _made(self, view: View) -> list[str]:
        return [self._create(view), *self._indexes(view), *self._grants(view), *self._comments(view)]

    def _create(self, view: View) -> str:
        row = view.row
        method = f" USING {self.quote(row.method)}" if row.method else ""
        options = f" WITH ({', '.join(map(self._option, row.options))})" if row.options else ""
        place = f" TABLESPACE {self.quote(row.tablespace)}" if row.tablespace else ""
        data = "" if row.relkind == "v" else " WITH DATA" if row.relispopulated else " WITH NO DATA"
        definition = row.definition.strip().rstrip(";")
        return f"CREATE {view.kind.upper()} {view.name}{method}{options}{place} AS {definition}{data}"

    def _option(self, option: str) -> str:
        name, _, value = option.partition("=")
        return f"{name} = {self.literal(value)}"

    def _indexes(self, view: View) -> Iterator[str]:
        for index in view.indexes:
            name = f"{self.quote(view.row.nspname)}.{self.quote(index.relname)}"
            yield index.definition
            if index.tablespace:
                yield f"ALTER INDEX {name} SET TABLESPACE {self.quote(index.tablespace)}"
            if index.indisclustered:
                yield f"ALTER MATERIALIZED VIEW {view.name} CLUSTER ON {self.quote(index.relname)}"
            if index.comment is not None:
                yield f"COMMENT ON INDEX {name} IS {self.literal(index.comment)}"

    def _grants(self, view: View) -> Iterator[str]:
        """Default privileges, which a new view gets, are taken back first; without any it has its owner's."""
        if view.row.revoke_from:
            yield f"REVOKE ALL ON {view.name} FROM {', '.join(map(self._grantee, view.row.revoke_from))}"
        for grant in view.grants:
            if grant.column is None and not view.row.revoke_from:
                continue
            column = f" ({self.quote(grant.column)})" if grant.column is not None else ""
            privileges = ", ".join(f"{privilege}{column}" for privilege in grant.privileges)
            option = " WITH GRANT OPTION" if grant.is_grantable else ""
            yield f"GRANT {privileges} ON {view.name} TO {self._grantee(grant.grantee)}{option}"

    def _grantee(self, role: str | None) -> str:
        return "PUBLIC" if role is None else self.quote(role)

    def _comments(self, view: View) -> Iterator[str]:
        if view.row.comment is not None:
            yield f"COMMENT ON {view.kind.upper()} {view.name} IS {self.literal(view.row.comment)}"
        for column in view.columns:
            if column.comment is not None:
                yield f"COMMENT ON COLUMN {view.name}.{self.quote(column.attname)} IS {self.literal(column.comment)}"
            if column.target >= 0:
                name = self.quote(column.attname)
                yield f"ALTER MATERIALIZED VIEW {view.name} ALTER COLUMN {name} SET STATISTICS {column.target}"


def find(connection: sa.Connection, table: str, columns: Sequence[str], quote: Quote, literal: Quote) -> Views:
    """Return the views that depend on *columns* of *table*, its full name in quotes.

    Their definitions name what the session's search_path does not find, so that is to be empty.
    """
    depths = {row.oid: row.depth for row in connection.exec_driver_sql(_DEPENDENT, (table, list(columns), DEEPEST))}
    if not depths:
        return Views()
    oids = list(depths)
    version = connection.exec_driver_sql("SELECT pg_catalog.current_setting('server_version_num')::int").scalar_one()
    may = "SET" if version >= 160000 else "MEMBER"
    views = []
    for row in connection.exec_driver_sql(_VIEWS, (may, oids)).all():
        name = f"{quote(row.nspname)}.{quote(row.relname)}"
        below = [connection.exec_driver_sql(query, (row.oid,)).all() for query in (_COLUMNS, _INDEXES, _GRANTS)]
        views.append(View(row, name, *below))
    views.sort(key=lambda view: (depths[view.row.oid], view.name))
    others = [text for (text,) in connection.exec_driver_sql(_OTHERS, (oids,))]
    role = connection.exec_driver_sql("SELECT current_user").scalar_one()
    return Views(views, others, role, quote, literal)


def types(connection: sa.Connection, table: str, columns: Sequence[str]) -> dict[str, str]:
    """Return the types of the columns of all views that depend on *columns*, by names in words."""
    found = connection.exec_driver_sql(_TYPES.format(dependent=_DEPENDENT), (table, list(columns), DEEPEST))
    return {row.name: row.type for row in found}


# Which views read the columns, or read views that do, and how many are in between.
_DEPENDENT = """
WITH RECURSIVE dependent (oid, depth) AS (
  SELECT r.ev_class, 1
  FROM pg_catalog.pg_depend d
  JOIN pg_catalog.pg_attribute a ON a.attrelid = d.refobjid AND a.attnum = d.refobjsubid
  JOIN pg_catalog.pg_rewrite r ON r.oid = d.objid AND r.rulename = '_RETURN'
  WHERE d.classid = 'pg_catalog.pg_rewrite'::pg_catalog.regclass
    AND d.refclassid = 'pg_catalog.pg_class'::pg_catalog.regclass
    AND d.refobjid = %s::pg_catalog.regclass AND a.attname = ANY (%s::text[])
  UNION
  SELECT r.ev_class, v.depth + 1
  FROM dependent v
  JOIN pg_catalog.pg_depend d ON d.refobjid = v.oid
    AND d.classid = 'pg_catalog.pg_rewrite'::pg_catalog.regclass
    AND d.refclassid = 'pg_catalog.pg_class'::pg_catalog.regclass
  JOIN pg_catalog.pg_rewrite r ON r.oid = d.objid AND r.rulename = '_RETURN' AND r.ev_class <> v.oid
  WHERE v.depth < %s
)
SELECT oid, max(depth) AS depth FROM dependent GROUP BY oid
"""

_TYPES = """
SELECT pg_catalog.pg_describe_object('pg_catalog.pg_class'::pg_catalog.regclass, a.attrelid, a.attnum) AS name,
  pg_catalog.format_type(a.atttypid, a.atttypmod) AS type
FROM ({dependent}) v JOIN pg_catalog.pg_attribute a ON a.attrelid = v.oid AND a.attnum > 0
ORDER BY a.attrelid::pg_catalog.regclass::text, a.attnum
"""

_VIEWS = """
SELECT c.oid, c.relkind::text, n.nspname::text, c.relname::text, o.rolname::text AS owner,
  c.relispopulated, pg_catalog.pg_get_viewdef(c.oid) AS definition,
  COALESCE(c.reloptions, '{}') || ARRAY(SELECT 'toast.' || x FROM pg_catalog.unnest(t.reloptions) x) AS options,
  m.amname::text AS method, s.spcname::text AS tablespace,
  pg_catalog.obj_description(c.oid, 'pg_class') AS comment,
  o.rolname = current_user AS is_ours, pg_catalog.pg_has_role(o.oid, %s) AS may_become_owner,
  ARRAY(SELECT p FROM pg_catalog.unnest(ARRAY['USAGE', 'CREATE']) p
    WHERE NOT pg_catalog.has_schema_privilege(o.oid, n.oid, p)) AS owner_lacks,
  ARRAY(
    SELECT g.rolname::text
    FROM pg_catalog.pg_default_acl f CROSS JOIN pg_catalog.aclexplode(f.defaclacl) x
    LEFT JOIN pg_catalog.pg_roles g ON g.oid = x.grantee
    WHERE f.defaclrole = c.relowner AND f.defaclobjtype = 'r' AND f.defaclnamespace IN (0, n.oid)
    UNION SELECT o.rolname::text WHERE c.relacl IS NOT NULL ORDER BY 1
  ) AS revoke_from
FROM pg_catalog.pg_class c
JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
JOIN pg_catalog.pg_roles o ON o.oid = c.relowner
LEFT JOIN pg_catalog.pg_class t ON t.oid = c.reltoastrelid
LEFT JOIN pg_catalog.pg_am m ON m.oid = c.relam
LEFT JOIN pg_catalog.pg_tablespace s ON s.oid = c.reltablespace
WHERE c.oid = ANY (%s::oid[])
"""

_COLUMNS = """
SELECT attname::text, pg_catalog.col_description(attrelid, attnum) AS comment, COALESCE(attstattarget, -1) AS target
FROM pg_catalog.pg_attribute WHERE attrelid = %s AND attnum > 0 ORDER BY attnum
"""

_INDEXES = """
SELECT c.relname::text, pg_catalog.pg_get_indexdef(c.oid) AS definition, i.indisclustered,
  s.spcname::text AS tablespace, pg_catalog.obj_description(c.oid, 'pg_class') AS comment
FROM pg_catalog.pg_index i
JOIN pg_catalog.pg_class c ON c.oid = i.indexrelid
LEFT JOIN pg_catalog.pg_tablespace s ON s.oid = c.reltablespace
WHERE i.indrelid = %s ORDER BY 1
"""

# Of the whole view first; grantee null is PUBLIC. What others than the owner granted comes from the
# owner now, so that it is the same that each role may do.
_GRANTS = """
SELECT x.attname AS column, g.rolname::text AS grantee, x.is_grantable,
  pg_catalog.array_agg(DISTINCT x.privilege_type ORDER BY x.privilege_type) AS privileges
FROM pg_catalog.pg_class c
CROSS JOIN LATERAL (
  SELECT NULL::text AS attname, e.*
  FROM pg_catalog.aclexplode(COALESCE(c.relacl, pg_catalog.acldefault('r', c.relowner))) e
  UNION ALL
  SELECT a.attname::text, e.*
  FROM pg_catalog.pg_attribute a CROSS JOIN pg_catalog.aclexplode(a.attacl) e WHERE a.attrelid = c.oid
) x
LEFT JOIN pg_catalog.pg_roles g ON g.oid = x.grantee
WHERE c.oid = %s
GROUP BY 1, 2, 3 ORDER BY 1 NULLS FIRST, 2, 3
"""

# What DROP VIEW would refuse over, or drop with the view (triggers, rules, defaults, statistics), or
# cannot be made again (what is temporary, part of an extension, labelled).
_OTHERS = """
WITH view AS (
  SELECT c.oid, c.relpersistence, c.reltype, t.typarray FROM pg_catalog.pg_class c
  JOIN pg_catalog.pg_type t ON t.oid = c.reltype WHERE c.oid = ANY (%s::oid[])
)
SELECT pg_catalog.pg_describe_object(d.classid, d.objid, d.objsubid)
FROM pg_catalog.pg_depend d
JOIN view v ON (d.refclassid = 'pg_catalog.pg_class'::pg_catalog.regclass AND d.refobjid = v.oid)
  OR (d.refclassid = 'pg_catalog.pg_type'::pg_catalog.regclass AND d.refobjid IN (v.reltype, v.typarray))
WHERE d.deptype <> 'i'
  AND NOT EXISTS (SELECT FROM pg_catalog.pg_index i JOIN view ON view.oid = i.indrelid
    WHERE d.classid = 'pg_catalog.pg_class'::pg_catalog.regclass AND i.indexrelid = d.objid)
  AND NOT EXISTS (SELECT FROM pg_catalog.pg_rewrite r JOIN view ON view.oid = r.ev_class
    WHERE d.classid = 'pg_catalog.pg_rewrite'::pg_catalog.regclass AND r.oid = d.objid AND r.rulename = '_RETURN')
UNION
SELECT 'temporary ' || pg_catalog.pg_describe_object('pg_catalog.pg_class'::pg_catalog.regclass, oid, 0)
FROM view WHERE relpersistence = 't'
UNION
SELECT pg_catalog.pg_describe_object(d.refclassid, d.refobjid, 0) || ' with '
  || pg_catalog.pg_describe_object(d.classid, d.objid, 0)
FROM pg_catalog.pg_depend d JOIN view ON view.oid = d.objid
WHERE d.classid = 'pg_catalog.pg_class'::pg_catalog.regclass AND d.deptype = 'e'
UNION
SELECT 'a security label on ' || pg_catalog.pg_describe_object(l.classoid, l.objoid, l.objsubid)
FROM pg_catalog.pg_seclabel l JOIN view ON view.oid = l.objoid
WHERE l.classoid = 'pg_catalog.pg_class'::pg_catalog.regclass
ORDER BY 1
"""
