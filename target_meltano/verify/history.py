"""What the records of a key make of its row, one after the other, and how that differs from the row that is there."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import chain, groupby, islice
from operator import itemgetter
from typing import Any

from .. import kinds
from .cells import ABSENT, EITHER, Cell, is_same, shown
from .layout import Facts
from .records import Expected
from .stored import Stored

ANYTHING = ...  # what was there before the first record, or what no record says
MOST = 200  # differences that are kept
_MOST_LOOKS = 2_000_000  # at cells, to find the row that is most like another one


@dataclass(frozen=True)
class Difference:
    """Something that is not as the input says. *line* is None where it is of a row that no record made."""

    stream: str
    words: str
    line: int | None = None
    record: int = 0
    path: str = ""
    sent: str = ""
    stored: str = ""
    order: int = 0

    def __str__(self) -> str:
        where = [f"line {self.line}" + (f", record {self.record}" if self.record else "")] if self.line else []
        where += [f"stream {self.stream!r}"] if self.stream else []
        where += [self.path] if self.path else []
        values = f": sent {self.sent}, stored {self.stored}" if self.sent or self.stored else ""
        return f"{': '.join(where)}: {self.words}{values}"


@dataclass
class Found:
    """What the comparison of a stream's rows found. *others* are rows of which the input says nothing."""

    rows: int = 0
    equal: int = 0
    others: int = 0
    gone: int = 0
    count: int = 0
    differences: list[Difference] = field(default_factory=list)
    missing: list[Expected] = field(default_factory=list)  # of streams without a key: rows that are not there as they should be
    loose: list[Stored] = field(default_factory=list)  # and rows that nothing made

    def differ(self, difference: Difference) -> None:
        self.count += 1
        if len(self.differences) < MOST:
            self.differences.append(difference)

    def miss(self, row: Expected, count: int) -> None:
        """Note that *count* rows like this one are not there."""
        kept = min(count, MOST - len(self.missing))
        self.missing += [row] * kept
        self.count += count - kept

    def keep_loose(self, row: Stored) -> bool:
        """Keep a row that no record made, to be shown beside what is missing; tell whether there is room."""
        if len(self.loose) < MOST:
            self.loose.append(row)
            return True
        return False

    def add(self, other: Found) -> None:
        """Add what was found of another part of the stream's rows."""
        for name in ("rows", "equal", "others", "gone", "count"):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        for name in ("differences", "missing", "loose"):
            getattr(self, name).extend(getattr(other, name))


@dataclass(frozen=True)
class Rules:
    """How a stream's rows are compared. *keys* are the columns of its key. *versions* are (order, version) of each ACTIVATE_VERSION.

    *until* is the order of the record at which the load ended. *whole*: the input is all that the table should
    have. *shows*: values may be shown. *empty* are columns in which nothing is that no record says.
    """

    facts: Facts
    keys: tuple[int, ...]
    versions: Sequence[tuple[int, int]] = ()
    until: float = float("inf")
    whole: bool = False
    shows: bool = True
    empty: frozenset[int] = frozenset()


@dataclass
class _Row:
    """The row of a key, as far as it is known."""

    cells: list[Cell]
    version: Any = ANYTHING
    is_deleted: Any = ANYTHING
    is_there: bool = True


def compare(rules: Rules, expected: Iterator[Expected], stored: Iterator[Stored]) -> Found:
    """Compare rows in the order of their digests."""
    found = Found()
    one = _keyless if not rules.keys else _alike if _may_be_alike(rules) else _keyed
    before_end = (row for row in expected if row[1] < rules.until)
    left, right = groupby(before_end, itemgetter(0)), groupby(stored, itemgetter(0))
    mine, theirs = next(left, None), next(right, None)
    while mine or theirs:
        key = min(side[0] for side in (mine, theirs) if side)
        has_mine, has_theirs = bool(mine and mine[0] == key), bool(theirs and theirs[0] == key)
        one(rules, mine[1] if mine and has_mine else iter(()), theirs[1] if theirs and has_theirs else iter(()), found)
        mine = next(left, None) if has_mine else mine
        theirs = next(right, None) if has_theirs else theirs
    return found


# --- with a key


def _keyed(rules: Rules, wanted: Iterator[Expected], stored: Iterator[Stored], found: Found) -> None:
    first, there = next(wanted, None), next(stored, None)
    if first is None:
        found.rows += there is not None
        for other in (*([there] if there else []), *stored):
            _other(rules, other, found)
        return
    second = next(wanted, None)
    twin = next(stored, None)
    if there and second is None and twin is None and not rules.versions and not first[6] and first[4] == there[2] and not there[3]:
        found.equal += 1  # as nearly all are
        found.rows += 1
        return
    history = _History(rules)
    for record in chain([first], [second] if second else [], wanted):
        history.take(record)
    more = (twin is not None) + sum(1 for _ in stored)
    _judge(rules, history, there, more, found)


def _may_be_alike(rules: Rules) -> bool:
    """Tell whether different keys may have one digest: as spellings of what was a number, or a time, before it became a text."""
    return any(rules.facts.columns[at].kind in (kinds.STRING, kinds.JSON) for at in rules.keys)


def _alike(rules: Rules, wanted: Iterator[Expected], stored: Iterator[Stored], found: Found) -> None:
    """Compare rows whose keys are the same, or nearly: those that are the same find each other first."""
    theirs, few = list(stored), list(islice(wanted, 2))
    if len(few) < 2 and len(theirs) < 2 and (not few or not theirs or _has_key(rules, few[0], theirs[0], is_same)):
        _keyed(rules, iter(few), iter(theirs), found)  # as nearly all are
        return
    mine: dict[Any, tuple[_History, list[Stored]]] = {}  # by key as it was sent: what its records leave, and its rows
    for record in chain(few, wanted):
        exact = tuple(map(repr, (record[4][at] for at in rules.keys)))
        mine.setdefault(exact, (_History(rules), []))[0].take(record)
    for is_equal in (_is_exactly, is_same):
        for history, rows in mine.values():
            fit = [there for there in theirs if _has_key(rules, history.last, there, is_equal)]
            if fit and not rows:
                rows += fit
                theirs = [there for there in theirs if there not in fit]
    for history, rows in mine.values():
        _judge(rules, history, rows[0] if rows else None, len(rows) - 1, found)
    for there in theirs:
        found.rows += 1
        _other(rules, there, found)


def _is_exactly(sent: Cell, there: Cell, kind: Any) -> bool:
    return bool(sent == there or (type(sent) is tuple and sent[0] == there))


def _has_key(rules: Rules, record: Expected, there: Stored, is_equal: Callable[[Cell, Cell, Any], bool]) -> bool:
    return all(is_equal(record[4][at], there[2][at], rules.facts.columns[at].kind) for at in rules.keys)


def _judge(rules: Rules, history: _History, there: Stored | None, more: int, found: Found) -> None:
    """Compare what the records of a key make of its row with the row that is *there*; there are so many *more*."""
    history.end()
    row, last = history.row, history.last
    if there is None:
        if row.is_there:
            _differ(rules, found, last, "its row is not there")
        found.gone += not row.is_there
        return
    found.rows += 1 + more
    before = found.count
    if not row.is_there:
        found.gone += 1
        _differ(rules, found, last, "the record deletes its row, and it is there", stored=_key(rules, there))
        return
    if more:
        _differ(rules, found, last, f"{1 + more:,} rows have its key")
    for at, column in enumerate(rules.facts.columns):
        cell = row.cells[at]
        if cell is not ANYTHING and not is_same(cell, there[2][at], column.kind):
            _differ_at(rules, found, last, at, cell, there[2][at])
    _check_deleted(rules, found, last, row.is_deleted, there[3])
    found.equal += found.count == before


class _History:
    """The row that the records of a key leave, and the *last* of them."""

    def __init__(self, rules: Rules):
        self.rules = rules
        # What no record says is NULL where there was nothing before, else what was there, or the table's default.
        self.first: list[Cell] = [None if at in rules.empty else ANYTHING for at in range(len(rules.facts.columns))]
        self.row = _Row(self.first.copy())
        self.last: Expected
        self.events = iter([*rules.versions, (float("inf"), 0)])
        self.event = next(self.events)

    def take(self, record: Expected) -> None:
        self.last = record
        order, cells = record[1], record[4]
        self._go_on(order)
        if not self.row.is_there:
            self.row = _Row(self.first.copy(), None, False)
        row = self.row
        for at, cell in enumerate(cells):
            if type(cell) is tuple and not cell:
                continue
            if type(cell) is frozenset:
                before = row.cells[at]
                spellings = before if type(before) is tuple else (before,)
                row.cells[at] = before if before is ANYTHING or None in spellings else (*spellings, None)
            else:
                row.cells[at] = cell
        if self.rules.facts.version is not None:
            row.version, row.is_deleted = record[5], False
        row.is_there = not record[6]

    def end(self) -> None:
        """Take what comes behind the last record."""
        self._go_on(float("inf"))

    def _go_on(self, order: float) -> None:
        while self.event[0] < order:
            _activate(self.rules, self.row, self.event[1])
            self.event = next(self.events)


def _activate(rules: Rules, row: _Row, version: int) -> None:
    if row.version is ANYTHING or row.version is None or row.version >= version:
        return
    if rules.facts.settings.activate_version == "hard":
        row.is_there = False
    else:
        row.is_deleted = True


def _check_deleted(rules: Rules, found: Found, last: Expected, wanted: Any, is_deleted: bool) -> None:
    if wanted is ANYTHING or rules.facts.deleted_at is None or wanted == is_deleted:
        return
    is_wanted = "a newer version was activated, and its row is not marked as deleted"
    is_not = "its row is marked as deleted, and no newer version was activated"
    _differ(rules, found, last, is_wanted if wanted else is_not)


def _other(rules: Rules, row: Stored, found: Found) -> None:
    """Look at a row of which no record says anything: of older loads, or of nobody."""
    found.others += 1
    cells, facts, is_deleted = row[2], rules.facts, row[3]
    newest = max((version for order, version in rules.versions if order < rules.until), default=None)
    version = cells[facts.version] if facts.version is not None else None
    is_older = newest is not None and isinstance(version, int) and version < newest
    if is_older and facts.settings.activate_version == "hard":
        found.differ(Difference(facts.stream, "a row is of an older version than was activated", stored=_key(rules, row)))
    elif is_older and facts.deleted_at is not None and not is_deleted:
        words = "a row is of an older version than was activated, and not marked as deleted"
        found.differ(Difference(facts.stream, words, stored=_key(rules, row)))
    elif rules.whole and not is_older and not is_deleted:
        found.differ(Difference(facts.stream, "a row is there that no record made", stored=_key(rules, row)))


# --- without a key


def _keyless(rules: Rules, wanted: Iterator[Expected], stored: Iterator[Stored], found: Found) -> None:
    """Compare rows of the same values, or nearly: there must be as many as were sent."""
    hard = rules.facts.settings.activate_version == "hard"
    mine: dict[Any, list[Any]] = {}  # a row, and how many are like it
    theirs: dict[Any, list[Any]] = {}
    for row in wanted:
        is_old = any(order > row[1] and row[5] is not None and row[5] < version for order, version in rules.versions)
        if is_old and hard:
            found.gone += 1
            continue
        mine.setdefault(_exact(row[4], is_old), [row, 0])[1] += 1
    for there in stored:
        found.rows += 1
        theirs.setdefault(_exact(there[2], there[3]), [there, 0])[1] += 1
    for same in mine.keys() & theirs.keys():
        _pair(mine[same], theirs[same], found)
    for exact, one in mine.items():
        for other, another in theirs.items() if one[1] else ():
            if another[1] and exact[0] == other[0] and _all_same(rules, one[0][4], another[0][2]):
                _pair(one, another, found)
    for row, count in mine.values():
        found.miss(row, count)
    for there, count in theirs.values():
        for _ in range(count):
            if not found.keep_loose(there):
                _other(rules, there, found)


def _pair(mine: list[Any], theirs: list[Any], found: Found) -> None:
    count = min(mine[1], theirs[1])
    mine[1] -= count
    theirs[1] -= count
    found.equal += count


def _exact(cells: Sequence[Cell], is_deleted: bool) -> tuple[Any, ...]:
    return (is_deleted, *((repr(cell) if cell else None) if type(cell) in (tuple, frozenset) else cell for cell in cells))


def _all_same(rules: Rules, wanted: Sequence[Cell], there: Sequence[Cell]) -> bool:
    return all(_is_same_at(rules, *pair, at) for at, pair in enumerate(zip(wanted, there, strict=True)))


def _is_same_at(rules: Rules, wanted: Cell, there: Cell, at: int) -> bool:
    if wanted in (ABSENT, EITHER):
        return there is None
    return is_same(wanted, there, rules.facts.columns[at].kind)


def settle(rules: Rules, found: Found) -> None:
    """Tell of rows that were sent and are not there, each beside the row that is most like it."""
    free, width = list(found.loose), len(rules.facts.columns)
    some = range(0, width, 1 + len(found.missing) * len(free) * width // _MOST_LOOKS)  # columns that tell which row is like it
    for row in found.missing:
        near = max(free, key=lambda one: sum(_is_same_at(rules, row[4][at], one[2][at], at) for at in some), default=None)
        wrong = [at for at in range(len(row[4])) if near and not _is_same_at(rules, row[4][at], near[2][at], at)]
        if near and len(wrong) * 2 <= sum(cell is not None for cell in row[4]):
            free.remove(near)
            for at in wrong:
                _differ_at(rules, found, row, at, row[4][at], near[2][at])
            if not wrong:
                _differ(rules, found, row, "its row is marked as deleted, or should be")
        else:
            _differ(rules, found, row, "its row is not there")
    found.missing = []
    for extra in free:
        _other(rules, extra, found)
    found.loose = []


# --- words


def _differ(rules: Rules, found: Found, row: Expected, words: str, stored: str = "") -> None:
    found.differ(Difference(rules.facts.stream, words, row[2], row[3], stored=stored, order=row[1]))


def _differ_at(rules: Rules, found: Found, row: Expected, at: int, wanted: Cell, there: Cell) -> None:
    column = rules.facts.columns[at]
    path = f"$.{column.source}" if column.source else column.name
    wanted = None if wanted in (ABSENT, EITHER) else wanted
    values = (shown(wanted, column.kind), shown(there, column.kind)) if rules.shows else ("…", "…")
    words = f"column {column.name!r} has another value"
    found.differ(Difference(rules.facts.stream, words, row[2], row[3], path, *values, order=row[1]))


def _key(rules: Rules, row: Stored) -> str:
    if not rules.shows:
        return "…"
    pairs = [(column.name, shown(cell, column.kind)) for column, cell in zip(rules.facts.columns, row[2], strict=True) if cell is not None]
    return ", ".join(f"{name} {text}" for name, text in pairs[:3])
