"""What a type of others holds of its kind's values, where that is not all: `integer`, `varchar(10)`, `time(0)`.

With the setting `narrow_columns: keep` such a column stays as it is. Databases round, cut or pad a
value that does not fit, or refuse it, each in its own way; so it is refused here, before it is sent.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from .errors import RowError
from .kinds import BINARY, STRING, TIME, TIMESTAMP, Kind

if TYPE_CHECKING:
    import pyarrow as pa

MICROSECONDS = 6  # digits of a second
SINGLE = 24  # bits of the fraction of IEEE 754 binary32


@dataclass(frozen=True)
class Limit:
    """At most *most* of what is counted.

    *of*: "bits" of an integer, "characters" of a text, "bytes" of a binary, "digits of a second",
    "bits of a fraction" of a float, of which only those of single precision are known.
    """

    of: str
    most: int

    def __str__(self) -> str:
        return f"{self.most} {self.of}"


def of_digits(kind: Kind | None, digits: Sequence[int]) -> Limit | None:
    """Return what varchar(10) and time(3) hold, None where the digits say nothing of it."""
    of = _COUNTED.get(kind) if kind else None
    return Limit(of, digits[0]) if of and len(digits) == 1 else None


_COUNTED = {STRING: "characters", BINARY: "bytes", TIME: "digits of a second", TIMESTAMP: "digits of a second"}

def type_parts(spelt: str) -> tuple[str, tuple[int, ...]]:
    """Return ("timestamp with time zone", (3,)) for `timestamp(3) with time zone`."""
    found = re.fullmatch(r"([^(]*?)\s*\(\s*(-?\d+(?:\s*,\s*-?\d+)*)\s*\)(.*)", spelt.strip().lower())
    if not found:
        return spelt.strip().lower(), ()
    return found[1] + found[3], tuple(map(int, found[2].split(",")))


def refuse(limits: Sequence[Limit | None], batch: pa.RecordBatch) -> None:
    """Check that all values of *batch* are within the *limits* of its columns.

    Raises:
        RowError: for the first row with one that does not.
    """
    found: list[tuple[int, int]] = []
    for i, limit in enumerate(limits):
        if limit:
            row = _first(_OVER[limit.of](batch.column(i), limit.most))
            if row is not None:
                found.append((row, i))
    if found:
        row, i = min(found)
        raise RowError(
            f"column {batch.schema.names[i]!r}: the value has more than {limits[i]}, all that the column holds; "
            "with `narrow_columns: widen` it becomes one that holds it",
            row=row,
        )


def _first(over: pa.Array) -> int | None:
    import pyarrow.compute as pc

    row: int = pc.index(over, True).as_py()
    return None if row < 0 else row


def _wide_integer(values: pa.Array, most: int) -> pa.Array:
    import pyarrow.compute as pc

    bound = 1 << (most - 1)
    return pc.or_(pc.less(values, -bound), pc.greater_equal(values, bound))


def _long_text(values: pa.Array, most: int) -> pa.Array:
    import pyarrow.compute as pc

    return pc.greater(pc.utf8_length(values), most)


def _long_binary(values: pa.Array, most: int) -> pa.Array:
    import pyarrow.compute as pc

    return pc.greater(pc.binary_length(values), most)


def _fine_time(values: pa.Array, most: int) -> pa.Array:
    import pyarrow as pa
    import pyarrow.compute as pc

    unit = 10 ** max(0, MICROSECONDS - most)
    ticks = values.cast(pa.int64())
    return pc.not_equal(pc.multiply(pc.divide(ticks, unit), unit), ticks)


def _fine_float(values: pa.Array, most: int) -> pa.Array:
    """A float fits if the shortest digits that name its nearest in single precision name it, too.

    So 0.1 fits, which a database shows as 0.1 again, and 0.123456789 does not.
    """
    import numpy as np
    import pyarrow as pa

    exact = values.fill_null(0.0).to_numpy(zero_copy_only=False)
    with np.errstate(over="ignore"):
        single = exact.astype(np.float32)
    over = ~((single == exact) | np.isnan(exact))
    rows = np.flatnonzero(over)
    over[rows] = single[rows].astype(str).astype(np.float64) != exact[rows]
    return pa.array(over)


_OVER: dict[str, Callable[[Any, int], Any]] = {
    "bits": _wide_integer,
    "characters": _long_text,
    "bytes": _long_binary,
    "digits of a second": _fine_time,
    "bits of a fraction": _fine_float,
}
