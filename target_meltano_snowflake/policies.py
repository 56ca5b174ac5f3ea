"""Policies that hide rows from our role or show it other values, and what would go wrong then.

A masking policy stands for its column wherever a statement reads that, a row access policy is a further
condition, for a table's owner too: user-guide/security-column-intro and security-row-intro. So an
upsert does not find the row of a key that it may not see, and writes a second one; a change of type
would copy `***` and NULL, for good. No policy forbids an INSERT: rows without a key can go on.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from target_meltano import Need

Rows = Callable[[str], Sequence[Mapping[str, Any]]]
LOOKS = 3  # at the number of rows, which others may change meanwhile
EVERY = "*"
KINDS = ("MASKING_POLICY", "ROW_ACCESS_POLICY")  # the others refuse a query, or let it be


@dataclass(frozen=True)
class Policy:
    """A policy by its full *name*, on a *column* or, without one, on rows; it *takes* the values of columns."""

    name: str
    column: str = ""
    takes: tuple[str, ...] = ()

    def __str__(self) -> str:
        return f"the {'masking' if self.column else 'row access'} policy {self.name}"


@dataclass(frozen=True)
class Seen:
    """A table by its *name* and its *full* one in quotes, as the catalogue shows it besides its columns' types.

    *show* is the statement that shows its *owner*, its number of rows and its *cluster*ing key; *masks*
    are those that DESCRIBE tells; *policies* is the query for all.
    """

    name: str
    full: str
    show: str
    policies: str
    columns: frozenset[str] = frozenset()
    owner: str = ""
    cluster: str = ""
    masks: tuple[Policy, ...] = ()

    def clusters_by(self, column: str) -> bool:
        names = re.findall(r'"((?:[^"]|"")+)"|\b([A-Za-z_][\w$]*)', self.cluster)
        return column in {quoted.replace('""', '"') or bare.upper() for quoted, bare in names}


def query(database: str, full: str, quote: Callable[[str], str], literal: Callable[[str], str]) -> str:
    """Return the query for the policies of a table: sql-reference/functions/policy_references."""
    function = f"{quote(database)}.INFORMATION_SCHEMA.POLICY_REFERENCES"
    return f"SELECT * FROM TABLE({function}(REF_ENTITY_NAME => {literal(f'{quote(database)}.{full}')}, REF_ENTITY_DOMAIN => 'table'))"


def of_rows(rows: Iterable[Mapping[str, Any]]) -> list[Policy]:
    """Return the policies that rows of POLICY_REFERENCES tell of."""
    found = []
    for row in rows:
        if row["POLICY_KIND"] in KINDS:
            name = ".".join(str(row[part]) for part in ("POLICY_DB", "POLICY_SCHEMA", "POLICY_NAME"))
            found.append(Policy(name, row["REF_COLUMN_NAME"] or "", tuple(json.loads(row["REF_ARG_COLUMN_NAMES"] or "[]"))))
    return found


@dataclass
class Guard:
    """Tells what policies keep our *role* from doing rightly; they are looked up once per table.

    *exempt* are those from which the user says that our role is, "*" for all, of which none is looked up then.
    *warn* is told where they cannot be.
    """

    rows_of: Rows
    role: str
    exempt: Collection[str]
    warn: Callable[[str], None]
    failures: tuple[type[Exception], ...] = (Exception,)
    _known: dict[str, list[Policy]] = field(default_factory=dict)
    _is_warned: bool = False

    def policies(self, seen: Seen) -> list[Policy]:
        """Return the policies on a table and its columns."""
        if EVERY in self.exempt:
            return list(seen.masks)
        if seen.full not in self._known:
            self._known[seen.full] = self._looked_up(seen)
        known = self._known[seen.full]
        told = {policy.column for policy in known}
        return [*known, *(policy for policy in seen.masks if policy.column not in told)]

    def _looked_up(self, seen: Seen) -> list[Policy]:
        try:
            return of_rows(self.rows_of(seen.policies))
        except self.failures as error:
            if not self._is_warned:
                why = " ".join(str(error).split())[:200]
                self.warn(f"table {seen.full}: its policies cannot be looked up, so that one that hides rows would not be known: {why}")
                self._is_warned = True
            return []

    def refusal(self, need: Need, seen: Seen, versions: str) -> str | None:
        """Return why what is needed cannot be done, and what to do; None if it can.

        *versions* is the column by which rows of older versions are found. Of our own tables all is read.
        """
        read = {*need.table.keys, *([versions] if need.all_rows else [])}
        masks = [one for one in self.policies(seen) if one.column and (one.column in read or not need.table.source) and not self._is_exempt(one)]
        if masks:
            columns = ", ".join(repr(one.column) for one in masks)
            return f"{_all(masks)} may show our role other values of {columns}, by which rows are found; {self._remedy(masks)}"
        return self._hidden(seen) if need.table.keys or need.all_rows else None

    def masked(self, told: Sequence[Policy], keys: Collection[str]) -> str | None:
        """Return why rows cannot be found by their *keys* any more, by what DESCRIBE has *told* just now."""
        masks = [one for one in told if one.column in keys and not self._is_exempt(one)]
        return f"{_all(masks)} may show our role other values of the key; {self._remedy(masks)}" if masks else None

    def immovable(self, seen: Seen, column: str) -> list[str]:
        """Return why the values of a column cannot be copied into another one."""
        masks = [one for one in self.policies(seen) if one.column == column]
        reasons = [f"{_all(masks)} is on it, and would not be on the column of the new type; unset it, load, and set it again"] if masks else []
        hidden = self._hidden(seen)
        return [*reasons, *([hidden] if hidden else [])]

    def obstacles(self, seen: Seen, column: str) -> list[str]:
        """Return what would keep a column from being dropped."""
        takers = [str(one) for one in self.policies(seen) if column in one.takes]
        return [*([f"the clustering key {seen.cluster}"] if seen.clusters_by(column) else []), *takers]

    def _hidden(self, seen: Seen) -> str | None:
        """Return that rows may be hidden from our role, or are."""
        all_of_it = [one for one in self.policies(seen) if not one.column]
        policies = [one for one in all_of_it if not self._is_exempt(one)]
        if policies:
            return f"{_all(policies)} may hide rows from our role, which would be written a second time, stay behind, or become NULL; {self._remedy(policies)}"
        if EVERY in self.exempt or (not all_of_it and seen.owner == self.role):  # to whom all are shown
            return None
        for _ in range(LOOKS):
            shown = next((row["rows"] for row in self.rows_of(seen.show) if row["name"] == seen.name), None)
            visible = next(iter(self.rows_of(f"SELECT COUNT(*) AS N FROM {seen.full}")))["N"]
            if shown is None or visible >= shown:
                return None
        return f"{shown - visible:,} of its {shown:,} rows are hidden from our role {self.role}, by a policy; let that exempt our role"

    def _is_exempt(self, policy: Policy) -> bool:
        return policy.name in self.exempt or EVERY in self.exempt

    def _remedy(self, policies: Sequence[Policy]) -> str:
        names = ", ".join(sorted({policy.name for policy in policies}))
        return f"let it exempt our role {self.role}, and name it in the setting `exempt_policies: [{names}]`"


def _all(policies: Sequence[Policy]) -> str:
    return " and ".join(dict.fromkeys(map(str, policies)))
