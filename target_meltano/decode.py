"""The fast path from lines to Arrow: a decoder compiled once per SCHEMA.

A reader parses lines and checks types and names, in C: `compiled.py`, or `structs.py` where that is
not there. What it cannot know (times, JSON, text that no database holds) is decided here, a column
at a time. A line or a value that this path refuses is not wrong yet: it goes through `values.py`,
which decides. So it may refuse too much, but must never accept something differently.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from . import columns, compiled, structs
from .cells import Cells, Reader, Records, Taken
from .columns import Refused, way_of
from .lines import is_utf8
from .members import Reading
from .rows import Layout, masks
from .schema import Path
from .values import Notes

path: Any = compiled if compiled.IS_THERE else structs  # the module


def reader() -> Reader:
    """Return what reads the lines for decoders."""
    made: Reader = path.Reader()
    return made


class Decoder:
    """Decodes the records of one stream as one SCHEMA describes them.

    *expected* are fields that the schema does not name but that came before: without them here,
    each of their records would take the slow path. *loose* are leaves with values that came
    otherwise than declared: integers written as 1.0, values to be coerced, text to be replaced.
    *members* are those that objects may have without naming them, and had before.
    """

    def __init__(
        self,
        layout: Layout,
        expected: frozenset[Path] = frozenset(),
        loose: frozenset[Path] = frozenset(),
        members: frozenset[Path] = frozenset(),
    ):
        self.layout = layout
        self.expected = expected
        self.loose = loose
        self.members = members
        ways = [way_of(leaf, loose) for leaf in layout.leaves]
        self.converters = [columns.converter(leaf, way, layout.rules) for leaf, way in zip(layout.leaves, ways, strict=True)]
        self.unknown = sorted(expected)
        is_open = any(leaf.is_rest for leaf in layout.leaves)
        self.reading = Reading(layout, members) if is_open else None
        if self.reading:
            layout = self.reading.layout
            ways = [way_of(leaf, loose) for leaf in layout.leaves]
        self.plan = path.Plan(layout, ways, self.unknown)

    def records(self) -> Records:
        """Return what takes records, to be put into a `reader`."""
        made: Records = self.plan.records()
        return made

    def batch(self, records: Records, count: int) -> tuple[pa.RecordBatch, Refused, Notes]:
        """Return the first *count* rows, and the positions of those that are refused.

        The notes are of the rows that are not refused.
        """
        taken = records.taken()
        cells = [one.take(slice(count)) for one in taken.leaves]
        unclear: set[int] = set()
        if self.reading:
            cells, unclear = self.reading.gather(cells, count)
        notes = Notes()
        arrays, refused = self._columns(cells, notes)
        refused |= unclear
        if not records.are_utf8:
            refused.update(i for i, line in enumerate(records.lines(count)) if not is_utf8(line))
        fine = np.ones(count, bool)
        fine[list(refused)] = False
        if refused and notes:
            notes = Notes()
            self._columns([one.take(fine) for one in cells], notes)
        if notes.first:
            numbers = records.numbers()[:count][fine]
            notes.first = {what: int(numbers[at]) for what, at in notes.first.items()}
        self._count(taken, cells, fine, notes)
        if self.layout.rules.unknown_fields == "keep":
            arrays.append(pa.nulls(count, pa.string()))  # else the reader had refused them
        if self.layout.versioned:
            arrays.append(pa.nulls(0, pa.int64()) if taken.versions is None else taken.versions.slice(0, count))
            arrays.append(pa.nulls(count, self.layout.arrow[len(arrays)].type))
        if self.layout.keeps:
            arrays.append(self._absent(cells, arrays, count))
        return pa.RecordBatch.from_arrays(arrays, schema=self.layout.arrow), sorted(refused), notes

    def _columns(self, cells: list[Cells], notes: Notes) -> tuple[list[pa.Array], set[int]]:
        arrays: list[pa.Array] = []
        refused: set[int] = set()
        for convert, column in zip(self.converters, cells, strict=True):
            array, bad = convert(column, notes)
            arrays.append(array)
            refused.update(bad)
            if column.bad is not None:
                refused.update(np.flatnonzero(column.bad).tolist())
        for key in self.layout.keys:
            if arrays[key].null_count:
                refused.update(columns.positions(arrays[key].is_null()))
        return arrays, refused

    def _count(self, taken: Taken, cells: Sequence[Cells], fine: np.ndarray[Any, Any], notes: Notes) -> None:
        """Count the fields that are absent, and those that the schema does not name, in rows that are *fine*."""
        for leaf, one in zip(self.layout.leaves, cells, strict=True):
            if one.absent is not None and not leaf.is_rest and (gone := int((one.absent & fine).sum())):
                notes.absent[leaf.path] += gone
        for at, came in zip(self.unknown, taken.unknown, strict=True):
            if there := int((came[: len(fine)] & fine).sum()):
                notes.unknown[at] += there

    def _absent(self, cells: Sequence[Cells], arrays: Sequence[pa.Array], count: int) -> pa.Array:
        """Return the column `rows.ABSENT`."""
        layout = self.layout
        extra = layout.rules.unknown_fields == "keep"  # never there on this path
        gone = np.zeros((count, len(cells) + extra), bool)
        gone[:, len(cells) :] = True
        for i, one in enumerate(cells):
            if one.absent is not None and i != layout.deleted:
                gone[:, i] = one.absent
        if layout.keeps == "deleted" and layout.deleted is not None:
            gone &= arrays[layout.deleted].is_valid().to_numpy(zero_copy_only=False)[:, None]
        return masks(gone)
