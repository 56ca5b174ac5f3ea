"""Values for schemas by hypothesis-jsonschema. Run in an environment of its own, since it needs an older hypothesis:

    python invented.py < QUESTION > ANSWER

QUESTION: {"seed": number, "count": number, "schemas": [schema, ...]}. ANSWER: a list of values for each schema.
"""

from __future__ import annotations

import json
import re
import sys
import warnings
from typing import Any

from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st
from hypothesis_jsonschema import from_schema

FORMATS = {"singer.decimal": st.decimals(allow_nan=False, allow_infinity=False).map(str)}
BITS_64 = 2**63
DRAFT_4 = "http://json-schema.org/draft-04/schema#"


def main() -> None:
    warnings.simplefilter("ignore")  # of formats that it does not know
    question = json.load(sys.stdin)
    json.dump([values(schema, question["seed"], question["count"]) for schema in question["schemas"]], sys.stdout)


def values(schema: Any, number: int, count: int) -> list[Any]:
    """Return up to *count* values: a half of them for *schema*, the others for one that has all it names, and no nulls."""
    found: list[Any] = []
    for wanted in (schema, filled(schema)):
        strategy = from_schema(drafted(bounded(wanted)), allow_x00=False, codec="utf-8", custom_formats=FORMATS)

        @seed(number)
        @settings(max_examples=count // 2, database=None, deadline=None, phases=[Phase.generate], suppress_health_check=list(HealthCheck))
        @given(strategy)
        def take(value: Any) -> None:
            found.append(without_nul(value))

        take()
    return found


def filled(schema: Any) -> Any:
    """Return *schema* without nulls, and with all properties of objects required."""
    if isinstance(schema, list):
        return [filled(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    made = {word: filled(part) for word, part in schema.items()}
    if isinstance(made.get("type"), list):
        made["type"] = [one for one in made["type"] if one != "null"] or ["null"]
    if isinstance(made.get("properties"), dict) and "type" in made:
        made["required"] = list(made["properties"])
    return made


def bounded(schema: Any) -> Any:
    """Return *schema* with bounds for its integers where it has none: a column of integers has 64 bits, and refuses what is beyond."""
    if isinstance(schema, list):
        return [bounded(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    made = {word: bounded(part) for word, part in schema.items()}
    if "integer" in made.get("type", ()):
        made = {"minimum": -BITS_64, "maximum": BITS_64 - 1, **made}
    return made


def drafted(schema: Any) -> Any:
    """Return *schema* with its draft: before the sixth, exclusive bounds were true or false."""
    return {**schema, "$schema": DRAFT_4} if re.search('"exclusiveM[a-z]+": (true|false)', json.dumps(schema)) else schema


def without_nul(value: Any) -> Any:
    """Return *value* without NUL, which no database takes; allow_x00 is not for what may be anything."""
    if isinstance(value, str):
        return value.replace("\0", "")
    if isinstance(value, list):
        return [without_nul(one) for one in value]
    if isinstance(value, dict):
        return {without_nul(name): without_nul(one) for name, one in value.items()}
    return value


if __name__ == "__main__":
    main()
