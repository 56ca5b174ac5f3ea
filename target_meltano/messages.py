"""Lines become messages.

Records are not parsed here: a reader reads whole lines at once. This module only finds out what a
line is, when the reader has refused it.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from typing import Any, TypeGuard

import msgspec

from . import values
from .deep import MAX_DEPTH, deeply
from .digits import NOT_FINITE, exact
from .errors import BatchError, MessageError, shown

LONGEST_INT = 4000  # digits; Python converts some more, but not many


@dataclass(frozen=True)
class Schema:
    """A SCHEMA message. *keys* are names of properties, empty for none."""

    stream: str
    schema: Any
    keys: tuple[str, ...]


@dataclass(frozen=True)
class Record:
    """A RECORD message, which is read elsewhere. *version* is None also where it is no version."""

    stream: str
    version: int | None = None


@dataclass(frozen=True)
class State:
    """A STATE message; *text* is its value as JSON, as it was written."""

    text: str


@dataclass(frozen=True)
class Activate:
    """An ACTIVATE_VERSION message: rows of older versions are not current any more."""

    stream: str
    version: int


@dataclass(frozen=True)
class Batch:
    """A BATCH message: the records are in files. How these are compressed, they say themselves."""

    stream: str
    format: str
    manifest: tuple[str, ...]


@dataclass(frozen=True)
class Other:
    """A message of a type that is not known."""

    type: str
    stream: str | None


class Envelope(msgspec.Struct, gc=False):
    """What a line says of itself; the rest is skipped."""

    type: str = ""
    stream: str = ""
    version: int | None = None


REFUSED = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)  # what a decoder raises


def envelope(line: bytes) -> Envelope:
    """Return what a line says of itself, nothing where it is no JSON object, or has a stream that `parse` refuses."""
    try:
        found = msgspec.json.decode(line, type=Envelope)
    except REFUSED:
        return Envelope()
    return Envelope() if values.is_bad_text(found.stream) else found


Message = Schema | Record | State | Activate | Batch | Other


def parse(line: bytes, number: int, rules: values.Rules) -> Message:
    """Return the message of one line. Bad text is replaced in records only.

    Raises:
        MessageError: with the line's number and the fault.
    """
    try:
        return _parse(line, number, rules)
    except RecursionError:
        pass
    try:
        return deeply(_parse, line, number, rules)
    except RecursionError:
        raise MessageError(f"nested deeper than {MAX_DEPTH} levels", line=number) from None


def _parse(line: bytes, number: int, rules: values.Rules) -> Message:
    kind = ""
    try:
        found = read(line, rules)
        if not isinstance(found, dict):
            raise ValueError("a message is a JSON object")
        named = found.get("type")
        if not _is_text(named):
            raise ValueError('a message has a "type": SCHEMA, RECORD or STATE')
        kind = named.upper()
        if rules.replace_bad_text and kind != "RECORD":
            found = values.parse(line)
        return _READERS.get(kind, _other)(found)
    except values.TooDeep:
        raise
    except values.NotJson as error:
        text = f": {shown(line.decode('utf-8', 'replace').strip())}" if rules.shows_lines else ""
        raise MessageError(f"{error}{text}", line=number) from None
    except ValueError as error:
        raise (BatchError if kind == "BATCH" else MessageError)(str(error), line=number) from None


def read(line: bytes, rules: values.Rules) -> Any:
    """Parse the line of a message: NaN and the infinities are numbers in a RECORD, and a fault elsewhere.

    Raises:
        ValueError: with the fault in words.
    """
    found = values.parse(line, rules, not_finite=True)
    is_record = isinstance(found, dict) and str(found.get("type")).upper() == "RECORD"
    return found if is_record or not (b"NaN" in line or b"Infinity" in line) else values.parse(line, rules)


def _schema(found: dict[str, Any]) -> Schema:
    stream, schema, keys = _stream(found), found.get("schema"), found.get("key_properties", _MISSING)
    if not isinstance(schema, dict):
        raise ValueError(f'stream {stream!r}: a SCHEMA has a "schema", a JSON object')
    if keys is _MISSING:
        raise ValueError(f'stream {stream!r}: a SCHEMA has "key_properties", [] for no key')
    if keys is None:
        keys = []
    if not isinstance(keys, list) or not all(map(_is_text, keys)):
        raise ValueError(f'stream {stream!r}: "key_properties" is a list of names of properties')
    return Schema(stream, numbers_as_python(schema), tuple(dict.fromkeys(keys)))


def _record(found: dict[str, Any]) -> Record:
    stream = _stream(found)
    if "record" not in found:
        raise ValueError(f'stream {stream!r}: a RECORD has a "record"')
    try:
        return Record(stream, values.version_of(found))
    except ValueError:  # it may be of no interest
        return Record(stream)


def _state(found: dict[str, Any]) -> State:
    if "value" not in found:
        raise ValueError('a STATE has a "value"')
    return State(values.json_text(found["value"]))


def _other(found: dict[str, Any]) -> Other:
    return Other(found["type"].upper(), found["stream"] if _is_text(found.get("stream")) else None)


def _activate(found: dict[str, Any]) -> Activate:
    stream, version = _stream(found), values.version_of(found)
    if version is None:
        raise ValueError(f'stream {stream!r}: an ACTIVATE_VERSION has a "version"')
    return Activate(stream, version)


def _batch(found: dict[str, Any]) -> Batch:
    stream, encoding, manifest = _stream(found), found.get("encoding"), found.get("manifest")
    encoding = encoding if isinstance(encoding, dict) else {}
    form, compression = encoding.get("format"), encoding.get("compression")
    if form not in BATCH_FORMATS:
        raise ValueError(
            f'stream {stream!r}: the "encoding" of a BATCH has the format {values.shown_value(form)}, wanted {" or ".join(BATCH_FORMATS)}'
        )
    if compression is not None and not (_is_text(compression) and (form == "parquet" or compression.lower() in ("none", "gzip", ""))):
        raise ValueError(
            f'stream {stream!r}: the "encoding" of a BATCH has the compression {values.shown_value(compression)}, wanted none or gzip'
        )
    if not isinstance(manifest, list) or not all(map(_is_text, manifest)):
        raise ValueError(f'stream {stream!r}: a BATCH has a "manifest", a list of URLs of files')
    return Batch(stream, str(form), tuple(manifest))


def _stream(found: dict[str, Any]) -> str:
    stream = found.get("stream")
    if not _is_text(stream) or not stream:
        raise ValueError(f'a {found["type"]} has a "stream", its name; found {shown(stream)}')
    if values.is_bad_text(stream):
        raise ValueError(f'the "stream" of a {found["type"]} is {shown(stream)}; no database keeps a name with NUL or half of a surrogate pair')
    return str(stream)


def _is_text(value: Any) -> TypeGuard[str]:
    return isinstance(value, str) and not isinstance(value, values.Number)


_MISSING = object()
BATCH_FORMATS = ("jsonl", "parquet")
_READERS: dict[str, Callable[[dict[str, Any]], Message]] = {
    "SCHEMA": _schema,
    "RECORD": _record,
    "STATE": _state,
    "ACTIVATE_VERSION": _activate,
    "BATCH": _batch,
}


def json_of(value: Any) -> str:
    """Write what `numbers_as_python` has returned as JSON again; a level of a schema may be four of JSON."""
    return values.json_text(_as_parsed(value), depth=-4 * MAX_DEPTH)


def _as_parsed(value: Any) -> Any:
    if isinstance(value, float):
        return values.Number(json.dumps(value))  # NaN, where str says nan
    if isinstance(value, (int, Decimal)) and not isinstance(value, bool):
        return values.Number(value)
    if isinstance(value, (list, tuple)):
        return [_as_parsed(item) for item in value]
    if isinstance(value, dict) and all(isinstance(key, str) for key in value):
        return {key: _as_parsed(item) for key, item in value.items()}
    if value is None or isinstance(value, (str, bool)):
        return value
    raise ValueError(f"a message holds a {type(value).__name__}, which is not JSON")


def numbers_as_python(value: Any) -> Any:
    """Return a parsed value with Python's int and Decimal for its numbers, as jsonschema wants them.

    Raises:
        ValueError: an exponent is beyond what Decimal takes.
    """
    if isinstance(value, values.Number):
        return _number_as_python(value)
    if isinstance(value, list):  # loops, not comprehensions: those would take two frames a level
        items = []
        for item in value:
            items.append(numbers_as_python(item))
        return items
    if isinstance(value, dict):
        members = {}
        for key, item in value.items():
            members[key] = numbers_as_python(item)
        return members
    return value


def _number_as_python(number: values.Number) -> int | Decimal:
    if number in NOT_FINITE:
        return Decimal(number)
    digits, power = exact(number)
    if power >= 0 and len(digits) + power <= LONGEST_INT:  # 1.0, too
        return int(f"{'-' * number.startswith('-')}{digits or 0}{'0' * power}")
    try:
        return Decimal(number)
    except InvalidOperation:
        raise ValueError("a number has an exponent of more than 18 digits") from None
