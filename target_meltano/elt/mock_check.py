"""Whether mock values fit their schema, by jsonschema."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal
from itertools import combinations
from typing import Any


class MockError(Exception):
    """Something of which no records can be made; told as one line."""


def validator(name: str, schema: Any) -> Any:
    """Return the validator of the schema's own draft, else of draft 7, or 4 where it is of that one."""
    import jsonschema

    if isinstance(schema, Mapping) and not isinstance(schema.get("$schema", ""), str):
        raise MockError(f"stream {name!r}: the schema is no JSON Schema: $.$schema: {schema['$schema']!r} is not of type 'string'")
    default: Any = getattr(jsonschema, "Draft7Validator", jsonschema.Draft4Validator)
    error = None
    for draft in (jsonschema.validators.validator_for(schema, default), jsonschema.Draft4Validator):
        try:
            draft.check_schema(schema)
            return draft(schema)
        except jsonschema.SchemaError as fault:
            error = error or fault
    where = ".".join(("$", *map(str, error.path if error else ())))
    raise MockError(f"stream {name!r}: the schema is no JSON Schema: {where}: {error.message[:200] if error else ''}")


def fault(name: str, validator: Any, record: Any) -> Any:
    """Return the first fault of a record, None where there is none."""
    import jsonschema

    try:
        return next(validator.iter_errors(record), None)
    except (jsonschema.exceptions.RefResolutionError, LookupError, ValueError) as error:
        raise MockError(f"stream {name!r}: a $ref leads out of the schema: {' '.join(str(error).split())[:80]}") from None
    except RecursionError:
        raise MockError(f"stream {name!r}: its schema is nested too deeply") from None


def exactly(schema: Any) -> Any:
    """Return a schema with its numbers as they are written, to check values with theirs, and as its taps mean it."""
    return checkable(json.loads(json.dumps(schema), parse_float=Decimal))


def checkable(schema: Any) -> Any:
    """Return a schema as its taps mean it: alternatives that overlap are both right, `#definitions/x` is `#/definitions/x`."""
    if isinstance(schema, list):
        return [checkable(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    found = {word: checkable(value) for word, value in schema.items()}
    if isinstance(found.get("oneOf"), list):
        found["allOf"] = [*found.get("allOf", ()), {"anyOf": found.pop("oneOf")}]
    reference = found.get("$ref")
    if isinstance(reference, str) and re.match("#[^/]", reference):
        found["$ref"] = f"#/{reference[1:]}"
    return found


def fitting_of(name: str, root: Any) -> Callable[[Any, Any], bool]:
    """Return a function that tells whether a value fits a part of *root*, the schema of the stream *name*."""
    whole = validator(name, exactly(root))
    made: dict[int, tuple[Any, Any]] = {}  # with the parts themselves, so that their ids stay theirs

    def fits(part: Any, value: Any) -> bool:
        if id(part) not in made:
            made[id(part)] = part, exactly(part)
        return next(whole.descend(value, made[id(part)][1]), None) is None

    return fits


def overlap(options: Sequence[Any]) -> bool:
    """Tell whether a value may fit two of these schemas: only types that are named show that none can."""
    return any(not left or not right or left & right for left, right in combinations(map(_types, options), 2))


def _types(schema: Any) -> set[str]:
    """Return the types that a schema names, none where it does not say."""
    found = schema.get("type") if isinstance(schema, Mapping) else None
    types = {found} if isinstance(found, str) else set(found or ())
    return types | {"integer"} if "number" in types else types
