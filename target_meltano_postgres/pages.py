"""Rows that may not fit a page: PostgreSQL keeps a row in one, and moves out of it only what is long.

A value of 24 bytes or more leaves 18 in the row, a shorter one stays there. ALTER … SET STORAGE does not
change that. Tried on 15: of 453 texts of 24 bytes or more a row is too big with PLAIN, MAIN, EXTENDED
and EXTERNAL, and so it is of 500 texts of 16.
"""

from __future__ import annotations

from collections.abc import Sequence

from target_meltano import Column, Table

PAGE = 8160  # bytes that a row has at most
ADVICE = "keep nested objects together (setting flatten_depth, or column_types with json), or deselect fields in the tap's catalog"
_HEADER = 24
_MOVED = 18  # what is left of a text, binary or document that is moved out
_SIZES = {"boolean": 1, "integer": 8, "double": 8, "date": 4, "time": 8, "timestamp": 8, "number": 8, "decimal": 8}
_NARROW = {"smallint": 2, "integer": 4, "real": 4}


def size(columns: Sequence[Column]) -> int:
    """Return how many bytes a row with a value in each column takes at least, the long ones moved out."""
    return _HEADER + sum(_NARROW.get(column.type) or _SIZES.get(column.kind.name, _MOVED) for column in columns)


def doubts(table: Table) -> list[str]:
    """Return a warning if a row with a value in each column would not fit a page."""
    least = size(table.columns)
    if least <= PAGE:
        return []
    return [
        f"a row with a value in each of the {len(table.columns)} columns takes {least:,} bytes or more, and a page holds {PAGE:,}; "
        f"rows that do not fit are invalid records: {ADVICE}"
    ]
