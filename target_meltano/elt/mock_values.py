"""A JSON Schema becomes columns of mock values, compiled once per stream."""

from __future__ import annotations

import datetime as dt
import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from decimal import Decimal
from functools import cached_property
from random import Random
from typing import Any

from .. import references
from .mock_check import fitting_of, overlap
from .mock_numbers import grid, number, written
from .mock_text import FIRST_DAY, Column, as_uuid, members, of_bytes, of_format, of_name, of_pattern, quoted

Path = tuple[str, ...]
Nth = Callable[[int], str]  # the JSON of a key's value for a number from 0 on, another one for each
MOST_ITEMS = 3
MOST_DEPTH = 6  # levels that what contains itself goes down before only the rest that is required is made
MOST_COLUMNS = 2000  # the same of columns, in all: a schema with eight references to itself has as many at each level
MOST_REFERRED = 10_000  # the same of columns below a reference, where nothing contains itself: 25 levels of two make 2 ** 25
MOST_SIZE = 1_000_000  # characters that a schema may require of a record
VALUE_SIZE = 20  # characters of a value and its name, about
MANY_ITEMS = 10_000  # items of arrays within arrays that maxItems is followed to
MOST_BREADTH = 10_000  # schemas that one value is looked at by
ENDS = 500  # levels of schemas that end by themselves
TRIES = 200
PATIENCE = 2000  # attempts to fit one alternative only, of a value with all that is in it
UNBOUNDED = 1 << 62


@dataclass(frozen=True)
class Key:
    """What a key's column can have: *count* different values."""

    nth: Nth
    count: int = UNBOUNDED


class EndlessError(ValueError):
    """A schema requires itself within itself."""


@dataclass(frozen=True)
class Way:
    """How a place in a schema is reached: levels, and references that were followed, with the level of each.

    *since*: the level at which one of them had been followed that came again, so that there may be no end. *beyond* has
    those that were followed since only what is required is made. There are *least* to *most* values of it in a record.
    *is_tried*: what is made here may be thrown away, as several alternatives of a oneOf fit it.
    """

    depth: int = 0
    followed: Mapping[str, int] = field(default_factory=dict)
    since: int | None = None
    beyond: frozenset[str] = frozenset()
    least: int = 1
    most: int = 1
    is_tried: bool = False

    def below(self, least: int = 1, most: int = 1) -> Way:
        return replace(self, depth=self.depth + 1, least=self.least * max(1, least), most=self.most * max(1, most))


@dataclass
class Resolved:
    """A schema without references and alternatives. *options*: how many it had to choose from; *ones*: each oneOf."""

    schema: dict[str, Any]
    is_nullable: bool
    way: Way
    options: int = 1
    ones: list[list[Any]] = field(default_factory=list)


@dataclass
class Values:
    """Compiles the columns of one stream. *references*: keys of other streams by path, with the rows that these have."""

    stream: str
    root: Any
    seed: str
    rows: int = 100
    null_rate: float = 0.1
    faker: Any = None
    references: Mapping[Path, Key] = field(default_factory=dict)
    several: set[str] = field(default_factory=set)  # paths where more than one alternative of a oneOf fits
    patience: int = 0  # attempts that are left for the value under way
    columns: int = 0
    least: int = 0  # characters that a record has
    most: int = 1
    breadths: dict[int, tuple[Any, int]] = field(default_factory=dict)  # by id of a schema, which is kept so that this stays its own

    @cached_property
    def fits(self) -> Callable[[Any, Any], bool]:
        return fitting_of(self.stream, self.root)

    def is_ending(self, way: Way) -> bool:
        """Tell whether only what is required is made from here on."""
        if way.since is None:
            return bool(way.followed) and self.columns > MOST_REFERRED
        return way.depth - way.since >= MOST_DEPTH or self.columns > MOST_COLUMNS

    def count(self, path: Path, way: Way, size: int) -> None:
        """Count a value of *size* characters.

        Raises:
            ValueError: a record would have to be too long.
        """
        self.least += way.least * size
        self.most += way.most * size
        if self.least > MOST_SIZE:
            raise ValueError(f"{_shown(path)}: with it a record has more than {MOST_SIZE:,} characters, which mock does not make; lower minLength or minItems, or take the stream away")

    def breadth(self, schema: Any) -> int:
        """Return by how many schemas a value is looked at that is looked at by *schema*."""
        if not isinstance(schema, dict) or not _ALSO & schema.keys():
            return 1
        if id(schema) not in self.breadths:
            self.breadths[id(schema)] = schema, 1  # for what leads in a circle
            parts = [part for word in ("allOf", "anyOf", "oneOf") for part in schema.get(word) or ()]
            if isinstance(schema.get("$ref"), str):
                parts.append(pointed_at(self.root, schema["$ref"], ()))
            self.breadths[id(schema)] = schema, 1 + sum(map(self.breadth, parts))
        return self.breadths[id(schema)][1]

    def random(self, path: Path) -> Random:
        """Return the chance of one column: it does not change with the columns beside it."""
        try:
            return Random(self.label(path))
        except UnicodeEncodeError:
            raise ValueError(f"{_shown(path)!r}: half of a surrogate pair, which is no text") from None

    def label(self, path: Path) -> str:
        return "/".join((self.seed, self.stream, *path))

    def column(self, schema: Any, path: Path, way: Way = Way()) -> Column:
        """Return a column of values that fit *schema*.

        Raises:
            ValueError: with path and reason, where none can be made.
        """
        if way.depth > ENDS:
            raise ValueError(f"{_shown(path)}: nested deeper than {ENDS} levels")
        self.columns += 1
        self.count(path, way, VALUE_SIZE)
        if self.breadth(schema) > MOST_BREADTH:
            raise ValueError(f"{_shown(path)}: more than {MOST_BREADTH:,} schemas are for one value, by allOf, anyOf, oneOf and $ref, which mock does not follow")
        found = self.chosen(schema, path, way)
        is_nullable = found.is_nullable
        reference = self.references.get(path)
        if is_nullable and self.is_ending(way):
            return lambda count: ["null"] * count
        if reference:
            r = self.random(path).random
            made: Column = lambda count: [reference.nth(int(r() * reference.count)) for _ in range(count)]  # noqa: E731
        elif any(map(overlap, found.ones)):
            made = self.exactly_one(schema, path, way, found)
            is_nullable = is_nullable and self.is_one(found.ones, None)
        else:
            made = self.ended(schema, path, way, found)
        if not is_nullable or not self.null_rate:
            return made
        rate, chance = self.null_rate, self.random((*path, "?")).random
        return lambda count: [text if chance() >= rate else "null" for text in made(count)]

    def ended(self, schema: Any, path: Path, way: Way, found: Resolved) -> Column:
        """Return a column of the first alternative, or, where this has no end, of the first that has one."""
        for choice in range(1, found.options):
            try:
                return self.typed(found.schema, path, found.way)
            except EndlessError:
                found = self.chosen(schema, path, way, choice)
        return self.typed(found.schema, path, found.way)

    def exactly_one(self, schema: Any, path: Path, way: Way, found: Resolved) -> Column:
        """Return a column of values that only one alternative of each oneOf fits, as far as there are any."""
        makers = []
        for choice in range(found.options):
            try:
                one = self.chosen(schema, path, way, choice)
                makers.append(self.typed(one.schema, path, replace(one.way, is_tried=True)))
            except EndlessError:
                continue
        if not makers:
            raise EndlessError(f"{_shown(path)}: it requires itself within itself, without end")
        label = ".".join(path)

        def one_text() -> str:
            if not way.is_tried:
                self.patience = PATIENCE
            for attempt in range(TRIES if label not in self.several else 1):
                self.patience -= 1
                if attempt and self.patience < 0:
                    break
                (text,) = makers[attempt * len(makers) // TRIES](1)
                if self.is_one(found.ones, json.loads(text, parse_float=_exact)):
                    return text
            self.several.add(label)
            return makers[0](1)[0]

        return lambda count: [one_text() for _ in range(count)]

    def is_one(self, ones: list[list[Any]], value: Any) -> bool:
        """Tell whether exactly one alternative of each oneOf fits *value*."""
        return all(sum(self.fits(option, value) for option in one) == 1 for one in ones)

    def typed(self, schema: Mapping[str, Any], path: Path, way: Way) -> Column:
        r = self.random(path).random
        if "const" in schema or schema.get("enum"):
            texts = [quoted(schema["const"])] if "const" in schema else enumerated(schema)
            return lambda count: [texts[int(r() * len(texts))] for _ in range(count)]
        kind = type_of(schema)
        if kind == "object":
            return self.object(schema, path, way)
        if kind == "array":
            return self.array(schema, path, way)
        if kind == "boolean":
            return lambda count: ["true" if r() < 0.5 else "false" for _ in range(count)]
        if kind in ("integer", "number"):
            return number(schema, kind, self.random(path), path)
        if kind == "null":
            return lambda count: ["null"] * count
        return self.string(schema, path, way)

    def object(self, schema: Mapping[str, Any], path: Path, way: Way) -> Column:
        properties: dict[str, Any] = dict(schema.get("properties") or {})
        properties |= members(schema, self.random((*path, "{}")))
        required = schema.get("required") if isinstance(schema.get("required"), list) else []
        for name in required or ():
            properties.setdefault(name, {"type": "string"})
        columns = []
        for name, child in properties.items():
            if child is False or (self.is_ending(way) and name not in (required or ())):
                continue
            columns.append((name, self.column(child, (*path, name), way.below())))
        template = ", ".join(f"{quoted(name)}: ".replace("%", "%%") + "%s" for name, _ in columns)
        template = "{" + template + "}"
        return lambda count: [template % row for row in zip(*(make(count) for _, make in columns), strict=True)] if columns else ["{}"] * count

    def array(self, schema: Mapping[str, Any], path: Path, way: Way) -> Column:
        items = schema.get("items", {"type": "string"})
        least = int(schema.get("minItems") or 0)
        most = int(schema.get("maxItems", least + MOST_ITEMS))
        if way.most * most > MANY_ITEMS:
            most = min(most, least + MOST_ITEMS)
        if isinstance(items, list) or "prefixItems" in schema:
            columns = [self.column(one, (*path, str(i)), way.below()) for i, one in enumerate(schema.get("prefixItems", items))]
            return lambda count: [f"[{', '.join(row)}]" for row in zip(*(make(count) for make in columns), strict=True)]
        if items is False or most == 0 or (self.is_ending(way) and not least):
            return lambda count: ["[]"] * count
        make, r, is_set = self.column(items, (*path, "[]"), way.below(least, most)), self.random(path).random, schema.get("uniqueItems")

        def one() -> str:
            wanted = least + int(r() * (most - least + 1))
            found = make(wanted)
            if is_set:
                found = list(dict.fromkeys(found))
                for _ in range(TRIES):
                    if len(found) >= least:
                        break
                    found = list(dict.fromkeys(found + make(1)))
            return f"[{', '.join(found)}]"

        return lambda count: [one() for _ in range(count)]

    def string(self, schema: Mapping[str, Any], path: Path, way: Way = Way()) -> Column:
        random = self.random(path)
        least, most = int(schema.get("minLength") or 0), int(schema.get("maxLength", UNBOUNDED))
        if least > most:
            raise ValueError(f"{_shown(path)}: no text fits: minLength is {least}, maxLength {most}")
        self.count(path, way, least)
        if isinstance(schema.get("pattern"), str):
            try:
                make, longest = of_pattern(schema["pattern"], random)
            except ValueError as fault:
                raise ValueError(f"{_shown(path)}: {fault}") from None
            self.most += way.most * longest
            one_of = fitting(make, least, most)
            return lambda count: [quoted(one_of()) for _ in range(count)]
        made = of_format(str(schema.get("format")), random)
        if made is not None and (least or "maxLength" in schema):  # a text of a format that is cut is of none
            one = made
            whole = fitting(lambda: one(1)[0], least + 2, most + 2)
            return lambda count: [whole() for _ in range(count)]
        if made is None and schema.get("contentEncoding") == "base64":
            made = of_bytes(random)
        if made is None:
            made = of_name(path[-1] if path else "", self.stream, self.label(path), random, self.faker)
        if not least and "maxLength" not in schema:
            return made
        return lambda count: [quoted(cut(json.loads(text), least, most)) for text in made(count)]

    def resolved(self, schema: Any, path: Path) -> tuple[dict[str, Any], bool]:
        """Return the first alternative of *schema* that is not null, and whether null is one, too."""
        found = self.chosen(schema, path)
        return found.schema, found.is_nullable

    def chosen(self, schema: Any, path: Path, way: Way = Way(), choice: int = 0) -> Resolved:
        """Return the alternative number *choice* of *schema*, of those that are not null; the last one if there are fewer."""
        found = Resolved(schema if isinstance(schema, dict) else {}, False, way)
        for _ in range(TRIES):
            schema = found.schema
            types = schema.get("type")
            if isinstance(types, list):
                found.is_nullable |= "null" in types and None in schema.get("enum", [None])
                schema = {**schema, "type": next((name for name in types if name != "null"), "null")}
            word = next((word for word in ("$ref", "allOf", "anyOf", "oneOf") if schema.get(word)), None)
            if word is None:
                found.schema = schema
                return found
            others = {name: value for name, value in schema.items() if name != word}
            if word == "$ref" and isinstance(schema[word], str):
                found.way = self.followed(schema[word], path, found.way)
                found.schema = merged(others, pointed_at(self.root, schema[word], path))
            elif word in ("$ref", "allOf"):
                for part in schema[word] if word == "allOf" else ():
                    others = merged(others, part)
                found.schema = others
            else:
                options = [option for option in schema[word] if not (isinstance(option, dict) and option.get("type") == "null")]
                found.is_nullable |= len(options) < len(schema[word])
                found.options = max(found.options, len(options))
                found.ones += [schema[word]] if word == "oneOf" else []
                found.schema = merged(others, options[min(choice, len(options) - 1)] if options else {"type": "null"})
        raise ValueError(f"{'.'.join(path)}: a $ref leads in a circle")

    def followed(self, reference: str, path: Path, way: Way) -> Way:
        """Return *way* with one more reference.

        Raises:
            EndlessError: it comes again where only what is required is made.
        """
        since = way.since if way.since is not None else way.followed.get(reference)
        way = replace(way, followed={reference: way.depth, **way.followed}, since=since)
        if not self.is_ending(way):
            return way
        if reference in way.beyond:
            raise EndlessError(f"{_shown(path)}: it requires itself within itself, without end")
        return replace(way, beyond=way.beyond | {reference})


_ALSO = {"$ref", "allOf", "anyOf", "oneOf"}


def _shown(path: Path) -> str:
    return ".".join(path)[:80] or "$"


def _exact(text: str) -> Decimal | int:
    """Return a number as validators of all drafts see it: 5.00 is an integer."""
    found = Decimal(text)
    return int(found) if found == found.to_integral_value() else found


def merged(left: dict[str, Any], right: Any) -> dict[str, Any]:
    """Return a schema that says what both say; of bounds the narrower ones."""
    if not isinstance(right, dict):
        return left
    found = {**left, **right}
    for word in ("properties", "required", "allOf"):
        if word in left and word in right:
            found[word] = {**left[word], **right[word]} if word == "properties" else [*left[word], *right[word]]
    for words, choose in ((("minimum", "minLength", "minItems"), max), (("maximum", "maxLength", "maxItems"), min)):
        for word in words:
            if word in left and word in right:
                found[word] = choose(left[word], right[word])
    return found


def pointed_at(root: Any, reference: str, path: Path) -> Any:
    """Return what a $ref within the schema leads to.

    Raises:
        ValueError: it leads nowhere, or out of the schema.
    """
    try:
        return references.pointed_at(root, reference)
    except LookupError as fault:
        raise ValueError(f"{'.'.join(path) or '$'}: $ref {reference[:80]!r} {fault.args[0]}") from None


def type_of(schema: Mapping[str, Any]) -> str:
    """Return the JSON type of a resolved schema, by its other keywords where it does not say."""
    found = schema.get("type")
    if isinstance(found, str):
        return found
    if "properties" in schema:
        return "object"
    if "items" in schema:
        return "array"
    return "number" if {"minimum", "maximum", "multipleOf"} & schema.keys() else "string"


def enumerated(schema: Mapping[str, Any]) -> list[str]:
    return [quoted(value) for value in schema["enum"] if value is not None] or ["null"]


# --- texts


def fitting(make: Callable[[], str], least: int, most: int) -> Callable[[], str]:
    """Return a maker of those texts that have the right length, as far as *make* gives any.

    It tries less and less often while there are none: what does not fit is found out by the check.
    """
    tries = TRIES

    def made() -> str:
        nonlocal tries
        text = make()
        for _ in range(tries):
            if least <= len(text) <= most:
                tries = TRIES
                return text
            text = make()
        tries //= 2
        return text

    return made


def cut(text: str, least: int, most: int) -> str:
    return text[:most].ljust(min(least, most), "x")


# --- keys


def key(values: Values, schema: Any, path: Path) -> Key | None:
    """Return the different values that a key's column can have, None where it is no scalar."""
    schema, _ = values.resolved(schema, path)
    if "const" in schema or schema.get("enum"):
        texts = [quoted(schema["const"])] if "const" in schema else list(dict.fromkeys(enumerated(schema)))
        return Key(texts.__getitem__, len(texts))
    kind, form, label = type_of(schema), schema.get("format"), values.label(path)
    if kind in ("integer", "number"):
        step, least, most = grid({**{"minimum": 1}, **schema}, kind)
        write = written(step)
        bounded = "maximum" in schema or "exclusiveMaximum" in schema
        return Key(lambda n: write(least + n), max(0, most - least + 1) if bounded else UNBOUNDED)
    if kind == "boolean":
        return Key(("true", "false").__getitem__, 2)
    if kind != "string":
        return None
    if isinstance(schema.get("pattern"), str):
        return _of_distinct(values, schema, path)
    if form == "date":
        return Key(lambda n: f'"{FIRST_DAY + dt.timedelta(n)}"', 2_000_000)
    if form == "date-time":
        return Key(lambda n: f'"{FIRST_DAY + dt.timedelta(n // 86400)}T{n // 3600 % 24:02}:{n // 60 % 60:02}:{n % 60:02}Z"')
    if form == "time":
        return Key(lambda n: f'"{n // 3600:02}:{n // 60 % 60:02}:{n % 60:02}Z"', 86400)
    if form == "uuid":
        return Key(lambda n: f'"{as_uuid(int(hashlib.md5(f"{label}/{n}".encode()).hexdigest(), 16))}"')
    if form in ("email", "idn-email"):
        return Key(lambda n: f'"user{n + 1}@example.com"')
    if form in ("uri", "url"):
        return Key(lambda n: f'"https://example.com/{n + 1}"')
    least, most = int(schema.get("minLength") or 0), min(64, int(schema.get("maxLength", 64)))
    values.count(path, Way(), least)
    return Key(lambda n: f'"{str(n + 1).rjust(least, "0")}"', min(UNBOUNDED, 10**most - 1))


def _of_distinct(values: Values, schema: Mapping[str, Any], path: Path) -> Key:
    """Return the key of a column with a pattern: so many different texts as there are to be rows, if it has them."""
    make, found, missed = values.string(schema, path), dict[str, None](), 0
    while len(found) < values.rows and missed < 10 * TRIES:
        (text,) = make(1)
        missed = missed + 1 if text in found else 0
        found[text] = None
    return Key(list(found).__getitem__, len(found))
