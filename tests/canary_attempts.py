"""Attempts to get a value past the rules for personal data: messages with a canary where a rule covers it, or nobody has named it."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from canaries import MARK, Canary

from target_meltano.samples import INT, STR

KEY = "v1:a secret of enough characters"
PROPERTIES: dict[str, Any] = {
    "id": INT,
    "seen": INT,
    "hash": STR,
    "after": STR,
    "drop": STR,
    "null": STR,
    "mask": STR,
    "redact": STR,
    "first": STR,
    "ends": STR,
    "date": {"type": ["string", "null"], "format": "date-time"},
    "addr": {"anyOf": [{"type": "null"}, {"type": "object", "properties": {"zip": STR, "city": STR}}]},
    "items": {"type": ["array", "null"], "items": {"type": "object", "properties": {"ssn": STR, "kind": INT}}},
    "open": {"type": ["object", "null"]},
    "text": STR,
    "number": INT,
    "any": {},
}
METHODS = {
    "hash": "hash",
    "after": "hash-after:2",
    "drop": "drop",
    "null": "nullify",
    "mask": "mask",
    "redact": "redact",
    "first": "keep-first:2",
    "ends": "keep-ends:2",
    "date": "truncate-date:year",
    "addr.zip": "hash",
    "items[].ssn": "mask",
    "open.phone": "hash",
    "text.phone": "keep-first:2",
    "number": "hash",
    "any": "hash",
}
Raw = bytes  # a value as it stands in a line


def raw(value: Any) -> Raw:
    return json.dumps(value, ensure_ascii=False).encode("utf-8", "surrogatepass")


def within(path: str, value: Raw) -> tuple[str, Raw]:
    """Return the property of a rule's path, and its value with *value* there."""
    name, _, rest = path.partition(".")
    if not rest:
        return name, value
    if name.endswith("[]"):
        return name[:-2], b'[{"%b": %b, "kind": 1}]' % (rest.encode(), value)
    inside = b'{"%b": %b}' % (rest.encode(), value)
    if name == "text":  # of bytes that are no text, too
        return name, b'"%b"' % inside.replace(b"\\", b"\\\\").replace(b'"', b'\\"')
    return name, inside


def record(stream: str, *members: tuple[str, Raw], behind: str = "") -> bytes:
    """Return the line of a record; a name may come twice. *behind* are further members of the message."""
    inside = b", ".join(b'"%b": %b' % (name.encode("utf-8", "surrogateescape"), value) for name, value in members)
    return b'{"type": "RECORD", "stream": "%b", "record": {%b}%b}' % (stream.encode(), inside, behind.encode())


def schema(stream: str, properties: dict[str, Any] = PROPERTIES, keys: tuple[str, ...] = ("id",), **more: Any) -> bytes:
    described = {"type": "object", "properties": properties, **more}
    return raw({"type": "SCHEMA", "stream": stream, "key_properties": list(keys), "schema": described})


def rules(stream: str, methods: dict[str, str] = METHODS) -> list[dict[str, Any]]:
    return [{"stream": stream, "columns": [path], "method": method} for path, method in methods.items()]


@dataclass
class Attempt:
    """*lines* with the canary of *number* in them. *ends*: the run has to end at it."""

    name: str
    number: int
    lines: list[bytes]
    rules: list[dict[str, Any]] = field(default_factory=list)
    ends: bool = False
    settings: dict[str, Any] = field(default_factory=dict)


# --- what stands where a rule covers it

VALUES: dict[str, Callable[[Canary], Raw]] = {
    "text": lambda one: raw(one.text),
    "upper case": lambda one: raw(one.text.upper()),
    "escapes": lambda one: b'"%b"' % "".join(f"\\u{ord(char):04x}" for char in one.text).encode(),
    "marks": lambda one: raw(f"ab{MARK.join(one.word)}{MARK}yz"),
    "integer": lambda one: raw(one.integer),
    "integer as text": lambda one: raw(str(one.integer)),
    "integer with a point": lambda one: b"%d.0" % one.integer,
    "integer with an exponent": lambda one: b"%de0" % one.integer,
    "integer too large": lambda one: b"%d00000" % one.integer,
    "time": lambda one: raw(one.instant),
    "wrong time": lambda one: raw(f"{one.instant} {one.text}"),
    "array": lambda one: raw([one.text]),
    "arrays": lambda one: raw([[one.text], [[one.text]]]),
    "object": lambda one: raw({"k": one.text}),
    "name in an object": lambda one: raw({one.text: 1}),
    "objects": lambda one: raw({"k": [{"k": {one.text: one.text}}]}),
    "JSON in text": lambda one: raw(json.dumps({"k": one.text, "phone": [one.text]})),
    "JSON in JSON in text": lambda one: raw(json.dumps(json.dumps({"phone": one.text}))),
    "array in text": lambda one: raw(json.dumps([one.text])),
    "cut JSON in text": lambda one: raw(json.dumps({"phone": one.text})[:-2]),
    "behind a mark of order": lambda one: raw("\ufeff" + one.text),
    "NUL": lambda one: raw(f"ab\0{one.text}\0yz"),
    "half a surrogate pair": lambda one: b'"ab\\ud800%b"' % one.text.encode(),
    "no UTF-8": lambda one: b'"ab\xff%b\xc3"' % one.text.encode(),
    "controls": lambda one: raw(f"ab\x1b[31m{one.text}\n\t'\"\\"),
    "raw controls": lambda one: b'"ab\n%b"' % one.text.encode(),
    "huge": lambda one: raw("ab" + one.word * 6000 + "yz"),
    "deep": lambda one: b"[" * 600 + raw(one.text) + b"]" * 600,
    "deeper": lambda one: b'{"phone":' * 5000 + raw(one.text) + b"}" * 5000,
    "NaN beside": lambda one: b'[NaN, %b]' % raw(one.text),
}



class Attempts(list[Attempt]):
    """All attempts, each with a canary of its own."""

    def canary(self, number: int) -> Canary:
        return Canary(number)

    def add(self, name: str, lines: Callable[[Canary], list[bytes]], **more: Any) -> None:
        number = len(self)
        self.append(Attempt(name, number, lines(Canary(number)), **more))


def good(stream: str, id_: int = 1, *more: tuple[str, Raw], behind: str = "") -> bytes:
    return record(stream, ("id", raw(id_)), ("hash", raw("a")), ("addr", b'{"zip": "1", "city": "Bern"}'), *more, behind=behind)


def bad(stream: str, *more: tuple[str, Raw], behind: str = "") -> bytes:
    """Return a record that is refused for its key."""
    return record(stream, ("id", raw("x")), ("hash", raw("a")), ("addr", b'{"zip": "1", "city": "Bern"}'), *more, behind=behind)


def of_values(made: Attempts) -> None:
    """Each value at the place of each rule: in a record that is good but for it, and in one that lacks its key."""
    for shape, value in VALUES.items():
        for path in METHODS:

            def lines(one: Canary, path: str = path, value: Callable[[Canary], Raw] = value) -> list[bytes]:
                where = within(path, value(one))
                return [record("people", ("id", raw(one.number + 10)), where), record("people", ("id", raw("x")), where)]

            made.add(f"{shape}, in {path}", lines)


UNNAMED: dict[str, Callable[[Canary], list[tuple[str, Raw]]]] = {
    "a field": lambda one: [("mail", raw(one.text))],
    "a field of that name": lambda one: [(one.text, raw(1))],
    "a column in another case": lambda one: [("Hash", raw(one.text)), ("HASH", raw([one.text]))],
    "a column with a blank": lambda one: [("hash ", raw(one.text))],
    "a column with a mark": lambda one: [("ha\u0301sh", raw(one.text)), ("hash\u200b", raw(one.text))],
    "the table's name of a member": lambda one: [("addr__zip", raw(one.text)), ("addr.zip", raw(one.text))],
    "a column of ours": lambda one: [("__extra", raw({"k": one.text})), ("__loaded_at", raw(one.text)), ("addr__extra", raw(one.text))],
    "a member beside named ones": lambda one: [("addr", raw({"zip": "1", "city": "Bern", "street": one.text}))],
    "a member in another case": lambda one: [("addr", raw({"Zip": one.text, "zip": "1"}))],
    "a member of an item": lambda one: [("items", raw([{"ssn": "1", "note": one.text}, {one.text: 1}]))],
    "a member of an item in another case": lambda one: [("items", raw([{"SSN": one.text, "kind": 1}]))],
    "an object in several of them": lambda one: [("addr", raw([{"zip": "1", "street": one.text}]))],
    "an object as text": lambda one: [("addr", raw(json.dumps({"zip": one.text, "street": one.text})))],
    "a text for an object": lambda one: [("addr", raw(one.text))],
    "a text for an array": lambda one: [("items", raw([one.text]))],
    "a text for a number, and a field": lambda one: [("seen", raw("x")), ("mail", raw(one.text))],
    "a text for a number": lambda one: [("seen", raw("7")), ("mail", raw(one.text))],
    "a time of a log": lambda one: [("_sdc_deleted_at", raw(one.text))],
    "a position in a log": lambda one: [("_sdc_lsn", raw([one.text]))],
    "a name twice, first": lambda one: [("hash", raw(one.text)), ("hash", raw("a"))],
    "a name twice, last": lambda one: [("hash", raw("a")), ("hash", raw(one.text))],
    "a name in escapes": lambda one: [("\\u0068ash", raw(one.text)), ("hash", raw("a"))],
    "a name in escapes, unnamed": lambda one: [("\\u006dail", raw(one.text))],
    "a name that is no UTF-8": lambda one: [("ma\udcffil", raw(one.text))],
    "a member of a member": lambda one: [("addr", raw({"zip": {"zip": {"zip": one.text}}}))],
}


def of_unnamed(made: Attempts) -> None:
    """What neither SCHEMA nor rule names: in records that load, and in those that do not."""
    for name, more in UNNAMED.items():

        def lines(one: Canary, more: Callable[[Canary], list[tuple[str, Raw]]] = more) -> list[bytes]:
            return [good("people", one.number + 10, *more(one)), bad("people", *more(one))]

        made.add(name, lines)


LINES: dict[str, Callable[[Canary], list[bytes]]] = {
    "cut off": lambda one: [good("people", 2, ("hash", raw(one.text)))[:-3], raw({"type": "RECORD", "hash": one.text})[:-1]],
    "no JSON": lambda one: [one.text.encode(), f"INFO read {one.text}".encode(), f"{{'hash': '{one.text}'}}".encode()],
    "other JSON": lambda one: [raw(one.text), raw([one.text]), raw([[{"k": one.text}]]), raw(one.integer)],
    "no type": lambda one: [raw({"stream": "people", "record": {"hash": one.text}}), raw({one.text: 1})],
    "another type": lambda one: [raw({"type": kind, "stream": "people", "record": {"hash": one.text}}) for kind in ("LOG", one.text, "RECORDS", 1, None)],
    "type in lower case": lambda one: [good("people", 900_001, ("hash", raw(one.text))).replace(b"RECORD", b"record")],
    "type in escapes": lambda one: [good("people", 900_002, ("hash", raw(one.text))).replace(b'"RECORD"', b'"R\\u0045CORD"')],
    "stream in escapes": lambda one: [good("people", 900_003, ("hash", raw(one.text))).replace(b'"people"', b'"p\\u0065ople"')],
    "stream twice": lambda one: [good("people", 900_004, ("hash", raw(one.text))).replace(b'"stream"', b'"stream": "other", "stream"', 1)],
    "stream twice, the other last": lambda one: [good("people", 900_005, ("hash", raw(one.text)), behind=', "stream": "other"')],
    "record twice": lambda one: [b'{"type": "RECORD", "stream": "people", "record": {"id": 900006, "hash": "%b"}, "record": {"id": 900006}}' % one.text.encode()],
    "type twice": lambda one: [b'{"type": "STATE", "value": 1, "type": "RECORD", "stream": "people", "record": {"id": 900007, "hash": "%b"}}' % one.text.encode()],
    "type last": lambda one: [b'{"record": {"id": 900008, "hash": "%b"}, "stream": "people", "type": "RECORD"}' % one.text.encode()],
    "no stream": lambda one: [raw({"type": "RECORD", "record": {"hash": one.text}}), raw({"type": "RECORD", "stream": None, "record": {"hash": one.text}})],
    "a stream that is none": lambda one: [raw({"type": "RECORD", "stream": stream, "record": {"hash": one.text}}) for stream in ("", 1, ["people"], {"k": one.text})],
    "an unknown stream": lambda one: [good(stream, 1, ("hash", raw(one.text))) for stream in ("poeple", "People", "people ", "public-people", "pe\u0301ople")],
    "a record that is none": lambda one: [raw({"type": "RECORD", "stream": "people", "record": record}) for record in (one.text, [one.text], [{"hash": one.text}], None)]
    + [raw({"type": "RECORD", "stream": "people", "note": one.text})],
    "further members": lambda one: [good("people", 900_009, behind=f', "note": "{one.text}", "{one.text}": 1'), bad("people", behind=f', "note": "{one.text}"')],
    "a version that is none": lambda one: [good("people", 900_010, behind=f', "version": "{one.text}"'), good("people", 900_011, behind=f', "version": ["{one.text}"]')],
    "a time that is none": lambda one: [good("people", 900_012, behind=f', "time_extracted": "{one.text}"'), bad("people", behind=f', "time_extracted": "2024 {one.text}"')],
    "a forged mark": lambda one: [good("people", 900_013, ("mask", raw(one.text)), behind=f', "masked": "{mark}"') for mark in (one.text, "0" * 16, "")]
    + [good("people", 900_014, ("mask", raw(one.text)), behind=', "masked": true')],
    "a mark of order": lambda one: [b"\xef\xbb\xbf" + good("people", 900_015, ("hash", raw(one.text)))],
    "blanks": lambda one: [b"\t " + good("people", 900_016, ("hash", raw(one.text))) + b" \r"],
    "two in a line": lambda one: [good("people", 900_017) + good("people", 900_018, ("hash", raw(one.text)))],
    "UTF-16": lambda one: [good("people", 900_019, ("hash", raw(one.text))).decode().encode("utf-16-le")],
    "NUL before it": lambda one: [b"\0" + good("people", 900_020, ("hash", raw(one.text)))],
    "NaN beside": lambda one: [b'{"type": "RECORD", "stream": "people", "record": {"id": NaN, "seen": -Infinity, "hash": "%b"}}' % one.text.encode()],
    "a number that no type holds": lambda one: [good("people", 10**30, ("hash", raw(one.text)), ("mail", raw(one.text)))],
    "no key": lambda one: [record("people", ("hash", raw(one.text)), ("mail", raw(one.text)))],
    "ACTIVATE_VERSION": lambda one: [
        raw({"type": "ACTIVATE_VERSION", "stream": "people", "version": 1, "note": one.text}),
        raw({"type": "ACTIVATE_VERSION", "stream": "people", "version": one.text}),
        raw({"type": "ACTIVATE_VERSION", "stream": "people", "note": one.text}),
    ],
    "STATE with more": lambda one: [raw({"type": "STATE", "value": {"people": {"id": 1}}, "note": one.text})],
    "STATE that is none": lambda one: [raw({"type": "STATE", "note": one.text})],
}


def of_lines(made: Attempts) -> None:
    for name, lines in LINES.items():
        made.add(f"line: {name}", lines)
