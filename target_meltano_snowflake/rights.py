"""What our role may not do and needs, as the GRANTs that let it, before anything is done.

Asked once per run is who was granted what on the schema, and who we are: two statements that need no warehouse.
A third asks whether roles that are not ours are in use by way of it, or beside it; another one goes to each table
that belongs to none of those. Only a list of grants that is whole, with an owner, is believed, and
whatever is unclear counts as granted: then the statement itself is refused, or not. What needs which
privilege: sql-reference/sql/create-table ("creating a temporary table does not require the CREATE TABLE
privilege"), sql-reference/sql/alter-table (OWNERSHIP); that a temporary stage does need CREATE STAGE is from
https://github.com/snowflakedb/snowflake-connector-python/pull/1617.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from target_meltano import Need, Table

from . import faults

Row = Mapping[str, Any]
Look = Callable[[str], "Sequence[Row] | None"]
SESSION = 'SELECT CURRENT_ROLE() AS "ROLE", CURRENT_DATABASE() AS "DATABASE", CURRENT_WAREHOUSE() AS "WAREHOUSE"'
_PLAIN = re.compile(r"[A-Z_][A-Z0-9_$]*")  # in what form IS_ROLE_IN_SESSION takes other names is not said


def once(rows_of: Callable[[str], Sequence[Row]]) -> Look:
    """Return a look into the catalogue that is done once; None is what is missing, nothing what cannot be told."""
    known: dict[str, Sequence[Row] | None] = {}

    def look(statement: str) -> Sequence[Row] | None:
        if statement not in known:
            try:
                known[statement] = rows_of(statement)
            except faults.DRIVER_ERRORS as error:
                if faults.is_lost(error):
                    raise
                known[statement] = None if faults.number_of(error) in faults.MISSING else []
        return known[statement]

    return look


def lacking(
    look: Look,
    needs: Sequence[Need],
    owner_of: Callable[[Table], str | None],
    warehouse: str | None,
    quote: Callable[[str], str],
) -> list[str]:
    """Return the statements that let our role do what *needs* say, each once.

    *owner_of* returns None of a table that is not there; it is called where that matters. *warehouse* is that of the settings.
    """
    session = (look(SESSION) or [{}])[0]
    if not session.get("ROLE") or not session.get("DATABASE"):
        return []
    database, role = quote(session["DATABASE"]), session["ROLE"]
    wanted: dict[str, list[str]] = {}  # what is lacking, by the object

    def want(thing: str, *privileges: str) -> None:
        known = wanted.setdefault(thing, [])
        known += [one for one in privileges if one not in known and _lacks(look, role, thing, one)]

    for need in needs:
        schema = f"{database}.{quote(need.table.schema)}"
        if look(f"SHOW GRANTS ON SCHEMA {schema}") is None:
            want(f"DATABASE {database}", "CREATE SCHEMA")
            continue
        want(f"SCHEMA {schema}", "CREATE STAGE")
        may_create = not _lacks(look, role, f"SCHEMA {schema}", "CREATE TABLE")
        if may_create and not need.table.source:
            continue  # a table of ours, which we make if it is not there
        owner = owner_of(need.table)
        if owner is None or need.creates:
            want(f"SCHEMA {schema}", "CREATE TABLE")
        if owner is not None and not _is_ours(look, role, [owner]):
            want(f"TABLE {schema}.{quote(need.table.name)}", *(["OWNERSHIP"] if need.changes else need.rows))
    given = [_grant(thing, privileges, quote(role)) for thing, privileges in wanted.items() if privileges]
    if warehouse and session.get("WAREHOUSE", "") is None:  # which the sign-in has asked for
        given.insert(0, f"GRANT USAGE ON WAREHOUSE {warehouse} TO ROLE {quote(role)}")
    return given


def _lacks(look: Look, role: str, thing: str, privilege: str) -> bool:
    """Tell whether it is certain that a privilege on a thing was granted to no role in use."""
    rows = look(f"SHOW GRANTS ON {thing}") or []
    if not any(row["privilege"] == "OWNERSHIP" for row in rows):
        return False  # each thing has an owner: this is not all
    having = [row for row in rows if row["privilege"] in (privilege, "OWNERSHIP")]
    to_others = [row for row in having if row["granted_to"] != "ROLE"]  # to a role of the database, or to a user
    return not to_others and not _is_ours(look, role, [row["grantee_name"] for row in having])


def _is_ours(look: Look, role: str, roles: Sequence[str]) -> bool:
    """Tell whether one of the roles is ours, or is in use by way of it or beside it, or may be."""
    if role in roles or not all(map(_PLAIN.fullmatch, roles)):
        return True
    asked = ", ".join(f"IS_ROLE_IN_SESSION('{one}') AS \"{one}\"" for one in sorted(set(roles)))
    rows = look(f"SELECT {asked}")
    return not rows or any(value is not False for value in rows[0].values())


def _grant(thing: str, privileges: Sequence[str], role: str) -> str:
    keeping = " COPY CURRENT GRANTS" if "OWNERSHIP" in privileges else ""
    return f"GRANT {', '.join(privileges)} ON {thing} TO ROLE {role}{keeping}"
