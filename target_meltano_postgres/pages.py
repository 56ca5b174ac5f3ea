"""Rows that may not fit a page: PostgreSQL keeps a row in one, and moves out of it only what is long.

A value of 24 bytes or more leaves 18 in the row, a shorter one stays there. ALTER … SET STORAGE does not
change that. Tried on 15: of 453 texts of 24 bytes or more a row is too big with PLAIN, MAIN, EXTENDED
and EXTERNAL, and so it is of 500 texts of 16.
"""

from __future__ import annotations

from target_meltano import Table

PAGE = 8160  # bytes that a row has at most
ADVICE = "keep nested objects together (setting flatten_depth, or column_types with json), or deselect fields in the tap's catalog"
_HEADER = 24
_MOVED = 18  # what is left of a text, binary or document that is moved out
_SIZES = {"boolean": 1, "integer": 8, "double": 8, "date": 4, "time": 8, "timestamp": 8, "number": 8, "decimal": 8}
_NARROW = {"smallint": 2, "integer": 4, "real": 4}


def doubts(table: Table) -> list[str]:
    """Return a warning if a row would not fit a page with a value in each column, the long ones moved out."""
    sizes = [_NARROW.get(column.type) or _SIZES.get(column.kind.name, _MOVED) for column in table.columns]
    size = _HEADER + sum(sizes)
    if size <= PAGE:
        return []
    return [
        f"a row with a value in each of the {len(sizes)} columns takes {size:,} bytes or more, and a page holds {PAGE:,}; "
        f"rows that do not fit are invalid records: {ADVICE}"
    ]
