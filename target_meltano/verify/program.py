"""The whole proof: the input is read by some processes, the tables by one, and what both found is compared by all."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .. import naming, pii, tables, values
from ..deep import recursive
from ..dialect import Dialect
from ..errors import SettingsError, SpoolError
from ..lines import Source, line_of
from . import history, stored
from .batch_files import Unreadable, read_batch
from .history import Difference, Found
from .layout import Facts, Layout, NoSchema, layout
from .pool import Here, Pool
from .records import Control, Fault, Tally, rules_of
from .runs import MEMORY
from .work import Chunk, Files, Finish, Finished, Merge, Setup, Table, write_digests

CHUNK = 1 << 20  # bytes
NEEDLES = (b"SCHEMA", b"ACTIVATE_VERSION", b"BATCH", b"\\U00", b"\\U017F", b"\\U0131", "ſ".encode(), "ı".encode())


@dataclass(frozen=True)
class Options:
    """How a verification is done. *runs*: whose __rejected counts, the last one's where none is named. *whole*: the
    input is all that the tables should have. *processes*: 0 for none but this one."""

    runs: tuple[str, ...] = ()
    whole: bool = False
    processes: int = 0
    memory: int = MEMORY


@dataclass(frozen=True)
class Verdict:
    """What was found of one stream, or of the input as such where *stream* is empty."""

    stream: str
    table: str = ""
    records: int = 0
    rejected: int = 0
    unknown: dict[str, int] = field(default_factory=dict)
    found: Found = field(default_factory=Found)

    @property
    def is_equal(self) -> bool:
        return not self.found.count

    def __str__(self) -> str:
        found = self.found
        parts = [f"{self.records:,} records, {found.equal:,} rows as they say"]
        parts += [f"{found.gone:,} deleted"] * bool(found.gone)
        parts += [f"{self.rejected:,} in __rejected"] * bool(self.rejected)
        parts += [f"{found.others:,} rows of others"] * bool(found.others)
        left = sum(self.unknown.values())
        parts += [f"{left:,} values left out that no SCHEMA names ({', '.join(list(self.unknown)[:3])})"] * bool(left)
        verdict = "equal" if self.is_equal else f"{found.count:,} differences"
        if not self.table:
            parts = ["there is no table", *parts[1:]] if self.stream else []
        return ": ".join([self.table or self.stream or "input", verdict, *([", ".join(parts)] if parts else [])])


@dataclass
class _Known:
    """A stream, as the first process knows it."""

    name: str
    place: tuple[str, str]
    facts: Facts | None
    keys: tuple[int, ...] | None = None
    is_open: bool = False
    described: float = float("inf")  # the order of the first SCHEMA that names properties, and where that was
    line: int = 0
    named: set[int] = field(default_factory=set)  # columns that values of records go into, of a stream without a key
    versions: list[tuple[int, int]] = field(default_factory=list)

    @property
    def others(self) -> frozenset[int]:
        """The columns that nothing of the input goes into, so far."""
        its = self.facts
        return frozenset(range(len(its.columns))) - self.named - {its.version, its.deleted_at, its.stamp} if its else frozenset()


class Verification:
    """One verification of *source* by the settings of *dialect*; `run` returns the verdicts."""

    def __init__(self, dialect: Dialect[Any], source: Source, options: Options = Options(), made_by: Any = None):
        self.dialect, self.source, self.options = dialect, source, options
        self.settings = dialect.settings
        self.made_by = made_by or type(dialect)
        self.schema = self.settings.schema or dialect.default_schema or ""
        self.rules = rules_of(self.settings)
        self.streams: dict[str, _Known] = {}
        self.controls: list[Control] = []
        self.faults: list[Fault] = []
        self.begun: list[str] = []
        self.waiting: dict[str, _Known] = {}  # streams whose tables are read in the end
        self.order = 1  # of the next line or record
        self.line = 1

    def run(self) -> list[Verdict]:
        """Return what was found, a verdict per stream.

        Raises:
            DatabaseError: the tables cannot be read.
            SpoolError: there is no room for what has to be sorted.
        """
        with _folder() as folder:
            self.connection = self.dialect.connect()
            try:
                found = stored.rejected(self.dialect, self.connection, self.schema, self.options.runs)
                if not write_digests(folder / "rejected", found):
                    (folder / "rejected").unlink()
                setup = Setup(self.made_by, self.settings, folder, max(1, self.options.processes), self.options.memory)
                self.pool: Here | Pool = Pool(setup, self.options.processes) if self.options.processes else Here(setup)
                try:
                    self._read()
                    return self._compared()
                finally:
                    self.pool.close()
            finally:
                self.dialect.close(self.connection)

    # --- the input

    def _read(self) -> None:
        for lines in _chunks(self.source):
            sent = 0
            for start, end in _suspects(lines):
                line = lines[start:end]
                message = self._message(line)
                if message is None:
                    continue
                if start > sent:
                    self._send(lines[sent : start - 1])
                sent = end + 1
                kind = message["type"].upper()
                if kind == "BATCH":
                    self._batch(message, self.order, self.line)
                else:
                    self._control(kind, message, line, self.order, self.line)
                    self.order += 1
                self.line += 1
            if sent < len(lines):
                self._send(lines[sent:])

    def _send(self, lines: bytes) -> None:
        count = lines.count(b"\n") + 1
        self.pool.chunk(Chunk(lines, self.order, self.line, tuple(self.controls)))
        self.controls = []
        self.order += count
        self.line += count

    def _message(self, line: bytes) -> dict[str, Any] | None:
        """Return the message of a line that is not for the other processes, None for all others."""
        try:
            found = values.parse(line, self.rules, not_finite=True)
        except ValueError:
            return None
        is_message = isinstance(found, dict) and type(found.get("type")) is str
        return found if is_message and found["type"].upper() in ("SCHEMA", "ACTIVATE_VERSION", "BATCH") else None

    def _control(self, kind: str, message: dict[str, Any], line: bytes, order: int, number: int) -> None:
        name = message.get("stream")
        try:
            if type(name) is not str:
                raise ValueError("it has no stream")
            if kind == "ACTIVATE_VERSION":
                version = values.version_of(message)
                if version is not None and name in self.streams:
                    self.streams[name].versions.append((order, version))
                return
            if not isinstance(message.get("schema"), dict) or not isinstance(message.get("key_properties", 0), list | None):
                raise ValueError("a SCHEMA has a schema, an object, and key_properties, a list")
        except ValueError as fault:
            self.faults.append(Fault(order, number, 0, name if type(name) is str else "", "$", str(fault)))
            return
        known = self.streams.get(name)
        if known is None:
            known = self.streams[name] = self._looked_up(name)
        self.controls.append(Control(order, name, line, known.facts))
        if message["schema"].get("properties") and not known.line:
            known.described, known.line = order, number
        if known.facts is not None and (known.keys is None or name in self.waiting):
            keys = [one for one in message["key_properties"] or [] if type(one) is str]
            try:
                made: Layout = recursive(layout, known.facts, message["schema"], keys, self.rules, values.Notes(), known.is_open)
            except NoSchema:
                return
            if not made.is_waiting:
                known.named |= made.known
                self._begin(known, made.keys)
            known.is_open = known.is_open or not message["schema"].get("properties")

    def _begin(self, known: _Known, keys: tuple[int, ...]) -> None:
        """Have the table read. Without a key a row is found by its values, so the columns of others have to be known before."""
        if known.keys is None:
            known.keys = keys
        if not known.keys and known.others:
            self.waiting[known.name] = known
            return
        self.waiting.pop(known.name, None)
        self._read_table(known)

    def _read_table(self, known: _Known) -> None:
        assert known.facts is not None
        assert known.keys is not None
        self.pool.begin(Table(known.name, known.facts, known.place, known.keys, frozenset() if known.keys else known.others))
        self.begun.append(known.name)

    def _looked_up(self, name: str) -> _Known:
        dialect, given = self.dialect, self.settings.table_names.get(name)
        names = naming.Naming(self.settings.naming, dialect.fold, dialect.name_size, dialect.name_length, dialect.reserved)
        place = (self.schema, names.given(given) if given else names.of([name]))
        with tables.our_errors(dialect, f"table {'.'.join(place)}"), tables.left_as_found(self.connection):
            found = dialect.found(self.connection, *place)
        has_rules = bool(self.settings.pii) and name in pii.streams_of(self.settings.pii)
        return _Known(name, place, Facts.of(name, found, dialect, has_rules) if found else None)

    def _batch(self, message: dict[str, Any], order: int, line: int) -> None:
        record = 1
        self.order += 1  # the BATCH's own
        try:
            if type(message.get("stream")) is not str or not isinstance(message.get("manifest"), list):
                raise Unreadable("a BATCH has a stream and a manifest")
            for lines in read_batch(message, self.settings.batch_root):
                count = lines.count(b"\n") + 1
                self.pool.chunk(Chunk(lines, self.order, line, tuple(self.controls), message["stream"], record))
                self.controls = []
                self.order += count
                record += count
        except Unreadable as fault:
            self.faults.append(Fault(order, line, 0, str(message.get("stream")), "$", str(fault)))

    # --- the comparison

    def _compared(self) -> list[Verdict]:
        if self.controls:
            self._send(b"")
        for known in self.waiting.values():
            self._read_table(known)
        ends: list[Finished] = self.pool.each(Finish())
        stored_files = dict(zip(self.begun, self.pool.ended(), strict=True))
        faults = sorted((fault for fault in (*self.faults, *(fault for end in ends for fault in end.faults))), key=lambda fault: fault.order)
        invalid = next((fault for fault in faults if not fault.is_loss), None)
        keeps = self.settings.invalid_records == "quarantine"
        until = float("inf") if keeps or invalid is None else invalid.order
        verdicts = [self._verdict(known, ends, stored_files.get(name, {}), faults, until) for name, known in self.streams.items()]
        rest = Found()
        for fault in faults:
            if fault.is_loss or fault.order > until:
                continue
            words = f"{fault.words}, and it is not in __rejected" if keeps else f"{fault.words}; the load ends there, and so does this comparison"
            rest.differ(Difference(fault.stream, words, fault.line, fault.record, fault.path, order=fault.order))
        if keeps:
            rest.count = len(self.faults) + sum(end.invalid for end in ends)
        return [*verdicts, *([Verdict("", found=rest)] if rest.count else [])]

    def _verdict(self, known: _Known, ends: Sequence[Finished], stored_files: Files, faults: Sequence[Fault], until: float) -> Verdict:
        tally = _tally(known.name, ends)
        found = Found()
        lost = [fault for fault in faults if fault.is_loss and fault.stream == known.name and fault.order < until]
        for fault in lost:
            found.differ(Difference(known.name, fault.words, fault.line, fault.record, fault.path, order=fault.order))
        facts = known.facts
        if facts is None:
            if not tally.records and known.described < until and self.settings.invalid_schemas == "fail":
                found.differ(Difference(known.name, "the SCHEMA names columns, and there is no table", known.line))
            found.count = max(found.count, tally.lost)
            return Verdict(known.name, "", tally.records, tally.rejected, found=found)
        empty: frozenset[int] = frozenset().union(*(end.known.get(known.name, ()) for end in ends)) if self.options.whole else frozenset()
        whole = self.options.whole or self.settings.load_method == "overwrite"
        rules = history.Rules(facts, known.keys or (), tuple(one for one in known.versions if one[0] < until), until, whole, not facts.has_rules, empty)
        parts = range(max(1, self.options.processes))
        tasks = []
        for part in parts:
            at = (known.name, part)
            expected = [file for end in ends for file in end.files.get(at, [])]
            tasks.append(Merge(rules, expected, stored_files.get(at, [])))
        for one in self.pool.all(tasks):
            found.add(one)
        found.count += max(0, tally.lost - len(lost)) if until == float("inf") else 0  # more than are kept
        history.settle(rules, found)
        found.differences.sort(key=lambda one: (one.line is None, one.order))
        unknown = {".".join(("$", *path)): count for path, count in tally.unknown.items()}
        return Verdict(known.name, ".".join(known.place), tally.records, tally.rejected, unknown, found)


@contextmanager
def _folder() -> Iterator[Path]:
    """Yield a folder of our own, which is gone afterwards.

    Raises:
        SpoolError: there is none, or no room.
    """
    try:
        made = tempfile.TemporaryDirectory(prefix="target-meltano-verify-")
    except OSError as error:
        raise SpoolError(f"{error.strerror}; verify sorts in TMPDIR what it compares") from None
    with made:
        yield Path(made.name)


def _suspects(lines: bytes) -> list[tuple[int, int]]:
    """Return where the lines begin and end that may be other messages than a RECORD or a STATE, however they are spelt."""
    upper, found = lines.upper(), set()
    for needle in NEEDLES:
        at = upper.find(needle)
        while at >= 0:
            end = lines.find(b"\n", at)
            end = len(lines) if end < 0 else end
            found.add((lines.rfind(b"\n", 0, at) + 1, end))
            at = upper.find(needle, end)
    return sorted(found)


def _tally(name: str, ends: Sequence[Finished]) -> Tally:
    total = Tally()
    for end in ends:
        one = end.tallies.get(name, Tally())
        total.records += one.records
        total.rejected += one.rejected
        total.lost += one.lost
        for path, count in one.unknown.items():
            total.unknown[path] = total.unknown.get(path, 0) + count
    return total


def _chunks(source: Source) -> Iterator[bytes]:
    """Yield whole lines, without the last line's end, about a megabyte at once."""
    left: list[bytes] = []
    first = True
    for piece in _pieces(source):
        piece = piece.removeprefix(b"\xef\xbb\xbf") if first else piece
        first = False
        whole, newline, rest = piece.rpartition(b"\n")
        if not newline:
            left.append(piece)
            continue
        yield b"".join((*left, whole))
        left = [rest]
    if any(left):
        yield b"".join(left)


def _pieces(source: Any) -> Iterator[bytes]:
    if hasattr(source, "read"):
        try:
            while piece := source.read(CHUNK):
                yield piece
        except OSError as error:
            raise SettingsError(f"the input cannot be read: {error.strerror or error}") from None
        return
    some: list[bytes] = []
    for number, item in enumerate(source, 1):
        some.append(line_of(item, number))
        if sum(map(len, some)) > CHUNK:
            yield b"".join(some)
            some = []
    yield b"".join(some)
