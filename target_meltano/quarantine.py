"""What is rejected in the open transaction, and how it gets into `__rejected`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from . import writing
from .arrival import Part
from .dialect import Dialect
from .diff import Table
from .errors import RecordError
from .kept import SOURCE, Lines
from .ledger import Ledger, Load, Rejected, rejected_batch
from .replay import Refusal
from .session import Session


class Quarantine:
    """The invalid records of the open transaction: those that never were rows, and rows that the database refuses."""

    def __init__(self, dialect: Dialect[Any], session: Session, ledger: Ledger, lines: Lines):
        self.dialect = dialect
        self.session = session
        self.ledger = ledger
        self.lines = lines
        self.is_on = dialect.settings.invalid_records == "quarantine"
        self.rejected: list[Rejected] = []
        self._by_stream: dict[str | None, set[int]] = {}
        self._counted = 0  # those that count to `max_rejected`, of this transaction
        self._committed = 0  # of them, by transactions before this one

    def __bool__(self) -> bool:
        return bool(self.rejected)

    def lines_of(self, stream: str) -> set[int]:
        """Return the lines of a stream whose records are rejected."""
        return self._by_stream.get(stream, set())

    def add(self, rejected: Sequence[Rejected]) -> None:
        """Take invalid records.

        Raises:
            RecordError: of the first one beyond the setting `max_rejected`.
        """
        most = self.dialect.settings.max_rejected
        for one in rejected:
            if one.counts and self._committed + self._counted >= most:
                reason = f"{one.reason}; {most:,} invalid records are in quarantine already (setting max_rejected)"
                raise RecordError(reason, line=one.line, stream=one.stream or "", path=one.path)
            self.rejected.append(one)
            self._counted += one.counts
            self._by_stream.setdefault(one.stream, set()).add(one.line)

    def refuse(self, part: Part, refusal: Refusal, into: Table) -> None:
        """Take a part of one row, which the database refuses to write *into* a table.

        Raises:
            RecordError: invalid records are not kept, or it is one too many.
        """
        written, line = part.written, int(part.lines[0])
        words = writing.words(self.dialect, refusal.error).replace(into.name, written.table.name)  # it may be one beside
        reason = f"the database refuses it: {words}"
        if not self.is_on:
            raise RecordError(reason, line=line, stream=written.stream)
        stamp = {"at": part.rows.column(written.table.stamp)[0].as_py()} if written.table.stamp else {}
        self.add([Rejected(line, written.stream, "$", reason, part.rows.column(SOURCE)[0].as_py(), **stamp)])

    def loads(self) -> dict[str, Load]:
        """Return what it adds to each stream: one by one it would be added to all before it."""
        found: dict[str, Load] = {}
        for one in self.rejected:
            found[one.stream or ""] = found.get(one.stream or "", Load()).plus(one.load())
        return found

    def cut(self, before: int | None) -> None:
        """Forget what comes from line *before* on, nothing for None."""
        if before is not None:
            self.rejected = [one for one in self.rejected if one.line < before]
            self._counted = sum(one.counts for one in self.rejected)
            self._by_stream = {stream: {line for line in its if line < before} for stream, its in self._by_stream.items()}

    def clear(self) -> None:
        """Go on after a COMMIT."""
        self._committed += self._counted
        self._counted = 0
        self.rejected.clear()
        self._by_stream.clear()

    def write(self) -> None:
        """Write all into `__rejected`, as jsonb too, where the database can hold it so.

        Raises:
            RecordError: it cannot hold a line at all.
        """
        if self._refused(self.rejected):
            for one in self.rejected:
                if self._refused([one]) and (refusal := self._refused([one], documents=False)):
                    reason = f"{one.reason}; it cannot be kept in quarantine: {writing.words(self.dialect, refusal.error)}"
                    raise RecordError(reason, line=one.line, stream=one.stream or "", path=one.path) from refusal.error

    def _refused(self, rejected: Sequence[Rejected], documents: bool = True) -> Refusal | None:
        table = self.ledger.rejected
        batch = rejected_batch(self.ledger.run_id, table, rejected, self.lines, documents)
        found = writing.try_rows(self.dialect, self.session, table, batch)
        return found if isinstance(found, Refusal) else None
