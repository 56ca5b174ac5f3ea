"""How tests use Snowflake: the stand-in, or with SNOWFLAKE_LIVE=1 an account that SNOWFLAKE_* variables name.

A plugin of pytest, so that the tests run without the other fixtures, too, where no PostgreSQL is.
"""

from __future__ import annotations

import datetime as dt
import json
import os
import secrets
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

import pytest
from snowflake import connector
from snowflake_server import client

from target_meltano import Result, load, make
from target_meltano_snowflake import SnowflakeDialect, SnowflakeSettings
from target_meltano_snowflake.session import parameters

MAJOR = int(connector.__version__.split(".")[0])
LIVE = os.environ.get("SNOWFLAKE_LIVE") == "1"
NAMES = ("account", "user", "password", "private_key_file", "private_key_passphrase", "token", "authenticator", "role", "warehouse", "database")
REAL, VARIANT = 1, 5  # numbers of types in a cursor's description


@dataclass
class Snowflake:
    """What a test has to itself: a *schema* that nobody made yet, and who looks into it."""

    settings: dict[str, Any]
    server: client.Server | None
    connection: Any
    schema: str = field(default_factory=lambda: f"TEST_{secrets.token_hex(4).upper()}")

    def dialect(self, **settings: Any) -> SnowflakeDialect:
        return SnowflakeDialect(make(SnowflakeSettings, **{"schema": self.schema, **self.settings, **settings}))

    def run(self, *messages: Any, states: list[Any] | None = None, **settings: Any) -> Result:
        """Load *messages*; the values of STATEs that come out are appended to *states*."""

        def on_state(text: str) -> None:
            if states is not None:
                states.append(json.loads(text))

        return load(self.dialect(**settings), messages, on_state=on_state)

    def query(self, sql: str) -> list[tuple[Any, ...]]:
        return list(self.connection.cursor().execute(sql).fetchall())

    def rows(self, table: str, exact: bool = True) -> list[dict[str, Any]]:
        """Return all rows of *table*; with *exact* FLOATs come as decimal numbers."""
        cursor = self.connection.cursor()
        cursor.execute(f'SELECT * FROM "{self.schema}"."{table}"')
        columns = [(column[0], column[1]) for column in cursor.description]
        return [
            {name: _plain(value, code, exact) for (name, code), value in zip(columns, row, strict=True)}
            for row in cursor.fetchall()
        ]

    def statements(self) -> list[str]:
        """Return what the stand-in was asked since `clear`."""
        assert self.server
        return [" ".join(sql.split()) for sql in self.server.log("sql")]


def _plain(value: Any, code: int, exact: bool) -> Any:
    if value is None:
        return None
    if code == VARIANT:
        return json.loads(value, parse_float=Decimal)
    if code == REAL and exact:
        return Decimal(repr(value))
    if isinstance(value, dt.datetime):
        return value.replace(tzinfo=value.tzinfo or dt.timezone.utc).astimezone(dt.timezone.utc)
    return bytes(value) if isinstance(value, bytearray) else value


@pytest.fixture(scope="session")
def snowflake_server() -> Iterator[client.Server | None]:
    """The stand-in that the tests of one process share; none where they run on an account."""
    if LIVE:
        yield None
        return
    try:
        with client.running() as server:
            yield server
    except client.Unavailable as error:
        pytest.skip(str(error))


@pytest.fixture(scope="session")
def snowflake_settings(snowflake_server: client.Server | None) -> dict[str, Any]:
    """Settings that say where Snowflake is."""
    if snowflake_server:
        return {"account": "org-acct", "user": "loader", "password": "secret", "database": "TESTS", **snowflake_server.settings}
    found = {name: os.environ.get(f"SNOWFLAKE_{name.upper()}") for name in NAMES}
    return {name: value for name, value in found.items() if value}


@pytest.fixture(scope="session")
def snowflake_connection(snowflake_settings: dict[str, Any]) -> Iterator[Any]:
    """Who looks into the tables."""
    settings = make(SnowflakeSettings, schema="PUBLIC", **snowflake_settings)
    connection = connector.connect(**{**parameters(settings, "tests"), "autocommit": True})
    yield connection
    connection.close()


@pytest.fixture
def snowflake(
    snowflake_settings: dict[str, Any], snowflake_server: client.Server | None, snowflake_connection: Any
) -> Iterator[Snowflake]:
    """A schema for one test; it is dropped afterwards."""
    made = Snowflake(snowflake_settings, snowflake_server, snowflake_connection)
    if snowflake_server:
        snowflake_server.clear()
    yield made
    made.query(f'DROP SCHEMA IF EXISTS "{made.schema}"')


@pytest.fixture
def standin(snowflake: Snowflake) -> Snowflake:
    """The same, for tests that read the log or plan faults."""
    if snowflake.server is None:
        pytest.skip("only on the stand-in: unset SNOWFLAKE_LIVE")
    return snowflake


def pytest_configure() -> None:
    warnings.filterwarnings("ignore", module="snowflake")
