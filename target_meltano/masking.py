"""Personal data is masked here, before anything else sees a line: lines in, masked lines out.

Of a stream with rules only what its SCHEMA or a rule names goes on, and of a message only what Singer knows. A record is
decoded only as deep as something in it is named; the rest stays as it was written. What that refuses takes `slow`, which
defines what is right. A line that might show what must not be shown (it is no JSON, or a value in it cannot be masked) is
withheld: its length and hash go on in place of it, with its fault.
"""

from __future__ import annotations

import difflib
import json
import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from fnmatch import fnmatchcase
from itertools import islice
from typing import IO, Any

import msgspec

from . import pii
from .errors import BatchError, MaskingError, MessageError, shown
from .lines import LONGEST, Chunk, Source, read_chunks
from .masked_quick import MARK
from .masked_record import as_json, is_text
from .masked_stream import LENIENT, MORE, WITHHELD, MaskedStream, Withheld, near, withheld
from .masked_stream import MaskedSchemaError as MaskedSchemaError
from .messages import BATCH_FORMATS, REFUSED, read
from .pii import Rules
from .pii import of_pipelinewise as of_pipelinewise
from .values import parse, version_of

_MEMBERS = {  # of messages that pass; what else they hold may be anything
    "STATE": {"type", "value"},
    "ACTIVATE_VERSION": {"type", "stream", "version"},
    "BATCH": {"type", "stream", "encoding", "manifest"},
}
_NOTHING = b'{"type": "OTHER"}'  # in place of a message of a type that nobody knows
Tell = Callable[[str, str, int], None]
_COMPRESSIONS = ("gzip", "zstd", "snappy", "none", "lz4", "brotli", "bzip2")
_BETWEEN = ("", "-", ".", ":", "/", "_")  # the name of a schema and that of a stream
_BOOKMARKS = {"replication_key", "replication_keys", "cursor_field", "bookmark_key", "bookmark_properties"}


def stage(
    found: pii.Found, environment: Mapping[str, str] = os.environ, reads_batches: bool = True, unlisted: str = "alike", unknown: str = "warn"
) -> Stage | None:
    """Return the stage for the settings `pii`, `pii_unlisted` and `unknown_fields`, None where they forbid nothing.

    Raises:
        SettingsError: naming everything that is wrong with it.
    """
    rules = pii.read(found, environment, unlisted)
    if unlisted == "fail":
        rules = replace(rules, plain=rules.plain or ())
    elif not rules.rules:
        return None
    return Stage(rules, reads_batches, refuses_more=unknown == "fail")


def is_withheld(line: bytes) -> bool:
    """Tell whether a line that was kept is only the length and hash of one."""
    return line.startswith(WITHHELD)


def finish(stage: Stage | None) -> None:
    """Check, at the end of the input, that every rule has matched something.

    Raises:
        MaskingError: naming those that have not. Their columns may have passed under other names.
    """
    faults = stage.unmatched() if stage else []
    if faults:
        raise MaskingError(f"pii: rules that matched nothing: {'; '.join(faults)}; mend them, or let them be optional: true")


def refuse_withheld(line: bytes, number: int, place: Callable[[int], tuple[int, int]]) -> None:
    """Raise the error of a line that is withheld; *place* gives the line for a record's *number*."""
    if isinstance(line, Withheld):
        raise line.error(number, place(number)[0])


def filtered(source: Source, stage: Stage, out: IO[bytes], tell: Tell, longest: int = LONGEST) -> None:
    """Write the masked lines of *source* to *out*, as they come; call *tell* with a stream, what is left out, and how often.

    Raises:
        TargetError: where a line is withheld, or a rule has matched nothing; what came before it was written.
    """
    for chunk in read_chunks(source, lambda: None, -1, longest):
        lines = stage.lines(chunk.lines)
        bad = next((i for i, line in enumerate(lines) if isinstance(line, Withheld)), len(lines))
        out.write(b"\n".join([*filter(None, lines[:bad]), b""]))
        out.flush()
        for line in lines[bad:]:
            refuse_withheld(line, chunk.first + bad, lambda number: (number, 0))
    finish(stage)
    stage.tell(tell)


def parts(stage: Stage | None, chunk: Chunk, tell: Tell) -> Iterator[Chunk]:
    """Yield *chunk* with its lines masked, as it is without a *stage*.

    It ends after each BATCH of a stream with rules: what is named in its records is what the last SCHEMA before it names.
    """
    if stage is None:
        yield chunk
        return
    start = 0
    while start < len(chunk.lines) or not chunk.lines:
        lines = stage.lines(islice(chunk.lines, start, None), is_until_batch=True)
        yield replace(chunk, first=chunk.first + start, lines=lines)
        if not lines:
            break
        start += len(lines)
    stage.tell(tell)


class BatchFault(ValueError):
    """A BATCH is none that can be read."""


class _Envelope(msgspec.Struct, gc=False):
    type: str
    stream: str = ""


_envelope = msgspec.json.Decoder(_Envelope).decode


class Stage:
    """The rules at work on one input. *reads_batches*: who comes behind gives the records of BATCH messages here, too.

    *refuses_more*: a record with fields that nobody has named is invalid.
    """

    def __init__(self, rules: Rules, reads_batches: bool = True, refuses_more: bool = False):
        self.rules = rules
        self.reads_batches = reads_batches
        self.secret = rules.key.secret if rules.key else b""
        trees = pii.trees(rules.rules, rules.key)
        self.streams = {
            name: MaskedStream(name, tree, rules.fingerprint(name), self.secret, refuses_more) for name, tree in trees.items()
        }
        self.plain: set[str] = set()  # streams without rules whose SCHEMA has come
        self.is_at_batch = False  # the last line was a BATCH of a stream with rules
        self._columns: dict[str, list[str]] = {}  # which streams mask a column
        for stream in self.streams.values():
            for column in stream.columns:
                self._columns.setdefault(column, []).append(stream.name)
        self._deepest = max((column.count(".") + 1 for column in self._columns), default=0)
        self._schemas: dict[str, tuple[bytes, bytes]] = {}  # the last of each stream, and what it became

    def lines(self, lines: Iterable[bytes], is_until_batch: bool = False) -> list[bytes]:
        """Return each line as it may be shown; those that may not are `Withheld`. *is_until_batch*: none behind the first BATCH."""
        done: list[bytes] = []
        streams, plain = self.streams, self.plain
        for line in lines:
            try:
                known = _envelope(line)
            except REFUSED:
                done.append(self._odd(line))
                continue
            if known.type != "RECORD":
                last = self._schemas.get(known.stream)
                done.append(last[1] if last and last[0] == line else self._odd(line))
                if is_until_batch and self.is_at_batch:
                    self.is_at_batch = False
                    break
            elif known.stream in streams:
                done.append(streams[known.stream].record(line))
            else:
                done.append(line if known.stream in plain else self._odd(line))
        return done

    def tell(self, tell: Tell) -> None:
        """Call *tell* with each stream whose records had more than what is named, since the last call."""
        for name, stream in self.streams.items():
            if stream.left_out:
                tell(name, f"records have {MORE}; these are left out", stream.left_out)
                stream.left_out = 0

    def unmatched(self) -> list[str]:
        """Return what is wrong with rules that have matched nothing so far."""
        faults = []
        for name, stream in self.streams.items():
            wanted = [rule for rule in self.rules.rules if rule.stream == name and not rule.optional]
            if not wanted:
                continue
            if not stream.has_schema:
                faults.append(f"stream {name!r} did not come{near(name, self.plain)}")
            elif stream.has_records:
                faults += [f"stream {name!r}: no record has {pii.path_text(rule.path)}" for rule in wanted if rule in stream.masker.open]
        return faults

    def _odd(self, line: bytes) -> bytes:
        """Take a line that is no plain record."""
        if not line.strip():
            return line
        try:
            return self._message(line, read(line, LENIENT))
        except MaskingError as fault:
            text = str(fault)
            return withheld(line, self.secret, lambda number, at: MaskingError(f"line {at}: {text}"))
        except ValueError as fault:
            text, error = str(fault), BatchError if isinstance(fault, BatchFault) else MessageError
            return withheld(line, self.secret, lambda number, at: error(text, line=number))

    def _message(self, line: bytes, found: Any) -> bytes:
        """Return what becomes of a message.

        Raises:
            ValueError: it is none, and may show anything.
            MaskingError: the rules and it do not go together.
        """
        if not isinstance(found, dict):
            raise ValueError("a message is a JSON object")
        type_, name = found.get("type"), found.get("stream")
        if not is_text(type_) or not re.fullmatch("[A-Za-z_]{1,40}", type_):
            raise ValueError('a message has a "type": SCHEMA, RECORD or STATE')
        kind = type_.upper()
        if kind in ("SCHEMA", "RECORD", "BATCH", "ACTIVATE_VERSION") and not (is_text(name) and name):
            raise ValueError(f'a {kind} has a "stream", its name')
        if kind == "SCHEMA":
            return self._schema(line, found, str(name))
        if name in self.streams and kind == "RECORD":
            return self.streams[name].slow(line)
        if kind in ("RECORD", "BATCH", "ACTIVATE_VERSION") and name not in self.plain and name not in self.streams:
            words = f"a {kind} of a stream before its SCHEMA{near(str(name), [*self.streams, *self.plain])}"
            raise BatchFault(words) if kind == "BATCH" else ValueError(words)
        if kind == "RECORD":
            return line
        if kind not in _MEMBERS:
            return _NOTHING
        if kind == "STATE":
            self._check_state(found.get("value"), None, ())
        if kind == "ACTIVATE_VERSION" and version_of(found) is None:
            raise ValueError(f'stream {shown(name)}: an ACTIVATE_VERSION has a "version"')
        if kind == "BATCH" and name in self.streams:
            return self._batch(found, self.streams[name])
        members = _MEMBERS[kind]
        return line if found.keys() <= members else as_json({member: found[member] for member in found if member in members})

    def _batch(self, found: dict[str, Any], stream: MaskedStream) -> bytes:
        name = stream.name
        if stream.shape is None:
            raise BatchFault(f"a BATCH of stream {name!r} before its SCHEMA")
        if not self.reads_batches:
            raise MaskingError(f"pii: stream {name!r}: the files of a BATCH do not come through here; use the setting pii of the target")
        encoding = found["encoding"] if isinstance(found.get("encoding"), dict) else {}
        form, compression, manifest = encoding.get("format"), encoding.get("compression"), found.get("manifest")
        if form not in BATCH_FORMATS:
            raise BatchFault(f'stream {name!r}: the "encoding" of a BATCH has another format than {" or ".join(BATCH_FORMATS)}')
        if not isinstance(manifest, list) or not all(is_text(url) and url.startswith("file://") for url in manifest):
            raise BatchFault(f'stream {name!r}: a BATCH has a "manifest", a list of URLs of files: file:///…')
        self.is_at_batch = True
        known = {"compression": compression} if is_text(compression) and compression.lower() in _COMPRESSIONS else {}
        return as_json({"type": "BATCH", "stream": name, "encoding": {"format": form, **known}, "manifest": manifest})

    # --- SCHEMA

    def _schema(self, line: bytes, found: dict[str, Any], name: str) -> bytes:
        stream = self.streams.get(name)
        if stream is None:
            self._check_plain(name)
            self.plain.add(name)
            masked = line
        elif MARK in found and found[MARK] != stream.mark:
            raise MaskingError(f"pii: stream {name!r}: it was masked before, by other rules or with another key")
        else:
            masked = stream.schema(line, found)
        self._schemas[name] = (line, masked)
        return masked

    def _check_plain(self, name: str) -> None:
        """Refuse a stream that has no rule but may be meant by one, so that a slip is no leak."""
        patterns = self.rules.plain
        if patterns is not None:
            if not any(fnmatchcase(name, pattern) for pattern in patterns):
                raise MaskingError(f"pii: stream {name!r} has no rule and is not in plain; add it to one of them")
            return
        waiting = [other for other, stream in self.streams.items() if not stream.has_schema]
        for other in waiting:
            if _is_like(name, other):
                raise MaskingError(
                    f"pii: stream {name!r} has no rule, but there is one for {other!r}, which has not come; mend the rule, "
                    f'or name the streams without personal data: "plain": [{json.dumps(name)}, …]'
                )

    # --- STATE

    def _check_state(self, value: Any, of: str | None, path: tuple[str, ...]) -> None:
        """Refuse a bookmark of a masked column: it would show the value, or be of no use if it was masked.

        Within what is named like a stream only its own columns count, and any text that is the name of one is taken for
        it. *path* are the keys that lead to *value*.
        """
        if is_text(value):
            if of in self._columns.get(value.casefold(), ()):
                raise self._bookmark(value, str(of))
            inside = _json_in(value)
            if inside is not None:  # may be a text again, with JSON in it
                self._check_state(inside, of, path)
            return
        if isinstance(value, list):
            for item in value:
                self._check_state(item, of, path)
        if not isinstance(value, dict):
            return
        for name, item in value.items():
            within = (*path, *re.split("[./:]", name))
            starts = range(max(0, len(within) - self._deepest), len(within)) if item is not None else ()
            names = [".".join(within[start:]).casefold() for start in starts] + [name.casefold()] * bool(starts)
            if name in _BOOKMARKS:
                names += [one.casefold() for one in (item if isinstance(item, list) else [item]) if is_text(one)]
            for column in names:
                for stream in self._columns.get(column, ()):
                    if of in (None, stream):
                        raise self._bookmark(column, stream)
            self._check_state(item, self._stream_of(name) or of, within)

    @staticmethod
    def _bookmark(column: str, stream: str) -> MaskingError:
        return MaskingError(
            f"pii: a STATE has a bookmark of {column!r} of stream {stream!r}, which a rule masks; "
            "choose another replication key in the tap's catalog, or mask that column in the transformation"
        )

    def _stream_of(self, name: str) -> str | None:
        """Return the stream that a key of a STATE means: taps have ids like db-public-users for public-users."""
        known = [one for one in (*self.streams, *self.plain) if name.endswith(one) and name[-len(one) - 1 : -len(one)] in _BETWEEN]
        return max(known, key=len, default=None)


def _is_like(name: str, other: str) -> bool:
    """Tell whether one of two names may be a slip for the other, or the same with a schema in front."""
    mine, theirs = (re.split(r"[-.:/]", one.casefold())[-1] for one in (name, other))
    return difflib.SequenceMatcher(None, mine, theirs).ratio() >= 0.8


def _json_in(text: str) -> Any:
    if text.lstrip()[:1] not in ("{", "[", '"'):
        return None
    try:
        return parse(text.encode("utf-8", "surrogatepass"))
    except ValueError:
        return None
