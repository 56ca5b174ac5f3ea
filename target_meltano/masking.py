"""Personal data is masked here, before anything else sees a line: lines in, masked lines out.

A line of a stream with rules is decoded only as deep as its rules go; the rest of it stays as it was written. What
that refuses takes `slow`, which defines what is right. A line that might show what must not be shown (it is no JSON,
or a value in it cannot be masked) is withheld: its length and hash go on in place of it, with its fault.
"""

from __future__ import annotations

import difflib
import json
import os
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from fnmatch import fnmatchcase
from typing import IO, Any

import msgspec

from . import pii
from .errors import MaskingError, MessageError, shown
from .lines import LONGEST, Chunk, Source, read_chunks
from .masked_stream import LENIENT, MARK, WITHHELD, MaskedStream, Withheld, as_json, is_text, near, withheld
from .messages import REFUSED, read
from .pii import Rules
from .pii import of_pipelinewise as of_pipelinewise
from .values import Number

_MEMBERS = {  # of messages that pass; what else they hold may be anything
    "STATE": {"type", "value"},
    "ACTIVATE_VERSION": {"type", "stream", "version"},
    "BATCH": {"type", "stream", "encoding", "manifest"},
}
_OTHERS = {"type", "stream"}
_BETWEEN = ("", "-", ".", ":", "/", "_")  # the name of a schema and that of a stream
_BOOKMARKS = {"replication_key", "replication_keys", "cursor_field", "bookmark_key", "bookmark_properties"}


def stage(
    found: pii.Found, environment: Mapping[str, str] = os.environ, reads_batches: bool = True, unlisted: str = "alike"
) -> Stage | None:
    """Return the stage for the settings `pii` and `pii_unlisted`, None where they forbid nothing.

    Raises:
        SettingsError: naming everything that is wrong with it.
    """
    rules = pii.read(found, environment)
    if unlisted == "fail" and (rules.rules or rules.plain is not None):
        return Stage(replace(rules, plain=rules.plain or ()), reads_batches)
    return Stage(rules, reads_batches) if rules.rules else None


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


def filtered(source: Source, stage: Stage, out: IO[bytes], longest: int = LONGEST) -> None:
    """Write the masked lines of *source* to *out*, as they come.

    Raises:
        TargetError: where a line is withheld, or a rule has matched nothing; what came before it was written.
    """
    for chunk in read_chunks(source, lambda: None, -1, longest):
        lines = stage.lines(chunk.lines)
        bad = next((i for i, line in enumerate(lines) if isinstance(line, Withheld)), len(lines))
        out.write(b"\n".join([*lines[:bad], b""]))
        out.flush()
        for line in lines[bad:]:
            refuse_withheld(line, chunk.first + bad, lambda number: (number, 0))
    finish(stage)


class _Envelope(msgspec.Struct, gc=False):
    type: str
    stream: str = ""


_envelope = msgspec.json.Decoder(_Envelope).decode


class Stage:
    """The rules at work on one input. *reads_batches*: who comes behind gives the records of BATCH messages here, too."""

    def __init__(self, rules: Rules, reads_batches: bool = True):
        self.rules = rules
        self.reads_batches = reads_batches
        self.secret = rules.key.secret if rules.key else b""
        trees = pii.trees(rules.rules, rules.key)
        self.streams = {name: MaskedStream(name, tree, rules.fingerprint(name), self.secret) for name, tree in trees.items()}
        self.plain: set[str] = set()  # streams without rules whose SCHEMA has come
        self._schemas: dict[str, tuple[bytes, bytes]] = {}  # the last of each stream, and what it became

    def chunk(self, chunk: Chunk) -> Chunk:
        """Return *chunk* with its lines masked."""
        return replace(chunk, lines=self.lines(chunk.lines))

    def lines(self, lines: Iterable[bytes]) -> list[bytes]:
        """Return each line as it may be shown; those that may not are `Withheld`."""
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
            elif known.stream in streams:
                done.append(streams[known.stream].record(line))
            else:
                done.append(line if known.stream in plain else self._odd(line))
        return done

    def named(self, stream: str | None, line: bytes) -> bytes:
        """Return a masked line as it may be kept: of a stream with rules without the fields that no SCHEMA names."""
        try:
            known = _envelope(line)
        except REFUSED:
            return line  # it is withheld, or of a stream without rules
        found = self.streams.get(known.stream or stream or "")
        if found is None or known.type.upper() != "RECORD":
            return line
        if found.described is None:  # it came before its SCHEMA, so that nobody has named anything in it
            return withheld(line, self.secret, lambda number, at: MessageError("is withheld", line=number))
        return found.named(line)

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
                faults += [f"stream {name!r}: no record has {pii.path_text(rule.path)}" for rule in wanted if rule in stream.open]
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
            text = str(fault)
            return withheld(line, self.secret, lambda number, at: MessageError(text, line=number))

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
        if kind == "RECORD":
            if name in self.streams:
                return self.streams[name].slow(line)
            if name not in self.plain:
                raise ValueError(f"a RECORD of stream {shown(name)} before its SCHEMA")
            return line
        if kind == "STATE":
            self._check_state(found.get("value"), None)
        if kind == "ACTIVATE_VERSION" and not isinstance(found.get("version"), Number):
            raise ValueError(f'stream {shown(name)}: an ACTIVATE_VERSION has a "version"')
        if kind == "BATCH" and name in self.streams and not self.reads_batches:
            raise MaskingError(f"pii: stream {name!r}: the files of a BATCH do not come through here; use the setting pii of the target")
        members = _MEMBERS.get(kind, _OTHERS)
        return line if found.keys() <= members else as_json({member: found[member] for member in found if member in members})

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

    def _check_state(self, value: Any, of: str | None) -> None:
        """Refuse a bookmark of a masked column: it would show the value, or be of no use if it was masked.

        Within what is named like a stream only its own columns count.
        """
        if isinstance(value, list):
            for item in value:
                self._check_state(item, of)
        if not isinstance(value, dict):
            return
        for name, item in value.items():
            names = [name] if item is not None else []
            if name in _BOOKMARKS:
                names += filter(is_text, item if isinstance(item, list) else [item])
            for stream in self.streams.values():
                column = next((one for one in names if one in stream.columns), None)
                if column and of in (None, stream.name):
                    raise MaskingError(
                        f"pii: a STATE has a bookmark of {column!r} of stream {stream.name!r}, which a rule masks; "
                        "choose another replication key in the tap's catalog, or mask that column in the transformation"
                    )
            self._check_state(item, self._stream_of(name) or of)

    def _stream_of(self, name: str) -> str | None:
        """Return the stream that a key of a STATE means: taps have ids like db-public-users for public-users."""
        known = [one for one in (*self.streams, *self.plain) if name.endswith(one) and name[-len(one) - 1 : -len(one)] in _BETWEEN]
        return max(known, key=len, default=None)


def _is_like(name: str, other: str) -> bool:
    """Tell whether one of two names may be a slip for the other, or the same with a schema in front."""
    mine, theirs = (re.split(r"[-.:/]", one.casefold())[-1] for one in (name, other))
    return difflib.SequenceMatcher(None, mine, theirs).ratio() >= 0.8
