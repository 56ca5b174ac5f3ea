"""What records become before their values are looked at: a column for each leaf."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import pyarrow as pa

# How many lines came for whom, in order. Who that is does not matter to a reader.
Runs = list[tuple[Any, int]]


@dataclass(frozen=True)
class Cells:
    """The values of a leaf as they came, null where there is none; *bad* are positions that have a value all the same.

    The type is that of the leaf's way: bool, int64, double, string; JSON as it was written is a string, too.
    *absent* tells of each row whether it has no such field; None: all have it.
    """

    values: pa.Array
    absent: np.ndarray[Any, Any] | None = None
    bad: tuple[int, ...] = ()

    def slice(self, count: int) -> Cells:
        """Return the first *count* of them."""
        bad = tuple(position for position in self.bad if position < count)
        return Cells(self.values.slice(0, count), None if self.absent is None else self.absent[:count], bad)

    def take(self, positions: np.ndarray[Any, Any]) -> Cells:
        """Return those at *positions*, none of which is bad."""
        return Cells(self.values.take(pa.array(positions)), None if self.absent is None else self.absent[positions])


@dataclass(frozen=True)
class Taken:
    """Records of a stream, in columns: a leaf each, in the order of the schema; then the fields that came unexpected.

    *versions* is what they say of themselves, int64, where that is asked for. *unknown* tells of each such field in
    which rows it came.
    """

    leaves: list[Cells]
    unknown: list[np.ndarray[Any, Any]]
    versions: pa.Array | None = None


class Records(Protocol):
    """Takes the records of one stream, as one decoder reads them, until they are taken out of it."""

    lines: list[bytes]
    are_utf8: bool  # the lines, for sure

    def numbers(self) -> np.ndarray[Any, Any]:
        """Return the numbers of the lines."""

    def taken(self) -> Taken:
        """Return what the records became, the same again each time; from now on none can be added."""


class Reader(Protocol):
    """Reads plain records of known streams."""

    def put(self, name: bytes, records: Any, owner: object) -> None:
        """Let *records* take those of the stream *name* from now on; it counts them for *owner*."""

    def clear(self) -> None:
        """Forget all streams."""

    def __contains__(self, name: bytes) -> bool: ...

    def read(self, lines: list[bytes], start: int, stop: int, number: int, are_utf8: bool) -> Runs:
        """Take lines until one is anything else than a plain record of a known stream; *number* is that of the first."""
