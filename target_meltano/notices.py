"""What a run did that no plain load does: records rejected, values dropped or changed, columns added or widened.

Counted by stream, and told in its last lines, in `--summary` and in `__loads`. With paths, names of columns
and our own words; never a value.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from .schema import LONGEST_PATH

REJECTED, DROPPED, CHANGED, ADDED, WIDENED = "rejected", "dropped", "changed", "added", "widened"
KEPT = "kept"  # in another place than a column of its own: nothing is lost
OTHER = "other"
ORDER = (REJECTED, DROPPED, CHANGED, WIDENED, ADDED, KEPT, OTHER)  # the heaviest first
MOST_WHATS = 1000  # of a stream: names of fields may be data, and have no end
_TOTALS = {REJECTED: "rejected", DROPPED: "dropped", CHANGED: "changed", WIDENED: "column{s} widened", ADDED: "column{s} added"}

What = tuple[str, str]  # kind and words
Counted = Mapping[What, int]


@dataclass(frozen=True)
class Notice:
    """*what* happened to a stream, empty for none, so many times; *first* tells where, and to people only."""

    stream: str
    kind: str
    what: str
    count: int
    first: str = ""

    @property
    def is_loss(self) -> bool:
        """Tell whether a table is not what the input says, or not what it was before."""
        return self.kind in _TOTALS

    def __str__(self) -> str:
        times = "" if self.kind in (ADDED, WIDENED) else ": once" if self.count == 1 else f": {self.count:,} times"
        return f"{of(self.stream, self.what)}{times}{self.first}"

    def as_json(self) -> dict[str, str | int]:
        """Return it for programs; *text* is for people."""
        return {"stream": self.stream, "kind": self.kind, "what": self.what, "count": self.count, "text": str(self)}


def short(path: str) -> str:
    return path if len(path) <= LONGEST_PATH else f"{path[:LONGEST_PATH]}…"


def of(stream: str, what: str) -> str:
    return f"stream {stream!r}: {what}" if stream else what


def plus(one: Counted, other: Counted) -> Counted:
    """Return the counts of both."""
    if not other:
        return one
    both = dict(one)
    for (kind, what), count in other.items():
        known = (kind, what) if (kind, what) in both or len(both) < MOST_WHATS else (kind, "and others")
        both[known] = both.get(known, 0) + count
    return both


def totals(notices: Iterable[Notice]) -> str:
    """Return what is to be known of all of them, in a few words: `2 rejected, 1 column added`; empty for nothing."""
    counts = dict.fromkeys(_TOTALS, 0)
    for one in notices:
        if one.is_loss:
            counts[one.kind] += one.count
    return ", ".join(f"{count:,} {_TOTALS[kind].format(s='' if count == 1 else 's')}" for kind, count in counts.items() if count)


def kept(counted: Counted) -> str | None:
    """Return what `__loads` keeps of a stream's: a list as JSON, None for nothing."""
    found = [{"kind": kind, "what": what, "count": count} for (kind, what), count in counted.items()]
    return json.dumps(found, ensure_ascii=False) if found else None
