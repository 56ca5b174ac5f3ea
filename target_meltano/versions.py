"""ACTIVATE_VERSION: rows of older versions are not current any more."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import sqlalchemy as sa

from . import deletes
from .dialect import Dialect
from .errors import MessageError, RowError
from .kept import Activated
from .ledger import Ledger, now
from .session import Session
from .ties import Ties


class Versions:
    """The live version of each stream, as noted in the ledger: it spares a look at the whole table."""

    def __init__(self, dialect: Dialect[Any], session: Session, ledger: Ledger):
        self.dialect = dialect
        self.session = session
        self.ledger = ledger
        self.live: dict[str, int | None] = {}  # None: not known

    def note_rows(self, stream: str, rows: pa.RecordBatch) -> None:
        """Let the next activation look at the table, where rows of an older version came."""
        name = self.dialect.fold("__version")
        if name in rows.schema.names:
            oldest, live = pc.min(rows.column(name)).as_py(), self._live(stream)
            if oldest is not None and live is not None and oldest < live:
                self.live[stream] = None

    def _live(self, stream: str) -> int | None:
        if stream not in self.live:
            self.live[stream] = self.ledger.live_version(self.session.begun(), stream)
        return self.live[stream]

    def activate(self, step: Activated) -> None:
        """Stamp or delete the rows of older versions, unless it is known that none is current.

        Raises:
            MessageError: more of them than the setting `max_deletes_percent` allows, or other rows would go, too.
        """
        if self._live(step.stream) == step.version:
            return
        connection, hard = self.session.begun(), self.dialect.settings.activate_version == "hard"
        version, deleted = self.dialect.fold("__version"), self.dialect.fold("__deleted_at")

        def older(of: Any) -> Any:
            is_older = of.c[version] < step.version
            return is_older if hard else is_older & of.c[deleted].is_(None)

        table, ties = self.dialect.as_sqlalchemy(step.table), self.dialect.ties(connection, step.table)
        self._guard(table, older(table), ties, step)
        if hard:
            self._delete(step, older)
        else:
            update = deletes.alone(sa.update(table).values({table.c[deleted]: now()}), table, ties)
            connection.execute(update.where(older(table)))
        self.live[step.stream] = step.version

    def _delete(self, step: Activated, older: deletes.Condition) -> None:
        try:
            deletes.delete(self.dialect, self.session.connection, step.table, older)
        except RowError as error:
            raise MessageError(f"stream {step.stream!r}: version {step.version}: {error}", line=step.line) from None

    def _guard(self, table: sa.Table, older: Any, ties: Ties, step: Activated) -> None:
        most = self.dialect.settings.max_deletes_percent
        if most is None:
            return
        count = deletes.alone(sa.select(sa.func.count()).select_from(table), table, ties)
        every = self.session.begun().execute(count).scalar_one()
        ended = self.session.begun().execute(count.where(older)).scalar_one()
        if ended * 100 > most * every:
            raise MessageError(
                f"stream {step.stream!r}: version {step.version} would end {ended:,} of {every:,} rows, "
                f"more than {most:g} % (setting max_deletes_percent)",
                line=step.line,
            )
