"""Rows that a deferred constraint refuses, until it is known whether others make up for it before COMMIT."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import pyarrow as pa

from .arrival import Block, Part, block_of
from .kept import LINE
from .keyed import last_by_key
from .replay import Refusal, apply

TOGETHER = (2, 4, 8, 16)  # rows that need each other come close to each other
Write = Callable[[Block, bool], Refusal | None]  # with True constraints wait until the block is written


@dataclass
class Aside:
    """Rows that are put aside, and what was written since the first of them."""

    parts: list[Part] = field(default_factory=list)
    written: list[Part] = field(default_factory=list)

    def clear(self) -> None:
        """Begin anew, with the transaction."""
        self.parts.clear()
        self.written.clear()

    def add(self, part: Part, _: Refusal) -> None:
        """Put a part of one row aside."""
        self.parts.append(part)

    def note(self, part: Part) -> None:
        """Take note that rows were written: of a key that comes again they replace what is put aside."""
        if self.parts:
            self.written.append(part)

    def settle(self, write: Write, refuse: Callable[[Part, Refusal], None]) -> None:
        """Write what can be written, now that all others are there; what needs each other all at once."""
        waiting, count = self._current(), -1
        while waiting.rows and waiting.rows != count:
            count = waiting.rows
            waiting = self._left(waiting, write)
        singles = [one for part in waiting.parts for one in part.singles()]
        for part in self._together(sorted(singles, key=lambda part: int(part.lines[0])), write):
            refusal = write(block_of([part]), True)
            if refusal:
                refuse(part, refusal)

    @staticmethod
    def _left(block: Block, write: Write) -> Block:
        """Write the rows of *block* that can be written by now; return the others."""
        left: list[Part] = []
        apply(block, lambda rows: write(rows, False), lambda part, _: left.append(part))
        return merged(left)

    @staticmethod
    def _together(waiting: list[Part], write: Write) -> list[Part]:
        """Write rows that need each other: all, or those that came close to each other; return the others.

        What two sets of rows need is there for both together, so it never matters which are written first.
        """
        for size in (len(waiting), *TOGETHER):
            start = 0
            while 1 < size <= len(waiting) - start:
                if write(merged(waiting[start : start + size]), True):
                    start += max(1, size // 2)
                else:
                    del waiting[start : start + size]
        return waiting

    def _current(self) -> Block:
        """Return the rows whose keys no later row has."""
        last = {part.written.stream: set(self._last(part).tolist()) for part in self.parts}
        return merged([part for part in self.parts if int(part.lines[0]) in last[part.written.stream]])

    def _last(self, of: Part) -> pa.Array:
        """Return the lines of the last rows of each key of a stream."""
        table = of.written.table
        batches = [part.rows.select([*table.keys, LINE]) for part in (*self.parts, *self.written) if part.written.stream == of.written.stream]
        rows = pa.Table.from_batches(batches).sort_by(LINE).combine_chunks().to_batches()[0]
        return last_by_key(rows, table).column(LINE).to_numpy()


def merged(parts: list[Part]) -> Block:
    """Return *parts* as one block, with one part for each stream."""
    streams: dict[str, list[Part]] = {}
    for part in parts:
        streams.setdefault(part.written.stream, []).append(part)
    return block_of(
        Part(its[-1].written, pa.Table.from_batches([part.rows for part in its]).sort_by(LINE).combine_chunks().to_batches()[0])
        for its in streams.values()
    )
