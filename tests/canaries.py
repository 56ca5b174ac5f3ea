"""Canaries: values that nobody may see, each of one attempt, and what finds them in any bytes however they are written there."""

from __future__ import annotations

import base64
import datetime as dt
import re
from collections.abc import Iterator
from dataclasses import dataclass

WORD = "qz7kanari"
MARK = "\u1dc4"  # on letters, as accents and vowel signs are; used for nothing else
MOST = 10_000  # attempts
_BASE = int.from_bytes(b"ZCNRY!\0\0", "big")
_INSTANT = dt.datetime(1985, 10, 26, 1, 21, 7, tzinfo=dt.timezone.utc)


@dataclass(frozen=True)
class Canary:
    """The values of one attempt; a method that keeps two characters at either end keeps none of the word."""

    number: int

    @property
    def word(self) -> str:
        return f"{WORD}{self.number:04}"

    @property
    def text(self) -> str:
        return f"ab{self.word}yz"

    @property
    def integer(self) -> int:
        return _BASE + self.number

    @property
    def instant(self) -> str:
        return f"1985-10-26T01:21:07.{self.number:06}Z"


def _common(first: bytes, last: bytes) -> bytes:
    """Return what both begin with."""
    size = next(at for at in range(len(first)) if first[at] != last[at])
    return first[:size]


def _integers(first: int, last: int) -> Iterator[bytes]:
    """Yield what all integers between these two have in common, as 64 bits, of either order."""
    common = _common(first.to_bytes(8, "big", signed=True), last.to_bytes(8, "big", signed=True))
    yield from (common, common[::-1])


def _microseconds(since: int) -> int:
    """Return microseconds from the begin of the year *since* to the instant of all canaries."""
    return (_INSTANT - dt.datetime(since, 1, 1, tzinfo=dt.timezone.utc)) // dt.timedelta(microseconds=1)


def _forms() -> Iterator[tuple[str, bytes]]:
    """Yield what to look for in bytes whose letters are lower case."""
    yield "text", WORD.encode()
    yield "UTF-16", WORD.encode("utf-16-le")
    yield "hex", WORD.encode().hex().encode()
    yield "marks", MARK.encode()  # see `_marks_in_a_row`
    yield "marks, escaped", b"\\u1dc4"
    for backslash in ("\\", "\\\\", "\\\\\\\\"):  # of JSON, in JSON, in JSON
        yield "escapes", "".join(f"{backslash}u{ord(char):04x}" for char in WORD).encode()
    yield "bytes in a tree", b" ".join(b"%d" % byte for byte in WORD.encode())  # of constants, as a server prints them
    yield "integer", _common(str(_BASE).encode(), str(_BASE + MOST).encode())
    yield "float", str(float(_BASE)).encode()[:13]
    yield "date", b"1985-10-26"
    yield "date", b"19851026"
    yield "time", b"01:21:07"  # see `_time_of_a_canary`
    yield "epoch", b"%d" % int(_INSTANT.timestamp())
    for form in _integers(_BASE, _BASE + MOST):
        yield "64 bits", form.lower()
    for since in (1970, 2000):
        for form in _integers(_microseconds(since), _microseconds(since) + MOST):
            yield "64 bits of a time", form.lower()


FORMS = tuple(_forms())
assert min(len(form) for _, form in FORMS) >= 3
CODED = tuple(  # base64, wherever in a longer text it stands
    base64.b64encode(b"\0" * before + WORD.encode()).decode()[-(-8 * before // 6) : 8 * (before + len(WORD)) // 6].encode() for before in range(3)
)
_NUMBER = re.compile(rb"%b(\d{4})" % WORD.encode())
_INTEGER = re.compile(rb"(%b\d{5})" % _common(str(_BASE).encode(), str(_BASE + MOST).encode()))
_HEX_NUMBER = re.compile(rb"%b((?:3\d){4})" % WORD.encode().hex().encode())


@dataclass(frozen=True)
class Hit:
    """A canary that was found: its *number* where that can be told, its *form*, and what stands around it."""

    number: int | None
    form: str
    around: str


def hits(data: bytes) -> list[Hit]:
    """Return all canaries in *data*, one of each number and form."""
    lower, found = data.lower(), {}
    for form, wanted in FORMS:
        at = _BY_RULE[form](lower) if form in _BY_RULE else lower.find(wanted)
        if at < 0:
            continue
        pattern = {"text": _NUMBER, "hex": _HEX_NUMBER, "integer": _INTEGER}.get(form)
        numbers: dict[int | None, int] = {} if pattern else {None: at}
        for one in pattern.finditer(lower) if pattern else ():
            digits = int(bytes.fromhex(one[1].decode()) if form == "hex" else one[1])
            numbers.setdefault(digits - _BASE if form == "integer" else digits, one.start())
        for number, start in (numbers or {None: at}).items():
            found[number, form] = Hit(number, form, _around(data, start))
    for wanted in CODED:
        if (at := data.find(wanted)) >= 0:
            found[None, "base64"] = Hit(None, "base64", _around(data, at))
    return list(found.values())


def _time_of_a_canary(lower: bytes) -> int:
    """Return where its time of day is without a date, -1 for nowhere: once a day a clock shows it, beside today's date."""
    starts = (one.start() for one in re.finditer(rb"01:21:07", lower))
    return next((at for at in starts if not re.fullmatch(rb"\d{4}-\d\d-\d\d[ t]", lower[max(0, at - 11) : at])), -1)


def _marks_in_a_row(lower: bytes) -> int:
    """Return where two marks are, at most a letter between them, -1 for nowhere: a number in binary may have the three bytes of one."""
    found = re.search(rb"%b.{0,4}%b" % (MARK.encode(), MARK.encode()), lower, re.DOTALL)
    return found.start() if found else -1


_BY_RULE = {"time": _time_of_a_canary, "marks": _marks_in_a_row}


def _around(data: bytes, at: int) -> str:
    return ascii(data[max(0, at - 120) : at + 80].decode("utf-8", "replace"))

