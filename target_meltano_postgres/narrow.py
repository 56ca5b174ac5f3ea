"""Types of PostgreSQL that hold less than ours: what they hold, and how their values are sent.

Tried on the server: a binary COPY into numeric(p,s), time(p), timestamp(p) and real rounds, one into
varchar(n) cuts spaces, one into char(n) pads. So what does not fit is refused beforehand; and char(n),
whose texts are never what was sent, belongs to others.
"""

from __future__ import annotations

import re
from dataclasses import replace

import pyarrow as pa

from target_meltano import NUMBER, SINGLE, TIMESTAMP, FoundColumn, Kind, Limit, Table

LIMITS = {"smallint": Limit("bits", 16), "integer": Limit("bits", 32), "real": Limit("bits of a fraction", SINGLE)}
_SENT = {"smallint": pa.int16(), "integer": pa.int32(), "real": pa.float32()}
_NAIVE = re.compile(r"timestamp(?:\((\d)\))? without time zone")


def numeric(spelt: str) -> tuple[Kind, bool] | None:
    """Return the kind of `numeric(10,2)`, and whether it is narrow.

    One that rounds before the point, or has more places than digits, is only good to be widened.
    """
    found = re.fullmatch(r"numeric\((\d+),(-?\d+)\)", spelt)
    if not found:
        return None
    precision, scale = int(found[1]), int(found[2])
    return (Kind("decimal", precision, scale), False) if 0 <= scale <= precision else (NUMBER, True)


def naive(spelt: str) -> tuple[Kind, bool] | None:
    """Return the kind of a time without time zone, which is UTC, and whether it is narrow."""
    found = _NAIVE.fullmatch(spelt)
    return (TIMESTAMP, found[1] is not None) if found else None


def naively(found: FoundColumn) -> FoundColumn:
    """Return such a column, which never becomes one with a time zone, with the setting that reads it."""
    remedy = "" if found.kind else "with `naive_timestamps: utc` its times are taken for UTC; else "
    return replace(found, wide="timestamp without time zone", remedy=remedy)


def naive_limit(spelt: str) -> Limit | None:
    found = _NAIVE.fullmatch(spelt)
    return Limit("digits of a second", int(found[1])) if found and found[1] else None


def sent(table: Table, batch: pa.RecordBatch) -> pa.RecordBatch:
    """Return *batch* with the values of narrow columns, which fit, as their types take them."""
    for i, column in enumerate(table.columns):
        if column.limit and column.type in _SENT:
            values = batch.column(i).cast(_SENT[column.type], safe=False)
            batch = batch.set_column(i, batch.schema.names[i], values)
    return batch
