"""Members that a schema allows without naming them, on the fast path: those that came before are read like leaves.

They end in one JSON column beside the named ones, whose leaf is `Node.rest`. A member that nobody has
seen makes its record take the slow path, and the decoder is made anew to expect it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from . import kinds, values
from .cells import Cells
from .rows import Layout
from .schema import Leaf, Node, Path

MOST = 500  # that are expected: the keys of an object may be data, and have no end
_ANY = frozenset({"any"})


@dataclass(frozen=True)
class Gathered:
    """What members become a column: names and positions of those that are read, and the leaves of their object."""

    names: tuple[str, ...]
    positions: tuple[int, ...]
    others: tuple[int, ...]  # all that are read below the object, none for the record itself


class Reading:
    """How records of *layout* are read: its leaves without the JSON columns, and these *members* in their place."""

    def __init__(self, layout: Layout, members: Iterable[Path]):
        self.always = bool(layout.keeps)
        paths = sorted(members)
        node = _reading(layout.node, paths)
        self.layout = replace(layout, node=node, leaves=tuple(node.leaves()))
        at = {leaf.path: i for i, leaf in enumerate(self.layout.leaves)}
        self.columns: list[int | Gathered] = [
            self._gathered(leaf, at) if leaf.is_rest else at[leaf.path] for leaf in layout.leaves
        ]

    def _gathered(self, rest: Leaf, at: dict[Path, int]) -> Gathered:
        parent = rest.path[:-1]
        its = [path for path in at if path[:-1] == parent and self.layout.leaves[at[path]].is_rest]
        below = [i for path, i in at.items() if path[: len(parent)] == parent] if parent else []
        return Gathered(tuple(path[-1] for path in its), tuple(at[path] for path in its), tuple(below))

    def gather(self, read: Sequence[Cells], rows: int) -> tuple[list[Cells], set[int]]:
        """Return the cells of the layout's leaves, and the rows that only the slow path can tell."""
        found: list[Cells] = []
        unclear: set[int] = set()
        for column in self.columns:
            if isinstance(column, int):
                found.append(read[column])
                continue
            if column.others and (column.names or self.always):
                unclear.update(np.flatnonzero(_all_null(read, column.others, rows)).tolist())
            found.append(_object(column, read, rows))
        return found, unclear


def _reading(node: Node, members: Sequence[Path]) -> Node:
    """Return *node* with a leaf for each of its *members*, and without the JSON columns."""
    properties = {name: _reading(child, members) if isinstance(child, Node) else child for name, child in node.properties.items()}
    if node.rest:
        for path in members:
            if path[:-1] == node.path and path[-1] not in properties:
                properties[path[-1]] = Leaf(path, kinds.JSON, _ANY, is_rest=True)
    return Node(node.path, properties, node.nulls)


def _all_null(read: Sequence[Cells], positions: Sequence[int], rows: int) -> np.ndarray:
    """Tell of each row whether all of its leaves are null and none is absent: the object may be null, or each member."""
    found = np.ones(rows, bool)
    for cells in (read[at] for at in positions):
        found &= cells.values.is_null().to_numpy(zero_copy_only=False)
        if cells.absent is not None:
            found &= ~cells.absent
        if cells.bad is not None:
            found &= ~cells.bad
    return found


def _object(column: Gathered, read: Sequence[Cells], rows: int) -> Cells:
    """Return JSON objects of the members that are there, null where there is none."""
    there = np.zeros(rows, bool)
    none = pa.nulls(rows, pa.string())  # an array: with a single null if_else spoils strings (apache/arrow#49410)
    nothing = pa.array([""] * rows, pa.string())
    parts = []
    for name, at in sorted(zip(column.names, column.positions, strict=True)):
        cells = read[at]
        has = np.ones(rows, bool) if cells.absent is None else ~cells.absent
        there |= has
        texts = pc.binary_join_element_wise(f",{values.quoted(name)}:", pc.fill_null(cells.values, "null"), "")
        parts.append(pc.if_else(pa.array(has), texts, nothing))
    if not parts:
        return Cells(none, ~there)
    # Not joined by commas with null_handling="skip": where all are null, rows are lost (pyarrow 26.0.1).
    joined = pc.utf8_slice_codeunits(pc.binary_join_element_wise(*parts, ""), 1)
    objects = pc.binary_join_element_wise("{", joined, "}", "")
    return Cells(pc.if_else(pa.array(there), objects, none), ~there)


def is_expectable(path: Path) -> bool:
    """Tell whether a member of this name may be read like a leaf: no database holds others as text."""
    return not values.is_bad_text(path[-1])
