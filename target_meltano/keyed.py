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

    What it has no field for it takes from the rows before it, back to one that deletes. The last one
    that deletes is kept, too, before what comes after it.
    """
    if not table.keys:
        return batch
    keys = {f"k{i}": _comparable(batch.column(key), table.column(key).kind) for i, key in enumerate(table.keys)}
    if len(keys) == 1 and pc.count_distinct(keys["k0"]).as_py() == batch.num_rows:
        return batch
    positions = pa.table({**keys, "at": np.arange(batch.num_rows)})
    last = _last(positions, list(keys))
    if len(last) == batch.num_rows:
        return batch
    deletes = _last(positions.filter(batch.column(table.deletes).is_valid()), list(keys)) if table.deletes else last[:0]
    kept = np.union1d(last, deletes)
    rows = batch.take(pa.array(kept))
    if ABSENT not in rows.schema.names or rows.column(ABSENT).null_count == rows.num_rows:
        return rows
    groups = positions.group_by(list(keys)).aggregate([("at", "list")]).column("at_list").to_pylist()
    return _filled(batch, kept, groups, set(deletes.tolist()))


def _last(positions: pa.Table, keys: list[str]) -> np.ndarray[Any, Any]:
    """Return the last position of each key."""
    found: np.ndarray[Any, Any] = positions.group_by(keys).aggregate([("at", "max")]).column("at_max").to_numpy()
    return found


def _filled(batch: pa.RecordBatch, kept: np.ndarray[Any, Any], groups: list[list[int]], deletes: set[int]) -> pa.RecordBatch:
    """Return the rows that are *kept*, the last one of each group with what it lacks from those before.

    *groups* are positions of equal keys; behind those that are in *deletes* nothing is there to be taken.
    """
    absent = batch.column(ABSENT).to_pylist()
    sources: dict[int, Any] = {}  # by column: the position of each row's value
    for group in groups:
        *before, last = sorted(group)
        missing = set(unmasked(absent[last])) if last not in deletes else set()
        row = int(np.searchsorted(kept, last))
        for at in reversed(before):
            if not missing or at in deletes:
                break
            there = missing.difference(unmasked(absent[at]))
            for column in there:
                sources.setdefault(column, kept.copy())[row] = at
            missing -= there
        if absent[last]:
            absent[last] = sum(1 << i for i in missing).to_bytes(len(absent[last]), "little") if missing else None
    names = batch.schema.names
    columns = [batch.column(i).take(pa.array(sources.get(i, kept))) for i in range(len(names))]
    columns[names.index(ABSENT)] = pa.array([absent[at] for at in kept], pa.binary())
    return pa.RecordBatch.from_arrays(columns, schema=batch.schema)


def _comparable(keys: pa.Array, kind: kinds.Kind) -> pa.Array:
    """Return *keys* so that equal values are equal in Arrow, too: 1.0 is 1, -0.0 is 0.0."""
    if kind.name in {"number", "decimal"} or kind == kinds.JSON:
        return pa.array([values.canonical(values.parse(key.encode(), not_finite=True)) for key in keys.to_pylist()], pa.string())
    return pc.add(keys, 0.0) if kind == kinds.DOUBLE else keys
