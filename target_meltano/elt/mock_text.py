"""Texts for mock data: by pattern, by format, and in the style of a field's name.

A column is a function that makes so many values at once, as JSON. All chance comes from `random.random` and
`getrandbits` of a seeded generator, which give the same on every version of Python.
"""

from __future__ import annotations

import base64
import datetime as dt
import json
import re
import sys
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from functools import cache
from random import Random
from typing import Any

if sys.version_info >= (3, 11):
    from re import _parser as parser  # type: ignore[attr-defined]
else:
    import sre_parse as parser

Column = Callable[[int], list[str]]
Maker = Callable[[], str]  # of one text, not yet JSON

quoted = json.dumps
FIRST_DAY = dt.date(2020, 1, 1)
DAYS = [str(FIRST_DAY + dt.timedelta(days=i)) for i in range(6 * 365)]
MOST_REPEATS = 8  # of what a pattern lets repeat without end
LONGEST = 100_000  # characters of a text that a pattern wants
_REPEATS = ("MAX_REPEAT", "MIN_REPEAT", "POSSESSIVE_REPEAT")
MEMBERS = 2  # of an object, for each pattern of its patternProperties
MOST_TRIES = 10  # for their names
POOL = 500  # values that faker is asked for, of each column
WORDS = ["amber", "birch", "cedar", "delta", "ember", "fable", "grove", "haven", "iris", "juniper", "karma", "lotus", "maple", "nova", "onyx", "pearl", "quartz", "river", "sage", "thorn", "umber", "violet", "willow", "xenon", "yarrow", "zephyr", "acorn", "breeze", "coral", "dune", "echo", "fern", "glade", "hazel", "ivory", "jade"]


# --- patterns


def of_pattern(pattern: str, random: Random) -> tuple[Maker, int]:
    """Return a maker of texts that match a regular expression, and how many characters they have at most.

    Raises:
        ValueError: it has something of which no text can be made, like a look-ahead, or one that is too long.
    """
    try:
        parsed = parser.parse(pattern)
    except (re.error, RecursionError, OverflowError):
        raise ValueError(f"pattern {pattern[:80]!r} is none that Python reads") from None
    more = next((more for more in (MOST_REPEATS, 1, 0) if _longest(parsed, more) <= LONGEST), None)
    if more is None:
        raise ValueError(f"pattern {pattern[:80]!r} wants more than {LONGEST:,} characters, which mock does not make")
    groups: dict[int, str] = {}
    make = _sequence(parsed, random, groups, more)

    def made() -> str:
        groups.clear()
        return make()

    return made, _longest(parsed, more)


def _longest(items: Any, more: int) -> int:
    """Return how many characters a text has at most, with so many *more* repetitions than have to be. What refers to a group counts as one."""
    size = 0
    for kind, value in items:
        if str(kind) in _REPEATS:
            least, most, inner = value
            size += min(int(most), least + more) * max(1, _longest(inner, more))
        elif str(kind) == "BRANCH":
            size += max(_longest(inner, more) for inner in value[1])
        else:
            size += _longest(value[-1], more) if str(kind) == "SUBPATTERN" else 1
    return size


def _sequence(items: Any, random: Random, groups: dict[int, str], more: int) -> Maker:
    parts = [_part(str(kind), value, random, groups, more) for kind, value in items]
    return lambda: "".join([part() for part in parts])


def _part(kind: str, value: Any, random: Random, groups: dict[int, str], more: int) -> Maker:
    """Return a maker for one node of Python's own tree of a pattern."""
    if kind == "LITERAL":
        text = chr(value)
        return lambda: text
    if kind == "AT" and str(value) in ("AT_BEGINNING", "AT_BEGINNING_STRING", "AT_END", "AT_END_STRING"):
        return lambda: ""
    if kind in ("IN", "ANY", "NOT_LITERAL", "CATEGORY"):
        chars = _chars(kind, value)
        return lambda: chars[int(random.random() * len(chars))]
    if kind in _REPEATS:
        least, most, items = value
        span = min(int(most), least + more) - least + 1
        one = _sequence(items, random, groups, more)
        return lambda: "".join([one() for _ in range(least + int(random.random() * span))])
    if kind == "BRANCH":
        ways = [_sequence(items, random, groups, more) for items in value[1]]
        return lambda: ways[int(random.random() * len(ways))]()
    if kind == "SUBPATTERN":
        number, inner = value[0], _sequence(value[-1], random, groups, more)

        def group() -> str:
            text = inner()
            if number is not None:
                groups[number] = text
            return text

        return group
    if kind == "GROUPREF":
        return lambda: groups.get(value, "")
    raise ValueError(f"a pattern has {kind.lower()}, of which mock makes no text")


_PRINTABLE = [chr(code) for code in range(32, 127)]


def _chars(kind: str, value: Any) -> list[str]:
    """Return the printable ASCII characters that a class has, or its first ones where it has none of these."""
    if kind == "ANY":
        return _PRINTABLE
    if kind == "NOT_LITERAL":
        return [char for char in _PRINTABLE if ord(char) != value]
    items = [(kind, value)] if kind == "CATEGORY" else [(str(name), item) for name, item in value]
    negated = items[0][0] == "NEGATE"
    tests = [_in(name, item) for name, item in items[negated:]]
    found = [char for char in _PRINTABLE if any(test(ord(char)) for test in tests) != negated]
    if not found:
        found = [chr(code) for code in range(128, 0x3000) if any(test(code) for test in tests) != negated][:50]
    if not found:
        raise ValueError("a pattern has a class of which mock knows no character")
    return found


def _in(name: str, item: Any) -> Callable[[int], bool]:
    if name == "RANGE":
        return lambda code: item[0] <= code <= item[1]
    if name == "LITERAL":
        return lambda code: bool(code == item)
    classes = {"DIGIT": r"[0-9]", "SPACE": r"[ ]", "WORD": r"[0-9A-Za-z_]"}
    word = str(item).rpartition("_")[2]
    if name != "CATEGORY" or word not in classes:
        raise ValueError(f"a pattern has a class with {name.lower()}, of which mock makes no text")
    negated = "_NOT_" in str(item)
    return lambda code: bool(re.match(classes[word], chr(code))) != negated


def members(schema: Mapping[str, Any], random: Random) -> dict[str, Any]:
    """Return the schemas of members that an object's schema allows without naming them, under names that are invented.

    Two for each pattern, or as many as there can be; one more where additionalProperties says what it is.
    """
    if "maxProperties" in schema or "propertyNames" in schema:
        return {}
    named, patterns, more = schema.get("properties") or {}, schema.get("patternProperties") or {}, schema.get("additionalProperties")
    found: dict[str, Any] = {}
    for pattern, child in patterns.items():
        with suppress(ValueError):  # no text can be made of it
            make, _ = of_pattern(pattern, random)
            tried = [*(_word(random.random) for _ in range(MOST_TRIES)), *(make() for _ in range(MOST_TRIES))]
            names = [name for name in dict.fromkeys(tried) if name not in named and _fitting(patterns, name) == [pattern]]
            found |= dict.fromkeys(names[:MEMBERS] if child is not False else (), child)
    if isinstance(more, dict) and (more or not named) and "key" not in named and not _fitting(patterns, "key"):
        found["key"] = more
    return found


def _fitting(patterns: Iterable[str], name: str) -> list[str]:
    return [pattern for pattern in patterns if re.search(pattern, name)]


# --- formats


def of_format(name: str, random: Random) -> Column | None:
    """Return a column of texts in one of JSON Schema's formats, None where it is not known."""
    r, bits = random.random, random.getrandbits

    def each(make: Maker) -> Column:
        return lambda count: [make() for _ in range(count)]

    makers: dict[str, Maker] = {
        "date-time": lambda: f'"{DAYS[int(r() * len(DAYS))]}T{_clock(int(r() * 86400))}Z"',
        "date": lambda: f'"{DAYS[int(r() * len(DAYS))]}"',
        "time": lambda: f'"{_clock(int(r() * 86400))}Z"',
        "email": lambda: f'"{_word(r)}.{_word(r)}{int(r() * 1000)}@example.com"',
        "uuid": lambda: f'"{as_uuid(bits(128))}"',
        "uri": lambda: f'"https://example.com/{_word(r)}/{int(r() * 10000)}"',
        "hostname": lambda: f'"{_word(r)}{int(r() * 1000)}.example.com"',
        "ipv4": lambda: f'"10.{int(r() * 256)}.{int(r() * 256)}.{int(r() * 256)}"',
        "ipv6": lambda: f'"2001:db8::{bits(16):x}:{bits(16):x}"',
        "duration": lambda: f'"P{1 + int(r() * 30)}D"',
        "singer.decimal": lambda: f'"{int(r() * 1000)}.{int(r() * 100):02}"',
    }
    aliases = {"idn-email": "email", "url": "uri", "iri": "uri", "uri-reference": "uri", "x-singer.decimal": "singer.decimal"}
    make = makers.get(aliases.get(name, name))
    return each(make) if make else None


def of_bytes(random: Random) -> Column:
    """Return a column of base64."""
    return lambda count: [f'"{base64.b64encode(random.getrandbits(64).to_bytes(8, "big")).decode()}"' for _ in range(count)]


def as_uuid(number: int) -> str:
    """Return a UUID of version 4 with the bits of *number*."""
    digits = f"{number:032x}"
    return f"{digits[:8]}-{digits[8:12]}-4{digits[13:16]}-a{digits[17:20]}-{digits[20:]}"


def _clock(second: int) -> str:
    return f"{second // 3600:02}:{second // 60 % 60:02}:{second % 60:02}"


def _word(r: Callable[[], float]) -> str:
    return WORDS[int(r() * len(WORDS))]


# --- names of fields

PEOPLE = re.compile(r"user|customer|person|people|employee|contact|member|lead|author|patient|student|owner")
STYLES = [  # the end of a field's name in snake case; faker's method for it; a format, or None for words
    (r"e_?mail(_address)?", "email", "email"),
    (r"(url|website|link|homepage)", "url", "uri"),
    (r"(uuid|guid)", None, "uuid"),
    (r"ip(_address)?", "ipv4", "ipv4"),
    (r"(_at|_on|_time|timestamp|datetime)", None, "date-time"),
    (r"(date|birthday|dob)", None, "date"),
    (r"first_?name|given_?name", "first_name", None),
    (r"(last_?name|surname|family_?name)", "last_name", None),
    (r"(user_?name|login|nickname|handle)", "user_name", None),
    (r"(company|organi[sz]ation|employer|vendor|supplier|brand)(_name)?", "company", None),
    (r"(full_?name|contact_?name|customer_?name)", "name", None),
    (r"(street|address)(_?line)?_?[0-9]?", "street_address", None),
    (r"(city|town)", "city", None),
    (r"country_?code", "country_code", None),
    (r"country", "country", None),
    (r"(state|province|region)", "state", None),
    (r"(zip|postal|post)_?(code)?", "postcode", None),
    (r"(phone|mobile|fax|telephone)(_?number)?", "phone_number", None),
    (r"currency(_?code)?", "currency_code", None),
    (r"(iban)", "iban", None),
    (r"(job|role|job_?title|position)", "job", None),
    (r"(description|comment|note|text|body|summary|message)s?", "sentence", None),
    (r"(title|subject|headline)", "catch_phrase", None),
    (r"colou?r", "color_name", None),
    (r"(product|item)_?name", "catch_phrase", None),
]


def of_name(field: str, stream: str, seed: str, random: Random, faker: Any) -> Column:
    """Return a column in the style of a field's name; *faker* is the module, or None for words."""
    name = re.sub(r"([a-z0-9])([A-Z])", r"\1_\2", field).lower()
    method, form = next(
        ((method, form) for pattern, method, form in STYLES if re.search(rf"(^|_|(?=_)){pattern}\Z", name)), (None, None)
    )
    if method is None and name == "name":
        method = "name" if PEOPLE.search(stream.lower()) else "catch_phrase"
    r = random.random
    if faker and method:
        pool = _pool(faker, method, seed)
        return lambda count: [pool(int(r() * POOL)) for _ in range(count)]
    made = of_format(form, random) if form else None
    return made or (lambda count: [f'"{_word(r)} {_word(r)}"' for _ in range(count)])


@cache
def _pool(faker: Any, method: str, seed: str) -> Callable[[int], str]:
    """Return a function from a number to one of a column's texts: each is made when it is asked for, and kept.

    A column that is compiled anew, as after the check, has the same.
    """

    @cache
    def text(n: int) -> str:
        fake = _instance(faker)
        fake.seed_instance(f"{seed}/{n}")
        return quoted(str(getattr(fake, method)()))

    return text


@cache
def _instance(faker: Any) -> Any:
    """Return the one instance that all columns share: it takes 20 ms to make. Rare texts as often as others take a fifth of the time."""
    return faker.Faker(use_weighting=False)
