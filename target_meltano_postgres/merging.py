"""Staging tables, and rows that come from one over those of the same keys, where some keep what the table has.

These are three statements, however many sets of columns there are: the staging table has a column more, with
a bit for each column that a row has no value for. Rows that are there keep theirs; new ones get the default
that the table has.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from functools import reduce
from operator import or_
from typing import Any

import pyarrow as pa

from target_meltano import Again, RowCounts, Table

TRIES = 10  # of the same rows, while others write such, too


def absent_columns(masks: pa.Array) -> frozenset[int]:
    """Return the positions of the columns that any row has no value for; null: it has one for each."""
    bits = reduce(or_, (int.from_bytes(mask, "little") for mask in masks.unique().drop_null().to_pylist()), 0)
    return frozenset(i for i in range(bits.bit_length()) if bits >> i & 1)


def mask_column(table: Table) -> str:
    """Return a name for the column with the bits that no column of *table* has."""
    name = "absent"
    while any(column.name == name for column in table.columns):
        name += "_"
    return name


def staging(cursor: Any, run_id: str, table: Table, name: str, columns: str) -> str:
    """Return the name of an empty temporary table, which ends with the transaction.

    It has the *columns*, in SQL, of *table*, whose quoted name is *name*. A transaction has one for all batches
    of the same columns: each new one takes locks until COMMIT, and a server has so many only. An ALTER in
    between makes for other columns.
    """
    types = [(column.name, column.type, str(column.kind)) for column in table.columns]
    mark = hashlib.sha256(repr((run_id, table.full_name, types, columns)).encode()).hexdigest()[:16]
    cursor.execute(
        f"CREATE TEMPORARY TABLE IF NOT EXISTS __stage_{mark} ON COMMIT DROP AS SELECT {columns} FROM {name} WITH NO DATA; "
        f"TRUNCATE pg_temp.__stage_{mark}"
    )
    return f"pg_temp.__stage_{mark}"


@dataclass(frozen=True)
class Merge:
    """What brings the rows of the staging table *stage* into *table*; *absent* are the columns that some of them lack."""

    table: Table
    name: str  # of the table, quoted
    stage: str
    absent: Collection[int]
    quote: Callable[[str], str]
    may_retry: bool = True  # where there are rows that were not when we looked; a trigger may make them each time

    def run(self, cursor: Any, sent: int) -> RowCounts:
        """Write so many rows as were *sent*; return how many were stored, and how many of them are new.

        Rows that are there are locked first, in the order of their keys: what they keep is then what the
        last transaction left in them, and two targets seldom wait for each other.

        Raises:
            Again: another transaction has committed rows of the same keys meanwhile.
        """
        is_partitioned, defaults = self._catalogue(cursor)
        there = f"{'' if is_partitioned else 'ONLY '}{self.name} AS t"  # rows of heirs are others
        same = " AND ".join(f"t.{key} = s.{key}" for key in map(self.quote, self.table.keys))
        order = ", ".join(f"s.{self.quote(key)}" for key in self.table.keys)
        matches = f"SELECT 1 FROM {there} JOIN {self.stage} AS s ON {same}"
        found = self._count(cursor, f"{matches} ORDER BY {order} FOR NO KEY UPDATE OF t")
        updated = inserted = 0
        changes = [f"{self.quote(name)} = {value}" for name, value in self._values().items() if name not in self.table.keys]
        if found and changes:
            cursor.execute(f"UPDATE {there} SET {', '.join(changes)} FROM {self.stage} AS s WHERE {same}")
            updated = cursor.rowcount
        if found < sent:
            new = self._values(defaults)
            cursor.execute(
                f"INSERT INTO {self.name} ({', '.join(map(self.quote, new))}) OVERRIDING SYSTEM VALUE "
                f"SELECT {', '.join(new.values())} FROM {self.stage} AS s "
                f"WHERE NOT EXISTS (SELECT 1 FROM {there} WHERE {same}) ORDER BY {order} "
                f"ON CONFLICT ({', '.join(map(self.quote, self.table.keys))}) DO NOTHING"
            )
            inserted = cursor.rowcount
        if self.may_retry and found + inserted < sent and self._count(cursor, matches) > found + inserted:
            raise Again
        return RowCounts(updated + inserted if changes else None, inserted)

    def _values(self, defaults: Mapping[str, str] | None = None) -> dict[str, str]:
        """Return each column's value in SQL: for those that a row lacks the default, or else what is there."""
        values = {}
        for i, column in enumerate(self.table.columns):
            name = self.quote(column.name)
            values[column.name] = f"s.{name}"
            if i in self.absent:
                other = f"t.{name}" if defaults is None else defaults.get(column.name, "NULL")
                is_absent = f"pg_catalog.get_bit(s.{self.quote(mask_column(self.table))}, {i}) = 1"
                values[column.name] = f"CASE WHEN {is_absent} THEN {other} ELSE s.{name} END"
        return values

    def _catalogue(self, cursor: Any) -> tuple[bool, dict[str, str]]:
        """Return whether the table is partitioned, and the expressions of its columns' defaults."""
        cursor.execute(_DEFAULTS, {"table": self.name})
        rows = cursor.fetchall()
        return rows[0][0], {name: default for _, name, default in rows if default}

    @staticmethod
    def _count(cursor: Any, query: str) -> int:
        cursor.execute(f"SELECT pg_catalog.count(*) FROM ({query}) AS found")
        return int(cursor.fetchone()[0])


_DEFAULTS = """
SELECT c.relkind = 'p', a.attname::text,
  CASE WHEN a.attidentity <> ''
    THEN pg_catalog.format('pg_catalog.nextval(%%L)', pg_catalog.pg_get_serial_sequence(%(table)s, a.attname::text))
    ELSE pg_catalog.pg_get_expr(d.adbin, d.adrelid) END
FROM pg_catalog.pg_class c
LEFT JOIN pg_catalog.pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND (a.atthasdef OR a.attidentity <> '')
LEFT JOIN pg_catalog.pg_attrdef d ON d.adrelid = c.oid AND d.adnum = a.attnum
WHERE c.oid = %(table)s::pg_catalog.regclass
"""
