"""How a column of Snowflake becomes one of another type, each of its values staying what it is.

Snowflake changes few types in place. Else a new column takes the values and then the name; every
step is committed, and what a crash has left tells by its names how far it came.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from target_meltano import Found

OUTSIDE = "/* committed by itself */ "  # before a statement that belongs to DDL and to no transaction
NEW, OLD = " (new)", " (old)"  # behind a name; our own names have no spaces
TEXTS = {
    "DATE": "TO_VARCHAR({0}, 'YYYY-MM-DD')",
    "TIME": "REPLACE(TO_VARCHAR({0}, 'HH24:MI:SS.FF6'), '.000000', '')",
    "TIMESTAMP_NTZ": """REPLACE(TO_VARCHAR({0}, 'YYYY-MM-DD"T"HH24:MI:SS.FF6"Z"'), '.000000Z', 'Z')""",
}
ZONED = ("TIMESTAMP_TZ", "TIMESTAMP_LTZ")


def base_of(spelt: str) -> tuple[str, tuple[int, ...]]:
    """Return ("NUMBER", (38, 0)) for `number(38,0)`."""
    name, _, digits = spelt.removesuffix(OLD).upper().partition("(")
    sizes = tuple(int(part) for part in digits.rstrip(") ").split(",") if part.strip().isdigit())
    return name.strip(), sizes


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


def statements(
    table: str, name: str, found: str, wanted: str, comment: str, quote: Callable[[str], str], keys: Sequence[str] = ()
) -> list[str]:
    """Return the statements that give the column *name* another type; *comment* is the clause for a new one.

    *keys* are those of the table, if the column is among them. A crash in between leaves a column with
    a name of ours behind; where it has the values, and no other has the name, *found* ends in that
    name's ending, and it is put back first.
    """
    column, new, old = quote(name), quote(name + NEW), quote(name + OLD)
    rename = f"ALTER TABLE {table} RENAME COLUMN"
    undone = [f"{rename} {old} TO {column}"] if found.endswith(OLD) else []
    found = found.removesuffix(OLD)
    if base_of(found) == base_of(wanted):
        return undone
    if is_in_place(found, wanted):
        return [*undone, f"ALTER TABLE {table} ALTER COLUMN {column} SET DATA TYPE {wanted}"]
    return [
        *undone,
        f"ALTER TABLE {table} DROP COLUMN IF EXISTS {new}",
        f"ALTER TABLE {table} ADD COLUMN {new} {wanted}{comment}",
        f"{OUTSIDE}UPDATE {table} SET {new} = {conversion(column, found, wanted)}",
        *([f"ALTER TABLE {table} ALTER COLUMN {new} SET NOT NULL"] if keys else []),
        f"{rename} {column} TO {old}",
        f"{rename} {new} TO {column}",
        *(moved_key(table, keys, keys, quote) if keys else []),
        f"ALTER TABLE {table} DROP COLUMN {old}",
    ]


def moved_key(table: str, found: Sequence[str], wanted: Sequence[str], quote: Callable[[str], str]) -> list[str]:
    """Return the statements that give a table another primary key, which Snowflake only notes."""
    drop = [f"ALTER TABLE {table} DROP PRIMARY KEY RESTRICT"] if found else []
    return [*drop, *([f"ALTER TABLE {table} ADD PRIMARY KEY ({', '.join(map(quote, wanted))})"] if wanted else [])]


@dataclass(frozen=True)
class Left:
    """What a crash has left: *columns* that can go, while the primary key is still of columns named *keys*."""

    columns: Sequence[str] = ()
    keys: Sequence[str] = ()

    def removal(self, table: str, keys: Sequence[str], quote: Callable[[str], str]) -> list[str]:
        """Return the statements that finish the change; *keys* are those that the table is to have."""
        key = moved_key(table, self.keys, keys, quote) if self.columns and set(self.keys) != set(keys) else []
        return [*key, *(f"ALTER TABLE {table} DROP COLUMN IF EXISTS {quote(name)}" for name in self.columns)]


def tidied(found: Found) -> tuple[Found, Left]:
    """Return the table as it is without what a crash has left, and that.

    A key that is gone, between two statements of ours, was of the columns that are NOT NULL.
    """
    kept = {name: column for name, column in found.columns.items() if not name.endswith((NEW, OLD))}
    left = []
    for name, column in found.columns.items():
        if name.endswith(OLD) and name.removesuffix(OLD) not in kept:
            base = name.removesuffix(OLD)
            kept[base] = replace(column, name=base, type=column.type + OLD, narrow=True)
        elif name not in kept:
            left.append(name)
    keys = tuple(name.removesuffix(OLD) for name in found.keys)
    if left and not keys:
        keys = tuple(name for name, column in kept.items() if not column.optional)
    return replace(found, columns=kept, keys=keys), Left(left, found.keys)
