"""Whether a SCHEMA is a JSON Schema, of which draft, and how a record is checked by all its keywords.

jsonschema does both, but for expressions: those of JSON Schema are ECMA 262's, so they are looked at
with `validation: schema` only, and matched by regress.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterator
from decimal import Context, localcontext
from functools import lru_cache
from typing import Any

from . import messages, values
from .deep import recursive
from .errors import SchemaError, SettingsError, json_path, shown


def check(found: Any, *, patterns: bool = False) -> None:
    """Check that *found* is a JSON Schema at all; with *patterns*, that its expressions are some, too.

    Raises:
        SchemaError: with the place of the fault in the schema.
    """
    if _is_plain(found):
        return
    _draft_of(found)
    for text in _patterns(found) if patterns else ():
        _expression(text)


def _is_plain(found: Any) -> bool:
    """Tell whether *found* is a JSON Schema of every draft, for sure; to import jsonschema takes 45 ms."""
    return isinstance(found, dict) and all(name in _PLAIN and _PLAIN[name](value) for name, value in found.items())


def _is_type(found: Any) -> bool:
    names = found if isinstance(found, list) else [found]
    return bool(names) and all(isinstance(name, str) and name in _TYPES for name in names)


def _is_text(found: Any) -> bool:
    return isinstance(found, str)


_TYPES = {"null", "boolean", "integer", "number", "string", "array", "object"}
_PLAIN: dict[str, Callable[[Any], bool]] = {
    "type": _is_type,
    "properties": lambda found: isinstance(found, dict) and all(map(_is_plain, found.values())),
    "items": _is_plain,
    "additionalProperties": lambda found: isinstance(found, bool),
    "maxLength": lambda found: type(found) is int and found >= 0,
    **dict.fromkeys(("format", "title", "description", "contentEncoding"), _is_text),
}


def _draft_of(found: Any) -> Any:
    """Return the validator of the draft that a schema is of: that which it names, draft 7 or draft 4.

    None where jsonschema has none: it is too old then, as singer-python wants it.

    Raises:
        SchemaError: it is of none of them.
    """
    import jsonschema

    if not isinstance(found.get("$schema", ""), str):
        raise SchemaError("the schema is no JSON Schema: $.$schema is not a string")
    usual: Any = getattr(jsonschema, "Draft7Validator", False)
    named = jsonschema.validators.validator_for(found, default=usual)
    if not named:
        return None
    fault = _fault(named, found)
    if fault is None:
        return named
    for other in (usual, jsonschema.Draft4Validator):  # taps that name a draft, and write as in another
        if other and other is not named and _fault(other, found) is None:
            return other
    raise SchemaError(f"the schema is no JSON Schema: {'.'.join(('$', *map(str, fault.absolute_path)))}: {fault.message[:200]}")


def _fault(draft: Any, found: Any) -> Any:
    """Return what keeps *found* from being a schema of *draft*, None for nothing.

    Names that come twice change nothing. Expressions are not looked at.
    """
    from jsonschema.exceptions import best_match

    faults = draft(draft.META_SCHEMA).iter_errors(found)
    return best_match(fault for fault in faults if not _is_repetition(fault))


def _is_repetition(fault: Any) -> bool:
    """Tell whether all that is wrong is that an item of a list comes twice."""
    if fault.validator != "anyOf":
        return bool(fault.validator == "uniqueItems")
    branches: dict[Any, bool] = {}
    for one in fault.context:
        branches[one.schema_path[0]] = branches.get(one.schema_path[0], True) and _is_repetition(one)
    return any(branches.values())


def validator(text: str, without: Collection[str]) -> Callable[[bytes], None]:
    """Return a function that checks a record's line by every keyword of a schema, but not the fields *without*.

    Raises:
        SchemaError: an expression is none of ECMA 262.
        SettingsError: jsonschema is too old.
    """
    found = messages.numbers_as_python(values.parse(text.encode()))
    draft = _draft_of(found)
    if draft is None:
        raise SettingsError("settings: validation: schema needs jsonschema 3.0 or later; singer-python holds it back")
    draft = _with_patterns(draft, found) if '"pattern' in text else draft
    checker = draft(found, format_checker=None)

    def fault_of(line: bytes) -> Any:
        record = messages.numbers_as_python(values.parse(line, not_finite=True)["record"])
        record = {name: value for name, value in record.items() if name not in without}
        with localcontext(Context(prec=1000)):  # multipleOf divides, and 28 digits would not do
            return next(checker.iter_errors(record), None)

    def validate(line: bytes) -> None:
        try:
            fault = recursive(fault_of, line)
        except (ArithmeticError, RecursionError):
            raise ValueError("$: too large a number, NaN beside a bound, or too deep, for validation: schema") from None
        except SchemaError as error:  # an expression that only a $ref leads to
            raise ValueError(f"$: {error}") from None
        if fault:
            raise ValueError(f"{json_path(map(str, fault.path))}: {_worded(fault)}")

    return validate


def _worded(fault: Any) -> str:
    """Return the keyword and what it wants; jsonschema's own message prints the whole value."""
    return f"the value breaks {fault.validator!r}: {str(fault.validator_value)[:200]} of the schema"


# --- expressions


def _with_patterns(draft: Any, found: Any) -> Any:
    """Return the validator of *draft*, with ECMA 262's expressions."""
    import jsonschema

    for text in _patterns(found):
        _expression(text)
    if any("unevaluatedProperties" in one for one in _schemas(found)):
        raise SchemaError("unevaluatedProperties beside expressions cannot be checked (setting validation: types)")
    extend: Any = jsonschema.validators.extend
    return extend(draft, {"pattern": _pattern, "patternProperties": _pattern_properties, "additionalProperties": _additional})


@lru_cache(1000)
def _expression(text: str) -> Any:
    """Return an expression of ECMA 262; one that is only valid without its flag u is read without it."""
    import regress

    for flags in ("u", ""):
        try:
            return regress.Regex(text, flags)
        except (regress.RegressError, UnicodeEncodeError) as error:
            fault = error
    raise SchemaError(
        f"the pattern {shown(text)} is no expression of ECMA 262, which those of JSON Schema are: {fault} "
        "(setting validation: types does not look at patterns)"
    )


def _is_found(text: str, value: str) -> bool:
    expression = _expression(text)
    try:
        return expression.find(value) is not None
    except UnicodeEncodeError:  # half of a surrogate pair: it is refused elsewhere, or becomes this
        return expression.find(_SURROGATE.sub(values.REPLACEMENT, value)) is not None


def _pattern(checker: Any, text: str, value: Any, schema: Any) -> Iterator[Any]:
    if checker.is_type(value, "string") and not _is_found(text, value):
        yield _invalid("no match")


def _pattern_properties(checker: Any, schemas: Any, value: Any, schema: Any) -> Iterator[Any]:
    if checker.is_type(value, "object"):
        for text, its in schemas.items():
            for name in (name for name in value if _is_found(text, name)):
                yield from checker.descend(value[name], its, path=name, schema_path=text)


def _additional(checker: Any, its: Any, value: Any, schema: Any) -> Iterator[Any]:
    if not checker.is_type(value, "object"):
        return
    texts, named = schema.get("patternProperties", ()), schema.get("properties", ())
    more = [name for name in value if name not in named and not any(_is_found(text, name) for text in texts)]
    if its is False and more:
        yield _invalid("a property that is not allowed")
    elif not isinstance(its, bool):
        for name in more:
            yield from checker.descend(value[name], its, path=name)


def _invalid(words: str) -> Any:
    import jsonschema

    return jsonschema.ValidationError(words)


def _patterns(found: Any) -> Iterator[str]:
    for one in _schemas(found):
        if isinstance(one.get("pattern"), str):
            yield one["pattern"]
        yield from one.get("patternProperties", ())


def _schemas(found: Any) -> Iterator[dict[str, Any]]:
    """Yield a schema and all that are in it."""
    waiting = [found]
    while waiting:
        one = waiting.pop()
        if isinstance(one, dict):
            yield one
            waiting += [one[word] for word in _ONE if word in one]
            waiting += [each for word in _SOME if isinstance(one.get(word), list) for each in one[word]]
            waiting += [each for word in _NAMED if isinstance(one.get(word), dict) for each in one[word].values()]


_SURROGATE = re.compile("[\ud800-\udfff]")
_ONE: tuple[str, ...] = ("items", "additionalItems", "additionalProperties", "not", "if", "then", "else", "contains", "propertyNames")
_ONE += ("unevaluatedItems", "unevaluatedProperties")
_SOME = ("anyOf", "oneOf", "allOf", "items", "prefixItems")
_NAMED = ("properties", "patternProperties", "definitions", "$defs", "dependencies", "dependentSchemas")
