"""What becomes of one value of personal data: a function per method, compiled once per rule.

A mask takes a value as `values.parse` returns it and returns one of the same sort; null stays null.
What it cannot mask it refuses, in words that never show the value.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from . import times, values
from .values import Number

Mask = Callable[[Any], Any]

MIN_KEY = 16  # characters of a key
LONGEST_NUMBER = 40  # digits that are written out


@dataclass(frozen=True)
class Key:
    """The secret of hashes. Its version stands in front of each of them, so that a new key shows."""

    version: str
    secret: bytes

    def mac(self, domain: str) -> hmac.HMAC:
        """Return the HMAC-SHA256 that begins with *domain*: equal values of two domains hash differently."""
        return hmac.new(self.secret, domain.encode("utf-8", "surrogatepass") + b"\0", hashlib.sha256)


def read_key(text: str) -> Key:
    """Return the key that a variable holds, as VERSION:SECRET.

    Raises:
        ValueError: in words that do not show it.
    """
    version, colon, secret = text.partition(":")
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
        return self.name in ("hash", "hash-after")

    @property
    def keeps_keys(self) -> bool:
        """Tell whether different values stay different, as those of a key must."""
        return self.is_keyed

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
        return _hash(key, domain, count)
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


def _hash(key: Key, domain: str, count: int) -> Mask:
    prefix, begun = f"{key.version}:", key.mac(domain).copy

    def hashed(value: Any) -> str | None:
        if value is None:
            return None
        text = value if type(value) is str else text_of(value)
        mac = begun()
        mac.update(text.encode("utf-8", "surrogatepass"))
        start = text[:count] if count < len(text) else ""
        return f"{start}{prefix}{mac.hexdigest()}"

    return hashed


def _starred(value: Any) -> Any:
    if value is None:
        return None
    if isinstance(value, bool):
        return False
    if isinstance(value, Number):
        return Number("0")
    return _WORD.sub("*", text_of(value))


_WORD = re.compile(r"[^\W_]")


def _kept(text: str, first: int, last: int) -> str:
    """Return *text* with stars between its ends; a text that has no more than its ends is all stars."""
    hidden = len(text) - first - last
    if hidden <= 0:
        return "*" * len(text)
    return f"{text[:first]}{'*' * hidden}{text[len(text) - last :]}"


def _truncated(value: Any, end: int) -> str:
    if not isinstance(value, str) or isinstance(value, Number):
        raise ValueError(f"{kind_of(value)} is no date, wanted a string")
    if re.fullmatch("[0-9]{4}-[0-9]{2}-[0-9]{2}", value):
        times.date(value)  # raises where there is no such day
        return value[:end] + _START[end:10]
    return times.timestamp_text(times.timestamp(value)[0])[:end] + _START[end:]


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
    digits, power = values.exact(number)
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
