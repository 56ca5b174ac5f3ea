"""The fast path in C (`c/module.c`), as Python sees it: what it is told, and what it gives.

It is an order of magnitude faster than `structs.py` and needs no GIL. It is there where a C compiler
was when the package was built; the wheels have it.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain, islice
from typing import Any

import numpy as np
import pyarrow as pa

from .cells import Cells, Taken
from .columns import is_raw
from .extension import reader as _reader
from .kinds import TIMESTAMP, arrow_type
from .rows import Layout
from .schema import Leaf, Node, Path

IS_THERE = _reader is not None

BOOL, INT, FLOAT, TIME, TEXT, RAW, DIGITS, SKIP = range(8)  # as in c/columns.h
_KINDS = {bool: BOOL, int: INT, float: FLOAT, str: TEXT, "timestamp": TIME, "raw number": DIGITS, "raw whole number": DIGITS}
_TIMES = arrow_type(TIMESTAMP)
_ARROW = {BOOL: pa.bool_(), INT: pa.int64(), FLOAT: pa.float64(), TIME: _TIMES, **dict.fromkeys((TEXT, RAW, DIGITS), pa.string())}


class Plan:
    """How the records of a stream are read; *ways* are those of its leaves, *unknown* the fields that may come, too."""

    def __init__(self, layout: Layout, ways: Sequence[Any], unknown: Sequence[Path]):
        kinds = [_KINDS.get(way, RAW if is_raw(way) else TEXT) for way in ways]
        self.leaves = len(kinds)
        self.unknown = len(unknown)
        self.versions = 0 if layout.versioned is None else 2 if layout.versioned else 1
        self.kinds = (*kinds, *[SKIP] * len(unknown), *[INT] * (self.versions == 2))
        columns = {path: number for number, path in enumerate([*(leaf.path for leaf in layout.leaves), *unknown])}
        try:
            self.root = _object(layout.node, columns)
            self.records()
        except RecursionError:  # no field is known, so each line takes the slow path
            self.root = (0, 0, ())

    def records(self) -> Records:
        return Records(self)


def _object(node: Node, columns: dict[Path, int]) -> tuple[int, int, tuple[Any, ...]]:
    """Return what C is told of an object: first leaf, behind its last leaf, fields by name."""
    fields: list[tuple[bytes, Any]] = []
    for name, child in node.properties.items():
        fields.append((_name(name), columns[child.path] if isinstance(child, Leaf) else _object(child, columns)))
    fields += [(_name(name), None) for name in sorted(node.nulls)]
    fields += [(_name(path[-1]), at) for path, at in columns.items() if path[:-1] == node.path and path[-1] not in node.properties]
    leaves = [columns[leaf.path] for leaf in node.leaves()]
    return (leaves[0], leaves[-1] + 1, tuple(fields)) if leaves else (0, 0, tuple(fields))


def _name(name: str) -> bytes:
    return name.encode("utf-8", "surrogatepass")  # a half of a surrogate pair is in no line that is taken


class Records:
    """See `cells.Records`."""

    are_utf8 = True  # others are not taken

    def __init__(self, plan: Plan):
        self.plan = plan
        self.columns = _reader.Columns(plan.root, plan.kinds, plan.versions)
        self._taken: tuple[np.ndarray[Any, Any], Taken] | None = None

    @property
    def rows(self) -> int:
        rows: int = self.columns.rows
        return rows

    @property
    def size(self) -> int:
        size: int = self.columns.size
        return size

    def lines(self, count: int | None = None) -> list[bytes]:
        runs = ((lines[at] for at in range(start, start + its)) for lines, start, its in self.columns.lines)
        return list(islice(chain.from_iterable(runs), count))

    def numbers(self) -> np.ndarray[Any, Any]:
        return self._take()[0]

    def taken(self) -> Taken:
        return self._take()[1]

    def _take(self) -> tuple[np.ndarray[Any, Any], Taken]:
        if self._taken is None:
            rows, plan = self.columns.rows, self.plan
            numbers, parts = self.columns.take()
            cells = [_cells(kind, rows, *its) for kind, its in zip(plan.kinds, parts, strict=True) if kind != SKIP]
            behind = plan.leaves + plan.unknown
            unknown = [_flags(rows, came, True) for _, _, came, _, _ in parts[plan.leaves : behind]]
            versions = cells[plan.leaves].values if plan.versions == 2 else None
            self._taken = np.frombuffer(numbers, np.int64), Taken(cells[: plan.leaves], unknown, versions)
        return self._taken


def _cells(kind: int, rows: int, ends: Any, data: Any, valid: Any, absent: Any, cut: Any) -> Cells:
    buffers = [None if part is None else pa.py_buffer(part) for part in (valid, ends, data)]
    if ends is None:
        del buffers[1]
    array = pa.Array.from_buffers(_ARROW[kind], rows, buffers)
    flags = [None if bits is None else _flags(rows, bits) for bits in (absent, cut)]
    return Cells(array, *flags)


def _flags(rows: int, bits: Any, default: bool = False) -> np.ndarray[Any, Any]:
    """Return bits as booleans; no bits: all are the *default*."""
    if bits is None:
        return np.full(rows, default)
    return np.unpackbits(np.frombuffer(bits, np.uint8), count=rows, bitorder="little").view(bool)


class Reader:
    """Knows all streams that were put; see `cells.Reader`."""

    def __init__(self) -> None:
        self._reader = _reader.Reader()
        self.clear = self._reader.clear
        self.read = self._reader.read

    def put(self, name: bytes, records: Records, owner: object) -> None:
        self._reader.put(name, records.columns, owner)

    def __contains__(self, name: bytes) -> bool:
        return name in self._reader
