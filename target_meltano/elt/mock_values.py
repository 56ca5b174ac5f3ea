"""A JSON Schema becomes columns of mock values, compiled once per stream."""

from __future__ import annotations

import datetime as dt
import hashlib
import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from decimal import Decimal
from fractions import Fraction
from functools import cached_property
from random import Random
from typing import Any

from .. import references
from .mock_check import fitting_of, overlap
from .mock_text import FIRST_DAY, Column, as_uuid, members, of_bytes, of_format, of_name, of_pattern, quoted

Path = tuple[str, ...]
Nth = Callable[[int], str]  # the JSON of a key's value for a number from 0 on, another one for each
MOST_ITEMS = 3
MOST_DEPTH = 6  # levels that what contains itself may reach before only the rest that is required is made
MOST_COLUMNS = 2000  # the same of columns, in all: a schema with eight references to itself has as many at each level
ENDS = 500  # levels of schemas that end by themselves
TRIES = 200
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
    """How a place in a schema is reached: levels, and references that were followed.

    *is_again*: one of them came twice, so that there may be no end. *beyond* has those that were followed
    since only what is required is made.
    """

    depth: int = 0
    followed: frozenset[str] = frozenset()
    is_again: bool = False
    beyond: frozenset[str] = frozenset()

    def below(self) -> Way:
        return replace(self, depth=self.depth + 1)


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
    columns: int = 0

    @cached_property
    def fits(self) -> Callable[[Any, Any], bool]:
        return fitting_of(self.stream, self.root)

    def is_ending(self, way: Way) -> bool:
        """Tell whether only what is required is made from here on."""
        return way.is_again and (way.depth >= MOST_DEPTH or self.columns > MOST_COLUMNS)

    def random(self, path: Path) -> Random:
        """Return the chance of one column: it does not change with the columns beside it."""
        return Random(self.label(path))

    def label(self, path: Path) -> str:
        return "/".join((self.seed, self.stream, *path))

    def column(self, schema: Any, path: Path, way: Way = Way()) -> Column:
        """Return a column of values that fit *schema*.

        Raises:
            ValueError: with path and reason, where none can be made.
        """
        if way.depth > ENDS:
            raise ValueError(f"{'.'.join(path)[:80]}: nested deeper than {ENDS} levels")
        self.columns += 1
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
                makers.append(self.typed(one.schema, path, one.way))
            except EndlessError:
                continue
        if not makers:
            raise EndlessError(f"{'.'.join(path)[:80]}: it requires itself within itself, without end")
        label = ".".join(path)

        def one_text() -> str:
            for attempt in range(TRIES if label not in self.several else 1):
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
        return self.string(schema, path)

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
        if isinstance(items, list) or "prefixItems" in schema:
            columns = [self.column(one, (*path, str(i)), way.below()) for i, one in enumerate(schema.get("prefixItems", items))]
            return lambda count: [f"[{', '.join(row)}]" for row in zip(*(make(count) for make in columns), strict=True)]
        if items is False or most == 0 or (self.is_ending(way) and not least):
            return lambda count: ["[]"] * count
        make, r, is_set = self.column(items, (*path, "[]"), way.below()), self.random(path).random, schema.get("uniqueItems")

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

    def string(self, schema: Mapping[str, Any], path: Path) -> Column:
        random = self.random(path)
        least, most = int(schema.get("minLength") or 0), int(schema.get("maxLength", UNBOUNDED))
        if isinstance(schema.get("pattern"), str):
            make = of_pattern(schema["pattern"], random)
            return lambda count: [quoted(fitting(make, least, most)) for _ in range(count)]
        made = of_format(str(schema.get("format")), random)
        if made is not None and (least or "maxLength" in schema):  # a text of a format that is cut is of none
            one = made
            return lambda count: [fitting(lambda: one(1)[0], least + 2, most + 2) for _ in range(count)]
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
        way = replace(way, followed=way.followed | {reference}, is_again=way.is_again or reference in way.followed)
        if not self.is_ending(way):
            return way
        if reference in way.beyond:
            raise EndlessError(f"{'.'.join(path)[:80]}: it requires itself within itself, without end")
        return replace(way, beyond=way.beyond | {reference})


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


# --- numbers


def grid(schema: Mapping[str, Any], kind: str) -> tuple[Decimal, int, int]:
    """Return step, least and most of the numbers that fit: they are step * n for all n from least to most."""
    low = max(_bounds(schema, "minimum", "exclusiveMinimum"), default=None)
    high = min(_bounds(schema, "maximum", "exclusiveMaximum"), key=lambda bound: (bound[0], not bound[1]), default=None)
    step = Decimal(str(schema["multipleOf"])) if schema.get("multipleOf") else None
    if kind == "integer":
        exact = Fraction(step or 1)
        step = Decimal(exact.numerator)  # the least that is a whole number and a multiple
    if step is None:
        span = (high[0] - low[0]) if low and high else Fraction(1000)
        digits = 2
        while span * 10**digits < 100 and digits < 15:
            digits += 1
        step = Decimal(1).scaleb(-digits)
    size = Fraction(step)
    least = _first(low[0] / size, low[1]) if low else None
    most = -_first(-high[0] / size, high[1]) if high else None
    steps = max(1000, int(1000 / size)) if kind == "number" else 10_000
    if least is None:
        least = 0 if most is None or most >= 0 else most - steps
    return step, least, least + steps if most is None else most


def _bounds(schema: Mapping[str, Any], word: str, exclusive: str) -> list[tuple[Fraction, bool]]:
    """Return bounds, each with whether it is excluded itself; exclusive ones are booleans in draft 4."""
    inner, outer = schema.get(word), schema.get(exclusive)
    found = [(Fraction(str(inner)), outer is True)] if isinstance(inner, (int, float)) else []
    if isinstance(outer, (int, float)) and not isinstance(outer, bool):
        found.append((Fraction(str(outer)), True))
    return found


def _first(bound: Fraction, is_excluded: bool) -> int:
    return math.floor(bound) + 1 if is_excluded else math.ceil(bound)


def number(schema: Mapping[str, Any], kind: str, random: Random, path: Path) -> Column:
    step, least, most = grid(schema, kind)
    if least > most:
        raise ValueError(f"{'.'.join(path)}: no {kind} fits its bounds")
    r, span = random.random, most - least + 1
    if step == 1 and span < 1 << 50:
        return lambda count: [str(least + int(r() * span)) for _ in range(count)]
    write = written(step)
    is_fine = _divides(step) if schema.get("multipleOf") and kind == "number" else None

    def one() -> str:
        at = min(most, least + int(r() * span))
        text = write(at)
        if is_fine and not is_fine(text):
            near = (write(n) for n in (*range(at - 1, max(least, at - TRIES) - 1, -1), *range(at + 1, min(most, at + TRIES) + 1)))
            return next(filter(is_fine, near), text)
        return text

    return lambda count: [one() for _ in range(count)]


def written(step: Decimal) -> Callable[[int], str]:
    """Return a function that writes step * n with all its digits, and no exponent."""
    digits = max(0, -int(step.normalize().as_tuple().exponent))
    units = int(step.scaleb(digits))
    if not digits:
        return lambda n: str(n * units)

    def write(n: int) -> str:
        whole, rest = divmod(abs(n * units), 10**digits)
        return f"{'-' if n < 0 else ''}{whole}.{rest:0{digits}}"

    return write


def _divides(step: Decimal) -> Callable[[str], bool]:
    """Return a test whether a number is a multiple for those who calculate in floats, too: 4.35 / 0.01 is none."""
    size = float(step)
    return lambda text: (float(text) / size).is_integer()


# --- texts


def fitting(make: Callable[[], str], least: int, most: int) -> str:
    """Return one of the texts that *make* gives of the right length, if there is one."""
    text = make()
    for _ in range(TRIES):
        if least <= len(text) <= most:
            break
        text = make()
    return text


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
    least, most = int(schema.get("minLength") or 0), int(schema.get("maxLength", 64))
    return Key(lambda n: f'"{str(n + 1).rjust(least, "0")}"', min(UNBOUNDED, 10**most - 1))


def _of_distinct(values: Values, schema: Mapping[str, Any], path: Path) -> Key:
    """Return the key of a column with a pattern: so many different texts as there are to be rows, if it has them."""
    make, found, missed = values.string(schema, path), dict[str, None](), 0
    while len(found) < values.rows and missed < 10 * TRIES:
        (text,) = make(1)
        missed = missed + 1 if text in found else 0
        found[text] = None
    return Key(list(found).__getitem__, len(found))
