"""The forms in which a PostgreSQL is met: poolers, settings of a database, roles, languages.

Each is a context that yields where the target connects to, and who looks at what it wrote there.
"""

from __future__ import annotations

import os
import secrets
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing, contextmanager
from pathlib import Path
from typing import Any

import psycopg2
import pytest
import servers
from on_postgres import Watched, database, role
from pooler import PROGRAM, pooled

PLAIN = "-c quote_all_identifiers=off -c timezone=UTC -c extra_float_digits=1 -c bytea_output=hex -c datestyle=ISO -c intervalstyle=postgres -c search_path=public -c standard_conforming_strings=on"


@contextmanager
def looking(url: str) -> Iterator[Any]:
    """Yield a connection to *url* that commits each statement, and shows values as they are whatever the database says."""
    with closing(psycopg2.connect(url, client_encoding="UTF8", options=PLAIN)) as connection:
        connection.autocommit = True
        yield connection


@contextmanager
def behind_pgbouncer(db: Any, mode: str) -> Iterator[Watched]:
    if not PROGRAM:
        pytest.skip("needs pgbouncer: apt-get install pgbouncer")
    with pooled(db.url, mode) as pooler:
        yield Watched(pooler.url, db.connection)


@contextmanager
def with_settings(db: Any, **settings: str) -> Iterator[Watched]:
    """A database that gives sessions these settings, as far as its version has them."""
    known = {name for (name,) in db.query("SELECT name FROM pg_settings")}
    with database(db, **{name: value for name, value in settings.items() if name in known}) as url, looking(url) as connection:
        yield Watched(url, connection)


# What a database may say to its sessions; each changes what a statement means, how a value is shown, or what ends.
ODD = {
    "array_nulls": "off",
    "bytea_output": "escape",
    "client_encoding": "LATIN1",
    "client_min_messages": "error",
    "DateStyle": "'SQL, DMY'",
    "default_toast_compression": "pglz",
    "default_transaction_deferrable": "on",
    "default_transaction_isolation": "serializable",
    "escape_string_warning": "on",
    "extra_float_digits": "-15",
    "idle_in_transaction_session_timeout": "'60s'",
    "idle_session_timeout": "'60s'",
    "IntervalStyle": "iso_8601",
    "lock_timeout": "'30s'",
    "plan_cache_mode": "force_generic_plan",
    "search_path": "nowhere, public",
    "standard_conforming_strings": "off",
    "statement_timeout": "'60s'",
    "synchronous_commit": "off",
    "TimeZone": "'Asia/Kolkata'",
    "timezone_abbreviations": "'India'",
    "transaction_timeout": "'60s'",
    "transform_null_equals": "on",
    "work_mem": "'64kB'",
    "xmlbinary": "hex",
}


@contextmanager
def as_role(db: Any, sql: str = "") -> Iterator[Watched]:
    """A role that is no superuser, and may make schemas in a database that is another's."""
    with database(db) as url, looking(url) as connection, role(db) as (name, _):
        form = Watched(psycopg2.extensions.make_dsn(url, user=name, password="secret"), connection)
        form.query(f"GRANT CREATE, CONNECT, TEMPORARY ON DATABASE {connection.info.dbname} TO {name}; {sql}")
        yield form
        form.query(f"DROP OWNED BY {name} CASCADE")


# The tables of streams are secured as soon as they are made, also from their owner.
SECURED = r"""
CREATE FUNCTION public.secure() RETURNS event_trigger LANGUAGE plpgsql AS $$
DECLARE made record;
BEGIN
  FOR made IN SELECT * FROM pg_event_trigger_ddl_commands() WHERE command_tag = 'CREATE TABLE' AND schema_name <> 'pg_temp' AND object_identity !~ '\.__' LOOP
    EXECUTE format('ALTER TABLE %1$s ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY', made.object_identity);
    EXECUTE format('CREATE POLICY everything ON %1$s USING (true)', made.object_identity);
  END LOOP;
END $$;
CREATE EVENT TRIGGER secure ON ddl_command_end WHEN TAG IN ('CREATE TABLE') EXECUTE FUNCTION public.secure()"""


@contextmanager
def in_german(_: Any) -> Iterator[Watched]:
    """A server that tells its errors in German; its programs need NLS, its system a German locale."""
    folder = _translated()
    home = Path(os.environ["TMPDIR"], f"german-{secrets.token_hex(4)}")
    with pytest.MonkeyPatch.context() as changed:
        changed.setenv("LOCPATH", f"{_german_locale()}:/usr/lib/locale")
        try:
            with servers.lent(home, {"lc_messages": "de_DE.UTF-8"}, folder) as server, looking(server.url) as connection:
                with connection.cursor() as cursor, pytest.raises(psycopg2.errors.DivisionByZero, match="Division durch Null"):
                    cursor.execute("SELECT 1 / 0")
                yield Watched(server.url, connection)
        finally:
            shutil.rmtree(home, ignore_errors=True)


def _translated() -> Path:
    """Return the programs of the tests where they speak German, else Debian's where the tests have none of their own."""
    given = os.environ.get("TEST_POSTGRES")
    folders = dict(servers.of_debian())
    there = {major: folder for major, folder in folders.items() if Path(f"/usr/share/locale/de/LC_MESSAGES/postgres-{major}.mo").exists()}
    fit = [folder for folder in there.values() if not given or str(folder) == given]
    if not fit:
        pytest.skip("needs a PostgreSQL with messages in German, which these programs have not: apt-get install postgresql, TEST_POSTGRES=/usr/lib/postgresql/…/bin")
    return fit[-1]


def _german_locale() -> Path:
    """Return a folder with a German locale, made for the tests."""
    made = Path(os.environ["TMPDIR"], "locales")
    made.mkdir(exist_ok=True)
    if not (made / "de_DE.UTF-8").exists():
        if not (localedef := shutil.which("localedef")):
            pytest.skip("needs localedef: apt-get install locales")
        done = subprocess.run([localedef, "-i", "de_DE", "-f", "UTF-8", str(made / "de_DE.UTF-8")], capture_output=True, text=True, check=False)
        if not (made / "de_DE.UTF-8/LC_MESSAGES").exists():
            pytest.skip(f"needs a German locale: apt-get install locales; localedef: {done.stderr.strip()[-200:]}")
    return made


FORMS: dict[str, Callable[[Any], AbstractContextManager[Watched]]] = {
    "pgbouncer by transaction": lambda db: behind_pgbouncer(db, "transaction"),
    "pgbouncer by session": lambda db: behind_pgbouncer(db, "session"),
    "quote_all_identifiers": lambda db: with_settings(db, quote_all_identifiers="on"),
    "odd settings": lambda db: with_settings(db, **ODD),
    "German": in_german,
    "no superuser": as_role,
    "forced row security": lambda db: as_role(db, SECURED),
}
