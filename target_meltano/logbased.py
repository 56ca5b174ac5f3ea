"""Fields with which taps say when and where in a database's log a record was: known whatever the SCHEMA says.

Taps that read a log add them to records, and some of them not to the SCHEMA, as PipelineWise's tap-mysql
does with `_sdc_deleted_at`. Which taps send what is in docs/reliability.md.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from . import kinds
from .kinds import Kind
from .schema import Leaf

DELETED = "_sdc_deleted_at"
LSN = "_sdc_lsn"
MARKS = (DELETED, LSN)  # a stream that has one of them is log-based
KINDS = {
    DELETED: kinds.TIMESTAMP,
    LSN: kinds.INTEGER,
    "_sdc_extracted_at": kinds.TIMESTAMP,
    "_sdc_batched_at": kinds.TIMESTAMP,
    "_sdc_sequence": kinds.INTEGER,
    "_sdc_table_version": kinds.INTEGER,
}


class NewFields(Exception):
    """A record has *fields* of `KINDS` for which its table has no columns yet."""

    def __init__(self, fields: Mapping[str, Kind]):
        super().__init__(", ".join(fields))
        self.fields = fields


def fields_of(record: Mapping[str, Any], known: Iterable[str]) -> dict[str, Kind]:
    """Return the kinds of those of the *known* fields that *record* has; positions in a log are numbers or texts."""
    found = {name: kind for name, kind in KINDS.items() if name in known and name in record}
    if type(record.get(LSN)) is str and LSN in found:  # else it is a `values.Number`
        found[LSN] = kinds.STRING
    return found


def leaf(name: str, kind: Kind) -> Leaf:
    """Return the leaf of a field that the SCHEMA does not name."""
    types = {"string"} if KINDS[name] == kinds.TIMESTAMP else {"integer"}
    return Leaf((name,), kind, frozenset(types | ({"string"} if name == LSN and kind == kinds.STRING else set())))


def is_held(name: str, kind: Kind) -> bool:
    """Tell whether a column of *kind*, which is there, takes the values of a field."""
    return kind.name in ({"timestamp", "string"} if KINDS[name] == kinds.TIMESTAMP else {"integer", "decimal", "number", "string"})


def is_log_based(leaves: Iterable[Leaf]) -> bool:
    return any(len(leaf.path) == 1 and leaf.path[0] in MARKS for leaf in leaves)
