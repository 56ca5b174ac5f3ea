"""Where the values of a record are in its table: which column has the path of each.

A column's comment is the path that it was made for; where a column has none its name tells, by the rules of
`naming.py` and the settings. What the SCHEMA in force names has a column. The rest has none, but for the column
of an object for members that nobody names, or `__extra`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from .. import kinds, naming
from ..dialect import Dialect
from ..diff import Column, Found
from ..kinds import Kind
from ..logbased import DELETED, KINDS, MARKS
from ..schema import Leaf, Path
from ..settings import Settings
from ..values import Notes, Rules
from .cells import ABSENT, EITHER, Cell, Cells, sent
from .described import Described

MOST_UNKNOWN = 1000  # paths that are counted
UNTOUCHED = ABSENT  # a column that the SCHEMA in force does not name keeps what it has


@dataclass(frozen=True)
class StoredColumn:
    """A column of the table: *kind* is None for a type of others, *source* its comment."""

    name: str
    kind: Kind | None
    source: str


@dataclass
class Slot:
    """Where the values of one member go: a *column*, as *cell* makes them; or their members, *below*; or nowhere.

    *is_null*: the SCHEMA allows nothing but null.
    """

    column: int | None = None
    cell: Callable[[Any], Cell] | None = None
    below: Object | None = None
    is_null: bool = False


@dataclass
class Object:
    """An object whose members have places of their own. *rest* is for the members that nobody names.

    *columns* are all that have values of its members.
    """

    path: Path
    slots: dict[str, Slot] = field(default_factory=dict)
    rest: Slot | None = None
    columns: list[int] = field(default_factory=list)


@dataclass(frozen=True)
class Facts:
    """What is known of a stream's table before any SCHEMA: its columns, and how names are made."""

    stream: str
    columns: tuple[StoredColumn, ...]
    settings: Settings
    names: naming.Naming
    holds: Mapping[int, frozenset[str]]
    fold: Callable[[str], str]
    has_rules: bool

    @classmethod
    def of(cls, stream: str, found: Found, dialect: Dialect[Any], has_rules: bool) -> Facts:
        settings = dialect.settings
        columns = tuple(StoredColumn(one.name, one.kind, one.source) for one in found.columns.values())
        names = naming.Naming(settings.naming, dialect.fold, dialect.name_size, dialect.name_length, dialect.reserved)
        holds = {at: dialect.holds(Column(one.name, one.kind, type=one.type)) for at, one in enumerate(found.columns.values()) if one.kind}
        return cls(stream, columns, settings, names, holds, dialect.fold, has_rules)

    def position(self, name: str) -> int | None:
        return next((at for at, column in enumerate(self.columns) if column.name == name), None)

    def ours(self, name: str) -> int | None:
        """Return the position of a column that is no property's."""
        at = self.position(self.fold(name))
        return at if at is not None and not self._is_noted(at) else None

    def _is_noted(self, at: int) -> bool:
        """Tell whether a column's comment is the path that it was made for, and not somebody else's words."""
        column = self.columns[at]
        path = column.source.removesuffix(".**").split(".")
        plain = [*path[:-1], "extra"] if path[-1] == "*" and path[:-1] else ["__extra"] if path == ["*"] else path
        return bool(column.source) and column.name in (self.names.of(plain), self.names.apart(path, self.names.of(plain)), self.names.apart(path))

    def _with_comment(self, text: str) -> list[int]:
        """Return the columns with a comment; what no text of SQL can hold is escaped there."""
        text = text.encode("utf-8", "backslashreplace").decode().replace("\0", r"\u0000")
        return [at for at, column in enumerate(self.columns) if column.source == text]

    def column(self, path: Path) -> int | None:
        """Return the position of the column for the property at *path*, None for none."""
        given = self.settings.column_names.get(f"{self.stream}.{'.'.join(path)}")
        if given:
            return self.position(self.names.given(given))
        plain, apart = self.names.of(path), self.names.apart(path)
        commented = self._with_comment(".".join(path))
        named = [at for name in (apart, plain) for at in commented if self.columns[at].name == name]
        if commented:
            return (named or commented)[0]
        for name in (apart, plain):
            at = self.position(name)
            if at is not None and not self._is_noted(at):
                return at
        return None

    def with_mark(self, path: Path, mark: str) -> int | None:
        """Return the column whose comment is *path* and a *mark* behind it."""
        found = self._with_comment(".".join(path) + mark)
        plain = {self.names.of((*path, mark.lstrip("."))), self.names.apart((*path, mark.lstrip(".")))}
        return next((at for at in found if self.columns[at].name not in plain), None)

    def rest(self, path: Path) -> int | None:
        """Return the column for the members of an object that nobody names."""
        found = self._with_comment(".".join((*path, "*")))
        name = self.names.of((*path, "extra")) if path else self.names.fold("__extra")
        if found:
            return next((at for at in found if self.columns[at].name.startswith(name[:20])), found[0])
        named = [self.position(one) for one in (self.names.apart((*path, "*"), name), name)]
        return next((at for at in named if at is not None and not self._is_noted(at)), None)

    @cached_property
    def version(self) -> int | None:
        is_ignored = self.settings.activate_version == "ignore" or self.ours("__deleted_at") is None
        return None if is_ignored else self.ours("__version")

    @cached_property
    def deleted_at(self) -> int | None:
        return None if self.version is None else self.ours("__deleted_at")

    @cached_property
    def stamp(self) -> int | None:
        at = self.position(self.names.given(self.fold(self.settings.timestamp_column)))
        return at if at is not None and not self._is_noted(at) else None


@dataclass(frozen=True)
class Layout:
    """Where the values of a stream's records are under one SCHEMA.

    *template* is the row of a record without members, *keeping* that of one which says that its row is deleted.
    *extra* is for the members that nobody names, at any depth. *keys* are the columns of its key,
    *known* those that values of records go into. *is_waiting*: the SCHEMA names no property.
    """

    root: Object
    template: Cells
    keeping: Cells
    extra: Slot | None
    keys: tuple[int, ...]
    known: frozenset[int]
    is_waiting: bool


def layout(facts: Facts, schema: Any, key_names: list[str], rules: Rules, notes: Notes, was_open: bool) -> Layout:
    """Return where the records of a stream are under *schema*, parsed. *was_open*: one before it named no property.

    Raises:
        NoSchema
    """
    maker = _Maker(facts, rules, notes, key_names)
    described = Described(schema, [schema])
    try:
        root = maker.object((), described, frozenset())
    except (TypeError, AttributeError, ValueError) as fault:  # the load refuses it, with the reason in words
        raise NoSchema("its SCHEMA is none") from fault
    keeps_all = facts.settings.unknown_fields == "keep" and not facts.has_rules
    is_waiting = not described.names and not keeps_all
    if not described.names or was_open:
        for name in key_names:
            if name not in root.slots:
                maker.text(root, name)
    for name in KINDS:
        field_at = facts.column((name,))
        if name not in root.slots and field_at not in (None, facts.stamp, *maker.known):
            assert field_at is not None
            root.slots[name] = maker.slot((name,), field_at, frozenset({"any"}), None)
            maker.known[field_at] = ABSENT if name in MARKS else EITHER
    extra = facts.ours("__extra") if keeps_all else None
    more = None if extra is None else maker.slot(("*",), extra, frozenset({"any"}), None)
    keys = _keys(facts, key_names, root)
    deletion = root.slots[DELETED].column if DELETED in root.slots else None  # a row that comes again is not deleted any more
    keeping = _template(facts, maker.known, deletion, "keep" if keys else "null")
    template = _template(facts, maker.known, deletion, _absent(facts, described) if keys else "null")
    return Layout(root, template, keeping, more, keys, frozenset(maker.known), is_waiting)


def _keys(facts: Facts, key_names: list[str], root: Object) -> tuple[int, ...]:
    found = []
    for name in key_names if facts.settings.load_method != "append" else ():
        slot = root.slots.get(name)
        if slot is not None and slot.column is not None:
            found.append(slot.column)
    return tuple(sorted(set(found)))  # a later SCHEMA may name them in another order


def _template(facts: Facts, known: Mapping[int, Cell], deletion: int | None, absent: str) -> Cells:
    """Return the row of a record without members, where *absent* fields keep what is there, or not, or either."""
    cells: Cells = [UNTOUCHED] * len(facts.columns)
    how = {"keep": ABSENT, "null": None, "either": EITHER}[absent]
    for known_at, cell in known.items():
        cells[known_at] = how if cell == ABSENT else cell
    for at in (facts.version, facts.deleted_at, deletion, facts.stamp):
        if at is not None:
            cells[at] = None
    return cells


def _absent(facts: Facts, described: Described) -> str:
    how = facts.settings.for_stream("absent_fields", facts.stream)
    if how != "auto":
        return str(how)
    if any(mark in described.names for mark in MARKS):
        return "keep"
    return "either" if any(facts.column((mark,)) is not None for mark in MARKS) else "null"


@dataclass
class _Maker:
    facts: Facts
    rules: Rules
    notes: Notes
    key_names: list[str]
    known: dict[int, Cell] = field(default_factory=dict)

    def object(self, path: Path, described: Described, above: frozenset[int]) -> Object:
        """Return the places of an object's members; *above* are the schemas that it is in."""
        made = Object(path)
        above = above | described.identity
        for name in described.names:
            made.slots[name] = self.member((*path, name), described.child(name), above)
        settings = self.facts.settings
        is_kept = settings.additional_properties == "keep" and not self.facts.has_rules and (path or settings.unknown_fields != "keep")
        if is_kept and described.allows_more and described.names and (at := self.facts.rest(path)) is not None:
            made.rest = self.slot((*path, "*"), at, frozenset({"any"}), None)
        for slot in (*made.slots.values(), *([made.rest] if made.rest else [])):
            made.columns += [slot.column] if slot.column is not None else slot.below.columns if slot.below else []
        return made

    def member(self, path: Path, described: Described, above: frozenset[int]) -> Slot:
        types, facts = described.types, self.facts
        whole = facts.with_mark(path, ".**")
        if whole is not None:
            return self.slot(path, whole, frozenset({"object"}), described)
        at = facts.column(path)
        depth = facts.settings.flatten_depth
        is_object = types == {"object"} and described.names and not described.identity <= above
        if is_object and (depth is None or len(path) <= depth) and f"{facts.stream}.{'.'.join(path)}" not in facts.settings.column_types:
            below = self.object(path, described, above)
            if below.columns or at is None:
                return Slot(below=below)
        if at is None:
            return Slot(is_null=not types)
        return self.slot(path, at, types, described)

    def slot(self, path: Path, at: int, types: frozenset[str], described: Described | None) -> Slot:
        settings, stored = self.facts.settings, self.facts.columns[at]
        override = settings.column_types.get(f"{self.facts.stream}.{'.'.join(path)}")
        scale = kinds.parse(override).scale if override else described.scale if described else None
        encodings = {word.lower() for word in described.words("contentEncoding")} if described else set()
        leaf = Leaf(
            path,
            stored.kind or kinds.STRING,
            types or frozenset({"any"}),
            next((one for one in ("base64", "base16") if one in encodings), None),
            coerce=settings.coerce == "lossless" or override is not None,
            scale=scale,
            is_key=path[0] in self.key_names and len(path) == 1,
            holds=self.facts.holds.get(at, frozenset()),
        )
        self.known[at] = ABSENT
        formats = frozenset(described.words("format") if described else ())
        return Slot(at, sent(leaf, formats, settings.number == "double", self.rules, self.notes))

    def text(self, root: Object, name: str) -> None:
        """Give a key that no SCHEMA names its place: it is a text, whatever its values are."""
        at = self.facts.column((name,))
        if at is not None:
            leaf = Leaf((name,), self.facts.columns[at].kind or kinds.STRING, frozenset({"string"}), coerce=True, is_key=True)
            root.slots[name] = Slot(at, sent(leaf, frozenset(), False, self.rules, self.notes))
            root.columns.append(at)
            self.known[at] = ABSENT


class NoSchema(Exception):
    """What came as a SCHEMA is none that can be read."""


class Invalid(ValueError):
    """A record is invalid, at a *path*."""

    def __init__(self, path: Path, words: str):
        super().__init__(words)
        self.path = path


class NoColumn(Exception):
    """A value at a *path* that the SCHEMA names has no column."""

    def __init__(self, path: Path):
        super().__init__(".".join(path))
        self.path = path


def fill(place: Object, record: Mapping[str, Any], cells: Cells, unknown: dict[Path, int], refuses: bool, extra: dict[str, Any] | None) -> None:
    """Put the values of *record* into *cells*.

    Members that nobody names go into *extra*, or are counted as *unknown*, by path; *refuses*: they are invalid.

    Raises:
        Invalid, NoColumn
    """
    rest: dict[str, Any] = {}
    slots = place.slots
    for name, value in record.items():
        slot = slots.get(name)
        if slot is None:
            if place.rest:
                rest[name] = value
            else:
                _unknown((*place.path, name), value, unknown, refuses, extra)
        elif slot.cell is not None and slot.column is not None:
            if value is None:
                cells[slot.column] = None
                continue
            try:
                cells[slot.column] = slot.cell(value)
            except ValueError as fault:
                raise Invalid((*place.path, name), str(fault)) from None
        elif slot.below is not None:
            if isinstance(value, dict):
                within: dict[str, Any] | None = None if extra is None else {}
                fill(slot.below, value, cells, unknown, refuses, within)
                if extra is not None and within:
                    extra[name] = within
            elif value is None:
                for at in slot.below.columns:
                    cells[at] = None
            else:
                raise Invalid((*place.path, name), "wanted an object")
        elif value is not None:
            if slot.is_null:
                raise Invalid((*place.path, name), "the schema allows only null")
            raise NoColumn((*place.path, name))
    if rest and place.rest and place.rest.cell and place.rest.column is not None:
        try:
            cells[place.rest.column] = place.rest.cell(rest)
        except ValueError as fault:
            raise Invalid((*place.path, "*"), str(fault)) from None


def _unknown(path: Path, value: Any, unknown: dict[Path, int], refuses: bool, extra: dict[str, Any] | None) -> None:
    if refuses:
        raise Invalid(path, "the schema does not name this field")
    if extra is not None:
        extra[path[-1]] = value
    elif len(unknown) < MOST_UNKNOWN or path in unknown:
        unknown[path] = unknown.get(path, 0) + 1

