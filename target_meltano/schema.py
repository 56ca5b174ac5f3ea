"""A SCHEMA message becomes the table that its stream wants: columns with kinds, keys, names.

`read` resolves anyOf, oneOf, allOf, local $ref, const, enum and boolean schemas into branches of
one JSON type each, and lets the branches of a property decide its kind. Nothing is dropped: what
fits no narrower kind is STRING (scalars) or JSON.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from . import kinds
from .errors import SchemaError
from .kinds import Kind

JsonSchema = Mapping[str, Any]
Path = tuple[str, ...]

INT64 = range(-(2**63), 2**63)
SCALARS = frozenset({"boolean", "integer", "number", "string"})
TYPES = SCALARS | {"array", "object", "null"}
FORMATS = {"date-time": kinds.TIMESTAMP, "date": kinds.DATE, "time": kinds.TIME}
DECIMAL_FORMATS = frozenset({"singer.decimal", "x-singer.decimal"})
ENCODINGS = frozenset({"base64", "base16"})


@dataclass(frozen=True)
class Leaf:
    """A property that becomes a column.

    *types* are the JSON types that its values may have, besides null; "any" is among them where
    the schema does not say. *encoding* is base64 or base16, for BINARY. *coerce*: values of other
    types are converted where they convert back exactly.
    """

    path: Path
    kind: Kind
    types: frozenset[str]
    encoding: str | None = None
    coerce: bool = False


@dataclass(frozen=True)
class Node:
    """An object whose properties become columns (`Leaf`), or objects again (`Node`).

    *nulls* names the properties that can only be null: they are known, but make no column.
    """

    path: Path
    properties: Mapping[str, Leaf | Node]
    nulls: frozenset[str] = frozenset()

    def leaves(self) -> Iterator[Leaf]:
        """Yield the leaves in the order of the schema."""
        for child in self.properties.values():
            if isinstance(child, Leaf):
                yield child
            else:
                yield from child.leaves()


@dataclass(frozen=True)
class Options:
    """The settings that decide what a SCHEMA becomes. *flatten_depth* None means no limit."""

    flatten_depth: int | None = None
    double: bool = False
    decode_binary: bool = False
    coerce: bool = False
    column_types: Mapping[str, Kind] = field(default_factory=dict)


def read(stream: str, schema: JsonSchema, options: Options = Options()) -> Node:  # noqa: B008 (frozen)
    """Return the tree of columns that *schema* of *stream* describes.

    Raises:
        SchemaError: where it is no schema of records: a $ref that leads nowhere, a root that is no
            object or has no properties.
    """
    reader = _Reader(stream, schema, options)
    branches = [branch for branch in reader.branches(schema) if branch.get("type") != "null"]
    if not all(branch.get("type", "object") == "object" for branch in branches):
        raise SchemaError(f"a schema of records has type object, not another one")
    properties = _properties([branch for branch in branches if "type" in branch or "properties" in branch])
    if not properties:
        raise SchemaError(f"the schema has no properties, so there is no column to make")
    node = reader.node((), properties, frozenset())
    unknown = [name for name in options.column_types if name.startswith(f"{stream}.") and name not in reader.overridden]
    if unknown:
        raise SchemaError(f"column_types names no property of it: {', '.join(unknown)}")
    return node


@dataclass
class _Reader:
    stream: str
    root: JsonSchema
    options: Options
    overridden: set[str] = field(default_factory=set)

    def node(self, path: Path, properties: Mapping[str, Sequence[Any]], refs: frozenset[str]) -> Node:
        children: dict[str, Leaf | Node] = {}
        nulls = set()
        for name, schemas in properties.items():
            child = self.child((*path, name), schemas, refs)
            if child is None:
                nulls.add(name)
            else:
                children[name] = child
        return Node(path, children, frozenset(nulls))

    def child(self, path: Path, schemas: Sequence[Any], refs: frozenset[str]) -> Leaf | Node | None:
        """Return what the property at *path* becomes, None where it can only be null."""
        override = self.override(path)
        branches = [b for schema in schemas for b in self.branches(schema, refs) if b.get("type") != "null"]
        types = frozenset(str(branch.get("type", "any")) for branch in branches)
        if override:
            return Leaf(path, override, types or frozenset({"any"}), _encoding(branches), coerce=True)
        if types == {"object"}:
            return self.object(path, branches)
        kind = kind_of(branches, self.options)
        return Leaf(path, kind, types, _encoding(branches), self.options.coerce) if kind else None

    def object(self, path: Path, branches: Sequence[JsonSchema]) -> Leaf | Node:
        """Flatten an object, unless it is open, too deep or contains itself: then it is JSON."""
        depth = self.options.flatten_depth
        refs = frozenset().union(*(branch.get("$refs", frozenset()) for branch in branches))
        properties = _properties(branches)
        open_ended = not all(branch.get("properties") for branch in branches)
        if open_ended or (depth is not None and len(path) > depth) or _RECURSIVE in refs:
            return Leaf(path, kinds.JSON, frozenset({"object"}))
        return self.node(path, properties, refs)

    def override(self, path: Path) -> Kind | None:
        name = f"{self.stream}.{'.'.join(path)}"
        if name in self.options.column_types:
            self.overridden.add(name)
        return self.options.column_types.get(name)

    def branches(self, schema: Any, refs: frozenset[str] = frozenset()) -> Iterator[JsonSchema]:
        """Yield the alternatives of *schema*, each of one type (or of any, without `type`).

        A branch remembers the references it came through (`$refs`), so that a schema that
        contains itself ends as JSON and not in a loop.
        """
        if schema is True or schema == {}:
            yield {"$refs": refs}
        elif schema is False:
            return
        elif not isinstance(schema, Mapping):
            raise SchemaError(f"{schema!r} is no JSON schema, wanted an object")
        elif "$ref" in schema:
            yield from self.referred(schema, refs)
        elif "allOf" in schema:
            yield from self.all_of(schema, refs)
        elif "anyOf" in schema or "oneOf" in schema:
            word = "anyOf" if "anyOf" in schema else "oneOf"
            rest = {key: value for key, value in schema.items() if key != word}
            for option in schema[word]:
                yield from self.branches(_merged(rest, option), refs)
        else:
            for json_type in _types(schema):
                branch = {**schema, "$refs": refs | schema.get("$refs", frozenset())}
                branch.pop("type", None)
                yield branch if json_type == "any" else {**branch, "type": json_type}

    def referred(self, schema: JsonSchema, refs: frozenset[str]) -> Iterator[JsonSchema]:
        reference = schema["$ref"]
        if reference in refs:
            yield {"type": "object", "$refs": frozenset({_RECURSIVE})}
            return
        rest = {key: value for key, value in schema.items() if key != "$ref"}
        yield from self.branches(_merged(rest, self.pointed_at(reference)), refs | {reference})

    def all_of(self, schema: JsonSchema, refs: frozenset[str]) -> Iterator[JsonSchema]:
        merged: Any = {key: value for key, value in schema.items() if key != "allOf"}
        for part in schema["allOf"]:
            while isinstance(part, Mapping) and "$ref" in part and part["$ref"] not in refs:
                refs = refs | {part["$ref"]}
                rest = {key: value for key, value in part.items() if key != "$ref"}
                part = _merged(rest, self.pointed_at(part["$ref"]))
            merged = _merged(merged, part)
        yield from self.branches(merged, refs)

    def pointed_at(self, reference: str) -> Any:
        if not isinstance(reference, str) or not reference.startswith("#"):
            raise SchemaError(
                f"$ref {reference!r} leads outside of the schema; only local ones, #/…, are read"
            )
        found: Any = self.root
        for part in reference[1:].split("/")[1:]:
            part = part.replace("~1", "/").replace("~0", "~")
            try:
                found = found[int(part)] if isinstance(found, list) else found[part]
            except (KeyError, IndexError, ValueError, TypeError):
                raise SchemaError(f"$ref {reference!r} leads nowhere in the schema") from None
        return found


_RECURSIVE = "(recursive)"


def _types(schema: JsonSchema) -> Sequence[str]:
    """Return the JSON types that *schema* allows: "any" where it does not say."""
    found = schema.get("type")
    if isinstance(found, str):
        return [found]
    if found is not None:
        return list(dict.fromkeys(found))
    values = schema.get("enum", [schema["const"]] if "const" in schema else None)
    if values:
        return list(dict.fromkeys(_type_of(value) for value in values))
    return ["any"]


def _type_of(value: object) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "boolean"
    if isinstance(value, int):
        return "integer"
    if isinstance(value, (float, Decimal)):
        return "number"
    if isinstance(value, str):
        return "string"
    return "array" if isinstance(value, list) else "object"


def _merged(left: Any, right: Any) -> Any:
    """Return the schema that both *left* and *right* hold for: as narrow in type as either."""
    if left is False or right is False:
        return False
    if left is True or not left:
        return right
    if right is True or not right:
        return left
    both = {**left, **right}
    if "type" in left and "type" in right:
        both["type"] = _common_types(_types(left), _types(right))
    if "properties" in left and "properties" in right:
        both["properties"] = {
            name: _merged(left["properties"].get(name, True), right["properties"].get(name, True))
            for name in {**left["properties"], **right["properties"]}
        }
    for word in ("anyOf", "oneOf", "allOf", "$ref"):
        if word in left and word in right:
            del both[word]
            both["allOf"] = [*both.get("allOf", []), {word: left[word]}, {word: right[word]}]
    return both


def _common_types(left: Sequence[str], right: Sequence[str]) -> list[str]:
    """An integer is a number, too."""
    common = [name for name in left if name in right]
    if "integer" not in common and ("integer" in left and "number" in right or "integer" in right and "number" in left):
        common.append("integer")
    return common


def _properties(branches: Sequence[JsonSchema]) -> dict[str, list[Any]]:
    """Collect the schemas that the *branches* of an object have for each of its properties."""
    found: dict[str, list[Any]] = {}
    for branch in branches:
        for name, schema in (branch.get("properties") or {}).items():
            found.setdefault(name, []).append(schema)
    return found


def _encoding(branches: Sequence[JsonSchema]) -> str | None:
    found = {branch.get("contentEncoding") for branch in branches}
    encoding = found.pop() if len(found) == 1 else None
    return encoding if encoding in ENCODINGS else None


def kind_of(branches: Sequence[JsonSchema], options: Options = Options()) -> Kind | None:  # noqa: B008
    """Return the kind that holds the values of all *branches* (null left out), None for no branch."""
    types = {branch.get("type", "any") for branch in branches}
    if not types:
        return None
    if not types <= SCALARS:
        return kinds.JSON
    if types == {"boolean"}:
        return kinds.BOOLEAN
    if types == {"string"}:
        return _string_kind(branches, options)
    if types <= {"integer", "number"}:
        return _number_kind(branches, options)
    return kinds.STRING


def _string_kind(branches: Sequence[JsonSchema], options: Options) -> Kind:
    found = {_kind_of_string(branch, options) for branch in branches}
    return found.pop() if len(found) == 1 else kinds.STRING


def _kind_of_string(branch: JsonSchema, options: Options) -> Kind:
    if branch.get("format") in DECIMAL_FORMATS:
        return _given_decimal(branch) or (kinds.DOUBLE if options.double else kinds.NUMBER)
    if options.decode_binary and branch.get("contentEncoding") in ENCODINGS:
        return kinds.BINARY
    return FORMATS.get(str(branch.get("format")), kinds.STRING)


def _given_decimal(branch: JsonSchema) -> Kind | None:
    precision, scale = branch.get("precision"), branch.get("scale", 0)
    if isinstance(precision, int) and isinstance(scale, int) and 0 <= scale <= precision and precision > 0:
        return kinds.decimal(precision, scale)
    return None


def _number_kind(branches: Sequence[JsonSchema], options: Options) -> Kind:
    if all(branch["type"] == "integer" for branch in branches):
        return kinds.INTEGER if all(map(_fits_int64, branches)) else kinds.decimal(38, 0)
    scales = [_scale(branch) for branch in branches]
    known = [scale for scale in scales if scale is not None]
    if len(known) == len(scales) and max(known) <= 38:
        return kinds.decimal(38, max(known))
    return kinds.DOUBLE if options.double else kinds.NUMBER


def _fits_int64(branch: JsonSchema) -> bool:
    """Bounds are read with the sense of their draft: draft 4's exclusive ones are booleans."""
    words = ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum")
    bounds = [branch[word] for word in words if isinstance(branch.get(word), (int, float, Decimal))]
    return all(INT64[0] <= bound <= INT64[-1] or isinstance(bound, bool) for bound in bounds)


def _scale(branch: JsonSchema) -> int | None:
    """Return the fractional digits of numbers that are multiples of 10^-s, None where unknown."""
    if branch["type"] == "integer":
        return 0
    step = branch.get("multipleOf")
    if isinstance(step, bool) or not isinstance(step, (int, float, Decimal)) or step <= 0:
        return None
    exact = Decimal(str(step)).normalize()
    is_power_of_ten = exact.as_tuple().digits == (1,)
    return max(0, -int(exact.as_tuple().exponent)) if is_power_of_ten else None
