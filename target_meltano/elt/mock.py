"""`target-meltano mock`: a Singer stream of invented records that fit a catalog, the same for the same seed."""

from __future__ import annotations

import argparse
import json
import math
import re
import shutil
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from decimal import Context, Decimal, localcontext
from functools import cached_property
from pathlib import Path
from typing import Any

from target_meltano.deep import deeply

from . import catalog_file
from .mock_check import MockError, exactly, fault, validator
from .mock_text import Column
from .mock_values import Key, Values, key, type_of

BLOCK = 1000  # rows that are made at once
BLOCK_SIZE = 50_000_000  # characters that are made at once, about
SAMPLE = 50  # rows that are checked before any is written
SAMPLE_SIZE = 3_000_000  # characters that are checked, about
FEW = 3  # rows for each value of the columns before it, in the last column of a key of several


@dataclass(frozen=True)
class Stream:
    """A stream of a catalog: what is selected of it. *keys* are names of properties."""

    name: str
    schema: Mapping[str, Any]
    keys: tuple[str, ...]
    bookmarks: tuple[str, ...] = ()
    id: str = ""

    @cached_property
    def validator(self) -> Any:
        """Return what tells whether a record fits.

        Raises:
            MockError: the schema is no JSON Schema.
        """
        return validator(self.name, exactly(self.schema))

    @cached_property
    def properties(self) -> Mapping[str, Any]:
        """Return the schemas of its properties that may have a value; kept, as each property asks for all of them."""
        schema, _ = Values(self.name, self.schema, "").resolved(self.schema, ())
        return {name: child for name, child in (schema.get("properties") or {}).items() if child is not False}


def command(arguments: list[str]) -> int:
    """Write SCHEMAs, RECORDs and STATEs to stdout; return the exit code."""
    parser = argparse.ArgumentParser(prog="target-meltano mock", description=__doc__)
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--catalog", metavar="FILE", help="a catalog, or SCHEMA messages as a tap wrote them")
    source.add_argument("--tap", metavar="NAME", help="the catalog of this tap of elt.yml; without one, of this executable, by --discover")
    parser.add_argument("--tap-config", metavar="FILE", help="the --config of that executable; then elt.yml does not matter")
    parser.add_argument("--project", type=Path, default=Path(), metavar="DIR", help="folder of elt.yml; default: this one")
    parser.add_argument("--rows", type=_count, default=100, metavar="N", help="of each stream; default: 100")
    parser.add_argument("--seed", default="0", metavar="S", help="any text; the same gives the same bytes; default: 0")
    parser.add_argument("--null-rate", type=_share, default=0.1, metavar="R", help="share of nulls where null is allowed; default: 0.1")
    parser.add_argument("--no-faker", action="store_true", help="words only, so that the bytes are the same with and without the extra faker")
    parser.add_argument("--stream", action="append", metavar="NAME", help="this stream only; may be given several times")
    options = parser.parse_args(arguments)
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # who reads us is gone, and says why
    try:
        deeply(_write, options)
    except MockError as error:
        print(f"CRITICAL {error}", file=sys.stderr)
        return 1
    return 0


def _write(options: argparse.Namespace) -> None:
    found = _of_tap(options.tap, options.tap_config, options.project) if options.tap else streams_of(_content(options.catalog), options.catalog)
    streams = chosen(found, options.stream)
    faker = None if options.no_faker else _faker()
    for mock in compiled(streams, options.rows, options.seed, options.null_rate, faker):
        check(mock)
        for path in sorted(mock.several):
            print(f"WARNING stream {mock.stream.name!r}: {path}: each value that was tried fits several alternatives of oneOf", file=sys.stderr)
        if mock.rows < options.rows:
            print(f"WARNING stream {mock.stream.name!r}: its key has no more than {mock.rows} values", file=sys.stderr)
    sys.stdout.buffer.writelines(written(compiled(streams, options.rows, options.seed, options.null_rate, faker)))
    sys.stdout.buffer.flush()


def _count(text: str) -> int:
    if not text.isdigit():
        raise argparse.ArgumentTypeError(f"{text!r}: wanted a number of rows")
    return int(text)


def _share(text: str) -> float:
    try:
        found = float(text)
    except ValueError:
        found = -1
    if not 0 <= found <= 1:
        raise argparse.ArgumentTypeError(f"{text!r}: wanted a number from 0 to 1")
    return found


def _faker() -> Any:
    """Return the module, None where the extra is not installed."""
    try:
        import faker
    except ImportError:
        return None
    return faker


# --- catalogs


def _content(path: str) -> bytes:
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise MockError(f"{path}: {error.strerror}") from None


def _of_tap(tap: str, config: str | None, folder: Path) -> list[Stream]:
    """Return the streams of a tap of the project in *folder*, where there is one, else of an executable."""
    from . import pipeline, project  # they need not be loaded for a file

    if config or not (folder / project.FILE).exists():
        return streams_of(discovered(tap, config), f"what {tap} --discover gives")
    found = project.read(folder, [tap])
    with pipeline.locked(found, f"mock.{tap}", found.work / "logs") as place:
        catalog = pipeline.catalog(found, found.taps[tap], place)
    if catalog is None:
        raise MockError(f"the tap {tap!r} has catalog: none in elt.yml; name a file of SCHEMA messages: --catalog FILE")
    return of_catalog(catalog)


def discovered(tap: str, config: str | None) -> bytes:
    """Return what a tap prints as its catalog."""
    found = shutil.which(tap)
    if not found:
        raise MockError(f"there is no executable {tap!r} on PATH")
    done = subprocess.run([found, *(["--config", config] if config else []), "--discover"], capture_output=True, check=False)
    if done.returncode:
        words = " ".join(done.stderr.decode("utf-8", "replace").strip().splitlines()[-1:]) or "it says nothing"
        raise MockError(f"{tap} --discover ended with exit status {done.returncode}: {words}")
    return done.stdout


def streams_of(data: bytes, what: str) -> list[Stream]:
    """Return the selected streams of a catalog, or of the SCHEMA messages in a tap's output.

    Raises:
        RunError: it is neither.
    """
    messages = [stream for stream in map(_of_message, data.splitlines()) if stream]
    if messages:
        return list({stream.name: stream for stream in messages}.values())
    return of_catalog(catalog_file.read(data, what, "wanted a catalog, or SCHEMA messages, one a line"))


def of_catalog(catalog: Mapping[str, Any]) -> list[Stream]:
    """Return the selected streams of a catalog, all where none is.

    Raises:
        MockError: one of them has no schema.
    """
    entries = catalog["streams"]
    wanted = [entry for entry in entries if catalog_file.about(entry).get("selected")] or entries
    return _told_apart([_of_entry(entry) for entry in wanted])


def _of_entry(entry: Mapping[str, Any]) -> Stream:
    name, schema = catalog_file.names(entry)[0], entry.get("schema")
    if schema is None:
        raise MockError(f"stream {name!r}: it has no schema in the catalog")
    about = {tuple(one["breadcrumb"]): one.get("metadata") or {} for one in entry.get("metadata") or ()}
    keys = catalog_file.keys(entry)
    bookmark = entry.get("replication_key") or about.get((), {}).get("replication-key")
    properties = schema.get("properties")
    if isinstance(properties, dict):
        kept = {one: child for one, child in properties.items() if one in keys or _is_selected(about.get(("properties", one), {}))}
        schema = {**schema, "properties": kept}
    return Stream(name, schema, keys, (bookmark,) if isinstance(bookmark, str) else (), str(entry.get("tap_stream_id") or ""))


def _told_apart(streams: list[Stream]) -> list[Stream]:
    """Return streams of one name under their ids, as taps send them, too."""
    names = Counter(stream.name for stream in streams)
    return [replace(stream, name=stream.id) if names[stream.name] > 1 and stream.id else stream for stream in streams]


def _is_selected(about: Mapping[str, Any]) -> bool:
    return about.get("inclusion") != "unsupported" and about.get("selected", about.get("selected-by-default", True)) is not False


def _of_message(line: bytes) -> Stream | None:
    """Return the stream of a SCHEMA message, None where *line* is none that names one."""
    try:
        found = json.loads(line) if b"SCHEMA" in line else None
    except (ValueError, RecursionError):
        return None
    if not isinstance(found, dict) or found.get("type") != "SCHEMA" or not isinstance(found.get("schema"), dict):
        return None
    keys = found.get("key_properties") or ()
    if not isinstance(found.get("stream"), str) or not isinstance(keys, list | tuple) or not all(isinstance(key, str) for key in keys):
        return None
    return Stream(found["stream"], found["schema"], tuple(keys))


def chosen(streams: list[Stream], names: list[str] | None) -> list[Stream]:
    unknown = set(names or ()) - {name for stream in streams for name in (stream.name, stream.id)}
    if unknown:
        raise MockError(f"there is no stream {', '.join(sorted(unknown))}; there is: {', '.join(stream.name for stream in streams)}")
    return [stream for stream in streams if not names or {stream.name, stream.id} & set(names)]


# --- streams to records


@dataclass(frozen=True)
class Mock:
    """A stream with a column of values for each property, in its order."""

    stream: Stream
    rows: int
    columns: Mapping[str, Column]
    size: int = 1  # of a record at most, in characters, as far as there is a most
    several: set[str] = field(default_factory=set)  # paths where more than one alternative of a oneOf fits, as far as values were made

    def schema_line(self) -> bytes:
        message = {"type": "SCHEMA", "stream": self.stream.name, "schema": self.stream.schema, "key_properties": self.stream.keys}
        if self.stream.bookmarks:
            message["bookmark_properties"] = self.stream.bookmarks
        return json.dumps(message).encode() + b"\n"

    def records(self, rows: int) -> Iterator[str]:
        """Yield the JSON of so many records."""
        members = ", ".join(json.dumps(name).replace("%", "%%") + ": %s" for name in self.columns)
        template = "{" + members + "}"
        done, size = 0, 1
        while done < rows:  # the first row comes in the time of one row
            size = min(size, rows - done, BLOCK, max(1, BLOCK_SIZE // self.size))
            with told_of(self.stream):
                made = [column(size) for column in self.columns.values()]
            yield from (template % row for row in zip(*made, strict=True)) if made else ["{}"] * size
            done, size = done + size, size * 10


def written(mocks: Sequence[Mock]) -> Iterator[bytes]:
    """Yield the lines of a tap that sends these streams one by one, with a STATE behind each."""
    done: dict[str, Any] = {}
    for mock in mocks:
        yield mock.schema_line()
        start = f'{{"type": "RECORD", "stream": {json.dumps(mock.stream.name)}, "record": '
        yield from (f"{start}{record}}}\n".encode() for record in mock.records(mock.rows))
        done[mock.stream.name] = {"rows": mock.rows}
        yield json.dumps({"type": "STATE", "value": {"bookmarks": done}}).encode() + b"\n"


def check(mock: Mock) -> None:
    """Check some records against their schema, so that nothing wrong is written. This uses up their columns.

    Raises:
        MockError: naming the first keyword that a record breaks.
    """
    name = mock.stream.name
    with localcontext(Context(prec=1000)):  # multipleOf divides, and 28 digits would not do
        for record in mock.records(min(SAMPLE, mock.rows, max(1, SAMPLE_SIZE // mock.size))):
            found = fault(name, mock.stream.validator, json.loads(record, parse_float=Decimal))
            if found:
                where = ".".join(("$", *map(str, found.path)))
                raise MockError(f"stream {name!r}: {where}: mock makes no values for this schema: {found.validator!r} is not met")


@contextmanager
def told_of(stream: Stream) -> Iterator[None]:
    """Turn what goes wrong with a stream into a MockError that names it."""
    try:
        yield
    except MockError:
        raise
    except RecursionError:
        raise MockError(f"stream {stream.name!r}: its schema is nested too deeply") from None
    except MemoryError:
        raise MockError(f"stream {stream.name!r}: its records need more memory than there is") from None
    except Exception as error:  # a schema can be odd in ways that nobody has foreseen
        raise MockError(f"stream {stream.name!r}: {' '.join(str(error).split())[:300] or type(error).__name__}") from None


def compiled(streams: Sequence[Stream], rows: int, seed: str, null_rate: float, faker: Any) -> list[Mock]:
    """Return the streams with their columns.

    Raises:
        MockError: naming stream and path of what no value can be made for.
    """
    catalog = _Catalog({stream.name: stream for stream in streams}, rows, seed, null_rate, faker)
    return [catalog.guarded(stream) for stream in streams]


@dataclass
class _Catalog:
    """All streams, as they refer to each other."""

    streams: Mapping[str, Stream]
    rows: int
    seed: str
    null_rate: float
    faker: Any
    keys: dict[str, list[Key] | None] = field(default_factory=dict)

    def mock(self, stream: Stream) -> Mock:
        values = self.values(stream)
        keys = self.keys_of(stream)
        rows = self.rows if keys is None else min(self.rows, math.prod(part.count for part in keys))
        columns = {}
        for name, schema in stream.properties.items():
            if keys is not None and name in stream.keys:
                columns[name] = _each(keys, stream.keys.index(name))
            else:
                columns[name] = values.column(schema, (name,))
        return Mock(stream, rows, columns, values.most, values.several)

    def guarded(self, stream: Stream) -> Mock:
        with told_of(stream):
            assert stream.validator  # else its schema might be anything
            return self.mock(stream)

    def values(self, stream: Stream) -> Values:
        """Return what makes the values of *stream*, with its references to others."""
        plain = Values(stream.name, stream.schema, self.seed, self.rows, self.null_rate, self.faker)
        found: dict[tuple[str, ...], Key] = {}
        for name in stream.properties:
            part = self.reference(stream, name, plain)
            if part and name not in stream.keys:
                found[name,] = part
        return replace(plain, references=found, several=set())

    def keys_of(self, stream: Stream) -> list[Key] | None:
        """Return the parts of a stream's key, so that their product has the rows; None where it has none, or no scalars."""
        if stream.name not in self.keys:
            self.keys[stream.name] = None  # a circle of references ends here
            self.keys[stream.name] = self._keys(stream)
        return self.keys[stream.name]

    def _keys(self, stream: Stream) -> list[Key] | None:
        properties = stream.properties
        values = Values(stream.name, stream.schema, self.seed, self.rows, faker=self.faker)
        parts = []
        for name in stream.keys:
            part = self.reference(stream, name, values) or (key(values, properties[name], (name,)) if name in properties else None)
            if part is None:
                return None
            parts.append(part)
        sizes = [part.count if i == 0 else min(part.count, FEW) for i, part in enumerate(parts)]
        for i in reversed(range(len(sizes))):
            others = math.prod(sizes) // sizes[i] if sizes[i] else 0
            if others and math.prod(sizes) < self.rows:
                sizes[i] = min(parts[i].count, -(-self.rows // others))
        return [Key(part.nth, size) for part, size in zip(parts, sizes, strict=True)] or None

    def reference(self, stream: Stream, name: str, values: Values) -> Key | None:
        """Return the key that a property like customer_id takes its values from: that of the stream customers."""
        base = re.sub(r"(_id|_key|_uuid|Id|ID)\Z", "", name)
        schema, _ = values.resolved(stream.properties[name], (name,)) if name in stream.properties else ({}, False)
        if base == name or not base or {"enum", "const", "pattern"} & schema.keys():
            return None
        parent = next((one for one in self.streams.values() if len(one.keys) == 1 and _is_one_of(base, one.name)), None)
        if parent is None or (parent is stream and name in stream.keys) or parent.keys[0] not in parent.properties:
            return None
        keys = self.keys_of(parent)
        if not keys:
            return None
        nth, rows = keys[0].nth, min(self.rows, keys[0].count)
        theirs, _ = values.resolved(parent.properties[parent.keys[0]], (name,))
        mine, found = type_of(schema), type_of(theirs)
        if mine == "string" and found == "integer":
            return Key(lambda n: f'"{nth(n)}"', rows)
        return Key(nth, rows) if rows and (mine == found or (mine, found) == ("number", "integer")) else None


def _each(keys: Sequence[Key], position: int) -> Column:
    """Return the column of one part of a key: all combinations in turn, those of the last part first."""
    below = math.prod(part.count for part in keys[position + 1 :])
    nth, size = keys[position].nth, keys[position].count
    at = 0

    def column(count: int) -> list[str]:
        nonlocal at
        start, at = at, at + count
        return [nth(n // below % size) for n in range(start, at)]

    return column


def _is_one_of(word: str, stream: str) -> bool:
    """Tell whether *stream* is the plural of *word*, or it, whatever schema is in front."""
    name = re.sub(r"[^a-z0-9]", "", re.split(r"[-.:/]", stream.lower())[-1])
    word = re.sub(r"[^a-z0-9]", "", word.lower())
    return name in {word, f"{word}s", f"{word}es", f"{word[:-1]}ies" if word.endswith("y") else word}
