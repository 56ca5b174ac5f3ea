"""How a column of Snowflake becomes one of another type, each of its values staying what it is.

Snowflake changes few types in place. Else a new column takes the values and then the name; every
step is committed. A column on the way has a mark of ours as its comment, so that what a crash has left
tells how far it came, and no column of others is taken for one of ours, whatever its name is.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace

from target_meltano import Found

OUTSIDE = "/* committed by itself */ "  # before a statement that belongs to DDL and to no transaction
MARK = "target-meltano "  # the beginning of a comment of ours on a column
LONGEST_ENDING = len(" (new 12345678 99)")  # behind a column's name
_UNDONE = " undone"  # behind a type: the column has another name, and has to get its own again
TEXTS = {
    "DATE": "TO_VARCHAR({0}, 'YYYY-MM-DD')",
    "TIME": "REPLACE(TO_VARCHAR({0}, 'HH24:MI:SS.FF6'), '.000000', '')",
    "TIMESTAMP_NTZ": """REPLACE(TO_VARCHAR({0}, 'YYYY-MM-DD"T"HH24:MI:SS.FF6"Z"'), '.000000Z', 'Z')""",
}
ZONED = ("TIMESTAMP_TZ", "TIMESTAMP_LTZ")


def base_of(spelt: str) -> tuple[str, tuple[int, ...]]:
    """Return ("NUMBER", (38, 0)) for `number(38,0)`."""
    found = re.fullmatch(r"\s*([^(]*?)\s*(?:\(([\d,\s]*)\).*|)", spelt.removesuffix(_UNDONE).upper())
    assert found, spelt
    return found[1], tuple(int(part) for part in (found[2] or "").split(",") if part.strip())


_COLLATION = re.compile(r"\s+COLLATE\s+'((?:[^']|'')*)'", re.I)


def collation(spelt: str) -> str:
    """Return the collation of a type as DESCRIBE spells it, empty where it has none."""
    found = _COLLATION.search(spelt)
    return found[1] if found else ""


def without_collation(spelt: str) -> str:
    return _COLLATION.sub("", spelt)


def conversion(cell: str, found: str, wanted: str) -> str:
    """Return the expression for *cell*, of type *found*, as a value of type *wanted*."""
    (old, old_sizes), (new, new_sizes) = base_of(found), base_of(wanted)
    if old == new and (old != "NUMBER" or old_sizes[1:] == new_sizes[1:]):
        return cell
    if new in ("VARCHAR", "VARIANT"):
        if old in ZONED:
            cell, old = f"CONVERT_TIMEZONE('UTC', {cell})::TIMESTAMP_NTZ", "TIMESTAMP_NTZ"
        text = TEXTS[old].format(cell) if old in TEXTS else cell
        if new == "VARIANT":
            return f"TO_VARIANT({text})"
        return text if text is not cell or old == "VARCHAR" else f"TO_VARCHAR({cell})"
    if new == "DECFLOAT" and old == "FLOAT":
        return f"TO_VARCHAR({cell})::DECFLOAT"
    if new in ZONED and old == "DATE":
        return f"{cell}::TIMESTAMP_NTZ::{new}"
    return f"{cell}::{wanted.upper()}"


def loses(cell: str, found: str, wanted: str) -> str | None:
    """Return a condition that holds for the values which `conversion` would alter, None if for none."""
    (old, old_sizes), (new, new_sizes) = base_of(found), base_of(wanted)
    no_digits = f"{cell} IN ('NaN'::FLOAT, 'inf'::FLOAT, '-inf'::FLOAT)"  # JSON and DECFLOAT have no such numbers
    if old == "FLOAT" and new == "VARIANT":
        return no_digits
    if old == "FLOAT" and new in ("VARCHAR", "DECFLOAT"):
        return f"TO_VARCHAR({cell})::FLOAT <> {cell}" + (f" OR {no_digits}" if new == "DECFLOAT" else "")
    if old.startswith("TIME") and new in ("VARCHAR", "VARIANT") and old_sizes > (6,):  # a text of ours has microseconds
        return f"{cell}::{old}(6) <> {cell}"
    if old == "NUMBER" and new == "FLOAT":  # with all 38 digits: one more than the column has, where a double rounds up
        scale = old_sizes[1]
        return f"{cell} <> 0 AND CASE WHEN ABS({cell}) < {10 ** (37 - scale)} THEN {cell}::FLOAT::NUMBER(38,{scale}) <> {cell} ELSE TRUE END"
    if old == "DECFLOAT" and new == "FLOAT":
        return f"TO_VARCHAR({cell}::FLOAT)::DECFLOAT <> {cell}"
    if old == "NUMBER" and new == "NUMBER" and new_sizes[0] - new_sizes[1] < old_sizes[0] - old_sizes[1]:
        return f"ABS({cell}) >= 1{'0' * (new_sizes[0] - new_sizes[1])}"
    return None


def is_in_place(found: str, wanted: str) -> bool:
    """Tell whether Snowflake changes the type itself, without writing the table anew."""
    (old, old_sizes), (new, new_sizes) = base_of(found), base_of(wanted)
    if old != new:
        return False
    return old in ("VARCHAR", "BINARY") or (old == "NUMBER" and old_sizes[1:] == new_sizes[1:] and old_sizes < new_sizes)


@dataclass(frozen=True)
class Mark:
    """What the comment of a column on the way says: it is the *new* or the old one *of* a column, whose property is *source*.

    It *was* of these types, before a change behind which nothing is committed yet: who loads the rows in
    front of it again brings the SCHEMA of then. *new* is None for one that is only marked as such.
    """

    of: str
    new: bool | None
    run: str
    source: str = ""
    was: Sequence[str] = ()

    def __str__(self) -> str:
        its = {"of": self.of, "new": self.new, "run": self.run, "source": self.source, "was": list(self.was)}
        return MARK + json.dumps({name: value for name, value in its.items() if value not in (None, [])}, ensure_ascii=False)

    def is_of(self, name: str) -> bool:
        """Tell whether the column *name* is where we left it: others may have renamed it, or copied its comment."""
        ending = rf" \({'new' if self.new else 'old'} {re.escape(self.run[-8:])}( \d+)?\)"
        return name == self.of or (self.new is not None and re.fullmatch(re.escape(self.of) + ending, name) is not None)

    def whole(self) -> str:
        """Return the comment of the column when it is on the way no more."""
        return str(replace(self, new=None)) if self.was else self.source


def read_mark(comment: str) -> Mark | None:
    """Return the mark that a comment is, None where it is none of ours."""
    if not comment.startswith(MARK):
        return None
    try:
        mark = Mark(**{"new": None, **json.loads(comment.removeprefix(MARK))})
    except (ValueError, TypeError, RecursionError):
        return None
    texts = (mark.of, mark.run, mark.source, *mark.was) if isinstance(mark.was, list | tuple) else (None,)
    return mark if all(isinstance(text, str) for text in texts) and mark.new in (None, True, False) else None


@dataclass(frozen=True)
class Names:
    """How names and literals are spelt in a *table*; *taken* are the names of all its columns.

    *marks*: a change of type is to leave a mark of what the column was.
    """

    table: str
    quote: Callable[[str], str]
    literal: Callable[[str], str]
    run: str
    taken: Collection[str]
    marks: bool = False

    def free(self, name: str, what: str) -> str:
        """Return a name for a column on the way that no other column has."""
        ending = f"{what} {self.run[-8:]}"
        endings = (f" ({ending})", *(f" ({ending} {number})" for number in range(2, 100)))
        return next(name + one for one in endings if name + one not in self.taken)

    def comment(self, name: str, text: str) -> str:
        return f"ALTER TABLE {self.table} ALTER COLUMN {self.quote(name)} COMMENT {self.literal(text)}"

    def rename(self, name: str, becomes: str) -> str:
        return f"ALTER TABLE {self.table} RENAME COLUMN {self.quote(name)} TO {self.quote(becomes)}"


def statements(names: Names, name: str, found: str, wanted: str, source: str, left: Left, keys: Sequence[str] = ()) -> list[str]:
    """Return the statements that give the column *name* another type.

    *source* is its property. *keys* are those of the table, if the column is among them. *left* is what
    a crash has left: where the column has another name since then, it gets its own again first. The old
    column is not dropped here: see `Left.removal`.
    """
    table, column = names.table, names.quote(name)
    undone = [names.rename(left.renamed[name], name)] if name in left.renamed else []
    found = found.removesuffix(_UNDONE)
    was = left.was.get(name, ())
    old_mark = Mark(name, False, names.run, source, was)
    done = [names.comment(name, old_mark.whole())] if undone else []
    if base_of(found) == base_of(wanted):
        return [*undone, *done]
    if is_in_place(found, wanted):
        return [*undone, f"ALTER TABLE {table} ALTER COLUMN {column} SET DATA TYPE {wanted}", *done]
    new, old = names.free(name, "new"), names.free(name, "old")
    new_mark = Mark(name, True, names.run, source, (*was, found) if names.marks or was else ())
    mark = names.literal(str(new_mark))
    return [
        *undone,
        f"ALTER TABLE {table} ADD COLUMN {names.quote(new)} {wanted} COMMENT {mark}",
        f"{OUTSIDE}UPDATE {table} SET {names.quote(new)} = {conversion(column, found, wanted)}",
        *([f"ALTER TABLE {table} ALTER COLUMN {names.quote(new)} SET NOT NULL"] if keys else []),
        names.comment(name, str(old_mark)),
        names.rename(name, old),
        names.rename(new, name),
        *(moved_key(table, keys, keys, names.quote) if keys else []),
        names.comment(name, new_mark.whole()),
    ]


def moved_key(table: str, found: Sequence[str], wanted: Sequence[str], quote: Callable[[str], str]) -> list[str]:
    """Return the statements that give a table another primary key, which Snowflake only notes."""
    drop = [f"ALTER TABLE {table} DROP PRIMARY KEY RESTRICT"] if found else []
    return [*drop, *([f"ALTER TABLE {table} ADD PRIMARY KEY ({', '.join(map(quote, wanted))})"] if wanted else [])]


@dataclass(frozen=True)
class Left:
    """What a change of type has left: *columns* that can go, while the primary key is still of columns named *keys*.

    *renamed* are columns that have to get their own name again, with the name that they have; *marked*
    those that are whole, but for their comment, with that. *required* are those of *columns* that
    are NOT NULL: no row could be written while one cannot be dropped. *was*: see `Mark`, by column;
    *settled* are the comments that these get once it is no more.
    """

    columns: Sequence[str] = ()
    keys: Sequence[str] = ()
    renamed: Mapping[str, str] = field(default_factory=dict)
    marked: Mapping[str, str] = field(default_factory=dict)
    required: Sequence[str] = ()
    was: Mapping[str, Sequence[str]] = field(default_factory=dict)
    settled: Mapping[str, str] = field(default_factory=dict)

    def without(self, name: str) -> Left:
        """Return what is left once nobody needs to know what the column *name* was."""
        was, settled = dict(self.was), dict(self.settled)
        was.pop(name)
        settled.pop(name)
        return replace(self, was=was, settled=settled)

    def removal(self, names: Names, keys: Sequence[str]) -> list[str]:
        """Return the statements that finish the change; *keys* are those that the table is to have."""
        key = moved_key(names.table, self.keys, keys, names.quote) if self.columns and set(self.keys) != set(keys) else []
        comments = [names.comment(name, text) for name, text in self.marked.items() if name not in self.renamed]
        optional = [f"ALTER TABLE {names.table} ALTER COLUMN {names.quote(name)} DROP NOT NULL" for name in self.required]
        return [*key, *comments, *optional, *(f"ALTER TABLE {names.table} DROP COLUMN IF EXISTS {names.quote(name)}" for name in self.columns)]


def tidied(found: Found) -> tuple[Found, Left]:
    """Return the table as it is without what a change of type has left, and that.

    A key that is gone, between two statements of ours, was of the columns that are NOT NULL.
    """
    read = {name: mark for name, column in found.columns.items() if (mark := read_mark(column.source))}
    marks = {name: mark for name, mark in read.items() if mark.is_of(name)}
    kept = {
        name: replace(column, source=read[name].source) if name in read else column
        for name, column in found.columns.items()
        if name not in marks
    }
    left, renamed, marked, was, settled = [], {}, {}, {}, {}
    for name, mark in marks.items():
        column = replace(found.columns[name], source=mark.source)
        if name == mark.of:  # its new values are in it, or its old ones still
            kept[name] = column
            if mark.new is not None:
                marked[name] = mark.whole()
        elif not mark.new and mark.of not in found.columns:
            kept[mark.of] = replace(column, name=mark.of, type=column.type + _UNDONE, narrow=True)
            renamed[mark.of], marked[mark.of] = name, mark.whole()
        else:
            left.append(name)
            continue
        if mark.was:
            was[mark.of], settled[mark.of] = mark.was, mark.source
    bases = {name: mark.of for name, mark in marks.items()}
    keys = tuple(bases.get(name, name) for name in found.keys)
    if left and not keys:
        keys = tuple(name for name, column in kept.items() if not column.optional)
    required = [name for name in left if not found.columns[name].optional]
    return replace(found, columns=kept, keys=keys), Left(left, found.keys, renamed, marked, required, was, settled)
