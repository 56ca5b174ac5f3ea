"""Rows of equal keys within a batch become one, so that a statement meets each key once."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from . import kinds, values
from .diff import Table
from .rows import ABSENT, unmasked


def last_by_key(batch: pa.RecordBatch, table: Table) -> pa.RecordBatch:
    """Keep the last of the rows whose keys are equal, as the database compares them.

    What it has no field for it takes from the rows before it, back to one that is deleted.
    """
    if not table.keys:
        return batch
    keys = {f"k{i}": _comparable(batch.column(key), table.column(key).kind) for i, key in enumerate(table.keys)}
    if len(keys) == 1 and pc.count_distinct(keys["k0"]).as_py() == batch.num_rows:
        return batch
    positions = pa.table({**keys, "at": np.arange(batch.num_rows)}).group_by(list(keys))
    last = positions.aggregate([("at", "max")]).column("at_max")
    if len(last) == batch.num_rows:
        return batch
    rows = batch.take(pa.array(np.sort(last.to_numpy())))
    if ABSENT not in rows.schema.names or rows.column(ABSENT).null_count == rows.num_rows:
        return rows
    groups = positions.aggregate([("at", "list")]).column("at_list").to_pylist()
    return _filled(batch, sorted(map(sorted, groups), key=lambda group: group[-1]), table.deletes)


def _filled(batch: pa.RecordBatch, groups: list[list[int]], deletes: str | None) -> pa.RecordBatch:
    """Return one row per group of positions: its last, with what that has no field for from those before."""
    last = np.array([group[-1] for group in groups])
    absent = batch.column(ABSENT).to_pylist()
    is_deleted = batch.column(deletes).is_valid().to_pylist() if deletes else [False] * batch.num_rows
    sources: dict[int, Any] = {}  # by column: the position of each row's value
    for row, group in enumerate(groups):
        missing = set(unmasked(absent[group[-1]]))
        for at in reversed(group[:-1]):
            if is_deleted[at]:  # nothing is there to be kept
                missing.clear()
            if not missing:
                break
            there = missing.difference(unmasked(absent[at]))
            for column in there:
                sources.setdefault(column, last.copy())[row] = at
            missing -= there
        absent[group[-1]] = sum(1 << i for i in missing).to_bytes(len(absent[group[-1]]), "little") if missing else None
    names = batch.schema.names
    columns = [batch.column(i).take(pa.array(sources.get(i, last))) for i in range(len(names))]
    columns[names.index(ABSENT)] = pa.array([absent[at] for at in last], pa.binary())
    return pa.RecordBatch.from_arrays(columns, schema=batch.schema)


def _comparable(keys: pa.Array, kind: kinds.Kind) -> pa.Array:
    """Return *keys* so that equal values are equal in Arrow, too: 1.0 is 1, -0.0 is 0.0."""
    if kind.name in {"number", "decimal"} or kind == kinds.JSON:
        return pa.array([values.canonical(values.parse(key.encode())) for key in keys.to_pylist()])
    return pc.add(keys, 0.0) if kind == kinds.DOUBLE else keys
