"""What a statement on a table's rows touches beyond them, as the catalogue shows it; and which tables are ours."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from .diff import Table

if TYPE_CHECKING:
    import sqlalchemy as sa


@dataclass(frozen=True)
class Link:
    """A foreign key, of another table or of the same one, onto the rows of a table.

    *action* is what a DELETE of such a row does to the rows that refer to it, in SQL's words: CASCADE,
    SET NULL, SET DEFAULT; empty where it is refused instead. *is_visible*: our role sees those rows.
    """

    name: str
    schema: str
    table: str
    columns: tuple[str, ...]
    referenced: tuple[str, ...]
    action: str = ""
    is_visible: bool = True

    def __str__(self) -> str:
        action = f" (ON DELETE {self.action})" if self.action else ""
        return f"the foreign key {self.name!r} of {self.schema}.{self.table}{action}"


@dataclass(frozen=True)
class Ties:
    """What hangs on a table.

    *rules* are those that do something else at a DELETE, or more, in words. *has_heirs*: other tables
    inherit from it, whose rows a statement without ONLY touches, too. *is_watched*: triggers or
    publications see what happens to each row. *publications* need to know by
    what a row is found, and the table does not say so: an UPDATE or a DELETE is refused. *remedy* is
    the statement that mends that.
    """

    links: tuple[Link, ...] = ()
    rules: tuple[str, ...] = ()
    has_heirs: bool = False
    is_watched: bool = False
    publications: tuple[str, ...] = ()
    remedy: str = ""


class Surroundings:
    """What a `Dialect` says of the tables around those that it loads; the defaults know of none."""

    insert_clause: ClassVar[str] = ""
    """What stands behind the columns of an INSERT, so that each value is taken as it is."""

    def ties(self, connection: sa.Connection, table: Table, *, publications: bool = False) -> Ties:
        """Return what hangs on *table*, which is there; its *publications* only where they are asked for."""
        return Ties()

    def marked(self, connection: sa.Connection, schema: str, start: str) -> Mapping[str, str]:
        """Return the tables of *schema* whose comments begin with *start*, by name, and their comments."""
        return {}

    def released(self, connection: sa.Connection, table: Table, besides: Sequence[Table]) -> Sequence[str]:
        """Return the statements that let rows of *besides* refer to rows of *table* that are still to come."""
        return ()

    def is_used(self, connection: sa.Connection, table: Table) -> bool:
        """Tell whether another session has *table* open for writing, or is about to drop it."""
        return False

    def lock_writers(self, connection: sa.Connection, tables: Sequence[Table], besides: Sequence[Table]) -> None:
        """Until COMMIT keep other writers from *tables*, and let `is_used` see that *besides* are in use."""
