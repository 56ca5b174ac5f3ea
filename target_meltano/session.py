"""The connection of a run and its one transaction: begun, committed, lost, and done again."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, TypeVar

import backoff
import sqlalchemy as sa

from .dialect import Dialect
from .errors import DatabaseError, TargetError

T = TypeVar("T")
RETRY_SECONDS = 60.0  # from the first failure on, besides the time that connecting takes


class Session:
    """A connection that is made anew when it is lost. *warn* is told why.

    Raises:
        DatabaseError: the database cannot be reached, as any method does that connects again.
    """

    def __init__(self, dialect: Dialect[Any], warn: Callable[[str], None]):
        self.dialect = dialect
        self.errors: tuple[type[Exception], ...] = (sa.exc.SQLAlchemyError, *dialect.driver_errors)
        self._warn = warn
        self._transaction: str | None = None  # the last one, by the database's name for it
        dialect.tell = warn
        self.connection: sa.Connection = dialect.connect()

    def close(self) -> None:
        """End the connection; what is not committed is rolled back."""
        self.dialect.close(self.connection)

    def begun(self) -> sa.Connection:
        """Return the connection with a transaction open."""
        if not self.connection.in_transaction():
            self.connection.begin()
            self._transaction = self.dialect.transaction_id(self.connection)
        return self.connection

    def commit(self, is_there: Callable[[sa.Connection], bool], confirmed: bool = True) -> None:
        """Commit; where no answer comes, look up how it ended.

        `is_there` looks for what the transaction wrote: after a crash of the server the name of a
        transaction that is lost may be given to another one. Not *confirmed* is one that wrote nothing to look for.

        Raises:
            Exception: the driver's; nothing was committed.
            DatabaseError: the outcome cannot be found.
        """
        try:
            self.connection.commit()
            if confirmed:
                self.dialect.confirm_commit(self.connection, is_there)
        except self.errors as error:
            if self.dialect.is_answer(error):
                raise
            was_committed = self._was_committed(is_there)
            self._warn(f"COMMIT got no answer; it was found to be {'done' if was_committed else 'undone'}: {self.dialect.words(error)}")
            if not was_committed:
                raise

    def _was_committed(self, is_there: Callable[[sa.Connection], bool]) -> bool:
        def look() -> bool:
            self._reconnect()
            known = self.dialect.was_committed(self.connection, self._transaction)
            found = known and is_there(self.connection)
            self.connection.rollback()
            return found

        not_known = "the outcome of a COMMIT is not known"
        try:
            return self.steadily(look, look, "the outcome of a COMMIT is looked up", not_known)
        except DatabaseError as error:
            raise error if str(error).startswith(not_known) else DatabaseError(f"{not_known}: {error}") from error

    def roll_back(self) -> None:
        """Have no transaction open; on a new connection if this one is lost."""
        try:
            if not self.connection.closed and not self.connection.invalidated:
                self.connection.rollback()
                return
        except self.errors:
            pass
        self._reconnect()

    def _reconnect(self) -> None:
        self.dialect.close(self.connection)
        self.connection = self.dialect.connect()
        if self._transaction:
            self.dialect.end_transaction(self.connection, self._transaction)

    def steadily(
        self,
        step: Callable[[], T],
        again: Callable[[], T],
        doing: str = "the transaction is done again",
        outcome: str = "the transaction was rolled back",
    ) -> T:
        """Do *step*; where the connection is lost or another session was in the way, do *again*.

        Raises:
            DatabaseError: the database refuses, or did not come back in time; with the *outcome*.
        """
        until: float | None = None
        fault: TargetError
        cause: BaseException | None
        pauses = backoff.expo(factor=0.1, max_value=10)
        next(pauses)  # is None, to start the generator
        while True:
            try:
                return step()
            except DatabaseError as error:  # that of a driver, with the place in front
                fault, cause = error, error.__cause__
            except self.errors as error:
                fault, cause = self.dialect.error(error, outcome), error
            until = until or time.monotonic() + RETRY_SECONDS
            if not self._may_pass(cause) or time.monotonic() > until:
                raise fault from cause
            self._warn(f"{doing}: {self.dialect.words(fault)}")
            time.sleep(next(pauses))
            step = again

    def _may_pass(self, cause: BaseException | None) -> bool:
        return isinstance(cause, self.errors) and isinstance(cause, Exception) and self.dialect.is_transient(cause)
