"""Databases in the stand-in: cloned, commented and dropped, with grants. What the engine has of that is not enough."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from strict import Cursor

NAME = r'"(?P<{}>(?:[^"]|"")+)"'
TEXT = r"'(?P<comment>(?:[^'\\]|''|\\.)*)'"
UNKNOWN = "SQL compilation error: Database '{}' does not exist or not authorized."


@dataclass
class Databases:
    comments: dict[str, str] = field(default_factory=dict)
    schemas: dict[tuple[str, str], str] = field(default_factory=dict)  # comments, by database and name
    grants: set[tuple[str, str, str, str]] = field(default_factory=set)  # privilege, database, role, with option


known = Databases()


def _names(cursor: Cursor) -> list[str]:
    query = "SELECT database_name FROM duckdb_databases() WHERE NOT internal AND NOT starts_with(database_name, '_fs') AND database_name <> 'memory' ORDER BY 1"
    return [name for (name,) in cursor._duck_conn.execute(query).fetchall()]


def _check(cursor: Cursor, name: str, there: bool = True) -> None:
    from strict import refusal

    if (name in _names(cursor)) != there:
        raise refusal(2003, "02000", UNKNOWN.format(name)) if there else refusal(2002, "42710", f"SQL compilation error: Object '{name}' already exists.")


def clone(cursor: Cursor, found: re.Match[str]) -> None:
    """Copy all rows: that nothing is copied cannot be seen from outside."""
    name, source = found["name"], found["source"]
    _check(cursor, name, there=False)
    _check(cursor, source)
    cursor._rows(f'CREATE DATABASE "{name}"')
    query = f"SELECT table_schema, table_name FROM information_schema.tables WHERE table_catalog = '{source}' AND table_type = 'BASE TABLE' AND NOT starts_with(table_schema, '_fs')"
    for schema, table in cursor._duck_conn.execute(query).fetchall():
        cursor._duck_conn.execute(f'CREATE SCHEMA IF NOT EXISTS "{name}"."{schema}"')
        cursor._duck_conn.execute(f'CREATE TABLE "{name}"."{schema}"."{table}" AS SELECT * FROM "{source}"."{schema}"."{table}"')
    known.comments[name] = _text(found["comment"])
    cursor.done()


def show(cursor: Cursor, found: re.Match[str]) -> None:
    cursor.answer(["created_on", "name", "comment"], [[None, name, known.comments.get(name)] for name in _names(cursor)])


def drop(cursor: Cursor, found: re.Match[str]) -> None:
    _check(cursor, found["name"])
    cursor._duck_conn.execute(f'DETACH "{found["name"]}"')
    known.comments.pop(found["name"], None)
    known.grants = {one for one in known.grants if one[1] != found["name"]}
    cursor.done()


def show_grants(cursor: Cursor, found: re.Match[str]) -> None:
    _check(cursor, found["name"])
    rows: list[list[Any]] = [[None, p, "DATABASE", name, "ROLE", role, option] for p, name, role, option in sorted(known.grants) if name == found["name"]]
    owner = [None, "OWNERSHIP", "DATABASE", found["name"], "ROLE", "LOADER", "true"]
    cursor.answer(["created_on", "privilege", "granted_on", "name", "granted_to", "grantee_name", "grant_option"], [owner, *rows])


def grant(cursor: Cursor, found: re.Match[str]) -> None:
    _check(cursor, found["name"])
    known.grants.add((found["privilege"].upper(), found["name"], found["role"], "true" if found["option"] else "false"))
    cursor.done()


def create_schema(cursor: Cursor, found: re.Match[str]) -> None:
    cursor._rows(f'CREATE SCHEMA "{found["name"]}"."{found["schema"]}"')
    known.schemas[found["name"], found["schema"]] = _text(found["comment"])
    cursor.done()


def show_schemas(cursor: Cursor, found: re.Match[str]) -> None:
    query = "SELECT schema_name FROM information_schema.schemata WHERE catalog_name = ? AND NOT starts_with(schema_name, '_fs')"
    names = [name for (name,) in cursor._duck_conn.execute(query, [found["name"]]).fetchall()]
    cursor.answer(["created_on", "name", "comment"], [[None, name, known.schemas.get((found["name"], name))] for name in names])


def _text(literal: str) -> str:
    return re.sub(r"\\(.)|'(')", lambda one: one[1] or one[2], literal)


ANSWERS = [
    (rf"create\s+database\s+{NAME.format('name')}\s+clone\s+{NAME.format('source')}\s+comment\s*=\s*{TEXT}", clone),
    (r"show\s+databases", show),
    (rf"drop\s+database\s+{NAME.format('name')}", drop),
    (rf"show\s+grants\s+on\s+database\s+{NAME.format('name')}", show_grants),
    (rf"grant\s+(?P<privilege>[\w ]+)\s+on\s+database\s+{NAME.format('name')}\s+to\s+role\s+{NAME.format('role')}(?P<option>\s+with\s+grant\s+option)?", grant),
    (rf"create\s+schema\s+{NAME.format('name')}\.{NAME.format('schema')}\s+comment\s*=\s*{TEXT}", create_schema),
    (rf"show\s+schemas\s+in\s+database\s+{NAME.format('name')}", show_schemas),
]
