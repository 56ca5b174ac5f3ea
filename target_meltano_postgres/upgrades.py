"""How a column of PostgreSQL becomes one of another kind, each of its values staying what it is."""

from __future__ import annotations

import re

from target_meltano import DOUBLE, JSON, NUMBER, STRING, TIMESTAMP, FoundColumn, Kind

# As the core writes times as text (`times.py`); 0 is the column.
_TEXTS = {
    "timestamp": """pg_catalog.replace(pg_catalog.to_char({0} AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'), '.000000Z', 'Z')""",
    "time": "pg_catalog.replace(pg_catalog.to_char({0}, 'HH24:MI:SS.US'), '.000000', '')",
    "date": "pg_catalog.to_char({0}, 'YYYY-MM-DD')",
}
_CASTS = {
    "integer": "bigint",
    "number": "numeric",
    "double": "double precision",
    "timestamp": "timestamptz",
    "time": "time",
}


def conversion(column: str, found: Kind | None, wanted: Kind) -> str:
    """Return the expression for the new values of *column*, a quoted name, in a session in UTC."""
    found_name = found.name if found else ""
    if found == wanted and wanted == STRING:
        return f"{column}::text"
    if wanted in (STRING, JSON):
        text = _TEXTS.get(found_name, "{0}::text").format(_zoned(column) if found == TIMESTAMP else column)
        if wanted == STRING:
            return text
        return f"pg_catalog.to_jsonb({text if found_name in _TEXTS else column})"
    return f"{column}::{_CASTS[wanted.name]}"


def _zoned(column: str) -> str:
    """A column without time zone is in UTC, and so is the session."""
    return f"{column}::timestamptz"


def unchanged(column: str, found: Kind | None, wanted: Kind) -> str | None:
    """Return a condition that holds for the values that `conversion` keeps, None if for all."""
    name = found.name if found else ""
    if name in ("timestamp", "date") and wanted in (STRING, JSON):
        return f"{column} >= '0001-01-01' AND {column} < '10000-01-01'"  # the years that RFC 3339 has
    if name == "date" and wanted == TIMESTAMP:
        return f"{column} <= '294276-12-31' OR {column} = 'infinity'"
    if name in ("number", "decimal", "double") and wanted == JSON:
        return f"{column}::text NOT IN ('NaN', 'Infinity', '-Infinity')"  # JSON has no such numbers
    if name in ("integer", "number", "decimal") and wanted == DOUBLE:
        return (
            f"CASE WHEN {column} = 0 THEN true WHEN pg_catalog.abs({column}) BETWEEN 1e-307 AND 1.79e308 "
            f"THEN ({column}::double precision)::text::numeric = {column}::numeric "
            f"ELSE {column} IS NULL OR {column}::text IN ('NaN', 'Infinity', '-Infinity') END"
        )
    return None


def rewrites(found: FoundColumn, wanted: Kind) -> bool:
    """Tell whether PostgreSQL writes the table anew: not for numeric(p,s) to numeric, for one."""
    if found.type.startswith("numeric"):
        return wanted != NUMBER
    return found.kind != wanted or re.sub(r"\(.*\)", "", found.type) not in _WIDENED_IN_PLACE


_WIDENED_IN_PLACE = {
    "character varying",
    "timestamp with time zone",
    "timestamp without time zone",
    "time without time zone",
}

# Why PostgreSQL refuses ALTER COLUMN TYPE, whatever else is dropped before. And our own checks look at
# all rows, of which row-level security may show us some.
IMMOVABLE = """
WITH w AS (
  SELECT c.oid, c.reltype, t.typarray, a.attinhcount, a.attname FROM pg_catalog.pg_class c
  JOIN pg_catalog.pg_type t ON t.oid = c.reltype JOIN pg_catalog.pg_attribute a ON a.attrelid = c.oid
  WHERE c.oid = %s::pg_catalog.regclass AND a.attname = %s
)
SELECT DISTINCT 'it belongs to the partition key of ' || d.refobjid::pg_catalog.regclass
FROM w CROSS JOIN LATERAL (SELECT w.oid AS relid UNION SELECT relid FROM pg_catalog.pg_partition_tree(w.oid)) p
JOIN pg_catalog.pg_partitioned_table k ON k.partrelid = p.relid
JOIN pg_catalog.pg_attribute a ON a.attrelid = p.relid AND a.attname = w.attname
JOIN pg_catalog.pg_depend d ON d.classid = 'pg_catalog.pg_class'::pg_catalog.regclass AND d.refclassid = d.classid
  AND d.objid = p.relid AND d.objsubid = a.attnum AND d.refobjid = p.relid AND d.refobjsubid = 0 AND d.deptype = 'i'
UNION ALL
SELECT 'it is inherited from another table' FROM w WHERE attinhcount > 0
UNION ALL
SELECT pg_catalog.pg_describe_object(d.classid, d.objid, d.objsubid) || ' has the type of its rows'
FROM w JOIN pg_catalog.pg_depend d ON d.refclassid = 'pg_catalog.pg_type'::pg_catalog.regclass AND d.refobjid IN (w.reltype, w.typarray)
  AND d.classid = 'pg_catalog.pg_class'::pg_catalog.regclass AND d.objsubid > 0
JOIN pg_catalog.pg_class c ON c.oid = d.objid AND c.relkind IN ('r', 'm', 'p', 'c')
UNION ALL
SELECT 'row-level security shows our role some of its rows only (ALTER ROLE ' || pg_catalog.quote_ident(CURRENT_USER) || ' BYPASSRLS)' FROM w WHERE %s AND pg_catalog.row_security_active(w.oid)
"""

# What ALTER COLUMN TYPE refuses: it makes anew indexes, constraints and statistics, but no views
# (`views.py` does), triggers, rules, policies, functions, publications and generated columns. These depend
# by their expression since PostgreSQL 15, and as columns before.
DEPENDENTS = """
SELECT DISTINCT CASE WHEN g.oid IS NULL THEN pg_catalog.pg_describe_object(d.classid, d.objid, d.objsubid)
  ELSE pg_catalog.pg_describe_object('pg_catalog.pg_attrdef'::pg_catalog.regclass, g.oid, 0) END
FROM pg_catalog.pg_depend d
JOIN pg_catalog.pg_attribute a ON a.attrelid = d.refobjid AND a.attnum = d.refobjsubid
LEFT JOIN pg_catalog.pg_rewrite r ON d.classid = 'pg_catalog.pg_rewrite'::pg_catalog.regclass AND r.oid = d.objid
LEFT JOIN pg_catalog.pg_attrdef g ON d.classid = 'pg_catalog.pg_attrdef'::pg_catalog.regclass AND g.oid = d.objid
  OR d.classid = d.refclassid AND d.objid = d.refobjid AND g.adrelid = d.objid AND g.adnum = d.objsubid
WHERE d.refclassid = 'pg_catalog.pg_class'::pg_catalog.regclass
  AND d.refobjid = %s::pg_catalog.regclass AND a.attname = %s
  AND (g.adnum <> a.attnum OR d.classid IN (
    'pg_catalog.pg_rewrite'::pg_catalog.regclass, 'pg_catalog.pg_trigger'::pg_catalog.regclass,
    'pg_catalog.pg_policy'::pg_catalog.regclass, 'pg_catalog.pg_proc'::pg_catalog.regclass,
    'pg_catalog.pg_publication_rel'::pg_catalog.regclass))
  AND r.rulename IS DISTINCT FROM '_RETURN'
ORDER BY 1
"""
