"""The database's side of a run, as the loop sees it: a second thread that does one thing after the other."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from . import tables, writing
from .dialect import Dialect
from .diff import Found, Policy, Table
from .errors import InDoubt
from .kept import Activated, Lines, Written
from .ledger import Ledger, Rejected
from .report import Report
from .transaction import Transaction
from .worker import Worker

T = TypeVar("T")


class Loader:
    """Writes batches and commits them. Methods return at once unless they return something.

    Any of them may raise the fault of a record that the database refused, or that was one too
    many in quarantine (MessageError). From then on batches are only kept, for `salvage`.
    """

    def __init__(
        self, dialect: Dialect[Any], emit: Callable[[str], None], report: Report, ledger: Ledger, lines: Lines
    ):
        self._dialect = dialect
        self._worker = Worker()
        self.send_rest: Callable[[], None] = lambda: None  # write all that came; who has it says how
        made: list[Transaction] = []
        try:
            self._worker.call(lambda: made.append(Transaction(dialect, emit, report, ledger, lines)))
        except BaseException:  # as of a signal, while the thread goes on
            self._worker.stop()
            for transaction in made:
                transaction.close()
            raise
        (self._transaction,) = made
        report.connected(dialect.notice)

    def close(self) -> None:
        """End the thread and the connection; what is not committed is rolled back."""
        self._worker.stop()
        self._transaction.close()

    def wait(self) -> None:
        """Return when all is done, or raise what failed."""
        self._worker.call(lambda: None)
        self._check()

    def _check(self) -> None:
        if self._transaction.fault:
            raise self._transaction.fault

    def _submit(self, function: Callable[..., Any], *arguments: Any, size: int = 0) -> None:
        self._worker.submit(function, *arguments, size=size)
        self._check()

    def _prepared(self, function: Callable[..., T], *arguments: Any) -> T:
        """Return what *function* of the transaction does, after it is known which rows are refused."""
        try:
            return self._worker.call(function, *arguments)
        except InDoubt:
            self.send_rest()
            self.sort_out()
            return self._worker.call(function, *arguments)

    @property
    def is_in_doubt(self) -> bool:
        """Tell whether rows wait to be applied in the order of their arrival, over all streams."""
        return self._transaction.in_order

    def sort_out(self) -> None:
        """Apply what waits, and let it be known which rows are refused; all that came has to be written before."""
        self._worker.call(self._transaction.sort_out)
        self._check()

    def write(self, written: Written) -> None:
        """Write rows into the open transaction.

        They are made ready here, so that the database does not wait for it.
        """
        size = 2 * written.batch.nbytes  # with what is encoded
        ready = written if self.is_in_doubt else writing.ready(self._dialect, written)
        self._submit(self._transaction.step, ready, size=size)

    def activate(self, stream: str, table: Table, version: int, line: int) -> None:
        """Let rows of older versions not be current any more, in the open transaction."""
        self._submit(self._transaction.step, Activated(stream, table, version, line))

    def reject(self, rejected: Sequence[Rejected]) -> None:
        """Write invalid records into `__rejected`."""
        self._submit(self._transaction.reject, rejected, size=sum(len(one.source) for one in rejected))

    def note_state(self, line: int, state: str) -> None:
        """Take note of a STATE: all rows of lines before *line* are written, or will be."""
        self._worker.submit(lambda: self._transaction.states.append((line, state)), size=len(state))

    def commit(self) -> None:
        """Commit the open transaction, if there is one, then emit the newest STATE."""
        self._submit(self._transaction.commit)

    def swap(self) -> None:
        """Let the rows of an overwrite take the place of all others, and emit the newest STATE."""
        self._submit(self._transaction.swap)

    def rest(self) -> None:
        """Hold no transaction open while nothing comes; what it has is written again later."""
        self._worker.submit(self._transaction.rest)

    def keep(self, written: Written) -> None:
        """Let rows be written by `salvage`."""
        self._worker.call(self._transaction.kept.add, written)

    def salvage(self, before: int | None) -> None:
        """Undo what is not committed, and commit of it only what came before line *before*.

        With `state_id` only what came before the newest STATE. Returns when it is done.
        """
        self._worker.call(self._transaction.salvage, before)

    def start(self) -> str | None:
        """Take over the setting `state_id`, if it is set, and return the STATE that is kept for it.

        Raises:
            DatabaseError: another run is under way.
        """
        return self._worker.call(self._transaction.start)

    def found(self, table: Table) -> Found | None:
        """Return *table* as the database has it."""
        return self._prepared(self._transaction.found, table)

    def lacking(self, table: Table) -> Sequence[str]:
        """Return the statements for the indexes and readers that *table* wants and does not have."""
        return self._prepared(self._transaction.lacking, table)

    def follow(self, stream: str, table: Table, policy: Policy, schema: str | None, line: int) -> tuple[Table, int]:
        """Make the database have *table*; return it as it is kept there, and the stream's last stamp.

        *schema* is the SCHEMA message of line *line*, which is kept where invalid records are.
        """
        return self._prepared(self._transaction.follow, stream, table, policy, schema, line)

    def put_aside(self, stream: str, schema: str) -> None:
        """Make ready for records of *stream*, whose *schema*, a SCHEMA message, is refused."""
        self._prepared(self._transaction.put_aside, stream, schema)

    def plan(self, table: Table, policy: Policy, plan: tables.Plan) -> Table:
        """Show what `follow` would do, and return the table that it would return."""
        transaction = self._transaction
        return self._worker.call(plan.follow, transaction.dialect, transaction.session.connection, table, policy)
