"""What becomes of one value of personal data: a function per method, compiled once per rule.

A mask takes a value as `values.parse` returns it and returns one of the same sort; null stays null.
What it cannot mask it refuses, in words that never show the value.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import re
import unicodedata
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from . import times, values
from .digits import NOT_FINITE, exact
from .values import Number

Mask = Callable[[Any], Any]

MIN_KEY = 16  # characters of a key
LONGEST_NUMBER = 40  # digits that are written out


@dataclass(frozen=True)
class Key:
    """The secret of hashes. Its version stands in front of each of them, so that a new key shows."""

    version: str
    secret: bytes

    def hasher(self, domain: str) -> Callable[[bytes], str]:
        """Return the HMAC-SHA256 of *domain*, NUL and a text: equal texts of two domains hash differently.

        It is RFC 2104 spelt out, so that the key's two blocks are hashed once: 0.7 µs a text, with hmac.copy() 1.1.
        """
        block = (hashlib.sha256(self.secret).digest() if len(self.secret) > 64 else self.secret).ljust(64, b"\0")
        inner, outer = (hashlib.sha256(bytes(byte ^ pad for byte in block)) for pad in (0x36, 0x5C))
        inner.update(domain.encode("utf-8", "surrogatepass") + b"\0")
        begun, ended = inner.copy, outer.copy

        def hashed(text: bytes) -> str:
            first, second = begun(), ended()
            first.update(text)
            second.update(first.digest())
            return second.hexdigest()

        return hashed


def read_key(text: Any) -> Key:
    """Return the key that is written as VERSION:SECRET.

    Raises:
        ValueError: in words that do not show it.
    """
    version, colon, secret = text.partition(":") if isinstance(text, str) else ("", "", "")
    if not colon or not re.fullmatch(r"[A-Za-z0-9_-]{1,16}", version):
        raise ValueError("wanted VERSION:SECRET, like v1:5fc1…, a version of up to 16 letters and digits")
    if len(secret) < MIN_KEY:
        raise ValueError(f"the secret has {len(secret)} characters, wanted {MIN_KEY} or more; try: openssl rand -hex 32")
    return Key(version, secret.encode("utf-8", "surrogateescape"))


@dataclass(frozen=True)
class Method:
    """A method as a rule names it: `hash`, `keep-first:2`, `truncate-date:month`."""

    name: str
    argument: str = ""

    @property
    def is_keyed(self) -> bool:
        """Tell whether it hashes: different values stay different, as those of a key must."""
        return self.name in ("hash", "hash-after")

    @property
    def makes_text(self) -> bool:
        """Tell whether values of all types become strings."""
        return self.name in ("hash", "hash-after", "redact", "keep-first", "keep-ends")

    @property
    def takes_all(self) -> bool:
        """Tell whether arrays and objects are masked as a whole."""
        return self.name in ("drop", "nullify", "redact")


def read_method(text: str) -> Method:
    """Return the method that *text* names.

    Raises:
        ValueError: there is none of this name, or its argument is wrong.
    """
    name, colon, argument = text.partition(":")
    if name not in METHODS:
        raise ValueError(f"{text!r} is none of {', '.join(METHODS.values())}")
    if name == "truncate-date":
        good = argument in UNITS
    elif METHODS[name].endswith(":N"):
        good = bool(re.fullmatch("[1-9][0-9]?", argument))
    else:
        good = not colon
    if not good:
        raise ValueError(f"{text!r}: wanted {METHODS[name]}")
    return Method(name, argument)


def compiled(method: Method, key: Key | None, domain: str) -> Mask:
    """Return the function that masks a value; ValueError where it cannot. `drop` and `nullify` give null."""
    count = int(method.argument) if method.argument.isdigit() else 0
    if method.is_keyed:
        assert key, "rules with a hash are not read without a key"
        hashed = compiled_for_text(method, key, domain)
        return lambda value: None if value is None else hashed(_bytes(value))
    if method.name == "redact":
        return lambda value: None if value is None else REDACTED
    if method.name == "mask":
        return _starred
    if method.name == "keep-first":
        return lambda value: None if value is None else _kept(text_of(value), count, 0)
    if method.name == "keep-ends":
        return lambda value: None if value is None else _kept(text_of(value), count, count)
    if method.name == "truncate-date":
        end = UNITS[method.argument]
        return lambda value: None if value is None else _truncated(value, end)
    return lambda value: None


def compiled_for_text(method: Method, key: Key, domain: str) -> Callable[[bytes], str]:
    """Return the function that hashes a text in UTF-8."""
    prefix, hashed = f"{key.version}:", key.hasher(domain)
    if method.name == "hash":
        return lambda text: prefix + hashed(text)
    count = int(method.argument)

    def hash_after(data: bytes) -> str:
        text = data.decode("utf-8", "surrogatepass")
        return f"{text[:count] if count < len(text) else ''}{prefix}{hashed(data)}"

    return hash_after


REDACTED = "redacted"
_START = "0001-01-01T00:00:00Z"
UNITS = {"year": 4, "month": 7, "day": 10, "hour": 13}  # and how much of a text like _START they keep
METHODS = {  # and how they are written
    "hash": "hash",
    "hash-after": "hash-after:N",
    "drop": "drop",
    "nullify": "nullify",
    "mask": "mask",
    "redact": "redact",
    "keep-first": "keep-first:N",
    "keep-ends": "keep-ends:N",
    "truncate-date": f"truncate-date:{'|'.join(UNITS)}",
}


def _bytes(value: Any) -> bytes:
    return (value if type(value) is str else text_of(value)).encode("utf-8", "surrogatepass")


def _starred(value: Any) -> Any:
    if value is None:
        return None
    if isinstance(value, bool):
        return False
    if isinstance(value, Number):
        return Number("0")
    text = text_of(value)
    return text.translate(_STARS) if text.isascii() else "".join("*" if _is_shown(char) else char for char in text)


def _is_shown(char: str) -> bool:
    """Tell whether a character is a letter, a digit, or a mark on one: vowel signs and accents tell a word, too."""
    return char.isalnum() or unicodedata.category(char)[0] == "M"


_WORD = re.compile(r"[^\W_]")
_STARS = _WORD.sub("*", "".join(map(chr, range(128))))


def _kept(text: str, first: int, last: int) -> str:
    """Return *text* with stars between its ends; a text that has no more than its ends is all stars."""
    hidden = len(text) - first - last
    if hidden <= 0:
        return "*" * len(text)
    return f"{text[:first]}{'*' * hidden}{text[len(text) - last :]}"


def _truncated(value: Any, end: int) -> str:
    if not isinstance(value, str) or isinstance(value, Number):
        raise ValueError(f"{kind_of(value)} is no date, wanted a string")
    text: str = value
    if _is_utc(text):
        return text[:end] + _START[end:]
    if _DAY.fullmatch(text):
        times.date(text)  # raises where there is no such day
        return text[:end] + _START[end:10]
    return times.timestamp_text(times.timestamp(text)[0])[:end] + _START[end:]


def _is_utc(text: str) -> bool:
    """Tell of most texts that are so whether they begin like a time as `timestamp_text` writes it: a fifth of the time."""
    return _UTC.fullmatch(text) is not None and (text[8:10] <= "28" or _is_day(text[:10])) and text[:4] != "0000"


@lru_cache
def _is_day(text: str) -> bool:
    try:
        return bool(dt.date.fromisoformat(text))
    except ValueError:
        return False


_DAY = re.compile("[0-9]{4}-[0-9]{2}-[0-9]{2}")
_UTC = re.compile("[0-9]{4}-(?:0[1-9]|1[0-2])-(?:0[1-9]|[12][0-9]|3[01])T(?:[01][0-9]|2[0-3])(?::[0-5][0-9]){2}(?:[.][0-9]+)?Z")


def text_of(value: Any) -> str:
    """Return the text of a scalar, the same for equal ones: 5, 5.0 and "5" are one.

    Raises:
        ValueError: it is an array or an object.
    """
    if isinstance(value, Number):
        return _number_text(value)
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    raise ValueError(f"{kind_of(value)} cannot be masked as a whole; name what is in it (a.b, a[].b), or drop, nullify or redact it")


def _number_text(number: Number) -> str:
    if number.isdigit() and number[0] != "0" and len(number) <= LONGEST_NUMBER:
        return str(number)
    if number in NOT_FINITE:
        return str(number)
    digits, power = exact(number)
    if not digits:
        return "0"
    sign = "-" if number.startswith("-") else ""
    if 0 <= power <= LONGEST_NUMBER - len(digits):
        return f"{sign}{digits}{'0' * power}"
    if -LONGEST_NUMBER < power < 0:
        digits = digits.rjust(1 - power, "0")
        return f"{sign}{digits[:power]}.{digits[power:]}"
    return f"{sign}{digits}e{power}"


def kind_of(value: Any) -> str:
    """Return the JSON type of a value with its article."""
    found = values.json_type(value)
    return f"an {found}" if found[0] in "aio" else f"a {found}"
