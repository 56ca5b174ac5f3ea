"""Snowflake for SQLAlchemy, as far as the core needs it: quoting, types, and what a transaction is.

SQLAlchemy's own dialect for Snowflake is not used: each of its versions goes with one major of the
connector only.
"""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa
from sqlalchemy.engine import default
from sqlalchemy.types import UserDefinedType

from . import faults

if TYPE_CHECKING:
    from .work import Work


class Type(UserDefinedType[Any]):
    """A column type by its name."""

    cache_ok = True

    def __init__(self, spelt: str):
        self.spelt = spelt

    def get_col_spec(self, **_: Any) -> str:
        return self.spelt


class Timestamp(Type):
    """Bound as text and cast, so that no parameter of the session counts; without a zone it is UTC."""

    cache_ok = True

    def bind_processor(self, dialect: sa.Dialect) -> Any:
        return lambda value: value.isoformat() if isinstance(value, dt.datetime) else value

    def result_processor(self, dialect: sa.Dialect, coltype: object) -> Any:
        return lambda value: value.replace(tzinfo=value.tzinfo or dt.timezone.utc) if value else value

    def bind_expression(self, bindvalue: Any) -> Any:
        return sa.cast(bindvalue, self)


class SnowflakeSQL(default.DefaultDialect):
    """Statements go through the `Work` of the connection, which decides when a transaction is open there."""

    name = "snowflake"
    driver = "connector"
    default_paramstyle = "qmark"
    supports_statement_cache = True
    supports_native_boolean = True
    supports_native_decimal = True
    max_identifier_length = 255
    work: Work

    @classmethod
    def import_dbapi(cls) -> Any:
        from snowflake import connector

        return connector

    def initialize(self, connection: Any) -> None:
        """Ask the server nothing."""

    def do_begin(self, dbapi_connection: Any) -> None:
        pass

    def do_commit(self, dbapi_connection: Any) -> None:
        """SQLAlchemy takes a transaction whose COMMIT failed for one that is over, and rolls nothing back."""
        try:
            self.work.commit()
        except faults.DRIVER_ERRORS as error:
            if not faults.is_lost(error):
                self.work.roll_back()
            raise

    def do_rollback(self, dbapi_connection: Any) -> None:
        self.work.roll_back()

    def do_savepoint(self, connection: Any, name: str) -> None:
        self.work.mark()

    def do_rollback_to_savepoint(self, connection: Any, name: str) -> None:
        self.work.roll_back_to_mark()

    def do_release_savepoint(self, connection: Any, name: str) -> None:
        self.work.release_mark()

    def do_execute(self, cursor: Any, statement: str, parameters: Any, context: Any = None) -> None:
        self.work.execute(cursor, statement, tuple(parameters) or None)

    def do_executemany(self, cursor: Any, statement: str, parameters: Any, context: Any = None) -> None:
        for some in parameters:
            self.work.execute(cursor, statement, tuple(some))

    def do_execute_no_params(self, cursor: Any, statement: str, context: Any = None) -> None:
        self.work.execute(cursor, statement, None)

    def is_disconnect(self, e: Any, connection: Any, cursor: Any) -> bool:
        return faults.is_lost(e)


sa.dialects.registry.register("snowflake.target_meltano", __name__, "SnowflakeSQL")
