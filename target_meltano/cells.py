"""What records become before their values are looked at: a column for each leaf."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import pyarrow as pa

# How many lines came for whom, in order. Who that is does not matter to a reader.
Runs = list[tuple[Any, int]]


Flags = np.ndarray[Any, Any]  # a boolean for each row


@dataclass(frozen=True)
class Cells:
    """The values of a leaf as they came, null where there is none.

    The type is that of the leaf's way: bool, int64, double, string; JSON as it was written is a string, too, and
    date-times may be timestamps already. *absent* tells of each row whether it has no such field, *cut* whether a time
    had more digits, *bad* whether its value is of no use and null for now; None: of none.
    """

    values: pa.Array
    absent: Flags | None = None
    cut: Flags | None = None
    bad: Flags | None = None

    def take(self, rows: slice | Flags) -> Cells:
        """Return those of some rows."""
        flags = [None if flag is None else flag[rows] for flag in (self.absent, self.cut, self.bad)]
        values = self.values[rows] if isinstance(rows, slice) else self.values.filter(pa.array(rows))
        return Cells(values, *flags)


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
    """Takes the records of one stream, as one decoder reads them, until they are taken out of it.

    *rows* are how many, *size* is that of their lines in bytes. *are_utf8*: all of them are, for sure.
    """

    @property
    def rows(self) -> int: ...
    @property
    def size(self) -> int: ...
    @property
    def are_utf8(self) -> bool: ...

    def lines(self, count: int | None = None) -> list[bytes]:
        """Return the lines of the first *count* records, or of all."""

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

    def read(self, lines: Sequence[bytes], start: int, stop: int, number: int, are_utf8: bool) -> Runs:
        """Take lines until one is anything else than a plain record of a known stream; *number* is that of the first."""
