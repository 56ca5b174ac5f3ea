"""A SCHEMA message becomes the table that its stream wants: columns with kinds, keys, names.

`read` resolves anyOf, oneOf, allOf, local $ref, const, enum and boolean schemas into branches of
one JSON type each, and lets the branches of a property decide its kind. Nothing is dropped: what
fits no narrower kind is STRING (scalars) or JSON.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from decimal import Decimal
from typing import Any

from . import kinds, ranges, references
from .deep import MAX_DEPTH, recursive
from .errors import SchemaError, json_path, shown
from .kinds import Kind
from .ranges import INT64 as INT64

JsonSchema = Mapping[str, Any]
Path = tuple[str, ...]

SCALARS = frozenset({"boolean", "integer", "number", "string"})
TYPES = SCALARS | {"array", "object", "null"}
FORMATS = {"date-time": kinds.TIMESTAMP, "date": kinds.DATE, "time": kinds.TIME}
DECIMAL_FORMATS = frozenset({"singer.decimal", "x-singer.decimal"})
ENCODINGS = frozenset({"base64", "base16"})
TOO_DEEP = f"the schema is nested deeper than {MAX_DEPTH} levels (setting flatten_depth leaves inner objects JSON)"
LONGEST_PATH = 200  # characters of it in a message
MAX_STEPS = 50_000  # schemas and pairs of alternatives that are looked at: a second


@dataclass(frozen=True)
class Leaf:
    """A property that becomes a column.

    *types* are the JSON types that its values may have, besides null; "any" is among them where
    the schema does not say. *encoding* is base64 or base16, for BINARY. *coerce*: values of other
    types are converted where they convert back exactly. *scale* is how many digits a number has behind
    the point, where the schema says so. *is_key* and *holds*, which of `digits.NOT_FINITE`, are of the
    column. *is_rest*: the members that an object's schema does not name. *is_whole*: an object that has
    properties, and no columns for them.
    """

    path: Path
    kind: Kind
    types: frozenset[str]
    encoding: str | None = None
    coerce: bool = False
    scale: int | None = None
    is_key: bool = False
    holds: frozenset[str] = frozenset()
    is_rest: bool = False
    is_whole: bool = False

    @property
    def source(self) -> str:
        """The comment of its column."""
        return whole(self.path) if self.is_whole else ".".join(self.path)


@dataclass(frozen=True)
class Node:
    """An object whose properties become columns (`Leaf`), or objects again (`Node`).

    *nulls* names the properties that can only be null: they are known, but make no column. *rest* is
    the JSON column for the members that the schema allows without naming them, None for none.
    """

    path: Path
    properties: Mapping[str, Leaf | Node]
    nulls: frozenset[str] = frozenset()
    rest: Leaf | None = None

    def leaves(self) -> Iterator[Leaf]:
        """Yield the leaves in the order of the schema."""
        for child in self.properties.values():
            if isinstance(child, Leaf):
                yield child
            else:
                yield from child.leaves()
        if self.rest:
            yield self.rest


@dataclass(frozen=True)
class Options:
    """The settings that decide what a SCHEMA becomes. *flatten_depth* None means no limit.

    *rest*: members that objects may have without naming them are kept in a column; *root_rest*: of records, too.
    *whole*: objects that are JSON, whatever they name.
    """

    flatten_depth: int | None = None
    double: bool = False
    decode_binary: bool = False
    coerce: bool = False
    column_types: Mapping[str, Kind] = field(default_factory=dict)
    rest: bool = True
    root_rest: bool = True
    whole: frozenset[Path] = frozenset()


@dataclass(frozen=True)
class Branch:
    """One of the alternatives of a schema: values of one JSON type, "any" where it does not say.

    *words* are the keywords that matter to a column. *refs* are the references that led here.
    """

    type: str
    words: Mapping[str, Any]
    refs: frozenset[str] = frozenset()


def whole(path: Path) -> str:
    """Return the comment of a column that has a whole object."""
    return ".".join(path) + WHOLE


def is_open(schema: JsonSchema) -> bool:
    """Tell whether *schema* names no properties and allows any: records are objects, and that is all it says."""
    words = ("anyOf", "oneOf", "allOf", "$ref", "properties")
    return not any(schema.get(word) for word in words) and schema.get("additionalProperties") is not False


def read(stream: str, schema: JsonSchema, options: Options = Options(), keys: Collection[str] | None = None) -> Node:
    """Return the tree of columns that *schema* of *stream* describes.

    With *keys* it does not name all properties, or none at all; those of the keys that it does not
    name are texts, whatever records have.

    Raises:
        SchemaError: where it is no schema of records: a $ref that leads nowhere, a root that is no
            object, or nothing to make a column of.
    """
    try:
        return recursive(_read, stream, schema, options, keys)
    except RecursionError:
        raise SchemaError(TOO_DEEP) from None


def _read(stream: str, schema: JsonSchema, options: Options, keys: Collection[str] | None) -> Node:
    reader = _Reader(stream, schema, options)
    try:
        node = reader.root_node(keys)
    except SchemaError as error:
        path = json_path(reader.at)
        raise SchemaError(f"{path if len(path) <= LONGEST_PATH else f'{path[:LONGEST_PATH]}…'}: {error}") from None
    unknown = [name for name in options.column_types if name.startswith(f"{stream}.") and name not in reader.overridden]
    if unknown and keys is None:
        raise SchemaError(f"column_types names no property of it: {', '.join(unknown)}")
    return node


@dataclass
class _Reader:
    stream: str
    root: JsonSchema
    options: Options
    overridden: set[str] = field(default_factory=set)
    steps: int = 0
    at: Path = ()  # the property that is looked at

    def root_node(self, keys: Collection[str] | None) -> Node:
        """Return the tree of columns. Records are objects, so it does not matter what else a schema of them allows."""
        found = self.branches(self.root, frozenset())
        branches = [branch for branch in found if branch.type in ("object", "any")]
        if found and not branches:
            raise SchemaError(f"a schema of records has type object, not {' or '.join(sorted({one.type for one in found}))}")
        node = self.node((), branches, frozenset())
        self.at = ()
        if keys is not None:
            texts = {key: self.text((key,)) for key in keys if key not in node.properties and key not in node.nulls}
            return replace(node, properties={**texts, **node.properties})
        if not any(node.leaves()):
            raise SchemaError("the schema has no property that can be other than null, so there is no column to make")
        return node

    def node(self, path: Path, branches: Sequence[Branch], refs: frozenset[str]) -> Node:
        children: dict[str, Leaf | Node] = {}
        nulls = set()
        for name, schemas in _properties(branches).items():
            child = self.child((*path, name), schemas, refs)
            if child is None:
                nulls.add(name)
            else:
                children[name] = child
        return Node(path, children, frozenset(nulls), self.rest(path, branches) if children else None)

    def rest(self, path: Path, branches: Sequence[Branch]) -> Leaf | None:
        """Return the column for members that the schema allows and does not name, None where it allows none.

        A schema that does not say so allows them, too (JSON Schema, additionalProperties), but then nobody
        has thought of them: they are unknown fields.
        """
        if not (self.options.rest and (path or self.options.root_rest) and any(map(_is_open, branches))):
            return None
        return Leaf((*path, REST), kinds.JSON, frozenset({"any"}), is_rest=True)

    def child(self, path: Path, schemas: Sequence[Any], refs: frozenset[str]) -> Leaf | Node | None:
        """Return what the property at *path* becomes, None where it can only be null."""
        if len(path) > MAX_DEPTH:
            raise SchemaError(TOO_DEEP)
        self.at = path
        override = self.override(path)
        branches = [b for schema in schemas for b in self.branches(schema, refs) if b.type != "null"]
        types = frozenset(branch.type for branch in branches)
        if override:
            return Leaf(path, override, types or frozenset({"any"}), _encoding(branches), coerce=True, scale=override.scale)
        if types == {"object"}:
            return self.object(path, branches)
        kind = kind_of(branches, self.options)
        scale = kind.scale if kind and kind.scale is not None else scale_of(branches)
        return Leaf(path, kind, types, _encoding(branches), self.options.coerce, scale) if kind else None

    def text(self, path: Path) -> Leaf:
        """Return the leaf of a property that the schema does not name."""
        kind = self.override(path) or kinds.STRING
        return Leaf(path, kind, frozenset({"string"}), coerce=True, scale=kind.scale)

    def object(self, path: Path, branches: Sequence[Branch]) -> Leaf | Node:
        """Flatten an object, unless it is open, too deep or contains itself: then it is JSON."""
        depth = self.options.flatten_depth
        refs = frozenset().union(*(branch.refs for branch in branches))
        is_open = not all(branch.words.get("properties") for branch in branches)
        if is_open or (depth is not None and len(path) > depth) or _RECURSIVE in refs:
            return Leaf(path, kinds.JSON, frozenset({"object"}), coerce=self.options.coerce)
        if path in self.options.whole:
            return Leaf(path, kinds.JSON, frozenset({"object"}), coerce=self.options.coerce, is_whole=True)
        return self.node(path, branches, refs)

    def override(self, path: Path) -> Kind | None:
        name = f"{self.stream}.{'.'.join(path)}"
        if name in self.options.column_types:
            self.overridden.add(name)
        return self.options.column_types.get(name)

    def branches(self, schema: Any, refs: frozenset[str]) -> list[Branch]:
        """Return the alternatives of *schema*, none where it allows nothing.

        Each combining keyword narrows: what is left is every pair of an alternative so far and one
        of the keyword's that go together.
        """
        if schema is False:
            return []
        schema = {} if schema is True else _checked(schema)
        words = {word: schema[word] for word in _WORDS if schema.get(word) is not None}
        found = [Branch(name, words, refs) for name in _types(schema)]
        for others in self.combined(schema, refs):
            self.count(len(found) * len(others))
            pairs = [_both(left, right) for left in found for right in others]
            found = _distinct([branch for branch in pairs if branch])
        self.count(1)
        return found

    def combined(self, schema: JsonSchema, refs: frozenset[str]) -> Iterator[list[Branch]]:
        """Yield the alternatives of each combining keyword of *schema*."""
        for word in ("anyOf", "oneOf"):
            if word in schema:
                yield _distinct([branch for option in schema[word] for branch in self.branches(option, refs)])
        for part in schema.get("allOf", ()):
            yield self.branches(part, refs)
        reference = schema.get("$ref")
        if reference is not None and reference in refs:
            yield [Branch("object", {}, frozenset({_RECURSIVE}))]
        elif reference is not None:
            yield self.branches(self.pointed_at(reference), refs | {reference})

    def count(self, steps: int) -> None:
        """Stop at schemas that are small but explode, like references to two references each."""
        self.steps += steps
        if self.steps > MAX_STEPS:
            raise SchemaError("the schema has too many alternatives or nested properties (setting flatten_depth)")

    def pointed_at(self, reference: str) -> Any:
        try:
            return references.pointed_at(self.root, reference)
        except LookupError as fault:
            raise SchemaError(f"$ref {shown(reference)} {fault.args[0]}") from None


_RECURSIVE = "(recursive)"
REST = "*"  # the last part of the path of `Node.rest`
WHOLE = ".**"  # behind the path of an object that is kept together, in the comment of its column
_WORDS = (
    "properties",
    "format",
    "contentEncoding",
    "precision",
    "scale",
    "additionalProperties",
    "patternProperties",
    "multipleOf",
    "minimum",
    "maximum",
    "exclusiveMinimum",
    "exclusiveMaximum",
)
_SHAPES: dict[str, tuple[type, ...]] = {
    "type": (str, list),
    "enum": (list,),
    "properties": (Mapping,),
    "anyOf": (list,),
    "oneOf": (list,),
    "allOf": (list,),
    "$ref": (str,),
}


def _checked(schema: Any) -> JsonSchema:
    """Return *schema*: a $ref may lead to anything, also to what no validator has seen."""
    if not isinstance(schema, Mapping):
        raise SchemaError(f"{shown(schema)} is no JSON schema, wanted an object")
    for word, types in _SHAPES.items():
        if schema.get(word) is not None and not isinstance(schema[word], types):
            raise SchemaError(f"{word!r} is {shown(schema[word])}, which no JSON schema has")
    return {word: value for word, value in schema.items() if value is not None or word == "const"}


def _types(schema: JsonSchema) -> Sequence[str]:
    """Return the JSON types that *schema* allows: "any" where it does not say."""
    found = schema.get("type")
    if found is None:
        values = schema.get("enum") or ([schema["const"]] if "const" in schema else [])
        return list(dict.fromkeys(map(_type_of, values))) or ["any"]
    names = [found] if isinstance(found, str) else found
    for name in names:
        if not isinstance(name, str) or name not in TYPES | {"any"}:  # "any" is draft 3's
            raise SchemaError(f"{shown(name)} is no JSON type, wanted one of {', '.join(sorted(TYPES))}")
    return list(dict.fromkeys(names))


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


def _both(left: Branch, right: Branch) -> Branch | None:
    """Return the branch for which both hold, None where their types exclude each other."""
    types = {left.type, right.type} - {"any"}
    if len(types) == 2:
        types = {"integer"} if types == {"integer", "number"} else set()
        if not types:
            return None
    words = {**left.words, **right.words}
    if "properties" in left.words and "properties" in right.words:
        ours, theirs = left.words["properties"], right.words["properties"]
        words["properties"] = {**ours, **theirs, **{n: _all_of(ours[n], theirs[n]) for n in ours if n in theirs}}
    return Branch(types.pop() if types else "any", words, left.refs | right.refs)


def _all_of(left: Any, right: Any) -> Any:
    return left if left == right else {"allOf": [left, right]}


def _distinct(branches: Sequence[Branch]) -> list[Branch]:
    found: list[Branch] = []
    for branch in branches:
        if branch not in found:
            found.append(branch)
    return found


def _properties(branches: Sequence[Branch]) -> dict[str, list[Any]]:
    """Collect the schemas that the *branches* of an object have for each of its properties."""
    found: dict[str, list[Any]] = {}
    for branch in branches:
        for name, schema in branch.words.get("properties", {}).items():
            schemas = found.setdefault(name, [])
            if schema not in schemas:
                schemas.append(schema)
    return found


def _is_open(branch: Branch) -> bool:
    """Tell whether an object may have members besides its properties, as its schema says."""
    patterns = branch.words.get("patternProperties")
    has_patterns = isinstance(patterns, Mapping) and any(schema is not False for schema in patterns.values())
    return has_patterns or branch.words.get("additionalProperties", False) is not False


def _encoding(branches: Sequence[Branch]) -> str | None:
    """Return the one encoding of all strings, None where they have none or different ones."""
    found = {_encoding_of(branch) for branch in branches}
    return found.pop() if len(found) == 1 else None


def _encoding_of(branch: Branch) -> str | None:
    encoding = branch.words.get("contentEncoding")
    return encoding.lower() if isinstance(encoding, str) and encoding.lower() in ENCODINGS else None


def kind_of(branches: Sequence[Branch], options: Options = Options()) -> Kind | None:
    """Return the kind that holds the values of all *branches* (null left out), None for no branch."""
    types = {branch.type for branch in branches}
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


def _string_kind(branches: Sequence[Branch], options: Options) -> Kind:
    found = {_kind_of_string(branch.words) for branch in branches}
    if options.decode_binary and _encoding(branches):
        return kinds.BINARY
    return found.pop() if len(found) == 1 else kinds.STRING


def _kind_of_string(words: Mapping[str, Any]) -> Kind:
    text = str(words.get("format"))
    if text not in DECIMAL_FORMATS:
        return FORMATS.get(text, kinds.STRING)
    precision, scale = words.get("precision"), words.get("scale", 0)
    if type(precision) is int and type(scale) is int and 0 <= scale <= precision and precision > 0:
        return kinds.decimal(precision, scale)
    return kinds.NUMBER


def _number_kind(branches: Sequence[Branch], options: Options) -> Kind:
    if all(branch.type == "integer" for branch in branches):
        return kinds.INTEGER if all(ranges.fits_int64(branch.words) for branch in branches) else kinds.decimal(38, 0)
    scale = scale_of(branches)
    if scale is None or scale > 38:
        return kinds.DOUBLE if options.double else kinds.NUMBER
    # The bounds of a numeric without precision, as taps of PostgreSQL write them, leave no decimal(38,s).
    return kinds.decimal(38, scale) if max(ranges.whole_digits(b.words) for b in branches) + scale <= 38 else kinds.NUMBER


def scale_of(branches: Sequence[Branch]) -> int | None:
    """Return how many digits numbers have behind the point, None where one of the *branches* does not say."""
    scales = [0 if branch.type == "integer" else ranges.scale(branch.words) for branch in branches]
    known = [scale for scale in scales if scale is not None]
    return max(known) if known and len(known) == len(scales) else None
