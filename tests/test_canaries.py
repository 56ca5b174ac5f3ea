"""Nothing leaks: canaries under rules for personal data, sent in each way that anybody has thought of, are nowhere to be found.

CANARIES=all is the long form: each attempt also alone, where the first invalid record ends the run, on either path.
"""

from __future__ import annotations

import os
from dataclasses import replace
from itertools import cycle, product
from pathlib import Path
from typing import Any

import pytest
from canaries import Hit, hits
from canary_attempts import KEY, Attempts, good, raw
from canary_messages import GUARDS, PREAMBLE, RULES, attempts
from canary_places import Places, look_into_server, look_into_tables, talkative
from canary_runs import HAS_C, SEEN, SIGNALS, TREES, Runner, looker, overheard

from target_meltano import TargetError, masked_schema, masked_stream, masking, masks
from target_meltano.masked_quick import Quick
from target_meltano.masked_record import RecordMasker
from target_meltano.samples import INT, STR

ALL = os.environ.get("CANARIES") == "all"
PATHS = (True, False) if HAS_C else (False,)
PLACES = """
tables; __rejected; __loads; __state; comments; catalogue; statistics; server log; server files; STATEs; log, text; log, json; summary; errors;
debug log; rejected list; rejected replay; state get; stdout; stderr, text; stderr, json; open files
""".replace("\n", " ").strip().split("; ")
QUIET = ("tables left over", "TMPDIR", "process list")  # where nothing is, not even what may be seen
QUARANTINE = {"invalid_records": "quarantine", "invalid_schemas": "quarantine", "max_rejected": 10**6}
VARIANTS = [  # other settings, by turns
    {"state_id": "p", "unknown_fields": "keep"},
    {"validation": "schema", "on_bad_text": "replace", "absent_fields": "keep", "state_id": "p"},
    {"coerce": "lossless", "flatten_depth": 0},
    {"unknown_fields": "fail", "additional_properties": "unknown", "number": "double"},
    {"flatten_depth": 1, "zero_dates": "null", "unknown_fields": "keep"},
    {"naming": "preserve", "decode_binary": True, "hard_delete": True},
]
"""Streams without rules, whose values have to be found."""
SEEN_LINES = [
    raw({"type": "SCHEMA", "stream": "orders", "key_properties": ["id"], "schema": {"description": SEEN, "properties": {"id": INT, "note": STR, SEEN: STR}}}),
    *(raw({"type": "RECORD", "stream": "orders", "record": {"id": at, "note": SEEN, SEEN: SEEN}}) for at in range(9)),
    raw({"type": "RECORD", "stream": "orders", "record": {"id": SEEN, "note": SEEN}}),
    raw({"type": "RECORD", "stream": "orders", "record": {"id": 70, SEEN.upper(): [SEEN]}}),
    raw({"type": "STATE", "value": {"orders": SEEN}}),
]
SEEN_GUARDS = """
CREATE FUNCTION "{schema}".tell() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE WARNING 'row %', NEW; RETURN NEW; END $$;
CREATE TRIGGER tell BEFORE INSERT ON "{schema}".orders FOR EACH ROW EXECUTE FUNCTION "{schema}".tell();
"""


@pytest.fixture(scope="module")
def made(folder: Path) -> Attempts:
    return attempts(folder)


@pytest.fixture(scope="module")
def searched(folder: Path, made: Attempts) -> Places:
    """All places after all attempts, with the rules on."""
    places, home = Places({name: [] for name in (*PLACES, *QUIET)}), folder / "home"
    try:
        with talkative(home) as server:
            runner, connection = Runner(server.url, folder, places), looker(server.url)
            with overheard(places):
                run_all(runner, made, connection)
            run_processes(runner, made)
            look_into_tables(places, connection)
            look_into_server(places, connection, home)
            connection.close()
    except TargetError as error:
        pytest.skip(f"no server of the test's own: {error}")
    return places


def run_all(runner: Runner, made: Attempts, connection: Any) -> None:
    """Run the attempts in bulk by each path and method of loading, and by themselves those that end a run."""
    bulk = [one for one in made if not one.ends]
    words = [one for one in bulk if one.name.startswith("SCHEMA")]
    for number, (in_c, method) in enumerate(product(PATHS, ("upsert", "append", "overwrite"))):
        schema = f"bulk_{number}"
        settings = {**VARIANTS[number % len(VARIANTS)], "load_method": method}
        chosen = [one for one in bulk if method == "upsert" or one not in words]
        if method == "overwrite":  # which ends where the old table's constraints refuse new rows
            chosen = [one for one in chosen if not one.name.startswith("refused")]
        prepare(runner, schema, connection)
        some = {**QUARANTINE, **settings, "in_c": in_c, "as_json": number % 2 == 1}
        with_trees = Runner(runner.url + (TREES if number == 0 else ""), runner.folder, runner.places)
        error = with_trees.load(schema, sent(chosen), rules_of(chosen), **some)
        assert not error or "SCHEMA that is refused" in error
        runner.note_rejected(schema, RULES)
    paths, schema = cycle(PATHS), "single"
    prepare(runner, schema, connection)
    for one in made:
        if one.ends or ALL or one.number % 23 == 0 or not one.name.startswith(("SCHEMA", "Parquet")) and ", in " not in one.name:
            for in_c in PATHS if ALL else [next(paths)]:
                settings = dict(one.settings)
                before = [*PREAMBLE, *SEEN_LINES[:3]] if settings.pop("first", True) else []
                error = runner.load(schema, [*before, *one.lines], [*RULES, *one.rules], in_c=in_c, **settings)
                assert error or not one.ends, one
    assert SEEN in runner.load(schema, SEEN_LINES, RULES)  # the error that ends a run


def prepare(runner: Runner, schema: str, connection: Any) -> None:
    """Make the tables that refuse rows, and tell of all."""
    assert runner.load(schema, [*PREAMBLE, *SEEN_LINES[:3]], RULES) == ""
    with connection.cursor() as cursor:
        cursor.execute(GUARDS.format(schema=schema) + SEEN_GUARDS.format(schema=schema))


def sent(chosen: list[Any]) -> list[bytes]:
    return [*PREAMBLE, *SEEN_LINES, *(line for one in chosen for line in one.lines), SEEN_LINES[-1]]


def rules_of(chosen: list[Any]) -> list[dict[str, Any]]:
    return [*RULES, *(rule for one in chosen for rule in one.rules)]


def run_processes(runner: Runner, made: Attempts) -> None:
    """Run the target as a process: to its end with each form of log, for its plan, and until a signal ends it."""
    bulk = [one for one in made if not one.ends and not one.name.startswith("SCHEMA")]
    for form, in_c in zip(("text", "json"), cycle(PATHS), strict=False):
        assert runner.process(f"process_{form}", sent(bulk), rules_of(bulk), "--log-format", form, in_c=in_c, state_id="p", **QUARANTINE) == 0
    words = [one for one in made if one.name.startswith("SCHEMA")]
    runner.process("process_plan", sent(words), rules_of(words), "--plan", **QUARANTINE)
    many = [good("people", at, ("hash", raw(one.word * 40)), ("mail", raw(one.word * 40))) for at in range(9000) for one in [made.canary(at % len(made))]]
    seen = [raw({"type": "RECORD", "stream": "orders", "record": {"id": at, "note": SEEN}}) for at in range(50_000)]
    for (name, number), in_c in zip(SIGNALS.items(), cycle(PATHS), strict=False):
        runner.ended(f"ended by {name}", [*PREAMBLE, SEEN_LINES[0], *many, *seen], RULES, number, in_c=in_c)


def told(found: list[Hit], made: Attempts) -> str:
    names = {number: one.name for number, one in enumerate(made)}
    return "\n".join(f"{names.get(one.number if one.number is not None else -1, '?')}, as {one.form}: {one.around}" for one in found[:20])


def test_no_canary_is_found_anywhere(searched: Places, made: Attempts) -> None:
    """What may be seen is found at each place, so that it is one where a value can be, and is looked into."""
    leaks = {place: told(found, made) for place in searched if (found := searched.hits_at(place))}
    assert not leaks, "\n".join(f"--- {place}\n{words}" for place, words in leaks.items())
    assert [place for place in PLACES if not any(SEEN.encode() in text.lower() for text in searched[place])] == []


# --- that a canary would be found

GONE = {  # of which nothing is kept without rules either, and why
    "line: record twice": "the last one counts",
    "line: STATE with more": "members that Singer does not know",
    "SCHEMA: key_properties that are none": "the SCHEMA of a run that goes on is not kept",
    "SCHEMA: a schema that is none": "the same",
    "SCHEMA: a schema that is a list": "the same",
    "BATCH: more members, no files": "it has no records",
    "key: null, and another name": "it has no canary but in its name",
}
UNNUMBERED = ("marks, ", "time, ", "escapes, in text", "line: UTF-16", "Parquet: bytes", "Parquet: nanoseconds", "Parquet: time", "Parquet: integer", "Parquet: decimal")  # in forms that do not tell which one it is


def test_each_attempt_is_found_without_the_rules(db: Any, folder: Path, made: Attempts) -> None:
    places = Places()
    runner = Runner(db.url, folder, places, is_guarded=False)
    bulk = [one for one in made if not one.ends]
    runner.load(db.schema, sent(bulk), [], unknown_fields="keep", **QUARANTINE)
    runner.note_rejected(db.schema, [])
    look_into_tables(places, db.connection, only=db.schema)
    found = [hit for place in places for hit in places.hits_at(place)]
    numbers = {hit.number for hit in found}
    assert {hit.form for hit in found} >= {"text", "marks", "escapes", "integer", "date", "64 bits", "64 bits of a time", "base64", "UTF-16"}
    missed = [one.name for one in bulk if one.number not in numbers and one.name not in GONE and not one.name.startswith(UNNUMBERED)]
    assert missed == []


def _nothing(*_: Any) -> None:
    """Forbid nothing."""


def _as_it_came(line: bytes, *_: Any) -> masked_stream.Withheld:
    found = masked_stream.Withheld(line)
    found.error = lambda number, at: TargetError("")  # type: ignore[method-assign]
    return found


def _whole(self: Any, shape: Any, value: dict[str, Any], path: Any, is_masked: bool) -> dict[str, Any]:
    return {name: self.masked(shape.members[name], item, (*path, name), is_masked) if name in shape.members else item for name, item in value.items()}


def _schema_as_it_is(schema: Any, tree: Any) -> Any:
    return replace(MASKED_SCHEMA(schema, tree), schema=schema)


def _slowly(self: Any, line: bytes) -> bytes:
    raise ValueError


MASKED_SCHEMA = masked_schema.masked
GUARDS_OFF: dict[str, tuple[list[tuple[Any, str, Any]], set[str]]] = {  # what is patched, and the attempts that find it out by their first words
    "a line is not withheld": ([(masking, "withheld", _as_it_came), (masked_stream, "withheld", _as_it_came)], {"line", "array", "wrong time", "an object in several of them"}),
    "values pass": ([(RecordMasker, "_by_rule", lambda self, node, value: value), (Quick, "record", _slowly)], {"text", "upper case", "integer", "huge"}),
    "what nobody has named passes": ([(RecordMasker, "_object", _whole), (Quick, "record", _slowly)], {"a field", "a member beside named ones", "a column in another case"}),
    "a record passes as it is": ([(Quick, "record", lambda self, line: line)], {"text", "a field", "deep", "refused"}),
    "a SCHEMA is not written anew": ([(masked_schema, "masked", _schema_as_it_is)], {"SCHEMA"}),
    "bookmarks pass": ([(masking.Stage, "_check_state", _nothing)], {"STATE"}),
    "streams pass": ([(masking.Stage, "_check_plain", _nothing)], {"stream 'People'", "stream customers"}),
    "marks are shown": ([(masks, "_is_shown", str.isalnum)], {"marks"}),
}


@pytest.mark.parametrize("guard", GUARDS_OFF)
def test_a_guard_that_is_off_is_found_out(made: Attempts, monkeypatch: pytest.MonkeyPatch, guard: str) -> None:
    """In what the stage gives, which is all that any place gets."""
    patches, wanted = GUARDS_OFF[guard]
    for where, name, instead in patches:
        monkeypatch.setattr(where, name, instead)
    found = names_found(made)
    assert {words for words in wanted if not any(one.startswith(words) for one in found)} == set()


def test_with_all_guards_nothing_comes_out_of_the_stage(made: Attempts) -> None:
    assert names_found(made) == set()


def names_found(made: Attempts) -> set[str]:
    """Return the names of the attempts whose canaries come out of the stage; those that end a run are tried alone."""
    chosen = [one for one in made if not one.name.startswith(("BATCH", "Parquet"))]
    bulk = stage_of([rule for one in chosen for rule in one.rules])
    bulk.lines(PREAMBLE)
    found = set()
    for one in chosen:
        stage = stage_of(one.rules, unlisted=one.settings.get("pii_unlisted", "alike")) if one.ends else bulk
        given = stage.lines([*(PREAMBLE if one.ends and one.settings.get("first", True) else []), *one.lines])
        errors = [str(line.error(1, 1)).encode() for line in given if isinstance(line, masked_stream.Withheld)]
        if hits(b"\n".join([*given, *errors])):
            found.add(one.name)
    return found


def stage_of(rules: list[Any], **more: Any) -> masking.Stage:
    made = masking.stage({"key": KEY, "rules": [*RULES, *rules]}, **more)
    assert made
    return made
