"""How a suite of tests reaches a dialect: two hooks, facts, and what all of its tests use."""

from __future__ import annotations

import json
from typing import Any

import sqlalchemy as sa

from .dialect import Dialect
from .diff import Found
from .kinds import Kind
from .library import load
from .report import Result
from .verify.program import Options, Verification


class Harness:
    """Two hooks say how to reach a dialect.

    What a database cannot hold it must refuse: `holds` says what that is. Without `keeps_zeros` the
    number 19.90 comes back as 19.9.
    """

    keeps_zeros = True

    def holds(self, kind: Kind, value: Any) -> bool:
        """Tell whether a column of *kind* can hold *value*, read back as Python's."""
        return True

    def make_dialect(self, **settings: Any) -> Dialect[Any]:
        """Return the dialect with these settings, in a schema that is new for each test."""
        raise NotImplementedError

    def rows(self, table: str) -> list[dict[str, Any]]:
        """Return the committed rows of *table*, over a connection of its own, in any order.

        Values are Python's own: Decimal for exact numbers, aware datetimes, JSON parsed with
        Decimal for its numbers; JSON's null and NULL are both None.
        """
        raise NotImplementedError

    # --- helpers

    def load(self, *messages: Any, states: list[Any] | None = None, **settings: Any) -> Result:
        """Load *messages*; the values of STATEs that come out are appended to *states*."""

        def on_state(text: str) -> None:
            if states is not None:
                states.append(json.loads(text))

        result = load(self.make_dialect(**settings), messages, on_state=on_state)
        assert self.verify(*messages, **settings) == []
        return result

    def verify(self, *messages: Any, whole: bool = False, **settings: Any) -> list[str]:
        """Return how the tables differ from what *messages* say, as `target-meltano-NAME verify` does."""
        verdicts = Verification(self.make_dialect(**settings), messages, Options(whole=whole)).run()
        return [str(one) for verdict in verdicts for one in verdict.found.differences]

    def execute(self, statement: str) -> None:
        """Run *statement*, as somebody else would."""
        dialect = self.make_dialect()
        connection = dialect.connect()
        try:
            connection.exec_driver_sql(statement)
            connection.commit()
        finally:
            dialect.close(connection)

    def read(self, *columns: str, table: str = "orders") -> list[Any]:
        """Return the values of *columns*, sorted by the first one; of one column without tuples."""
        fold = self.make_dialect().fold
        found = [tuple(row[fold(name)] for name in columns) for row in self.rows(fold(table))]
        found.sort(key=lambda row: (row[0] is not None, row[0]))
        return [row[0] for row in found] if len(columns) == 1 else found

    def found(self, table: str = "orders") -> Found | None:
        dialect = self.make_dialect()
        connection = dialect.connect()
        try:
            place = dialect.settings.schema or dialect.default_schema or ""
            return dialect.found(connection, place, dialect.fold(table))
        finally:
            dialect.close(connection)

    def commits(self, *messages: Any, **settings: Any) -> int:
        """Load *messages* and return how many COMMITs that took."""
        dialect = self.make_dialect(**settings)
        connect = dialect.connect
        seen: list[Any] = []

        def watched() -> sa.Connection:
            connection = connect()
            sa.event.listen(connection, "commit", seen.append)
            return connection

        dialect.connect = watched  # type: ignore[method-assign]
        load(dialect, messages)
        return len(seen)
