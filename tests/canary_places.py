"""Every place where a value could be left: a server at its most talkative, and what is in it, beside it, and open in a process."""

from __future__ import annotations

import io
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg2
import servers
from canaries import Hit, hits

from target_meltano_postgres import embedded

TALKATIVE = {
    "log_min_messages": "debug5",
    "log_min_error_statement": "debug5",
    "log_error_verbosity": "verbose",
    "log_statement": "all",
    "log_min_duration_statement": "0",
    "log_parameter_max_length": "-1",
    "log_parameter_max_length_on_error": "-1",
    "log_connections": "on",
    "log_disconnections": "on",
    "log_lock_waits": "on",
    "log_temp_files": "0",
    "log_checkpoints": "on",
    "log_autovacuum_min_duration": "0",
    "debug_pretty_print": "off",
    "track_activity_query_size": "1MB",
    # What is written shows in the WAL as it is, also what is rolled back.
    "wal_level": "replica",
    "wal_compression": "off",
    "full_page_writes": "on",
    "max_wal_size": "4GB",
    "wal_keep_size": "4GB",
    "fsync": "off",
}


@contextmanager
def talkative(home: Path) -> Iterator[embedded.Server]:
    """Lend a server of our own in *home*, whose log has all that a server can tell."""
    with servers.lent(home, TALKATIVE) as server:
        yield server


class Places(dict[str, list[bytes]]):
    """What was found at each place."""

    def add(self, place: str, *texts: str | bytes | None) -> None:
        """Note what is at a *place*."""
        known = self.setdefault(place, [])
        known += [text.encode("utf-8", "surrogatepass") if isinstance(text, str) else text for text in texts if text]

    def add_file(self, place: str, path: Path) -> None:
        self.add(place, str(path.name))
        if path.is_file() and not path.is_symlink():
            self.add(place, path.read_bytes())

    def hits_at(self, place: str) -> list[Hit]:
        """Return the canaries at a place."""
        return hits(b"\n".join(self[place]))


OURS = {"__rejected", "__loads", "__state"}
_SYSTEM = ["pg_class", "pg_attribute", "pg_attrdef", "pg_constraint", "pg_index", "pg_description", "pg_type", "pg_proc", "pg_trigger", "pg_namespace", "pg_policy", "pg_rewrite", "pg_stats", "pg_statistic_ext", "pg_stats_ext", "pg_seclabel", "pg_shdescription", "pg_largeobject_metadata", "pg_prepared_statements", "pg_cursors", "pg_settings", "pg_stat_activity", "pg_stat_user_tables", "pg_locks", "pg_prepared_xacts", "pg_db_role_setting"]  # the server's own tables
_TABLES = """
SELECT n.nspname, c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind IN ('r', 'p', 'm', 'v') AND n.nspname NOT IN ('pg_catalog', 'information_schema', 'pg_toast')
"""


def look_into_tables(places: Places, connection: Any, only: str | None = None) -> None:
    """Note all that a database has: rows of all schemas, in the server's own form, and its catalogue with the statistics.

    *only*: the rows of this schema, and nothing else.
    """
    with connection.cursor() as cursor:
        if not only:
            cursor.execute("ANALYZE")
        cursor.execute(_TABLES)
        for schema, table in cursor.fetchall():
            if only and schema != only:
                continue
            place = table if table in OURS else "tables" if not schema.startswith("pg_") and not table.startswith("__") else "tables left over"
            places.add(place, _copied(cursor, f'SELECT * FROM "{schema}"."{table}"', "binary"))
        for table in () if only else _SYSTEM:
            rows = "SELECT to_jsonb(t) - 'query' FROM pg_stat_activity t WHERE pid <> pg_backend_pid()" if table == "pg_stat_activity" else f"SELECT to_jsonb(t) FROM {table} t"
            place = {"pg_stats": "statistics", "pg_description": "comments"}.get(table, "catalogue")
            places.add(place, _copied(cursor, rows, "text"))


def _copied(cursor: Any, query: str, form: str) -> bytes:
    out = io.BytesIO()
    cursor.copy_expert(f"COPY ({query}) TO STDOUT WITH (FORMAT {form})", out)
    return out.getvalue()


def look_into_server(places: Places, connection: Any, home: Path) -> None:
    """Note the server's log, and its files as they are: tables, the WAL with all that was ever written, what sorting left."""
    with connection.cursor() as cursor:
        cursor.execute("CHECKPOINT")
    places.add("server log", (home / "log").read_bytes())
    for path in sorted((home / "data").rglob("*")):
        if path.is_file():
            places.add("server files", path.read_bytes())


def look_into_folder(places: Places, place: str, folder: Path) -> None:
    """Note all files in a *folder*, with their names."""
    for path in sorted(folder.rglob("*")):
        places.add_file(place, path)


def look_into_process(places: Places, place: str, pid: int) -> None:
    """Note the open files of a process, also those without a name."""
    places.add(place)
    for path in Path(f"/proc/{pid}/fd").iterdir():
        try:
            if not stat.S_ISREG(path.stat().st_mode) or Path(os.readlink(path)).suffix in (".so", ".pyc", ".py"):
                continue
            data = path.read_bytes()
        except OSError:  # it is closed meanwhile, or of another's
            continue
        places.add(place, data)


def connected(url: str) -> Any:
    connection = psycopg2.connect(url, options="-c log_statement=none -c log_min_messages=fatal -c log_min_duration_statement=-1 -c debug_print_parse=off -c debug_print_rewritten=off -c debug_print_plan=off")
    connection.autocommit = True
    return connection
