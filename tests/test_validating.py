"""What is taken for a JSON Schema, by which draft it is read, and expressions, which are ECMA 262's."""

from __future__ import annotations

from typing import Any

import pytest
from on_postgres import rows, run

from target_meltano import RecordError, SchemaError, validating
from target_meltano.samples import INT, record, schema, state

ECMA = {
    "letters of any script": (r"^\p{L}+$", ["Grün", "日本", "x"], ["x1", "", "a b"]),
    "$ is the end": ("^[a-z]$", ["a"], ["a\n", "ab", "\n"]),
    "digits are ASCII's": (r"^\d+$", ["12"], ["١٢", "1²"]),
    "words are ASCII's": (r"^\w+$", ["a_1"], ["é"]),
    "searched, not matched": ("b", ["abc"], ["ac"]),
    "look behind": (r"(?<=\$)\d{2}", ["$20"], ["20"]),
    "a name": (r"^(?<year>\d{4})-\k<year>$", ["2031-2031"], ["2031-2032"]),
    "a code point": (r"^\u{1F600}$", ["😀"], ["x"]),
    "valid without u": (r"^[\w-.]+\-$", ["a.b-"], ["a b-"]),
    "one character": ("^.$", ["😀", "é"], ["\n", "ab"]),
}


def passes(found: Any, value: Any) -> bool:
    """Tell whether a record of this value passes `validation: schema`."""
    text = validating.messages.json_of({"type": "object", "properties": {"v": found}})
    line = validating.messages.json_of({"record": {"v": value}}).encode("utf-8", "surrogatepass")
    try:
        validating.validator(text, ())(line)
    except ValueError as error:
        assert str(error).startswith("$.v"), error
        return False
    return True


@pytest.mark.parametrize(("pattern", "good", "bad"), ECMA.values(), ids=ECMA)
def test_patterns_are_those_of_ecma_262(pattern: str, good: list[str], bad: list[str]) -> None:
    assert [passes({"pattern": pattern}, value) for value in good + bad] == [True] * len(good) + [False] * len(bad)
    named = {"type": "object", "patternProperties": {pattern: {"type": "integer"}}, "additionalProperties": False}
    assert [passes(named, {value: 1}) for value in good + bad] == [True] * len(good) + [False] * len(bad)
    assert not any(passes(named, {value: "x"}) for value in good)
    others = {"patternProperties": {pattern: {}}, "additionalProperties": {"type": "string"}}
    assert [passes(others, {value: 1}) for value in good + bad] == [True] * len(good) + [False] * len(bad)


def test_a_pattern_is_for_texts_only() -> None:
    assert all(passes({"pattern": "^x$"}, value) for value in (5, None, ["y"]))


@pytest.mark.parametrize("pattern", [r"^\p{L}+$", "(", "(?P<x>a)", r"[\d-", "(?i)x"])
def test_no_pattern_stops_a_run_that_checks_types_only(db: Any, pattern: str) -> None:
    found = {"type": "string", "pattern": pattern, "patternProperties": {pattern: {}}}
    run(db, schema("t", id=INT, v=found), record("t", id=1, v="any"), state(1))
    assert rows(db, "v") == [("any",)]


@pytest.mark.parametrize("word", ["pattern", "patternProperties"])
def test_what_is_no_expression_is_refused_by_name_where_it_is_to_be_checked(db: Any, word: str) -> None:
    found = {"type": ["string", "object"], word: {"(?P<x>a)": {}} if word == "patternProperties" else "(?P<x>a)"}
    with pytest.raises(SchemaError, match=r"^line 1: stream 't': the pattern '\(\?P<x>a\)' is no expression of ECMA 262.*validation: types"):
        run(db, schema("t", id=INT, v=found), record("t", id=1, v="a"), state(1), validation="schema")


def test_a_property_may_be_called_pattern(db: Any) -> None:
    run(db, schema("t", id=INT, pattern={"type": "string"}), record("t", id=1, pattern="("), state(1), validation="schema")
    assert rows(db, "pattern") == [("(",)]


@pytest.mark.parametrize(
    "found",
    [
        {"type": ["string", "string", "null"]},
        {"type": ["null", "null", "string"], "minLength": 0},
        {"type": "string", "enum": ["a", "b", "a"]},
        {"anyOf": [{"type": ["string", "string"], "minLength": 1}, {"type": "null"}]},
    ],
    ids=["types", "not plain", "enum", "anyOf"],
)
@pytest.mark.parametrize("validation", ["types", "schema"])
def test_names_that_come_twice_change_nothing(db: Any, found: Any, validation: str) -> None:
    message = schema("t", id=INT, v=found)
    message["schema"]["required"] = ["id", "id"]
    run(db, message, record("t", id=1, v="a"), state(1), validation=validation)
    assert rows(db, "v") == [("a",)]


def test_a_type_that_is_none_is_refused_beside_one_that_comes_twice(db: Any) -> None:
    with pytest.raises(SchemaError, match=r"^line 1: stream 't': .*\$\.(properties\.)?v.*txt"):
        run(db, schema("t", id=INT, v={"type": ["string", "string", "txt"]}))


DRAFT_4 = {"minimum": 0, "exclusiveMinimum": True, "maximum": 10, "exclusiveMaximum": False}
LATER = {"exclusiveMinimum": 0, "maximum": 10}


@pytest.mark.parametrize("named", [None, "http://json-schema.org/draft-04/schema#", "http://json-schema.org/draft-07/schema#"], ids=["", "4", "7"])
@pytest.mark.parametrize("bounds", [DRAFT_4, LATER], ids=["booleans", "numbers"])
def test_a_schema_is_read_by_the_draft_that_it_is_of(db: Any, bounds: Any, named: str | None) -> None:
    """Whatever draft it names: booleans are draft 4's."""
    message = schema("t", id=INT, v={"type": "number", **bounds})
    message["schema"].update({"$schema": named} if named else {})
    good = [record("t", id=1, v=0.5), record("t", id=2, v=10)]
    for bad in (0, 10.5):
        with pytest.raises(RecordError, match=r"^line 4: stream 't': \$\.v: the value breaks '(exclusiveM|m)"):
            run(db, message, *good, record("t", id=3, v=bad), state(1), validation="schema")
    assert rows(db, "id") == [(1,), (2,)]
