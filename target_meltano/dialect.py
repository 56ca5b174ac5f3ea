"""What a database has to say of itself so that the core can load it: facts, and a few methods.

A dialect is a page: names and types as class attributes, and four methods: `connect`, `found`,
`write`, `change_type`. The rest has defaults in plain SQL. Quoting and CREATE TABLE are
SQLAlchemy's. A dialect never commits rows; the core owns transactions.
`target_meltano.testing` has the tests that every dialect has to pass.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar, Generic, TypeVar

import sqlalchemy as sa

from . import limits, naming
from .diff import Change, ChangeType, Column, Found, FoundColumn, Need, Table
from .errors import DatabaseError, SettingsError, TargetError
from .kinds import Kind
from .limits import Limit, type_parts
from .reviews import Copies
from .settings import Settings
from .spelling import Spelling
from .ties import Surroundings

if TYPE_CHECKING:
    import pyarrow as pa

S = TypeVar("S", bound=Settings)


@dataclass(frozen=True)
class RowCounts:
    """How many rows the database says it has written, and how many of them were not there yet.

    None: it does not say. Fewer than were sent are written where a trigger or a rule leaves rows out.
    """

    written: int | None = None
    inserted: int | None = None


class Dialect(Spelling, Surroundings, ABC, Generic[S]):
    """One database. Subclasses fill in the attributes without a default and the four methods."""

    # --- facts

    settings_type: ClassVar[type[Settings]]
    """The settings of every target, and what says where the database is."""

    reads: ClassVar[Mapping[str, Kind]]
    """The kind whose values a type holds, by the type's name in the catalogue, in lower case.

    A type that is missing here belongs to others: a stream's column of its name is refused.
    """

    narrow: ClassVar[frozenset[str]] = frozenset()
    """Types among `reads` that hold some of their kind's values only; they are widened."""

    limits: ClassVar[Mapping[str, Limit]] = {}
    """What the types of `narrow` hold, by name; that of varchar(n) and time(n) is read from their digits."""

    compares_shapes: ClassVar[bool] = True
    """Whether tables are compared with what rows were made for before COMMIT; not where `write` only keeps rows
    until then, and converts them to the types that the table has when they are loaded."""

    ddl_commits: ClassVar[bool] = False
    """Whether DDL is committed at once, and the rest of the transaction done again behind it, as `write` has kept it."""

    default_schema: ClassVar[str | None] = None
    """Used where the setting `schema` is missing; None: it is required."""

    max_columns: ClassVar[int] = 1600
    """Of a table."""

    name_size: ClassVar[int] = 63
    """Of a table's or column's name, as `name_length` counts."""

    reserved: ClassVar[frozenset[str]] = frozenset()
    """Names that no column may have, folded."""

    takes_absent: ClassVar[bool] = False
    """`encode` takes a last column with the fields that rows lack, as `rows.mask`; else they come with fewer columns."""

    driver_errors: ClassVar[tuple[type[Exception], ...]] = ()
    """What the driver raises where SQLAlchemy is not in between."""

    run_id: str = ""
    """Of the run that connects; a database that names its sessions names them so."""

    notice: str | None = None
    """What the user is told once `connect` is done."""

    has_own_server: bool = False
    """`connect` may start a server that has to be stopped, however we end."""

    def __init__(self, settings: S):
        names = naming.Naming(fold=self.fold, size=self.name_size, length=self.name_length)
        self.settings = replace(settings, schema=names.given(settings.schema)) if settings.schema else settings
        self.tell: Callable[[str], None] = lambda text: None
        """Called with what the user is to know at once, as what `connect` waits for."""

    # --- what every dialect says

    @abstractmethod
    def connect(self) -> sa.Connection:
        """Return a connection that takes and gives all values as they are, whatever its defaults.

        Raises:
            DatabaseError: the database cannot be reached, or must not be used.
        """

    @abstractmethod
    def found(self, connection: sa.Connection, schema: str, name: str) -> Found | None:
        """Return the table as the catalogue has it, None where there is none.

        It is called for each SCHEMA, so it should take few queries. `found_column` reads types.

        Raises:
            DatabaseError: there is something of that name which is no table.
        """

    def encode(self, table: Table, batch: pa.RecordBatch) -> Any:
        """Return rows for *table* as `write` takes them: by default as they are.

        The columns of the batch are those of the table, in its order. It is called while another
        thread writes, so that the database need not wait.

        Raises:
            RowError: for a value that the column does not take: here those beyond its `Column.limit`.
        """
        bounds = [column.limit for column in table.columns]
        if any(bounds):
            limits.refuse(bounds, batch)
        return batch

    @abstractmethod
    def write(self, connection: sa.Connection, table: Table, rows: Any) -> RowCounts:
        """Write *rows*, encoded, into *table*, in the open transaction; return what the database counted.

        With `table.keys`, rows replace those of the same key; no key comes twice in them.

        Raises:
            TargetError: for a value that the column does not take; the driver's errors may pass.
            Again: undo what was done since the call, and call again.
        """

    def holds(self, column: Column) -> frozenset[str]:
        """Return which of NaN, Infinity and -Infinity a column holds.

        It is asked once a connection was made, or where none will be (`--plan`).
        """
        return frozenset()

    # --- what may differ

    @staticmethod
    def fold(name: str) -> str:
        """Do what the database does to a name that is not quoted."""
        return naming.lower(name)

    @staticmethod
    def name_length(name: str) -> int:
        """Return the length of *name* as `name_size` is meant."""
        return naming.in_bytes(name)

    def close(self, connection: sa.Connection) -> None:
        """End what `connect` began. A connection that is lost cannot be asked to roll back."""
        if not connection.closed:
            connection.invalidate()
            connection.close()

    def read_back(self, spelt: str) -> tuple[Kind | None, bool]:
        """Return the kind whose values a column of this type holds, and whether it is narrow.

        *spelt* is the catalogue's word for the type; with a length or precision it is narrow.
        """
        name, digits = type_parts(spelt)
        kind = self.reads.get(name)
        return kind, kind is not None and (bool(digits) or name in self.narrow)

    def words(self, error: Exception) -> str:
        """Return what the driver says, in one line, without the values that drivers like to print."""
        cause = getattr(error, "orig", None) or error
        text = str(cause).strip()
        return text.splitlines()[0] if text else type(cause).__name__

    def error(self, error: Exception, where: str) -> TargetError:
        """Return our error for one of the driver."""
        return DatabaseError(f"{where}: {self.words(error)}")

    def is_transient(self, error: Exception) -> bool:
        """Tell whether what met *error* may succeed when it is tried again, on a new connection."""
        return False

    def is_duplicate(self, error: Exception) -> bool:
        """Tell whether what was to be made is there already; that passes if another session made it meanwhile."""
        return False

    def is_of_data(self, error: Exception) -> bool:
        """Tell whether a row that was written can be the cause, and not the server, the session or others.

        Where it can, rows are tried in smaller and smaller parts until it is known which one it is.
        """
        return False

    def refused_row(self, error: Exception) -> int | None:
        """Return the position in the batch of the row that was refused, where *error* tells; it is a hint."""
        return None

    def try_lock(self, connection: sa.Connection, name: str) -> bool:
        """Have a lock alone until the open transaction ends; tell whether nobody else has it or a share.

        It only makes for an early, polite refusal. A database without such locks says True.
        """
        return True

    def share_lock(self, connection: sa.Connection, name: str) -> None:
        """From now on let each transaction of ours have a share of that lock, on later connections, too."""

    def is_connected(self, connection: sa.Connection, run_id: str) -> bool | None:
        """Tell whether another session shows that it is of the run; None where that cannot be known."""
        return False

    def is_answer(self, error: Exception) -> bool:
        """Tell whether *error* at a COMMIT is the server's word that nothing is committed."""
        return not self.is_transient(error)

    def confirm_commit(self, connection: sa.Connection, is_there: Callable[[sa.Connection], bool]) -> None:
        """Look for what a COMMIT has written, where the database says nothing if the transaction was over.

        Raises:
            Exception: transient; nothing was committed.
        """

    def transaction_id(self, connection: sa.Connection) -> str | None:
        """Return a name of the open transaction by which `was_committed` finds it."""
        return None

    def was_committed(self, connection: sa.Connection, transaction: str | None) -> bool:
        """Tell whether a transaction was committed whose COMMIT got no answer.

        Raises:
            DatabaseError: it cannot be known.
        """
        raise DatabaseError("the connection was lost during COMMIT, so that its outcome is not known")

    def end_transaction(self, connection: sa.Connection, transaction: str) -> None:
        """End a transaction that lost its connection, if the database does not know that yet."""

    def copies(self) -> AbstractContextManager[Copies]:
        """Connect, and yield how the database is copied for a review.

        Raises:
            SettingsError: that is not known.
        """
        raise SettingsError(f"there are no reviews on {self.name}: it is not known how a database is copied there")

    def shapes(self, connection: sa.Connection, tables: Sequence[Table]) -> Mapping[str, tuple[Any, Any]]:
        """Return for the full names of *tables* by what the database knows them, and their columns, types and keys.

        Two values for each, which stay equal for as long as nothing changes. In one query, which spares a
        call of `found` for each table; one that is missing here is looked at with `found` each time.
        """
        return {}

    def is_as_made(self, column: Column, found: FoundColumn) -> bool:
        """Tell whether *found* takes the values of *column* as they are encoded for it."""
        return found.holds(column.kind) and (not found.narrow or found.type == column.type)

    def check_constraints(self, connection: sa.Connection) -> None:
        """Have the open transaction check now what constraints would check at COMMIT, and from now on at once.

        Raises:
            Exception: the driver's, where one is violated.
        """

    def defer_constraints(self, connection: sa.Connection) -> None:
        """Have constraints that can wait checked at COMMIT, or by `check_constraints`, again."""

    def reading(self, column: sa.ColumnElement[Any], kind: Kind | None) -> sa.ColumnElement[Any]:
        """Return what to select so that a column's values come unchanged: exact numbers and JSON as text."""
        as_text = kind is None or kind.name in ("number", "decimal", "json")
        return sa.cast(column, sa.Text()) if as_text else column

    def has_schema(self, connection: sa.Connection, schema: str) -> bool:
        return sa.inspect(connection).has_schema(schema)

    def begin(self, connection: sa.Connection, changes: Sequence[Change]) -> None:
        """Prepare the open transaction for the checks and the DDL of *changes*: locks, timeouts."""

    def obstacles(self, connection: sa.Connection, change: ChangeType) -> Sequence[str]:
        """Return what depends on the column and forbids the change, in words: `view a.b`."""
        return ()

    def immovable(self, connection: sa.Connection, change: ChangeType) -> Sequence[str]:
        """Return why the column's type cannot be changed at all, in words: `it is part of the partition key`."""
        return ()

    def lacking_rights(self, connection: sa.Connection, needs: Sequence[Need]) -> Sequence[str]:
        """Return the statements that let our role do what *needs* say, none where it may."""
        return ()

    def view_types(self, connection: sa.Connection, changes: Sequence[ChangeType]) -> Mapping[str, str]:
        """Return the types of the columns of all views on *changes*, by names in words."""
        return {}

    def after_changes(self, changes: Sequence[ChangeType]) -> Sequence[str]:
        """Return what to run once the types are changed, and need not be: new statistics."""
        return ()

    def set_aside(self, connection: sa.Connection, changes: Sequence[ChangeType]) -> tuple[Sequence[str], Sequence[str]]:
        """Return what to run before *changes* of a table and what after, so that views on its columns survive."""
        return (), ()

    def loses_by(self, change: ChangeType) -> str | None:
        """Return a query that finds a value which the change would alter, None where none can be."""
        return None

    def rewrites(self, change: ChangeType) -> bool:
        """Tell whether the change writes the table anew."""
        return True

    def fits(self, columns: Sequence[Column]) -> bool:
        """Tell whether a table may have these columns, and a row a value in each."""
        return len(columns) <= self.max_columns

    def doubts(self, table: Table) -> Sequence[str]:
        """Return what may go wrong with rows of *table*, and what to do, before any comes."""
        return ()

    def lacking(self, connection: sa.Connection, table: Table) -> Sequence[str]:
        """Return the statements for the indexes and readers that *table* wants and does not have.

        The table need not be there yet. A database that has neither says there are none.

        Raises:
            SettingsError: there is no such role.
        """
        return ()

    def leftovers(self, connection: sa.Connection, table: Table) -> Sequence[str]:
        """Return the statements that remove what a change of type has left behind, now or in a run that has died.

        Nothing depends on it: one that is refused is told, and tried again by the next run.
        """
        return ()

    def has_leftovers(self, table: Table, changes: Sequence[ChangeType]) -> bool:
        """Tell whether `leftovers` is to be asked, after these *changes*."""
        return False

    def settle(self, connection: sa.Connection, table: Table) -> None:
        """Take note that rows for *table*, as its last SCHEMA wants it, are committed with a STATE."""

    def create_beside(
        self, connection: sa.Connection, table: Table, beside: Table, mark: str, others: Sequence[Table] = ()
    ) -> Sequence[str]:
        """Return the statements that make *beside* for new rows of *table*, with *mark* as its comment.

        It should refuse the rows that *table* would refuse; but rows of *others* are about to be replaced, too.
        """
        return [self.create_table(beside)]

    # --- what follows

    def found_column(self, name: str, spelt: str, *, optional: bool = True) -> FoundColumn:
        """Return a column of the catalogue, with its type as it is *spelt* there."""
        kind, narrow = self.read_back(spelt)
        wide = self.type_name(kind).lower() if kind and narrow else ""
        limit = self.limit(spelt) if narrow else None
        return FoundColumn(name, kind, spelt.lower(), narrow, optional, wide=wide, limit=limit)

    def limit(self, spelt: str) -> Limit | None:
        """Return what a narrow type holds, None where the database may round, cut or pad what does not fit."""
        name, digits = type_parts(spelt)
        return self.limits.get(name) or limits.of_digits(self.reads.get(name), digits)
