"""Roles with few privileges. A role that nobody has made with CREATE ROLE may do all, as an administrator may.

What needs which privilege: sql-reference/sql/create-table, create-schema, alter-table (OWNERSHIP), and
user-guide/security-access-control-privileges. A temporary table needs none, a temporary stage CREATE STAGE
(https://github.com/snowflakedb/snowflake-connector-python/pull/1617). SHOW GRANTS lists all privileges that
were granted on a thing, the owner's among them (sql-reference/sql/show-grants).
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import databases
import policies
from sqlglot import exp

if TYPE_CHECKING:
    from strict import Cursor

roles: dict[str, set[str]] = {}  # that were made, with the roles that were granted to them
readers = {"PUBLIC", "ANALYST"}  # that are there
grants: set[tuple[str, str, str]] = set()  # privilege, thing, role
owners: dict[str, str] = {}  # of schemas
warehouses: set[tuple[str, str]] = set()  # and roles that may use them
ROWS = {exp.Insert: "INSERT", exp.Update: "UPDATE", exp.Delete: "DELETE", exp.Copy: "INSERT", exp.Merge: "UPDATE"}


def thing(kind: str, name: str) -> str:
    """Return one spelling of a thing, without its database."""
    parts = re.findall(r'"((?:[^"]|"")+)"', name)
    return f"{kind.upper()} {'.'.join(parts[-2 if kind.upper() == 'TABLE' else -1 :])}"


def _in_use(role: str) -> set[str]:
    return {role, "PUBLIC"}.union(*(_in_use(one) for one in roles.get(role, ())))


def _owner(what: str) -> str:
    kind, _, name = what.partition(" ")
    if kind == "TABLE":
        schema, _, table = name.partition(".")
        return policies.of((schema, table)).owner
    return owners.get(what, "LOADER")


def _check(cursor: Cursor, privilege: str, what: str) -> None:
    from strict import refusal

    mine, (kind, _, name) = _in_use(cursor.role), what.partition(" ")
    on_databases = {(one, f"DATABASE {database}", role) for one, database, role, _ in databases.known.grants}
    if _owner(what) not in mine and not any((privilege, what, role) in grants | on_databases for role in mine):
        raise refusal(3001, "42501", f"SQL access control error: Insufficient privileges to operate on {kind.lower()} '{name}'.")


def check(cursor: Cursor, statement: Any) -> None:
    """Refuse what the role may not do."""
    if cursor.role not in roles:
        return
    table = statement.find(exp.Table)
    what = f"TABLE {table.db}.{table.name}" if table else ""
    if isinstance(statement, exp.Create):
        if statement.kind == "SCHEMA":
            _check(cursor, "CREATE SCHEMA", f"DATABASE {cursor._conn.database}")
        elif statement.kind in ("TABLE", "STAGE") and not (statement.kind == "TABLE" and statement.find(exp.TemporaryProperty)):
            _check(cursor, f"CREATE {statement.kind}", f"SCHEMA {table.db}")
    elif (table.db, table.name) in cursor.temporary if table else True:
        pass
    elif isinstance(statement, (exp.Alter, exp.Drop)):
        _check(cursor, "OWNERSHIP", what)
    elif type(statement) in ROWS:
        _check(cursor, ROWS[type(statement)], what)


def own(cursor: Cursor, create: Any) -> None:
    """What a role is about to make is its own."""
    table = create.find(exp.Table)
    if cursor.role in roles and create.kind == "SCHEMA":
        owners.setdefault(f"SCHEMA {table.db}", cursor.role)
    if cursor.role in roles and create.kind == "TABLE" and not cursor._has_table(table.db, table.name):
        policies.of((table.db, table.name)).owner = cursor.role


# --- statements of their own


def create_role(cursor: Cursor, found: re.Match[str]) -> None:
    roles[found["role"]] = set()
    cursor.done()


def grant_role(cursor: Cursor, found: re.Match[str]) -> None:
    roles[found["to"]].add(found["role"])
    cursor.done()


def grant(cursor: Cursor, found: re.Match[str]) -> None:
    from strict import refusal

    if found["role"] not in readers | set(roles):
        raise refusal(2003, "02000", f"SQL compilation error: Role '{found['role']}' does not exist or not authorized.")
    cursor.end_transaction(commit=True)
    what = thing(found["kind"], found["what"])
    grants.update((one.strip().upper(), what, found["role"]) for one in found["privileges"].split(","))
    cursor.done()


def show_grants(cursor: Cursor, found: re.Match[str]) -> None:
    from strict import refusal

    kind, what = found["kind"].upper(), thing(found["kind"], found["what"])
    name = what.partition(" ")[2]
    schemas = "SELECT 1 FROM information_schema.schemata WHERE schema_name = ? AND catalog_name = ?"
    is_there = kind == "TABLE" or cursor._duck_conn.execute(schemas, [name, cursor._conn.database]).fetchall()
    mine = _in_use(cursor.role)
    sees = cursor.role not in roles or _owner(what) in mine or any(one == what and role in mine for _, one, role in grants)
    if not is_there or not sees:
        raise refusal(2003, "02000", f"SQL compilation error: {kind.capitalize()} '{name}' does not exist or not authorized.")
    rows = [("OWNERSHIP", _owner(what)), *sorted((p, role) for p, one, role in grants if one == what)]
    cursor.answer(GRANTS, [["", p, kind, name, "ROLE", role] for p, role in rows])


def grant_warehouse(cursor: Cursor, found: re.Match[str]) -> None:
    warehouses.add((found["warehouse"], found["role"]))
    cursor.done()


def revoke_database(cursor: Cursor, found: re.Match[str]) -> None:
    known = databases.known
    known.grants = {one for one in known.grants if (one[1], one[2]) != (found["database"], found["role"])}
    cursor.done()


def session(cursor: Cursor, _: re.Match[str]) -> None:
    asked = cursor._conn.__dict__.get("warehouse") or None
    warehouse = asked if cursor.role not in roles or (asked, cursor.role) in warehouses else None
    cursor.answer(["ROLE", "DATABASE", "WAREHOUSE"], [[cursor.role, cursor._conn.database, warehouse]])


def in_session(cursor: Cursor, found: re.Match[str]) -> None:
    """A role that may do all is as one that all others were granted to."""
    asked = re.findall(r"IS_ROLE_IN_SESSION\('([^']+)'\)", found[0])
    known = _in_use(cursor.role) if cursor.role in roles else set(asked)
    values = ", ".join(f'{str(one in known).upper()} AS "{one}"' for one in asked)
    cursor._strictly(f"SELECT {values}", None)


GRANTS = ["created_on", "privilege", "granted_on", "name", "granted_to", "grantee_name"]
ANSWERS = [
    (r'create\s+role\s+"(?P<role>[^"]+)"', create_role),
    (r'grant\s+role\s+"(?P<role>[^"]+)"\s+to\s+role\s+"(?P<to>[^"]+)"', grant_role),
    (r'grant\s+(?P<privileges>[\w ,]+?)\s+on\s+(?P<kind>table|schema)\s+(?P<what>\S+)\s+to\s+role\s+"(?P<role>[^"]+)"', grant),
    (r'grant\s+usage\s+on\s+warehouse\s+(?P<warehouse>\S+)\s+to\s+role\s+"(?P<role>[^"]+)"', grant_warehouse),
    (r'revoke\s+all\s+on\s+database\s+"(?P<database>[^"]+)"\s+from\s+role\s+"(?P<role>[^"]+)"', revoke_database),
    (r"show\s+grants\s+on\s+(?P<kind>table|schema)\s+(?P<what>\S+)", show_grants),
    (r"select\s+current_role\(\)\s+as\s+.*", session),
    (r"select\s+is_role_in_session\(.*", in_session),
]
