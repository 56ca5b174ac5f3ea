"""Names of tables and columns, made from the names that taps use.

One rule for all: the same name in gives the same name out, today and in the next run, and two
names in never give one name out without an error.
"""

from __future__ import annotations

import hashlib
import json
import re
import unicodedata
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from .errors import SchemaError, shown

SEPARATOR = "__"  # between a nested object's name and its property's
LOADS, STATE, REJECTED = OURS = ("__loads", "__state", "__rejected")  # tables of our own, beside those of streams
BESIDE = "__new_"  # how the tables begin that an overwrite makes, and drops


def lower(name: str) -> str:
    """Fold the ASCII letters only, as databases do with unquoted names in a UTF-8 database."""
    return name.translate(_LOWER)


def upper(name: str) -> str:
    """Fold the ASCII letters only."""
    return name.translate(_UPPER)


_LOWER = {code: code + 32 for code in range(ord("A"), ord("Z") + 1)}
_UPPER = {code: code - 32 for code in range(ord("a"), ord("z") + 1)}


def snake(name: str) -> str:
    """Return `created_At` for `createdAt`, `HTTP_Header` for `HTTPHeader`, `custom__Field` for `custom_Field`.

    A `_` comes between words even where one is already: so did Meltano's own targets.
    """
    name = re.sub(r"([A-Z]+)(_?)([A-Z][a-z])", r"\1\2_\3", name)
    return re.sub(r"([a-z\d])(_?)([A-Z])", r"\1\2_\3", name)


def in_bytes(name: str) -> int:
    """Return the length of *name* as databases count that have a limit in bytes."""
    return len(name.encode("utf-8", "surrogatepass"))


@dataclass(frozen=True)
class Naming:
    """How names are made: the style is the user's, the rest are facts of the database.

    *size* is counted by *length* (`len`, or `in_bytes`). *reserved* are names that a column must not
    have, folded; such a name gets a `_` behind it.
    """

    style: str = "fold"  # or "snake" or "preserve"
    fold: Callable[[str], str] = lower
    size: int = 63
    length: Callable[[str], int] = in_bytes
    reserved: frozenset[str] = frozenset()

    def of(self, parts: Iterable[str]) -> str:
        """Return the name for *parts*: a stream's one name, or a property's path from the record."""
        name = SEPARATOR.join(self._spelt(part) for part in parts)
        if name in self.reserved:
            name += "_"
        return self.shortened(name)

    def spelt(self, parts: Iterable[str]) -> tuple[str, ...]:
        """Return *parts* as they are spelt in a name: equal for parts that differ in what no name has only."""
        return tuple(map(self._spelt, parts))

    def apart(self, parts: Sequence[str], plain: str = "") -> str:
        """Return the name for *parts* where others have the same one, *plain*: with a hash of what they really are."""
        digest = hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:8]
        return self.shortened(f"{plain or SEPARATOR.join(self.spelt(parts))}{self.fold(f'_{digest}')}")

    def given(self, name: str) -> str:
        """Return a *name* that a setting gives: spelt as it is there, else by the same rules as all others.

        Raises:
            SchemaError: no database takes it.
        """
        if _NO_NAME.search(name):
            raise SchemaError(f"the settings give the name {shown(name)}; a name has no NUL and no half of a surrogate pair")
        return self.shortened(f"{name}_" if name in self.reserved else name)

    def _spelt(self, part: str) -> str:
        name = snake(part) if self.style == "snake" else part
        name = "".join(char if _is_word(char) else "_" for char in name) or "_"
        return name if self.style == "preserve" else self.fold(name)

    def shortened(self, name: str) -> str:
        """Cut *name* to the limit; the hash of the whole keeps two long names apart."""
        if self.length(name) <= self.size:
            return name
        digest = hashlib.sha256(name.encode("utf-8", "surrogatepass")).hexdigest()[:8]
        tail = self.fold(f"_{digest}")
        cut = name[: self.size]  # no character is shorter than 1
        while self.length(cut) > self.size - len(tail):
            cut = cut[:-1]
        return cut + tail


_NO_NAME = re.compile("[\0\ud800-\udfff]")


def _is_word(char: str) -> bool:
    """Letters and digits of any script, with the marks that belong to them, and `_`."""
    return char == "_" or char.isalnum() or unicodedata.category(char)[0] == "M"


def refuse_ours(name: str) -> None:
    """Check that *name* is not that of a table of our own, in whatever case.

    Raises:
        SchemaError: it is; with the setting that gives the stream another one.
    """
    folded = lower(name)
    if folded in OURS or folded.startswith(BESIDE):
        which = f"names that begin with {BESIDE} are" if folded.startswith(BESIDE) else "that name is"
        raise SchemaError(f"its table would be {shown(name)}, and {which} for tables of our own (setting table_names for another name)")


def refuse_collisions(names: Iterable[tuple[str, str]], *, what: str, setting: str) -> None:
    """Check that no two *names*, pairs of (original, final name), end at one name.

    Raises:
        SchemaError: naming both originals and the *setting* that solves it.
    """
    seen: dict[str, str] = {}
    for original, name in names:
        if seen.setdefault(name, original) != original:
            raise SchemaError(
                f"{what} {seen[name]!r} and {original!r} would both be named {name!r}; "
                f"give one of them another name with the setting {setting}"
            )
