"""Copies of a database for reviews: by TEMPLATE, or where others are in it, by pg_dump and pg_restore.

CREATE DATABASE cannot be part of a transaction. So a copy is made with a limit of connections that no
other database has, and gets the source's limit together with its marker at the end: what is still found
with the first is a part that a crash has left.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager, suppress
from typing import Any

import psycopg2
from psycopg2 import errors
from psycopg2.sql import SQL, Composable, Identifier, Literal

from target_meltano import Copies, DatabaseError

from . import dumps, faults, session
from .dumps import DumpError

STEWARD = "postgres"  # a database from which another one can be copied


class PostgresCopies(Copies):
    """*parameters* are libpq's, of a connection to the database that is copied."""

    def __init__(self, parameters: Mapping[str, Any]):
        self._parameters = dict(parameters)
        with self._at_source() as connection:
            self.source = _one(connection, "SELECT pg_catalog.current_database()")
            self._known = {**connection.info.dsn_parameters, "password": connection.info.password}
        self._steward = self._found_steward()

    def close(self) -> None:
        self._steward.close()

    @contextmanager
    def _at_source(self) -> Iterator[Any]:
        connection, _ = session.start(self._parameters)
        connection.autocommit = True
        try:
            yield connection
        finally:
            connection.close()

    def _found_steward(self) -> Any:
        """Return a connection to another database than the source, else to that."""
        if self.source != STEWARD:
            self._steward_parameters = {**self._parameters, "dbname": STEWARD}
            with suppress(psycopg2.Error, DatabaseError):  # it is not there, or not for us
                return self._started(self._steward_parameters)
        self._steward_parameters = self._parameters
        return self._started(self._parameters)

    @staticmethod
    def _started(parameters: Mapping[str, Any]) -> Any:
        connection, _ = session.start(parameters)
        connection.autocommit = True
        return connection

    def _do(self, statement: Composable | str, parameters: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        return _rows(self._steward, statement, parameters)

    # --- what is there

    def databases(self) -> Mapping[str, str]:
        return dict(self._do("SELECT datname, COALESCE(pg_catalog.shobj_description(oid, 'pg_database'), '') FROM pg_catalog.pg_database"))

    def schemas(self) -> Mapping[str, str]:
        with self._at_source() as connection:
            query = "SELECT nspname, COALESCE(pg_catalog.obj_description(oid, 'pg_namespace'), '') FROM pg_catalog.pg_namespace"
            return dict(_rows(connection, query))

    def unfinished(self) -> Sequence[str]:
        return [name for (name,) in self._do(_UNFINISHED, (unfinished_limit(self.source),))]

    # --- making

    @contextmanager
    def turn(self, name: str) -> Iterator[None]:
        """The lock is that of a transaction, in a session that does nothing else: a pooler may share the others."""
        key = (f"target-meltano/review/{name}",)
        with closing(self._started(self._steward_parameters)) as holder, holder.cursor() as cursor:
            cursor.execute("BEGIN; SET LOCAL idle_in_transaction_session_timeout TO 0")
            cursor.execute("SELECT pg_catalog.pg_try_advisory_xact_lock(pg_catalog.hashtextextended(%s, 0))", key)
            if not cursor.fetchone()[0]:
                self.warn(f"{name}: another one makes or drops it; waiting for its end")
                cursor.execute("SELECT pg_catalog.pg_advisory_xact_lock(pg_catalog.hashtextextended(%s, 0))", key)
            yield

    def clone(self, name: str, comment: str) -> str:
        if not self._do("SELECT rolcreatedb OR rolsuper FROM pg_catalog.pg_roles WHERE rolname = CURRENT_USER")[0][0]:
            raise DatabaseError(f"review: the role {self._known['user']} may not create databases; let an administrator say ALTER ROLE … CREATEDB")
        facts = self._do("SELECT pg_catalog.to_jsonb(d) FROM pg_catalog.pg_database d WHERE datname = %s", (self.source,))[0][0]
        start = SQL("CREATE DATABASE {} OWNER {} CONNECTION LIMIT {} ").format(Identifier(name), Identifier(self._owner()), Literal(unfinished_limit(self.source)))
        try:
            self._by_template(start)
            how = "by TEMPLATE"
        except (errors.ObjectInUse, errors.InsufficientPrivilege) as error:
            how = f"by dump and restore, because {faults.words(error)}"
            self._by_dump(name, start + _like(facts))
        try:
            self._finish(name, comment, facts)
        except BaseException:
            self._remove(name)
            raise
        return how

    def _owner(self) -> str:
        """Return the source's owner if the copy may be his, else ourselves."""
        return str(self._do(_OWNER, (self.source,))[0][0])

    def _by_template(self, start: Composable) -> None:
        if self._steward.info.dbname == self.source:
            raise errors.ObjectInUse("we can be in no other database ourselves")
        self._do(start + SQL("ALLOW_CONNECTIONS false TEMPLATE {}").format(Identifier(self.source)))

    def _by_dump(self, name: str, create: Composable) -> None:
        """With the owners of all objects; where our role may not give them away, they are ours."""
        programs = dumps.find(self._steward.server_version // 10000)
        is_superuser = self._do("SELECT rolsuper FROM pg_catalog.pg_roles WHERE rolname = CURRENT_USER")[0][0]
        for with_owners in (True,) if is_superuser else (True, False):
            self._do(create)
            try:
                dumps.copy(programs, self._known, self.source, name, with_owners=with_owners)
                return
            except DumpError as error:
                self._remove(name)
                if with_owners and not is_superuser and error.is_of_restore:
                    self.warn(f"{name}: all that is in it belongs to {self._known['user']}, who may not give it to its owners: {error}")
                    continue
                raise
            except BaseException:
                self._remove(name)
                raise

    def _remove(self, name: str) -> None:
        self._do(SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(Identifier(name)))

    def _finish(self, name: str, comment: str, facts: Mapping[str, Any]) -> None:
        """Give it what CREATE DATABASE does not copy; with the marker it is whole."""
        database = Identifier(name)
        with self._transaction():
            for key, value, role in self._do(_SETTINGS, (self.source,)):
                self._set(database, key, value, role)
            if facts["datacl"] is not None:
                self._do(SQL("REVOKE ALL ON DATABASE {} FROM PUBLIC").format(database))
            for role, privilege, option in self._do(_GRANTS, (self.source, name)):
                to = Identifier(role) if role else SQL("PUBLIC")
                with_option = SQL(" WITH GRANT OPTION" if option else "")
                self._do(SQL("GRANT {} ON DATABASE {} TO {}{}").format(SQL(privilege), database, to, with_option))
            self._do(SQL("ALTER DATABASE {} ALLOW_CONNECTIONS true CONNECTION LIMIT {}").format(database, Literal(facts["datconnlimit"])))
            self._do(SQL("COMMENT ON DATABASE {} IS {}").format(database, Literal(comment)))

    def _set(self, database: Composable, key: str, value: str, role: str | None) -> None:
        """FROM CURRENT: a list as search_path cannot be written as one text. What we may not set is told."""
        whose = SQL("ROLE {} IN DATABASE {}").format(Identifier(role), database) if role else SQL("DATABASE {}").format(database)
        self._do("SAVEPOINT before_set")
        try:
            self._do("SELECT pg_catalog.set_config(%s, %s, true)", (key, value))
            self._do(SQL("ALTER {} SET {} FROM CURRENT").format(whose, SQL(".").join(map(Identifier, key.split(".")))))
        except psycopg2.Error as error:
            self._do("ROLLBACK TO SAVEPOINT before_set")
            self.warn(f"the setting {key}{f' of the role {role}' if role else ''} is not in the copy: {faults.words(error)}")
        self._do("RELEASE SAVEPOINT before_set")

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        self._do("BEGIN")
        try:
            yield
        except BaseException:
            self._do("ROLLBACK")
            raise
        self._do("COMMIT")

    def create_schema(self, name: str, comment: str) -> None:
        with self._at_source() as connection:
            made = SQL("CREATE SCHEMA {0}; COMMENT ON SCHEMA {0} IS {1}")  # one message: one transaction
            _rows(connection, made.format(Identifier(name), Literal(comment)))

    # --- dropping

    def drop_database(self, name: str, *, force: bool) -> None:
        """Drop it.

        Raises:
            DatabaseError: others are in it, or it is not ours to drop.
        """
        (count,) = self._do("SELECT count(*) FROM pg_catalog.pg_stat_activity WHERE datname = %s", (name,))[0]
        if count and not force:
            raise DatabaseError(f"database {name}: {count} sessions of others are in it; wait for their end, or end them: review drop --force")
        with _told(f"database {name}"):
            self._do(SQL("DROP DATABASE {}{}").format(Identifier(name), SQL(" WITH (FORCE)" if force else "")))

    def drop_schemas(self, names: Sequence[str]) -> None:
        """Drop them.

        Raises:
            DatabaseError: something elsewhere depends on what is in them.
        """
        with _told(f"schema {names[0]}"), self._at_source() as connection:
            others = [name for (name,) in _rows(connection, _DEPENDENTS, (list(names), list(names)))]
            if others:
                raise DatabaseError(f"schema {names[0]}: {', '.join(others)} elsewhere depend on what is in it; drop them first")
            _rows(connection, SQL("DROP SCHEMA {} CASCADE").format(SQL(", ").join(map(Identifier, names))))


@contextmanager
def opened(parameters: Mapping[str, Any]) -> Iterator[PostgresCopies]:
    """Connect, and yield the copies of that database.

    Raises:
        DatabaseError: for all that the database says.
    """
    with ExitStack() as closing, _told("review"):
        copies = PostgresCopies(parameters)
        closing.callback(copies.close)
        yield copies


@contextmanager
def _told(what: str) -> Iterator[None]:
    try:
        yield
    except psycopg2.Error as error:
        raise DatabaseError(f"{what}: {faults.words(error)}") from error


def unfinished_limit(source: str) -> int:
    """Return the limit of connections of a copy of *source* that is being made: a billion and more."""
    return 10**9 + int(hashlib.sha256(source.encode()).hexdigest(), 16) % 10**9


def _rows(connection: Any, statement: Composable | str, parameters: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
    with connection.cursor() as cursor:
        cursor.execute(statement, tuple(parameters) or None)
        return list(cursor.fetchall()) if cursor.description else []


def _one(connection: Any, query: str) -> Any:
    return _rows(connection, query)[0][0]


def _like(facts: Mapping[str, Any]) -> Composable:
    """Return the options that make a database sort and spell as the one of these *facts*, from whatever version."""
    options = SQL("TEMPLATE template0 ENCODING 'UTF8' LC_COLLATE {} LC_CTYPE {}").format(Literal(facts["datcollate"]), Literal(facts["datctype"]))
    locale = facts.get("datlocale") or facts.get("daticulocale")
    if facts.get("datlocprovider") == "i":
        options += SQL(" LOCALE_PROVIDER icu ICU_LOCALE {}").format(Literal(locale))
        options += SQL(" ICU_RULES {}").format(Literal(facts["daticurules"])) if facts.get("daticurules") else SQL("")
    if facts.get("datlocprovider") == "b":
        options += SQL(" LOCALE_PROVIDER builtin BUILTIN_LOCALE {}").format(Literal(locale))
    return options


_UNFINISHED = """
SELECT datname FROM pg_catalog.pg_database
WHERE datconnlimit = %s AND datname ~ '_review_.*_[0-9a-f]{8}$' AND pg_catalog.shobj_description(oid, 'pg_database') IS NULL
"""

_OWNER = """
SELECT CASE WHEN pg_catalog.pg_has_role(CURRENT_USER, datdba,
  CASE WHEN pg_catalog.current_setting('server_version_num')::int < 160000 THEN 'MEMBER' ELSE 'SET' END)
  THEN pg_catalog.pg_get_userbyid(datdba) ELSE CURRENT_USER END
FROM pg_catalog.pg_database WHERE datname = %s
"""

_SETTINGS = """
SELECT pg_catalog.split_part(one, '=', 1), pg_catalog.substr(one, pg_catalog.strpos(one, '=') + 1), rolname
FROM pg_catalog.pg_db_role_setting
JOIN pg_catalog.pg_database d ON d.oid = setdatabase
LEFT JOIN pg_catalog.pg_roles r ON r.oid = setrole
CROSS JOIN pg_catalog.unnest(setconfig) one
WHERE datname = %s ORDER BY 3 NULLS FIRST, 1
"""

# Nothing is written there as long as all have what they have anyway: the owner all, others CONNECT and TEMPORARY.
_GRANTS = """
SELECT rolname, privilege_type, is_grantable
FROM pg_catalog.pg_database d CROSS JOIN pg_catalog.aclexplode(COALESCE(datacl, pg_catalog.acldefault('d', datdba)))
LEFT JOIN pg_catalog.pg_roles r ON r.oid = grantee
WHERE datname = %s AND (datacl IS NOT NULL OR datdba <> (SELECT datdba FROM pg_catalog.pg_database WHERE datname = %s))
ORDER BY 1, 2
"""

_DEPENDENTS = """
SELECT DISTINCT pg_catalog.quote_ident(s.nspname) || '.' || pg_catalog.quote_ident(v.relname)
FROM pg_catalog.pg_depend d
JOIN pg_catalog.pg_class t ON d.refclassid = 'pg_catalog.pg_class'::pg_catalog.regclass AND t.oid = d.refobjid
LEFT JOIN pg_catalog.pg_rewrite r ON d.classid = 'pg_catalog.pg_rewrite'::pg_catalog.regclass AND r.oid = d.objid
LEFT JOIN pg_catalog.pg_constraint k ON d.classid = 'pg_catalog.pg_constraint'::pg_catalog.regclass AND k.oid = d.objid
JOIN pg_catalog.pg_class v ON v.oid = COALESCE(r.ev_class, k.conrelid)
JOIN pg_catalog.pg_namespace s ON s.oid = v.relnamespace
WHERE t.relnamespace = ANY (SELECT oid FROM pg_catalog.pg_namespace WHERE nspname = ANY (%s))
  AND v.relnamespace <> ALL (SELECT oid FROM pg_catalog.pg_namespace WHERE nspname = ANY (%s))
"""
