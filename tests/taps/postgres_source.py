"""A PostgreSQL that taps read: a server of its own with wal2json, where there is one, a database per test, and the taps on it."""

from __future__ import annotations

import json
import secrets
import subprocess
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg2
import pytest
import servers
from environments import environment
from on_postgres import Watched
from piped import Pipe, run
from psycopg2.extensions import make_dsn, parse_dsn
from syncs import selected

from target_meltano_postgres import embedded

WAL2JSON = next(iter(sorted(Path("/usr/lib/postgresql").glob("*/lib/wal2json.so"), reverse=True)), None)
needs_wal2json = pytest.mark.skipif(not WAL2JSON, reason="needs wal2json: apt-get install postgresql-15-wal2json (the number is that of your PostgreSQL)")


@contextmanager
def source_server(home: Path) -> Iterator[embedded.Server]:
    """Yield a server that decodes its log; Debian's with wal2json, where that is installed, else the wheel's."""
    settings = {"wal_level": "logical", "max_wal_senders": "10", "max_replication_slots": "20"}
    programs = WAL2JSON and WAL2JSON.parents[1] / "bin"
    if programs:
        # 15.20 and 18.6 take no plugin for the log but those that this setting names; earlier ones do not know it.
        known = subprocess.run([programs / "postgres", "--describe-config"], capture_output=True, text=True, check=True).stdout
        if "output_plugin_libraries" in known:
            settings["output_plugin_libraries"] = "wal2json"
    with servers.lent(home, settings, programs) as server:
        yield server


@dataclass(frozen=True)
class Source(Watched):
    """A database of that server, and who looks into it; the *connection* commits each statement, in UTC."""

    @property
    def parts(self) -> dict[str, Any]:
        """Return host, port, user, password and dbname."""
        return dict(parse_dsn(self.url))


@contextmanager
def source(server: embedded.Server) -> Iterator[Source]:
    """Yield a database with the extensions that users have; it is dropped afterwards, with its slots."""
    name = f"taps_{secrets.token_hex(4)}"
    owner = psycopg2.connect(server.url)
    owner.autocommit = True
    connection = None
    try:
        with owner.cursor() as cursor:
            cursor.execute(f"CREATE DATABASE {name} TEMPLATE template0")
            url = make_dsn(server.url, dbname=name)
            connection = psycopg2.connect(url, options="-c timezone=UTC -c search_path=shop,public")
            connection.autocommit = True
            made = Source(url, connection)
            made.query("CREATE EXTENSION citext SCHEMA public; CREATE EXTENSION hstore SCHEMA public; CREATE SCHEMA shop")
            yield made
    finally:
        if connection:
            connection.close()
        with owner.cursor() as cursor:
            cursor.execute("SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots WHERE database = %s", (name,))
            cursor.execute(f"DROP DATABASE {name} WITH (FORCE)")
        owner.close()


PACKAGES = {"meltanolabs": "meltanolabs-tap-postgres==0.10.0", "pipelinewise": "pipelinewise-tap-postgres==1.8.4"}
KEYS = {"INCREMENTAL": "updated", "LOG_BASED": "_sdc_lsn"}  # meltanolabs' tap reads the whole log without the second one


class PostgresPipe(Pipe):
    """Syncs of these *tables* of a source, by one *method*; *config* is the tap's besides."""

    def __init__(
        self, tap: str, method: str, source: Source, tables: Iterable[str], url: str, folder: Path, targets: Mapping[str, Mapping[str, Any]], **config: Any
    ):
        self.method, self.tables = method, list(tables)
        self.program = environment(f"tap-postgres-{tap}", PACKAGES[tap]) / "tap-postgres"
        self.config, self.catalog = folder / "tap.json", folder / "catalog.json"
        parts = source.parts
        where = {name: parts[name] for name in ("host", "port", "user", "password")}
        if tap == "meltanolabs":
            slot = parts["dbname"]
            # Without the last one its connection for each stream refuses names that have to be quoted.
            own = {"database": slot, "port": int(where["port"]), "filter_schemas": ["shop"], "replication_slot_name": slot, "replication_idle_exit_seconds": 1}
            own |= {"log_based_single_connection": True}
        else:
            slot = f"pipelinewise_{parts['dbname']}"
            own = {"dbname": parts["dbname"], "filter_schemas": "shop", "logical_poll_total_seconds": 1}
        self.config.write_text(json.dumps({**where, **own, **config}))
        if method == "LOG_BASED":
            source.query("SELECT pg_create_logical_replication_slot(%s, 'wal2json')", (slot,))
        super().__init__([self.program, "--config", self.config, "--catalog", self.catalog], targets, url, folder)

    def read(self) -> None:
        """Read the tables as they are now, with the columns that they have now."""
        found = json.loads(run([self.program, "--config", self.config, "--discover"]))
        self.catalog.write_text(json.dumps(selected(found, self.method, KEYS.get(self.method), self.tables)))
        super().read()

    def fields(self, stream: str) -> set[str]:
        """Return the fields that the stream's records of the last sync have."""
        messages = (json.loads(line) for line in self.messages.read_bytes().splitlines())
        return {name for message in messages if message["type"] == "RECORD" and message["stream"] == stream for name in message["record"]}
