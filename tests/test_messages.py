"""Lines become messages, or an error of their line."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from target_meltano.errors import MessageError, TargetError
from target_meltano.messages import Activate, Envelope, Other, Record, Schema, State, envelope, parse
from target_meltano.values import Rules


def message(**fields: Any) -> bytes:
    return json.dumps(fields).encode()


def test_messages() -> None:
    properties = {"properties": {"a": {"multipleOf": 0.01, "maximum": 5}}}
    found = [
        parse(message(type="SCHEMA", stream="s", schema=properties, key_properties=["a", "b", "a"]), 1, Rules()),
        parse(message(type="schema", stream="s", schema={}, key_properties=None), 1, Rules()),
        parse(message(type="RECORD", stream="s", record={}, version=1), 1, Rules()),
        parse(b'{"type": "STATE", "value": {"at": 1.10, "t": "\\ud800\xc3\xa9"}}', 1, Rules()),
        parse(message(type="ACTIVATE_VERSION", stream="s", version=1), 1, Rules()),
        parse(message(type="whatever"), 1, Rules()),
    ]
    wanted = {"properties": {"a": {"multipleOf": Decimal("0.01"), "maximum": 5}}}
    assert found == [
        Schema("s", wanted, ("a", "b")),
        Schema("s", {}, ()),
        Record("s", 1),
        State('{"at":1.10,"t":"\\ud800\\u00e9"}'),
        Activate("s", 1),
        Other("WHATEVER", None),
    ]


DEEP = b"[" * 600 + b"]" * 600
BAD: dict[str, tuple[bytes, str]] = {
    "array": (b"[1]", "a message is a JSON object"),
    "text": (b'"a"', "a message is a JSON object"),
    "one byte": (b"x", "not JSON"),
    "not UTF-8": (b'{"type": "STATE", "value": "\xff"}', "byte 29 is not valid UTF-8"),
    "no type": (b"{}", 'a message has a "type"'),
    "type a number": (b'{"type": 5}', 'a message has a "type"'),
    "type null": (b'{"type": null}', 'a message has a "type"'),
    "STATE without value": (b'{"type": "STATE"}', 'a STATE has a "value"'),
    "deep STATE": (b'{"type": "STATE", "value": ' + DEEP + b"}", "nested deeper than 500 levels"),
    "RECORD without record": (message(type="RECORD", stream="s"), 'a RECORD has a "record"'),
    "RECORD without stream": (message(type="RECORD", record={}), 'a RECORD has a "stream", its name; found None'),
    "stream a number": (message(type="RECORD", record={}, stream=5), 'a RECORD has a "stream"'),
    "stream empty": (message(type="RECORD", record={}, stream=""), "found ''"),
    "SCHEMA without schema": (message(type="SCHEMA", stream="s", key_properties=[]), 'a SCHEMA has a "schema"'),
    "schema a list": (message(type="SCHEMA", stream="s", schema=[], key_properties=[]), 'a SCHEMA has a "schema"'),
    "SCHEMA without keys": (message(type="SCHEMA", stream="s", schema={}), 'a SCHEMA has "key_properties"'),
    "keys a text": (message(type="SCHEMA", stream="s", schema={}, key_properties="id"), '"key_properties" is a list'),
    "keys of numbers": (
        message(type="SCHEMA", stream="s", schema={}, key_properties=[1]),
        '"key_properties" is a list',
    ),
    "keys of lists": (
        message(type="SCHEMA", stream="s", schema={}, key_properties=[["id"]]),
        '"key_properties" is a list',
    ),
    "exponent": (
        b'{"type":"SCHEMA","stream":"s","key_properties":[],"schema":{"maximum":1e99999999999999999999}}',
        "exponent",
    ),
}


@pytest.mark.parametrize(("line", "fault"), BAD.values(), ids=BAD)
def test_what_is_no_message_is_refused_with_its_line(line: bytes, fault: str) -> None:
    with pytest.raises(MessageError) as caught:
        parse(line, 7, Rules())
    assert str(caught.value).startswith("line 7: ")
    assert fault in str(caught.value)


def test_bad_text_is_replaced_in_records_only() -> None:
    replace = Rules(replace_bad_text=True)
    assert parse(b'{"type": "RECORD", "stream": "s", "record": {"a": "\xff"}}', 1, replace) == Record("s")
    with pytest.raises(MessageError, match="not valid UTF-8"):
        parse(b'{"type": "STATE", "value": "\xff"}', 1, replace)


SHAPES = st.recursive(
    st.sampled_from(
        [
            "null",
            "true",
            "5",
            "1e99999999999999999999",
            '"s"',
            '"\\ud800"',
            "7" * 5000,
            '"SCHEMA"',
            '"STATE"',
            "{",
            "[" * 600 + "]" * 600,
        ]
    ),
    lambda items: (
        st.lists(items, max_size=3).map(lambda found: f"[{','.join(found)}]")
        | st.lists(
            st.tuples(st.sampled_from(["type", "stream", "value", "schema", "key_properties", "record"]), items),
            max_size=5,
        ).map(lambda found: "{" + ",".join(f'"{name}":{item}' for name, item in found) + "}")
    ),
    max_leaves=8,
)


@given(SHAPES, st.booleans())
def test_a_line_of_any_shape_is_a_message_or_an_error_of_ours(text: str, replace: bool) -> None:
    try:
        parse(text.encode(), 1, Rules(replace))
    except TargetError as error:
        assert isinstance(error, MessageError)


@pytest.mark.parametrize("stream", ["a\0b", "\0", "\ud800", "a\udfffb"], ids=repr)
@pytest.mark.parametrize("kind", ["SCHEMA", "RECORD", "ACTIVATE_VERSION", "BATCH"])
def test_the_name_of_a_stream_is_text_that_a_database_holds(kind: str, stream: str) -> None:
    line = message(type=kind, stream=stream, schema={}, key_properties=[], record={}, version=1)
    for rules in (Rules(), Rules(replace_bad_text=True)):
        with pytest.raises(MessageError, match=f'^line 7: the "stream" of a {kind} is .*; no database keeps a name with NUL or half'):
            parse(line, 7, rules)
    assert envelope(line) == Envelope()
    assert envelope(message(type=kind, stream="ab")).stream == "ab"
