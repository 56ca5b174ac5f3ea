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
    found = re.match(r"\s*([^(]*?)\s*(?:\(([\d,\s]*)\).*|)$", spelt.removesuffix(_UNDONE).upper())
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
    if old == "NUMBER" and new == "FLOAT":
        whole = 10 ** (old_sizes[0] - old_sizes[1] - 1)
        return f"{cell} <> 0 AND CASE WHEN ABS({cell}) < {whole} THEN {cell}::FLOAT::{found.upper()} <> {cell} ELSE TRUE END"
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
    """What the comment of a column on the way says: it is the *new* or the old one *of* a column, whose property is *source*."""

    of: str
    new: bool
    run: str
    source: str = ""

    def __str__(self) -> str:
        return MARK + json.dumps({"of": self.of, "new": self.new, "run": self.run, "source": self.source}, ensure_ascii=False)


def read_mark(comment: str) -> Mark | None:
    """Return the mark that a comment is, None where it is none of ours."""
    if not comment.startswith(MARK):
        return None
    try:
        return Mark(**json.loads(comment.removeprefix(MARK)))
    except (ValueError, TypeError):
        return None


@dataclass(frozen=True)
class Names:
    """How names and literals are spelt in a *table*; *taken* are the names of all its columns."""

    table: str
    quote: Callable[[str], str]
    literal: Callable[[str], str]
    run: str
    taken: Collection[str]

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
    if base_of(found) == base_of(wanted):
        return [*undone, *([names.comment(name, source)] if undone else [])]
    if is_in_place(found, wanted):
        return [*undone, f"ALTER TABLE {table} ALTER COLUMN {column} SET DATA TYPE {wanted}", *([names.comment(name, source)] if undone else [])]
    new, old = names.free(name, "new"), names.free(name, "old")
    mark = names.literal(str(Mark(name, True, names.run, source)))
    return [
        *undone,
        f"ALTER TABLE {table} ADD COLUMN {names.quote(new)} {wanted} COMMENT {mark}",
        f"{OUTSIDE}UPDATE {table} SET {names.quote(new)} = {conversion(column, found, wanted)}",
        *([f"ALTER TABLE {table} ALTER COLUMN {names.quote(new)} SET NOT NULL"] if keys else []),
        names.comment(name, str(Mark(name, False, names.run, source))),
        names.rename(name, old),
        names.rename(new, name),
        *(moved_key(table, keys, keys, names.quote) if keys else []),
        names.comment(name, source),
    ]


def moved_key(table: str, found: Sequence[str], wanted: Sequence[str], quote: Callable[[str], str]) -> list[str]:
    """Return the statements that give a table another primary key, which Snowflake only notes."""
    drop = [f"ALTER TABLE {table} DROP PRIMARY KEY RESTRICT"] if found else []
    return [*drop, *([f"ALTER TABLE {table} ADD PRIMARY KEY ({', '.join(map(quote, wanted))})"] if wanted else [])]


@dataclass(frozen=True)
class Left:
    """What a change of type has left: *columns* that can go, while the primary key is still of columns named *keys*.

    *renamed* are columns that have to get their own name again, with the name that they have; *marked*
    those that are whole, but for their comment, with their property. *required* are those of *columns* that
    are NOT NULL: no row could be written while one cannot be dropped.
    """

    columns: Sequence[str] = ()
    keys: Sequence[str] = ()
    renamed: Mapping[str, str] = field(default_factory=dict)
    marked: Mapping[str, str] = field(default_factory=dict)
    required: Sequence[str] = ()

    def removal(self, names: Names, keys: Sequence[str]) -> list[str]:
        """Return the statements that finish the change; *keys* are those that the table is to have."""
        key = moved_key(names.table, self.keys, keys, names.quote) if self.columns and set(self.keys) != set(keys) else []
        comments = [names.comment(name, source) for name, source in self.marked.items() if name not in self.renamed]
        optional = [f"ALTER TABLE {names.table} ALTER COLUMN {names.quote(name)} DROP NOT NULL" for name in self.required]
        return [*key, *comments, *optional, *(f"ALTER TABLE {names.table} DROP COLUMN IF EXISTS {names.quote(name)}" for name in self.columns)]


def tidied(found: Found) -> tuple[Found, Left]:
    """Return the table as it is without what a change of type has left, and that.

    A key that is gone, between two statements of ours, was of the columns that are NOT NULL.
    """
    marks = {name: mark for name, column in found.columns.items() if (mark := read_mark(column.source))}
    kept = {name: column for name, column in found.columns.items() if name not in marks}
    left, renamed, marked = [], {}, {}
    for name, mark in marks.items():
        column = replace(found.columns[name], source=mark.source)
        if name == mark.of:  # its new values are in it, or its old ones still
            kept[name], marked[name] = column, mark.source
        elif not mark.new and mark.of not in found.columns:
            kept[mark.of] = replace(column, name=mark.of, type=column.type + _UNDONE, narrow=True)
            renamed[mark.of], marked[mark.of] = name, mark.source
        else:
            left.append(name)
    bases = {name: mark.of for name, mark in marks.items()}
    keys = tuple(bases.get(name, name) for name in found.keys)
    if left and not keys:
        keys = tuple(name for name, column in kept.items() if not column.optional)
    required = [name for name in left if not found.columns[name].optional]
    return replace(found, columns=kept, keys=keys), Left(left, found.keys, renamed, marked, required)
