"""The rows of a transaction in the order in which they arrived, over all of its streams."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from .kept import LINE, Kept, Step, Written

END = 1 << 62  # no line has this number


@dataclass(frozen=True)
class Part:
    """Rows of one stream in a block, in the order of their lines."""

    written: Written
    rows: pa.RecordBatch

    @property
    def lines(self) -> np.ndarray[Any, Any]:
        lines: np.ndarray[Any, Any] = self.rows.column(LINE).to_numpy()
        return lines

    def cut(self, line: int) -> tuple[Part, Part]:
        """Return the rows of lines before *line*, and the others."""
        at = int(np.searchsorted(self.lines, line))
        return Part(self.written, self.rows.slice(0, at)), Part(self.written, self.rows.slice(at))


    def singles(self) -> list[Part]:
        """Return a part for each row."""
        return [Part(self.written, self.rows.slice(i, 1)) for i in range(self.rows.num_rows)]


@dataclass(frozen=True)
class Block:
    """All rows of some consecutive lines: a part for each stream, the one whose rows begin first in front."""

    parts: tuple[Part, ...]

    @property
    def rows(self) -> int:
        return sum(part.rows.num_rows for part in self.parts)

    def cut(self, line: int) -> list[Block]:
        """Return the rows of lines before *line* and the others, as two blocks; as one where there are no others."""
        pairs = [part.cut(line) for part in self.parts]
        return [block for block in map(block_of, zip(*pairs, strict=True)) if block.parts]

    def halves(self) -> list[Block]:
        """Return two blocks of half the rows each."""
        lines = np.sort(np.concatenate([part.lines for part in self.parts]))
        return self.cut(int(lines[len(lines) // 2]))


def block_of(parts: Any) -> Block:
    """Return the block of *parts*; those without rows are left out."""
    return Block(tuple(sorted((part for part in parts if part.rows.num_rows), key=lambda part: int(part.lines[0]))))


class Arrivals:
    """Takes the steps of a transaction apart, from *start* on, and yields them in the order of their lines.

    *rows_of* says which rows of a step count. Of each stream one batch at a time is in memory.
    """

    def __init__(self, kept: Kept, start: int, rows_of: Callable[[Written], pa.RecordBatch]):
        self._kept = kept
        self._rows_of = rows_of
        self._waiting: dict[str, deque[int]] = {}  # steps with rows, by stream
        others = []
        for position in range(start, len(kept)):
            stream = kept.stream(position)
            if stream is None:
                others.append(position)
            else:
                self._waiting.setdefault(stream, deque()).append(position)
        self._others = deque(sorted(others, key=kept.first))  # DDL and activations
        self._heads: dict[str, Part] = {}  # of each stream what comes next

    def next(self, size: int) -> Block | Step | None:
        """Return a block of about *size* rows, or a step that comes before all other rows; None at the end."""
        while True:
            bound = self._bound(size)
            late = [stream for stream, steps in self._waiting.items() if stream not in self._heads and self._kept.first(steps[0]) < bound]
            if not late:
                break
            self._open(min(late, key=lambda stream: self._kept.first(self._waiting[stream][0])))
        parts = []
        for stream, part in list(self._heads.items()):
            before, rest = part.cut(bound)
            parts.append(before)
            if rest.rows.num_rows:
                self._heads[stream] = rest
            else:
                del self._heads[stream]
        block = block_of(parts)
        if block.parts:
            return block
        return self._kept[self._others.popleft()] if self._others else None

    def _bound(self, size: int) -> int:
        """Return the line before which there are *size* rows, or fewer where another step comes first."""
        nexts = [self._kept.first(self._waiting[stream][0]) for stream in self._heads if stream in self._waiting]
        bound = min([self._kept.first(self._others[0]) if self._others else END, *nexts])
        lines = [part.lines[: size + 1] for part in self._heads.values()]
        if sum(map(len, lines)) > size:
            bound = min(bound, int(np.partition(np.concatenate(lines), size)[size]))
        return bound

    def _open(self, stream: str) -> None:
        steps = self._waiting[stream]
        written = self._kept[steps.popleft()]
        if not steps:
            del self._waiting[stream]
        assert isinstance(written, Written)
        rows = self._rows_of(written)
        if rows.num_rows:
            self._heads[stream] = Part(written, rows)
