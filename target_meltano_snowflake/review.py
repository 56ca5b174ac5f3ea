"""Copies of a database for reviews: zero-copy clones, which share what neither has changed since."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from target_meltano import Copies, DatabaseError, upper

Names = Callable[[str], str]


class SnowflakeCopies(Copies):
    """Statements name their database: CREATE DATABASE and CREATE SCHEMA make theirs the session's own.

    *quote* and *literal* spell names and texts for SQL.
    """

    def __init__(self, connection: Any, quote: Names, literal: Names):
        self._connection, self._quote, self._literal = connection, quote, literal
        self.source = self._rows("SELECT CURRENT_DATABASE() AS name")[0]["name"]
        if not self.source:
            raise DatabaseError("review: the database of the settings is not there, or the role has no USAGE on it")

    def _rows(self, statement: str) -> list[dict[str, Any]]:
        cursor = self._connection.cursor()
        cursor.execute(statement)
        names = [column[0].lower() for column in cursor.description or ()]
        return [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]

    def fold(self, name: str) -> str:
        return upper(name)

    @contextmanager
    def turn(self, name: str) -> Iterator[None]:
        """There is no lock; a clone is made by one statement, and the second of two is refused."""
        yield

    def databases(self) -> Mapping[str, str]:
        return {row["name"]: row["comment"] or "" for row in self._rows("SHOW DATABASES")}

    def schemas(self) -> Mapping[str, str]:
        return {row["name"]: row["comment"] or "" for row in self._rows(f"SHOW SCHEMAS IN DATABASE {self._quote(self.source)}")}

    def clone(self, name: str, comment: str) -> str:
        """What is in it keeps its grants; those of the database itself are not copied."""
        self._rows(f"CREATE DATABASE {self._quote(name)} CLONE {self._quote(self.source)} COMMENT = {self._literal(comment)}")
        self.mend(name)
        return "by CLONE"

    def mend(self, name: str) -> None:
        for grant in self._rows(f"SHOW GRANTS ON DATABASE {self._quote(self.source)}"):
            privilege, role = grant["privilege"], grant["grantee_name"]
            if grant["granted_to"] != "ROLE":
                self.warn(f"the grant of {privilege} to the {grant['granted_to'].lower()} {role} is not on the copy")
            elif privilege != "OWNERSHIP":
                option = " WITH GRANT OPTION" if str(grant["grant_option"]).lower() == "true" else ""
                self._rows(f"GRANT {privilege} ON DATABASE {self._quote(name)} TO ROLE {self._quote(role)}{option}")

    def create_schema(self, name: str, comment: str) -> None:
        self._rows(f"CREATE SCHEMA {self._quote(self.source)}.{self._quote(name)} COMMENT = {self._literal(comment)}")

    def drop_database(self, name: str, *, force: bool) -> None:
        """Sessions in it are not asked; UNDROP brings it back for as long as Snowflake keeps it."""
        self._rows(f"DROP DATABASE {self._quote(name)}")

    def drop_schemas(self, names: Sequence[str]) -> None:
        for name in names:
            self._rows(f"DROP SCHEMA {self._quote(self.source)}.{self._quote(name)}")
