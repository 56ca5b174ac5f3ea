"""From lines to the rows that they should have become: each line alone, by the slow path."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

from .. import values
from ..deep import recursive
from ..masked_stream import Withheld
from ..masking import Stage
from ..schema import Path
from ..settings import Settings
from ..values import Notes, Rules
from .cells import LONG, class_of, packed, short
from .layout import Facts, Invalid, Layout, NoColumn, NoSchema, fill, layout

DIGEST = 16  # bytes
MOST = 1000  # faults that are kept
_GROWTH = 200  # times that a value may be longer as a cell than in its line: 1e399


@dataclass(frozen=True)
class Control:
    """A SCHEMA: what is true for the stream from *order* on, the number of its *line* among all lines and records.

    *facts* are those of its table, None where there is none.
    """

    order: int
    stream: str
    line: bytes
    facts: Facts | None = None


@dataclass
class Tally:
    """What was read of a stream."""

    records: int = 0
    rejected: int = 0  # they are in __rejected
    lost: int = 0  # they have nowhere to be
    unknown: dict[Path, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Fault:
    """A line that makes no row, is not in __rejected, and why. *is_loss*: it is valid, and has nowhere to be."""

    order: int
    line: int
    record: int
    stream: str
    path: str
    words: str
    is_loss: bool = False


@dataclass
class _Stream:
    facts: Facts | None
    layout: Layout | None
    was_open: bool = False
    known: frozenset[int] = frozenset()  # columns that have values of records, of all SCHEMAs so far


# A row that is expected: the digest of its key, its order, line and record, its cells, its version, and whether it is to be deleted.
Expected = tuple[bytes, int, int, int, list[Any], Any, bool]


class Reader:
    """Reads records; what it knows of streams comes as `Control`, in order.

    *put* takes each row, by stream. *rejected* are digests of the lines in __rejected.
    """

    def __init__(self, settings: Settings, rules: Rules, stage: Stage | None, put: Callable[[str, Expected, int], None], rejected: Collection[bytes]):
        self.settings = settings
        self.rules = rules
        self.stage = stage
        self.put = put
        self.rejected = rejected
        self.streams: dict[str, _Stream] = {}
        self.tallies: dict[str, Tally] = {}
        self.faults: list[Fault] = []
        self.invalid = 0  # lines that are, and are not in __rejected
        self.notes = Notes()

    def control(self, control: Control) -> None:
        """Take what is true from here on."""
        if self.stage and control.line:
            line = self.stage.lines([control.line])[0]
        else:
            line = control.line
        known = self.streams.get(control.stream)
        if not line or isinstance(line, Withheld):
            return
        found = values.parse(line)
        schema, keys = found["schema"], [name for name in found.get("key_properties") or [] if isinstance(name, str)]
        stream = known or _Stream(control.facts, None)
        stream.facts = control.facts or stream.facts
        self.streams[control.stream] = stream
        if stream.facts is None:
            return
        if _is_open(schema) and stream.layout and not stream.layout.is_waiting:
            stream.was_open = True
            return  # it says nothing new
        try:
            stream.layout = recursive(layout, stream.facts, schema, keys, self.rules, self.notes, stream.was_open)
        except NoSchema:
            stream.layout = None  # nor has a record of it any place
        else:
            stream.known |= stream.layout.known
        stream.was_open = stream.was_open or _is_open(schema)

    def line(self, line: bytes, order: int, place: tuple[int, int], of: str | None = None) -> None:
        """Take a line: a message, or a record of a BATCH *of* a stream."""
        try:
            recursive(self._line, line, order, place, of)
        except RecursionError:
            self._fault(line, order, place, of or "", "$", "nested too deeply")

    def _line(self, line: bytes, order: int, place: tuple[int, int], of: str | None) -> None:
        stream = of or ""
        try:
            if of is not None:
                line, message = _of_batch(line, of, self.rules)
            else:
                message = values.parse(line, self.rules, not_finite=True)
            if not isinstance(message, dict) or type(message.get("type")) is not str:
                raise ValueError("a message is a JSON object with a type")
            if message["type"].upper() != "RECORD":
                return
            if type(message.get("stream")) is not str or "record" not in message:
                raise ValueError("a RECORD has a stream and a record")
            stream = str(message["stream"])
        except ValueError as fault:
            line = fault.args[1] if len(fault.args) > 1 else line
            self._fault(line, order, place, stream, "$", str(fault.args[0]))
            return
        if self.stage and stream in self.stage.streams:
            line = self.stage.streams[stream].slow(line)
            if isinstance(line, Withheld):
                self._fault(line, order, place, stream, "$", "it cannot be masked")
                return
            message = values.parse(line, self.rules, not_finite=True)
        self._record(line, message, order, place, stream)

    def _record(self, line: bytes, message: dict[str, Any], order: int, place: tuple[int, int], name: str) -> None:
        stream = self.streams.get(name)
        tally = self.tallies.get(name) or self.tallies.setdefault(name, Tally())
        tally.records += 1
        if stream is None:
            self._fault(line, order, place, name, "$", "a RECORD before its SCHEMA")
            return
        facts, its = stream.facts, stream.layout
        if facts is None or its is None:
            words = "its SCHEMA cannot be read" if facts else "there is no table of the stream"
            self._fault(line, order, place, name, "$", words, is_loss=True)
            return
        if self.rejected and digest_of(line) in self.rejected:
            tally.rejected += 1
            return
        if its.is_waiting:
            self._fault(line, order, place, name, "$", "its SCHEMA names no property")
            return
        try:
            row = self._row(message, facts, its, tally)
        except Invalid as fault:
            shows = not (self.stage and name in self.stage.streams)
            words = str(fault).replace('"STREAM.', f'"{name}.') if shows else "the value is invalid"
            self._fault(line, order, place, name, ".".join(("$", *fault.path)), words)
        except NoColumn as fault:
            self._fault(line, order, place, name, ".".join(("$", *fault.path)), "the SCHEMA names it, and it has no column", is_loss=True)
        else:
            cells, version, is_gone = row
            if len(line) >= LONG // _GROWTH:
                cells = list(map(short, cells))
            size = min(len(line), LONG * len(cells))
            self.put(name, (digest(row_class(facts, its.keys, cells)), order, *place, cells, version, is_gone), size)

    def _row(self, message: dict[str, Any], facts: Facts, its: Layout, tally: Tally) -> tuple[list[Any], Any, bool]:
        record, settings = message["record"], self.settings
        if not isinstance(record, dict):
            raise Invalid((), "a record is an object")
        is_deleted = record.get("_sdc_deleted_at") is not None
        cells = (its.keeping if is_deleted else its.template).copy()
        extra: dict[str, Any] | None = {} if its.extra else None
        fill(its.root, record, cells, tally.unknown, settings.unknown_fields == "fail", extra)
        if extra and its.extra and its.extra.cell and its.extra.column is not None:
            try:
                cells[its.extra.column] = its.extra.cell(extra)
            except ValueError as fault:
                raise Invalid(("*",), str(fault)) from None
        for at in its.keys:
            if cells[at] is None or cells[at] == ():
                raise Invalid((facts.columns[at].source or facts.columns[at].name,), "a key must not be absent or null")
        version = None
        if facts.version is not None:
            try:
                version = cells[facts.version] = values.version_of(message)
            except ValueError as fault:
                raise Invalid((), str(fault)) from None
        return cells, version, bool(is_deleted and settings.hard_delete and its.keys)

    def _fault(self, line: bytes, order: int, place: tuple[int, int], stream: str, path: str, words: str, is_loss: bool = False) -> None:
        if self.rejected and digest_of(line) in self.rejected:
            self.tallies.setdefault(stream, Tally()).rejected += 1
            return
        self.invalid += not is_loss
        if is_loss:
            self.tallies.setdefault(stream, Tally()).lost += 1
        if len(self.faults) < MOST:
            self.faults.append(Fault(order, *place, stream, path, words, is_loss))


def rules_of(settings: Settings) -> Rules:
    """Return the settings that say what becomes of a doubtful value."""
    return Rules(settings.on_bad_text == "replace", settings.unknown_fields, settings.excess_digits, settings.zero_dates)


def _of_batch(line: bytes, stream: str, rules: Rules) -> tuple[bytes, Any]:
    """Return the record of a BATCH's file as a message, and as a line; that is how __rejected has it.

    Raises:
        ValueError: with what is wrong, and the line.
    """
    start = b'{"type": "RECORD", "stream": %b, "record": ' % json.dumps(stream).encode()
    try:
        return b"%b%b}" % (start, line), {"type": "RECORD", "stream": stream, "record": values.parse(line, rules, not_finite=True)}
    except ValueError as fault:
        text = json.dumps(line.decode("utf-8", "surrogateescape")).encode()
        raise ValueError(str(fault), b"%b%b}" % (start, text)) from None


def row_class(facts: Facts, keys: tuple[int, ...], cells: list[Any]) -> bytes:
    """Return bytes that are equal for rows that may be the same: of one key, or of the same values where there is none."""
    if keys:
        return packed([(at, class_of(cells[at], facts.columns[at].kind)) for at in keys])
    found = []
    for at, cell in enumerate(cells):
        if cell is None or cell == () or cell == frozenset():
            continue
        found.append((at, class_of(cell, facts.columns[at].kind)))
    return packed(found)


def digest(content: bytes) -> bytes:
    return hashlib.blake2b(content, digest_size=DIGEST).digest()


def digest_of(line: bytes) -> bytes:
    """Return the digest of a line as __rejected has it."""
    return digest(line.rstrip(b"\r\n"))


def _is_open(schema: Any) -> bool:
    """Tell whether a SCHEMA names no property, and forbids none: it says that records are objects."""
    words = ("anyOf", "oneOf", "allOf", "$ref", "properties")
    return isinstance(schema, Mapping) and not any(schema.get(word) for word in words) and schema.get("additionalProperties") is not False
