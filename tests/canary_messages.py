"""More attempts, by whole messages: words of a SCHEMA, files of a BATCH, rows that the database refuses, keys, STATEs, names of streams."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from canaries import Canary
from canary_attempts import (
    PROPERTIES,
    Attempts,
    Raw,
    bad,
    good,
    of_lines,
    of_unnamed,
    of_values,
    raw,
    record,
    rules,
    schema,
    within,
)

from target_meltano.samples import INT, STR

# --- words of a SCHEMA

WORDS: dict[str, Callable[[str], dict[str, Any]]] = {
    **{
        name: lambda text, name=name: {name: text}  # type: ignore[misc]
        for name in ("title", "description", "default", "const", "format", "pattern", "$comment", "$schema", "$id", "contentEncoding", "x-note", "minimum")
    },
    **{name: lambda text, name=name: {name: [text]} for name in ("examples", "enum", "required", "prefixItems")},  # type: ignore[misc]
    "enum beside null": lambda text: {"enum": [text, None]},
    "default that is an object": lambda text: {"default": {text: [text]}},
    "patternProperties": lambda text: {"patternProperties": {text: {"type": "string"}}},
    "$defs": lambda text: {"$defs": {text: {"enum": [text]}}},
    "definitions": lambda text: {"definitions": {text: {"type": "string", "const": text}}},
    "not": lambda text: {"not": {"const": text}},
    "not, with names": lambda text: {"not": {"properties": {text: {"enum": [text]}}}},
    "if": lambda text: {"if": {"properties": {"hash": {"const": text}}}, "then": {"required": [text]}, "else": {"description": text}},
    "dependencies": lambda text: {"dependencies": {text: [text]}, "dependentRequired": {"id": [text]}, "dependentSchemas": {text: {}}},
    "anyOf": lambda text: {"anyOf": [{"enum": [text]}, {"description": text}, {}]},
    "oneOf": lambda text: {"oneOf": [{"const": text, "title": text}, {}]},
    "allOf": lambda text: {"allOf": [{"examples": [text]}, {"default": text}]},
    "propertyNames": lambda text: {"propertyNames": {"pattern": text}, "contains": {"const": text}},
    "additionalProperties": lambda text: {"additionalProperties": {"properties": {text: {"const": text}}}},
    "words that nobody knows": lambda text: {text: text, "meta": {text: [text]}},
}


def _of_words(made: Attempts) -> None:
    """Each word at a column with a rule, one without, an object, the root, and what a $ref leads to; a record of it is refused, so that it is kept."""
    for name, word in WORDS.items():
        places = [Canary(len(made) + at) for at in range(5)]
        stream = f"words_{len(made)}"
        hash_, seen, addr, root, mail = (word(one.text) for one in places)
        properties: dict[str, Any] = json.loads(json.dumps({name: PROPERTIES[name] for name in ("id", "seen", "hash", "addr", "mask")}))
        for column, more in (("hash", hash_), ("seen", seen), ("addr", addr)):
            properties[column] = {**properties[column], **more}
        properties["mask"] = {"$ref": "#/definitions/mail"}
        described = {**root, "definitions": {"mail": {**STR, **mail}, **root.get("definitions", {})}}
        lines = [schema(stream, properties, **described), bad(stream), good(stream)]
        for place in ("a column with a rule", "a column", "an object", "the root", "a definition"):
            made.add(f"SCHEMA: {name}, at {place}", lambda one, lines=lines: lines, rules=rules(stream, {"hash": "hash", "addr.zip": "mask", "mask": "mask"}) if lines else [])  # type: ignore[misc]
            lines = []
    members: dict[str, Callable[[str], dict[str, Any]]] = {
        "further members": lambda text: {"note": text, text: [text]},
        "bookmark_properties": lambda text: {"bookmark_properties": [text]},
        "bookmark_properties that are none": lambda text: {"bookmark_properties": [{"k": text}]},
        "key_properties that are none": lambda text: {"key_properties": [[text]]},
        "a schema that is none": lambda text: {"schema": text},
        "a schema that is a list": lambda text: {"schema": [{"properties": {"hash": {"default": text}}}]},
        "a type that is none": lambda text: {"schema": {"properties": {"id": INT, "hash": {"type": text}}}},
        "properties that are none": lambda text: {"schema": {"properties": {"id": INT, "hash": STR, "seen": text}}},
        "a $ref to nowhere": lambda text: {"schema": {"properties": {"id": INT, "hash": {"$ref": f"#/definitions/{text}"}}}},
        "a $ref to elsewhere": lambda text: {"schema": {"properties": {"id": INT, "hash": {"$ref": f"https://example.org/{text}"}}}},
    }
    for name, more in members.items():

        def messages(one: Canary, more: Callable[[str], dict[str, Any]] = more) -> list[bytes]:
            stream = f"words_{one.number}"
            return [raw({**json.loads(schema(stream)), **more(one.text)}), schema(stream), bad(stream), good(stream)]

        made.add(f"SCHEMA: {name}", messages, rules=rules(f"words_{len(made)}", {"hash": "hash"}), settings={"invalid_schemas": "quarantine"})


# --- files, keys, and rows that the database refuses


def _of_files(made: Attempts, folder: Path) -> None:
    """Records in the files of a BATCH: as text, compressed, and as Parquet."""

    def batch(path: Path, data: bytes, **encoding: Any) -> list[bytes]:
        path.write_bytes(data)
        return [raw({"type": "BATCH", "stream": "people", "encoding": {"format": "jsonl", **encoding}, "manifest": [path.as_uri()]})]

    def inside(one: Canary, *more: tuple[str, Raw]) -> bytes:
        members = [("id", raw(one.number + 10)), ("hash", raw(one.text)), ("mail", raw(one.text)), ("addr", raw({"zip": one.text, "street": one.text})), *more]
        return b"{%b}" % b", ".join(b'"%b": %b' % (name.encode(), value) for name, value in members)

    lines: dict[str, Callable[[Canary], bytes]] = {
        "a record": lambda one: inside(one),
        "a record without a key": lambda one: inside(one).replace(b'"id"', b'"di"'),
        "a record of a wrong type": lambda one: inside(one, ("seen", raw("x"))),
        "cut off": lambda one: inside(one)[:-4],
        "no JSON": lambda one: one.text.encode(),
        "no object": lambda one: raw([one.text]),
        "no UTF-8": lambda one: inside(one).replace(b'"mail": "', b'"mail": "\xff'),
        "half a surrogate pair": lambda one: inside(one).replace(b'"mail": "', b'"mail": "\\ud800'),
        "a whole message": lambda one: good("people", one.number + 10, ("hash", raw(one.text))),
        "a STATE": lambda one: raw({"type": "STATE", "value": {"people": {"hash": one.text}}}),
    }
    for name, line in lines.items():
        made.add(f"BATCH: {name}", lambda one, line=line: batch(folder / f"{one.number}.jsonl", line(one) + b"\n"))  # type: ignore[misc]
        made.add(
            f"BATCH, gzip: {name}",
            lambda one, line=line: batch(folder / f"{one.number}.gz", gzip.compress(line(one) + b"\n"), compression="gzip"),  # type: ignore[misc]
        )
    made.add("BATCH: a foreign file", lambda one: batch(folder / f"{one.number}.gz", one.text.encode() * 20, compression="gzip"))
    columns: dict[str, Callable[[Canary], Any]] = {
        "text": lambda one: pa.array([one.text]),
        "bytes": lambda one: pa.array([one.text.encode()]),
        "bytes that are no text": lambda one: pa.array([b"\xff" + one.text.encode()]),
        "dictionary": lambda one: pa.array([one.text]).dictionary_encode(),
        "struct": lambda one: pa.array([{"zip": one.text, "street": one.text}]),
        "list": lambda one: pa.array([[one.text]]),
        "map": lambda one: pa.array([[(one.text, one.text)]], pa.map_(pa.string(), pa.string())),
        "integer": lambda one: pa.array([one.integer]),
        "decimal": lambda one: pa.array([one.integer]).cast(pa.decimal128(38, 5)),
        "nanoseconds": lambda one: pa.array([one.integer // 10]).cast(pa.timestamp("ns")),
        "time": lambda one: pa.array([one.instant[:19]]).cast(pa.timestamp("us")),
        "duration": lambda one: pa.array([one.integer]).cast(pa.duration("ns")),
    }
    for name, column in columns.items():
        for place in ("hash", "mail", "addr", "date", "number"):

            def messages(one: Canary, column: Callable[[Canary], Any] = column, place: str = place) -> list[bytes]:
                path = folder / f"{one.number}.parquet"
                pq.write_table(pa.table({"id": [one.number + 10], place: column(one)}), path, version="2.6")
                return [raw({"type": "BATCH", "stream": "people", "encoding": {"format": "parquet"}, "manifest": [path.as_uri()]})]

            made.add(f"Parquet: {name}, as {place}", messages)


GUARDS = """
ALTER TABLE "{schema}".guarded ADD CHECK (seen <> 1);
CREATE UNIQUE INDEX ON "{schema}".guarded ("redact") WHERE seen = 2;
ALTER TABLE "{schema}".guarded ALTER "null" TYPE varchar(3);
CREATE TABLE "{schema}".others (id bigint PRIMARY KEY);
INSERT INTO "{schema}".others SELECT generate_series(0, 9);
ALTER TABLE "{schema}".guarded ADD FOREIGN KEY (seen) REFERENCES "{schema}".others DEFERRABLE INITIALLY DEFERRED;
CREATE FUNCTION "{schema}".refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
  RAISE WARNING 'row %', NEW;
  IF NEW.seen = 4 THEN RAISE EXCEPTION 'row %', NEW USING DETAIL = NEW::text, HINT = NEW::text; END IF;
  IF NEW.seen = 5 THEN PERFORM 1 / (NEW.seen - 5); END IF;
  IF NEW.seen = 6 THEN RETURN NULL; END IF;
  RETURN NEW; END $$;
CREATE TRIGGER refuse BEFORE INSERT OR UPDATE ON "{schema}".guarded FOR EACH ROW EXECUTE FUNCTION "{schema}".refuse();
CREATE INDEX ON "{schema}".guarded (addr__city);
"""  # after a load of "guarded", which makes the table
_KINDS = {1: "CHECK", 2: "unique index", 3: "a row that is fine", 4: "trigger", 5: "division", 6: "trigger that drops", 20: "foreign key"}


def _everywhere(one: Canary) -> list[tuple[str, Raw]]:
    """Return members with the canary at the places of all rules, and beside them."""
    texts = [within(path, raw(one.text)) for path in ("hash", "after", "drop", "null", "mask", "redact", "first", "ends", "items[].ssn", "open.phone", "text.phone", "any")]
    return [*texts, ("date", raw(one.instant)), ("number", raw(one.integer)), ("addr", raw({"zip": one.text, "city": "Bern", "street": one.text})), ("mail", raw(one.text))]


def _of_refusals(made: Attempts) -> None:
    for seen, name in _KINDS.items():

        def lines(one: Canary, seen: int = seen) -> list[bytes]:
            return [record("guarded", ("id", raw(one.number + 10 + more)), ("seen", raw(seen)), *_everywhere(one)) for more in (0, 100_000)]

        made.add(f"refused: {name}", lines)
    long = raw({"zip": "1", "city": "".join(chr(0x4E00 + at * 7 % 20_000) for at in range(9000))})
    made.add("refused: too long for an index", lambda one: [record("guarded", ("id", raw(one.number + 10)), *_everywhere(one), ("addr", long))])
    made.add("refused: within a COPY", lambda one: [record("people", ("id", raw(one.number + 10)), *_everywhere(one), ("first", raw("\0")), ("seen", raw(2**62)))])


def _of_keys(made: Attempts) -> None:
    def lines(one: Canary, stream: str, *keys: Raw) -> list[bytes]:
        properties = {"key": {"type": ["string", "integer"]}, "seen": INT}
        return [schema(stream, properties, ("key",)), *(record(stream, ("key", key), ("seen", raw(1)), ("mail", key)) for key in keys)]

    keys: dict[str, Callable[[Canary], list[Raw]]] = {
        "text": lambda one: [raw(one.text)],
        "twice": lambda one: [raw(one.text), raw(one.text)],
        "too long": lambda one: [raw(one.word * 3000)],
        "integer": lambda one: [raw(one.integer), b"%d.0" % one.integer],
        "object": lambda one: [raw({"k": one.text})],
        "array": lambda one: [raw([one.text])],
        "NUL": lambda one: [raw(one.text + "\0")],
        "half a surrogate pair": lambda one: [b'"%b\\udfff"' % one.text.encode()],
        "null, and another name": lambda one: [b"null"],
    }
    for name, key in keys.items():
        stream = f"keys_{len(made)}"
        made.add(f"key: {name}", lambda one, key=key, stream=stream: lines(one, stream, *key(one)), rules=rules(stream, {"key": "hash"}))  # type: ignore[misc]


# --- what ends a run


def _of_states(made: Attempts) -> None:
    """Bookmarks of columns that a rule masks, wherever a tap may keep them."""
    bookmarks: dict[str, Callable[[str], Any]] = {
        "a bookmark": lambda text: {"bookmarks": {"people": {"hash": text}}},
        "in another case": lambda text: {"bookmarks": {"people": {"HASH": text}}},
        "by replication_key": lambda text: {"people": {"replication_key": "Hash", "replication_key_value": text}},
        "by a path": lambda text: {"people": {"addr.zip": text}},
        "by the table's name": lambda text: {"people": {"addr__ZIP": text}},
        "by members": lambda text: {"people": {"addr": {"zip": text}}},
        "in a list": lambda text: {"people": [["hash", text]]},
        "in JSON in text": lambda text: {"people": json.dumps({"hash": text})},
        "in JSON in JSON in text": lambda text: {"people": json.dumps(json.dumps({"hash": text}))},
        "of a schema's stream": lambda text: {"bookmarks": {"public-people": {"hash": text}}},
        "with the stream in its name": lambda text: {"people/hash": text},
        "alone": lambda text: {"hash": text},
        "of a bookmark_key": lambda text: {"people": {"bookmark_key": "hash", "value": text}},
        "of cursor_field": lambda text: {"people": {"cursor_field": ["hash"], "cursor": text}},
        "in partitions": lambda text: {"bookmarks": {"people": {"partitions": [{"context": {"hash": text}}]}}},
    }
    for name, value in bookmarks.items():
        made.add(f"STATE: {name}", lambda one, value=value: [good("people"), raw({"type": "STATE", "value": value(one.text)})], ends=True)  # type: ignore[misc]


def _of_batches(made: Attempts) -> None:
    """BATCH messages that are none."""
    encodings: dict[str, Callable[[str], Any]] = {
        "a text": lambda text: text,
        "another format": lambda text: {"format": text},
        "another compression": lambda text: {"format": "jsonl", "compression": text},
        "more members": lambda text: {"format": "jsonl", text: text},
    }
    manifests: dict[str, Callable[[str], Any]] = {
        "no files": lambda text: [],
        "no names of files": lambda text: [[text]],
        "an object for files": lambda text: {text: 1},
        "a text for files": lambda text: text,
    }
    for name, encoding in encodings.items():
        for what, manifest in manifests.items():

            def lines(one: Canary, encoding: Callable[[str], Any] = encoding, manifest: Callable[[str], Any] = manifest) -> list[bytes]:
                message = {"type": "BATCH", "stream": "people", "encoding": encoding(one.text), "manifest": manifest(one.text), "note": one.text}
                return [raw(message)]

            ends = (name, what) not in [("another compression", "no files"), ("more members", "no files")]
            made.add(f"BATCH: {name}, {what}", lines, ends=ends)


def _of_streams(made: Attempts) -> None:
    """Streams that a tap calls otherwise than a rule does."""

    def renamed(one: Canary, name: str) -> list[bytes]:
        return [schema(name), *(record(name, ("id", raw(at)), *_everywhere(one)) for at in range(20))]

    for name in ("People", "PEOPLE", "public-people", "public.people", "people_", "peoples", "pe\u0301ople", "p\u0435ople", "people "):
        made.add(f"stream {name!a}", lambda one, name=name: renamed(one, name), ends=True, settings={"first": False, "batch_rows": 1})  # type: ignore[misc]
    for name in ("public-people", "customers", "Kunden", "people2"):
        settings = {"pii_unlisted": "fail", "batch_rows": 1}
        made.add(f"stream {name}, listed nowhere", lambda one, name=name: renamed(one, name), ends=True, settings=settings)  # type: ignore[misc]
    mark = '"masked": "0123456789abcdef"'
    made.add("SCHEMA with a forged mark", lambda one: [schema("people", PROPERTIES)[:-1] + f', {mark}, "note": "{one.text}"}}'.encode()], ends=True)
    made.add("a rule's column is missing", lambda one: [schema("people", {"id": INT, "mail": {**STR, "default": one.text}})], ends=True, settings={"first": False})
    made.add("a bookmark that is masked", lambda one: [raw({**json.loads(schema("people")), "bookmark_properties": ["hash"], "note": one.text})], ends=True)
    made.add("a key that is starred", lambda one: [raw({**json.loads(schema("people")), "key_properties": ["mask"], "note": one.text})], ends=True)


_ALL = (("open", raw({"phone": "1"})), ("text", raw('{"phone": "1"}')))  # so that each rule has matched something
PREAMBLE = [schema("people"), good("people", 1, *_ALL), schema("guarded"), good("guarded", 1, *_ALL)]
RULES = [*rules("people"), *rules("guarded")]


def attempts(folder: Path) -> Attempts:
    """Return all attempts; files of BATCH messages are in *folder*."""
    made = Attempts()
    of_values(made)
    of_unnamed(made)
    of_lines(made)
    _of_words(made)
    _of_files(made, folder)
    _of_refusals(made)
    _of_keys(made)
    _of_states(made)
    _of_batches(made)
    _of_streams(made)
    return made
