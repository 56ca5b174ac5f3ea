"""What was noticed on the way from a line to a row, for warnings and counts."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from .schema import Path

MOST_NAMES = 100  # of fields that a stream's schema does not name: a map's keys may be data, and have no end
MOST_MEMBERS = 1000  # from which on no more are collected, for the same reason
OTHERS: Path = ()  # stands for the rest of them


@dataclass
class Notes:
    """What was noticed on the way that is no fault, counted by path: for one warning each.

    *first* are the lines where a value was first changed, by counter and path; on the way there they
    are what *at* is: the number of the line, or the row of a column.
    """

    unknown: Counter[Path] = field(default_factory=Counter)
    cut: Counter[Path] = field(default_factory=Counter)
    zero: Counter[Path] = field(default_factory=Counter)
    leap: Counter[Path] = field(default_factory=Counter)
    shortened: Counter[Path] = field(default_factory=Counter)
    texts: Counter[Path] = field(default_factory=Counter)  # in keys that may be other than texts
    as_texts: Counter[Path] = field(default_factory=Counter)  # in keys that may be texts, too
    coerced: Counter[Path] = field(default_factory=Counter)
    replaced: Counter[Path] = field(default_factory=Counter)
    absent: Counter[Path] = field(default_factory=Counter)  # so usual that nobody is warned
    first: dict[tuple[str, Path], int] = field(default_factory=dict)
    members: set[Path] = field(default_factory=set, compare=False)  # that an open object has without naming them
    restless: set[Path] = field(default_factory=set, compare=False)  # columns for such members, where there was none
    at: int = field(default=0, compare=False)

    def __bool__(self) -> bool:
        return any(counter for _, counter in self._counters())

    def _counters(self) -> list[tuple[str, Counter[Path]]]:
        return [(name, found) for name, found in vars(self).items() if isinstance(found, Counter)]

    def see_unknown(self, path: Path, count: int = 1) -> None:
        """Count a field that the schema does not name; all after the first ones as one."""
        is_named = path in self.unknown or len(self.unknown) < MOST_NAMES
        self.unknown[path if is_named else OTHERS] += count

    def add(self, other: Notes) -> None:
        for name, counter in other._counters():
            if name != "unknown":
                getattr(self, name).update(counter)
        for path, count in other.unknown.items():
            self.see_unknown(path, count)
        if len(self.members) < MOST_MEMBERS:
            self.members |= other.members
        for what, line in other.first.items():
            self.first[what] = min(line, self.first.get(what, line))

    def changed(self, name: str, path: Path, at: int | None = None, count: int = 1) -> None:
        """Count values that are not what was sent, the first of them at *at*."""
        getattr(self, name)[path] += count
        self.first.setdefault((name, path), self.at if at is None else at)
