"""target-meltano-postgres review, on a live server: what is copied, with others in it or not, and what survives."""

from __future__ import annotations

import json
import os
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg2
import pytest
from on_postgres import role
from psycopg2.extensions import make_dsn

from target_meltano import SettingsError, reviews
from target_meltano_postgres import dumps
from target_meltano_postgres.review import unfinished_limit

TARGET = [sys.executable, "-c", "from target_meltano_postgres import main; main()", "review"]
MADE = "CREATE SCHEMA s; CREATE TABLE s.t (id int PRIMARY KEY); INSERT INTO s.t VALUES (1), (2); COMMENT ON TABLE s.t IS 'mine'; CREATE VIEW s.v AS SELECT * FROM s.t"


@dataclass(frozen=True)
class Source:
    """A database *name* that a test has to itself; its reviews go with it. *db* is where others are."""

    name: str
    db: Any
    config: Path

    def ask(self, sql: str, database: str | None = None) -> list[tuple[Any, ...]]:
        with closing(self.connected(database)) as connection, connection.cursor() as cursor:
            cursor.execute(sql)
            return list(cursor.fetchall()) if cursor.description else []

    def connected(self, database: str | None = None) -> Any:
        connection = psycopg2.connect(make_dsn(self.db.url, dbname=database or self.name))
        connection.autocommit = True
        return connection

    def command(self, *arguments: str) -> list[str]:
        return [*TARGET, arguments[0], "--config", str(self.config), *arguments[1:]]

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(self.command(*arguments), capture_output=True, text=True, check=False)

    def told(self, *arguments: str) -> list[dict[str, str]]:
        """Run what must not fail, and return its lines."""
        done = self.run(*arguments)
        assert done.returncode == 0, done.stderr
        return [json.loads(line) for line in done.stdout.splitlines()]

    def sign_in(self, url: str) -> None:
        self.config.write_text(json.dumps({"url": make_dsn(url, dbname=self.name), "schema": "s"}))

    def waits(self, branch: str) -> bool:
        """Tell whether somebody waits for the turn of a branch."""
        key = f"target-meltano/review/{reviews.name_of(self.name, branch)}"
        mine = "(classid::bigint << 32 | objid::bigint) = hashtextextended(%s, 0)"
        return bool(self.db.query(f"SELECT 1 FROM pg_locks WHERE locktype = 'advisory' AND NOT granted AND {mine}", (key,)))

    def databases(self) -> dict[str, str]:
        """Return all databases of the test but the source, with their comments."""
        query = "SELECT datname, COALESCE(shobj_description(oid, 'pg_database'), '') FROM pg_database WHERE starts_with(datname, %s) AND datname <> %s"
        return dict(self.db.query(query, (self.name, self.name)))


@pytest.fixture
def someone(db: Any) -> Iterator[tuple[str, str]]:
    """A role that may make databases, and nothing else, and the URL to sign in as it."""
    with role(db) as (name, url):
        db.query(f"ALTER ROLE {name} CREATEDB")
        yield name, url


@pytest.fixture
def source(db: Any, someone: tuple[str, str], tmp_path: Path) -> Iterator[Source]:
    name = f"src_{secrets.token_hex(4)}"
    db.query(f"CREATE DATABASE {name} CONNECTION LIMIT 77")
    made = Source(name, db, tmp_path / "config.json")
    made.sign_in(db.url)
    made.ask(MADE)
    yield made
    for one in [*made.databases(), name]:
        db.query(f'DROP DATABASE "{one}" WITH (FORCE)')


@pytest.fixture(params=[False, True], ids=["nobody else", "others in it"])
def busy(request: pytest.FixtureRequest, source: Source) -> Iterator[Any]:
    """Somebody in the source, or nobody; who is there stays there."""
    if not request.param:
        yield None
        return
    with closing(source.connected()) as connection, connection.cursor() as cursor:
        cursor.execute("SELECT pg_backend_pid()")
        before = cursor.fetchone()
        yield connection
        cursor.execute("SELECT pg_backend_pid()")
        assert cursor.fetchone() == before


SAME = [
    "SELECT * FROM s.v ORDER BY 1",
    "SELECT relname, relacl::text, relowner::regrole::text, obj_description(oid) FROM pg_class WHERE relnamespace = 's'::regnamespace ORDER BY 1",
    "SELECT attacl::text FROM pg_attribute WHERE attrelid = 's.t'::regclass AND attnum = 1",
    "SELECT current_setting('search_path'), current_setting('work_mem'), current_setting('app.words')",
    "SELECT array_agg(grantee || privilege_type || is_grantable ORDER BY 1) FROM pg_database, aclexplode(datacl) WHERE datname = current_database()",
    "SELECT setrole::regrole::text, unnest(setconfig) FROM pg_db_role_setting JOIN pg_database d ON d.oid = setdatabase WHERE datname = current_database() ORDER BY 1, 2",
    "SELECT datconnlimit, datallowconn, datdba, encoding, datcollate, datctype FROM pg_database WHERE datname = current_database()",
]


def test_a_copy_has_everything(source: Source, busy: Any, someone: tuple[str, str]) -> None:
    reader, _ = someone
    source.db.query(f"REVOKE ALL ON DATABASE {source.name} FROM PUBLIC; GRANT CONNECT ON DATABASE {source.name} TO {reader} WITH GRANT OPTION")
    source.db.query(f"""ALTER DATABASE {source.name} SET search_path TO "$user", s, "odd, name"; ALTER DATABASE {source.name} SET work_mem TO '9MB'""")
    source.db.query(f"ALTER ROLE {reader} IN DATABASE {source.name} SET statement_timeout TO '7s'; ALTER DATABASE {source.name} SET app.words TO 'it''s, all'")
    source.ask(f"GRANT USAGE ON SCHEMA s TO {reader}; GRANT SELECT (id) ON s.t TO {reader}; ALTER TABLE s.t OWNER TO {reader}")
    (made,) = source.told("create", "feature/one")
    assert made["how"].startswith("by TEMPLATE" if busy is None else "by dump and restore, because source database")
    name = made["name"]
    for query in SAME:
        found = source.ask(query, name)
        assert found == source.ask(query), query
        assert found
    marker = json.loads(source.databases()[name])
    assert marker == {"target_meltano_review": "feature/one", "source": source.name, "created": made["created"]}
    assert source.told("create", "feature/one") == [{**made, "how": "was there already"}]
    assert source.told("drop", "feature/one") == [{"name": name}]
    assert source.databases() == {}


FOREIGN = {
    "no comment": None,
    "a comment": "my own",
    "of another branch": '{"target_meltano_review": "y", "source": "SOURCE", "created": "2999-01-01T00:00:00Z"}',
    "of another source": '{"target_meltano_review": "x", "source": "other", "created": "2026-01-01T00:00:00Z"}',
    "of another program": '{"review": "x", "source": "SOURCE", "created": "2026-01-01T00:00:00Z"}',
}


@pytest.mark.parametrize("comment", FOREIGN.values(), ids=FOREIGN)
def test_what_others_made_survives(source: Source, comment: str | None) -> None:
    name = reviews.name_of(source.name, "x")
    source.db.query(f"CREATE DATABASE {name}")
    source.db.query(f"COMMENT ON DATABASE {name} IS %s", (comment and comment.replace("SOURCE", source.name),))
    for does in ("create", "drop"):
        refused = source.run(does, "x")
        assert (refused.returncode, f"database {name}: " in refused.stderr) == (3, True), refused.stderr
        assert "is left as it is" in refused.stderr
    assert source.told("gc", "--older-than", "0h") == []
    assert list(source.databases()) == [name]


def test_hand_made_databases_and_schemas_survive_gc_and_drop(source: Source) -> None:
    mine = [f"{source.name}_review_x", f"{source.name}_review_x_0123abcd", f"{source.name}_backup"]
    for name in mine:
        source.db.query(f"CREATE DATABASE {name} CONNECTION LIMIT {7 if 'backup' in name else -1}")
    source.ask("CREATE SCHEMA analytics_review_x_0123abcd; CREATE SCHEMA analytics; CREATE TABLE analytics.t ()")
    source.told("create", "x")
    first, below = (one["name"] for one in source.told("create", "x", "--models", "analytics", "--below", "staging"))
    source.ask(f"CREATE TABLE {first}.t (); CREATE VIEW {below}.v AS SELECT * FROM {first}.t")
    assert len(source.told("list")) == 3
    assert len(source.told("gc", "--older-than", "0h")) == 3
    assert sorted(source.databases()) == sorted(mine)
    assert source.told("drop", "x") == []
    assert source.ask("SELECT nspname FROM pg_namespace WHERE starts_with(nspname, 'ana') ORDER BY 1") == [("analytics",), ("analytics_review_x_0123abcd",)]


def test_schemas_for_models_go_with_what_is_in_them_and_nothing_else(source: Source) -> None:
    first, below = (one["name"] for one in source.told("create", "b", "--models", "analytics", "--below", "staging"))
    assert (first, below) == (reviews.name_of("analytics", "b", reviews.MAX_BASE), f"{first}_staging")
    assert len(source.told("create", "b", "--models", "analytics", "--below", "staging", "marts")) == 3
    source.ask(f"CREATE TABLE {first}.m (id int PRIMARY KEY); CREATE VIEW {below}.v AS SELECT * FROM {first}.m; CREATE VIEW s.mine AS SELECT * FROM {below}.v")
    refused = source.run("drop", "b")
    assert (refused.returncode, "s.mine elsewhere depend on what is in it" in refused.stderr) == (3, True), refused.stderr
    source.ask("DROP VIEW s.mine")
    assert len(source.told("drop", "b")) == 3
    source.ask(f"CREATE SCHEMA {first}")
    assert source.run("create", "b", "--models", "analytics").returncode == 3
    assert source.run("create", "b", "--models", "analytics", "--below", "x" * 40).returncode == 2


def test_a_service_of_libpq_leads_to_no_other_database(source: Source, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """What a service file says comes before variables."""
    info = source.db.connection.info
    (tmp_path / "services").write_text(f"[mine]\nhost={info.host}\nport={info.port}\nuser={info.user}\npassword={info.password}\ndbname=template1\n")
    monkeypatch.setenv("PGSERVICE", "mine")
    monkeypatch.setenv("PGSERVICEFILE", str(tmp_path / "services"))
    source.config.write_text(json.dumps({"dbname": source.name, "schema": "s"}))
    with closing(psycopg2.connect(make_dsn(source.db.url, dbname=source.name))):
        (made,) = source.told("create", "x")
    assert made["how"].startswith("by dump")
    monkeypatch.delenv("PGSERVICE")
    assert source.ask("SELECT count(*) FROM s.t", made["name"]) == [(2,)]


def test_a_copy_in_use_is_dropped_by_force_only(source: Source) -> None:
    (made,) = source.told("create", "x")
    with closing(source.connected(made["name"])):
        for command in (["drop", "x"], ["gc", "--older-than", "0h"]):
            refused = source.run(*command)
            assert (refused.returncode, "1 sessions of others are in it" in refused.stderr) == (3 if command[0] == "drop" else 1, True), refused.stderr
        assert source.told("drop", "x", "--force") == [{"name": made["name"]}]


def test_gc_goes_on_where_one_may_not_be_dropped(source: Source, someone: tuple[str, str]) -> None:
    theirs, mine = (source.told("create", branch)[0]["name"] for branch in ("a", "b"))
    source.db.query(f"ALTER DATABASE {mine} OWNER TO {someone[0]}")
    source.sign_in(someone[1])
    done = source.run("gc", "--older-than", "0h")
    assert (done.returncode, done.stdout) == (1, json.dumps({"name": mine}) + "\n"), done.stderr
    assert f"CRITICAL database {theirs}: must be owner" in done.stderr


def test_odd_branches_are_taken_as_they_are(source: Source) -> None:
    for branch in ("--force", "-x", "it's \"odd\" \\ 🚀", " "):
        (made,) = source.told("create", "--", branch)
        assert json.loads(source.databases()[made["name"]])["target_meltano_review"] == branch
        assert source.told("drop", "--", branch) == [{"name": made["name"]}]
    refused = subprocess.run([*source.command("create"), b"\xff"], capture_output=True, text=True, check=False)
    assert (refused.returncode, "BRANCH: wanted UTF-8" in refused.stderr) == (2, True), refused.stderr


def test_a_review_of_a_review_is_refused(source: Source) -> None:
    (made,) = source.told("create", "x")
    source.config.write_text(json.dumps({"url": make_dsn(source.db.url, dbname=made["name"]), "schema": "s"}))
    refused = source.run("create", "y")
    assert (refused.returncode, f"is itself the review of {source.name} for 'x'" in refused.stderr) == (2, True)


# --- crashes, and two at once


def children(pid: int) -> Iterator[tuple[int, str]]:
    """Yield the processes that were started by one, with their arguments."""
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if int((folder / "stat").read_text().rsplit(")", 1)[1].split()[1]) == pid:
                yield int(folder.name), (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode()
        except (OSError, IndexError):
            continue


def until(condition: Any, processes: Sequence[subprocess.Popen[str]] = (), seconds: float = 60.0) -> None:
    """Wait for a condition while all *processes* live; tell what they said where it never comes."""
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end or any(process.poll() is not None for process in processes):
            for process in processes:
                process.kill()
            raise AssertionError([(process.returncode, *process.communicate()) for process in processes])
        time.sleep(0.05)


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="looks into /proc, which Linux has")
def test_a_copy_that_was_killed_is_never_taken_for_a_whole_one(source: Source) -> None:
    password = source.db.connection.info.password
    with closing(source.connected()) as other, other.cursor() as cursor:
        cursor.execute("BEGIN; LOCK TABLE s.t")  # so that pg_dump waits
        process = subprocess.Popen(source.command("create", "x"), stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        until(lambda: len(list(children(process.pid))) == 2)
        until(lambda: source.databases())
        started = list(children(process.pid))
        assert not any(password in arguments for _, arguments in started)
        assert source.databases() == {reviews.name_of(source.name, "x"): ""}
        process.kill()
        process.communicate()
        for pid, _ in started:
            os.kill(pid, signal.SIGKILL)
        (found,) = source.told("list")
        assert (found["name"], found["kind"]) == (reviews.name_of(source.name, "x"), "unfinished")
        cursor.execute("COMMIT")
    (made,) = source.told("create", "x")
    assert made["how"] == "by TEMPLATE"
    assert source.ask("SELECT * FROM s.t", made["name"]) == [(1,), (2,)]


@pytest.mark.parametrize("command", [["create", "x"], ["drop", "x"], ["gc", "--older-than", "9999d"]], ids=lambda one: one[0])
def test_an_unfinished_copy_is_made_anew_or_removed(source: Source, command: Sequence[str]) -> None:
    name = reviews.name_of(source.name, "x")
    source.db.query(f"CREATE DATABASE {name} ALLOW_CONNECTIONS false CONNECTION LIMIT {unfinished_limit(source.name)}")
    source.db.query(f"CREATE DATABASE {name.replace('_review_', '_other_')} CONNECTION LIMIT {unfinished_limit(source.name)}")
    assert source.told(*command)[0]["name"] == name
    if command[0] == "create":
        assert source.ask("SELECT count(*) FROM s.t", name) == [(2,)]
    assert (name in source.databases()) == (command[0] == "create")
    assert name.replace("_review_", "_other_") in source.databases()


def test_of_two_creates_one_waits_for_the_other(source: Source) -> None:
    with closing(source.connected()) as other, other.cursor() as cursor:
        cursor.execute("BEGIN; LOCK TABLE s.t")
        pipe = subprocess.PIPE
        both = [subprocess.Popen(source.command("create", "x"), stdout=pipe, stderr=pipe, text=True) for _ in range(2)]
        until(lambda: source.waits("x"), both)
        until(lambda: source.databases(), both)
        cursor.execute("COMMIT")
        told = [process.communicate(timeout=60) for process in both]
    assert [process.returncode for process in both] == [0, 0], told
    hows = sorted(json.loads(out)["how"] for out, _ in told)
    assert (hows[0].startswith("by dump"), hows[1]) == (True, "was there already")
    assert sum("another one makes or drops it; waiting" in errors for _, errors in told) == 1


def test_gc_leaves_a_copy_that_is_being_made(source: Source) -> None:
    with closing(source.connected()) as other, other.cursor() as cursor:
        cursor.execute("BEGIN; LOCK TABLE s.t")
        create = subprocess.Popen(source.command("create", "x"), stdout=subprocess.DEVNULL)
        until(lambda: source.databases())
        gc = subprocess.Popen(source.command("gc", "--older-than", "0h"), stdout=subprocess.DEVNULL)
        until(lambda: source.waits("x"))
        cursor.execute("COMMIT")
        assert [process.wait(60) for process in (create, gc)] == [0, 0]
    assert source.ask("SELECT count(*) FROM s.t", reviews.name_of(source.name, "x")) == [(2,)]


# --- what a role may


def test_a_role_that_may_not_create_databases_is_told_what_it_lacks(source: Source, someone: tuple[str, str]) -> None:
    name, url = someone
    source.db.query(f"ALTER ROLE {name} NOCREATEDB")
    source.sign_in(url)
    refused = source.run("create", "x")
    assert refused.returncode == 3
    assert f"the role {name} may not create databases; let an administrator say ALTER ROLE … CREATEDB" in refused.stderr
    assert source.databases() == {}


def test_a_role_that_owns_nothing_gets_a_copy_that_is_its_own(source: Source, someone: tuple[str, str]) -> None:
    name, url = someone
    source.ask(f"GRANT USAGE ON SCHEMA s TO {name}; GRANT SELECT ON ALL TABLES IN SCHEMA s TO {name}")
    source.sign_in(url)
    done = source.run("create", "x")
    assert done.returncode == 0, done.stderr
    made = json.loads(done.stdout)
    assert made["how"] == f'by dump and restore, because permission denied to copy database "{source.name}"'
    assert f"all that is in it belongs to {name}" in done.stderr
    assert source.ask("SELECT relowner::regrole::text FROM pg_class WHERE oid = 's.t'::regclass", made["name"]) == [(name,)]
    assert source.ask("SELECT count(*) FROM s.v", made["name"]) == [(2,)]
    assert source.told("drop", "x") == [{"name": made["name"]}]


def test_a_copy_that_fails_is_removed_and_its_fault_told_without_rows(source: Source, someone: tuple[str, str]) -> None:
    name, url = someone
    source.ask(f"GRANT USAGE ON SCHEMA s TO {name}")
    source.sign_in(url)
    refused = source.run("create", "x")
    assert (refused.returncode, "permission denied for table t" in refused.stderr) == (3, True), refused.stderr
    assert len(refused.stderr.splitlines()) == 1
    assert source.databases() == {}


def test_a_setting_that_may_not_be_made_is_told(source: Source, someone: tuple[str, str]) -> None:
    name, url = someone
    source.db.query(f"ALTER DATABASE {source.name} SET log_min_duration_statement TO 1; ALTER DATABASE {source.name} OWNER TO {name}")
    source.sign_in(url)
    done = source.run("create", "x")
    assert (done.returncode, json.loads(done.stdout)["how"]) == (0, "by TEMPLATE"), done.stderr
    assert "the setting log_min_duration_statement is not in the copy: permission denied" in done.stderr


def program(folder: Path, version: str) -> Path:
    folder.mkdir()
    for name in ("pg_dump", "pg_restore"):
        (folder / name).write_text(f"#!/bin/sh\necho '{name} (PostgreSQL) {version} (Debian)'\n")
        (folder / name).chmod(0o755)
    return folder


def test_programs_are_no_older_than_the_server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """pg_restore 17 and newer make a setting that older servers do not know, so that they refuse it."""
    folders = [program(tmp_path / version, version) for version in ("14.2", "19.1", "16.9")]
    monkeypatch.setattr(dumps, "_folders", lambda: iter(folders))
    assert [dumps.find(server).folder.name for server in (14, 15, 16, 17, 18)] == ["14.2", "16.9", "16.9", "19.1", "19.1"]
    with pytest.raises(SettingsError, match=r"PostgreSQL 20 or newer, and here is 14, 19, 16; install postgresql-client-20"):
        dumps.find(20)
    monkeypatch.setattr(dumps, "_folders", lambda: iter(folders[:2]))
    with pytest.raises(SettingsError, match=r"PostgreSQL 15 to 16, and here is 14, 19; install postgresql-client-15"):
        dumps.find(15)
    monkeypatch.setattr(dumps, "_folders", lambda: iter([]))
    with pytest.raises(SettingsError, match="none is here"):
        dumps.find(15)


def test_parameters_of_libpq_become_its_variables() -> None:
    known = {"host": "h", "port": "1", "password": "p", "sslmode": "require", "channel_binding": "prefer", "connect_timeout": "10", "sslkey": "", "service": "s"}
    assert dumps.variables(known) == {
        "PGHOST": "h",
        "PGPORT": "1",
        "PGPASSWORD": "p",
        "PGSSLMODE": "require",
        "PGCHANNELBINDING": "prefer",
        "PGCONNECT_TIMEOUT": "10",
    }
