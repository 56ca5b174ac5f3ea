"""Who owns what: each tap a schema, dbt its own ones, the database the rest; each tap a name that no other is taken for.

Two owners of a schema lose rows, and nothing fails: dbt puts a model in the place of a loaded table of its name.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from .document import Document, Key
from .spelling import MAX_NAME, source_name

TRANSFORM: Key = ("transform", "schema")
OF_DBT = {"": "builds models in", "_staging": "builds staging models in", "_dbt_test__audit": "keeps failures of tests in"}
_LONGEST = {"postgres": MAX_NAME, "snowflake": 230}  # bytes; the target shortens what is longer, dbt does not
_SYSTEM = {"postgres": re.compile(r"information_schema|pg_.*", re.DOTALL), "snowflake": re.compile("information_schema")}

Text = Callable[[Any, Key], Any]  # what stands at a place -> it with its variables, as far as they are known


def schemas(value: Mapping[str, Any], text: Text) -> dict[str, Any]:
    """Return the schema of each tap in a file's *value*."""
    return {name: text(tap["schema"], ("taps", name, "schema")) if "schema" in tap else default(name) for name, tap in value["taps"].items()}


def default(tap: str) -> str:
    """Return the schema of a tap that has none of its own."""
    return tap.replace("-", "_").lower()


def faults(source: Document, text: Text, models: str | None, dialect: str, said: str = "") -> Iterator[str]:
    """Yield where two own one thing; *models* is the schema that dbt builds in, None where it builds nothing, and *said* what says so besides the file."""
    yield from _names(source)
    found = schemas(source.value, text)
    places: dict[str, Key] = {name: ("taps", name, "schema") if "schema" in source.value["taps"][name] else ("taps", name) for name in found}
    named = [(places[name], schema) for name, schema in found.items()]
    if models is not None:
        named.append((TRANSFORM, models))
    odd = {at: words for at, schema in named if (words := _fault(schema, dialect))}
    yield from (source.fault(at, words) for at, words in odd.items())
    owners: dict[str, str] = {}
    for name, schema in found.items():
        if places[name] in odd:
            continue
        written = source.value["taps"][name].get("schema", schema)  # never what comes by a variable
        own = _as_stored(schema, dialect, _naming(source.value, name))
        if own in owners:
            other = owners[own]
            as_well = "" if dialect == "postgres" or schema == found[other] else " in another case, which is one to Snowflake"
            yield source.fault(places[name], f"the schema {written} is that of the tap {other}{as_well}; give each tap its own ({_place(source, places[other])})")
        owners.setdefault(own, name)
        if TRANSFORM not in odd and models is not None and (words := _of_dbt(schema, models, dialect)):
            yield source.fault(
                places[name],
                f"the schema {written} is the one that dbt {words} ({said or _place(source, TRANSFORM)}), and dbt puts a model in the place of a table of its name; "
                "give the tap or the models another schema",
            )


def _place(source: Document, at: Key) -> str:
    return f"{'.'.join(map(str, at))}, line {source.line(at)}"


def _naming(value: Mapping[str, Any], tap: str) -> Any:
    given = {**(value["warehouse"].get("settings") or {}), **(value["taps"][tap].get("settings") or {})}
    return given.get("naming")


def _as_stored(schema: str, dialect: str, naming: Any) -> str:
    """Return the name that a target gives a schema: PostgreSQL's as it is, Snowflake's folded unless in double quotes."""
    if dialect == "postgres":
        return schema
    if len(schema) > 1 and schema[0] == schema[-1] == '"':
        return schema[1:-1].replace('""', '"')
    return schema if naming == "preserve" else "".join(char.upper() if char.isascii() else char for char in schema)


def same(one: str, other: str, dialect: str) -> bool:
    """Tell whether dbt may take one schema for the other: it looks for tables in any case, and PostgreSQL cuts what is too long."""

    def folded(name: str) -> bytes:
        return name.strip('"').casefold().encode()[: _LONGEST[dialect]]

    return folded(one) == folded(other)


def _of_dbt(schema: str, models: str, dialect: str) -> str | None:
    return next((words for ending, words in OF_DBT.items() if same(schema, f"{models}{ending}", dialect)), None)


def _fault(schema: Any, dialect: str) -> str | None:
    """Return what is wrong with a schema by itself."""
    if not isinstance(schema, str) or not schema:
        return "wanted a text, the name of a schema"
    if _SYSTEM[dialect].fullmatch(schema.strip('"').casefold()):
        return "the schema is one of the database itself; give another one"
    if len(schema.encode()) > _LONGEST[dialect]:
        return f"the schema has {len(schema.encode())} bytes, wanted {_LONGEST[dialect]} at most, as the database would cut it; give a shorter one"
    return None


def _names(source: Document) -> Iterator[str]:
    """Yield the taps whose names are too long for files, or are one where case, - and _ do not count: in dbt, and as files of some systems."""
    owners: dict[str, str] = {}
    for name in source.value["taps"]:
        if len(name) > MAX_NAME:
            yield source.fault(("taps", name), f"the name has {len(name)} characters, wanted {MAX_NAME} at most; give a shorter one")
        other = owners.setdefault(source_name(name), name)
        if other != name:
            yield source.fault(
                ("taps", name), f"dbt's source of this tap would be {source_name(name)}, as that of the tap {other} ({_place(source, ('taps', other))}); give one of them another name"
            )
