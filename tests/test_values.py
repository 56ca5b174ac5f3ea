"""What every value means: the slow path, which decides."""

from __future__ import annotations

import json
import sys
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from target_meltano import rows, schema, values
from target_meltano.digits import exact
from target_meltano.errors import RecordError
from target_meltano.kinds import (
    BINARY,
    BOOLEAN,
    DATE,
    DOUBLE,
    INTEGER,
    JSON,
    NUMBER,
    STRING,
    TIME,
    TIMESTAMP,
    Kind,
    decimal,
)
from target_meltano.schema import Leaf
from target_meltano.values import Notes, Number, Rules

STRICT, REPLACE = Rules(), Rules(replace_bad_text=True)


def converted(text: str, kind: Kind, *types: str, coerce: bool = False, rules: Rules = STRICT, **more: Any) -> Any:
    """Convert a value that is written as JSON *text*; *notes* of it may be looked at."""
    leaf = Leaf(("p",), kind, frozenset(types), coerce=coerce, **more)
    return values.convert(leaf, values.parse(text.encode("utf-8", "surrogatepass"), rules), rules, Notes())


def fault(text: str, kind: Kind, *types: str, **more: Any) -> str:
    with pytest.raises(ValueError) as caught:  # noqa: PT011 (the message is what is tested)
        converted(text, kind, *types, **more)
    return str(caught.value)


ACCEPTED: list[tuple[str, Kind, str, Any]] = [
    ("true", BOOLEAN, "boolean", True),
    ("1", INTEGER, "integer", 1),
    ("-0", INTEGER, "integer", 0),
    ("1.0", INTEGER, "integer", 1),
    ("-100e-2", INTEGER, "integer", -1),
    ("1e3", INTEGER, "integer", 1000),
    ("0e99999999999999999999", INTEGER, "integer", 0),
    ("9223372036854775807.0", INTEGER, "integer", 2**63 - 1),
    ("-9223372036854775808", INTEGER, "integer", -(2**63)),
    ("9007199254740993.0", INTEGER, "integer", 9007199254740993),
    ("1", NUMBER, "number", "1"),
    ("19.90", NUMBER, "number", "19.90"),
    ("0.1234567890123456789012345678901234567890", NUMBER, "number", "0.1234567890123456789012345678901234567890"),
    ("1e999999999", NUMBER, "number", "1e999999999"),
    ("1e99999999999999999999", NUMBER, "number", "1e99999999999999999999"),
    ("9" * 5000, decimal(38, 0), "integer", "9" * 5000),
    ('"1.50"', NUMBER, "string", "1.50"),
    ("0.1", DOUBLE, "number", 0.1),
    ("1e-400", DOUBLE, "number", 0.0),
    ('"a"', STRING, "string", "a"),
    ('"\\u00e9\\ud83d\\ude00"', STRING, "string", "é😀"),
    ('"\\\\u0000"', STRING, "string", "\\u0000"),
    ('""', STRING, "string", ""),
    ('"2024-01-31"', DATE, "string", 19753),
    ('"2024-01-31T00:00:00Z"', TIMESTAMP, "string", 19753 * 86_400_000_000),
    ('"00:00:01"', TIME, "string", 1_000_000),
    ('[1.10, "é", {"a": null}]', JSON, "array", '[1.10,"é",{"a":null}]'),
    ('{"a": 1, "a": 2}', JSON, "object", '{"a":2}'),
    ("null", JSON, "any", None),
    ("12345678901234567890.10", JSON, "any", "12345678901234567890.10"),
]


@pytest.mark.parametrize(
    ("text", "kind", "type_", "wanted"), ACCEPTED, ids=[f"{t[:30]}-{k}" for t, k, _, _ in ACCEPTED]
)
def test_accepted(text: str, kind: Kind, type_: str, wanted: Any) -> None:
    assert converted(text, kind, type_) == wanted


REFUSED: list[tuple[str, Kind, str, str]] = [
    ('"5"', INTEGER, "integer", "'5' is a string, wanted integer, or the setting coerce: lossless"),
    ('"x"', INTEGER, "integer", "'x' is a string, wanted integer"),
    ("1.5", INTEGER, "integer", "1.5 is a number, wanted integer"),
    ("1e-99999999999999999999", INTEGER, "integer", "1e-99999999999999999999 is a number, wanted integer"),
    ("true", INTEGER, "integer", "true is a boolean, wanted integer"),
    (
        "9223372036854775808",
        INTEGER,
        "integer",
        '9223372036854775808 is beyond the 64 bits of an integer column; setting column_types: "STREAM.p": "number" holds it',
    ),
    ("1e99999999999999999999", INTEGER, "integer", "1e99999999999999999999 is beyond the 64 bits"),
    ("-1e99999999999999999999", INTEGER, "integer", "-1e99999999999999999999 is beyond the 64 bits"),
    ("-1e30", INTEGER, "integer", "-1e30 is beyond the 64 bits"),
    ("-100000000000000000000", INTEGER, "integer", "-100000000000000000000 is beyond the 64 bits"),
    ("-9223372036854775809", INTEGER, "integer", "-9223372036854775809 is beyond the 64 bits"),
    ("1e400", DOUBLE, "number", "1e400 is beyond a double precision column"),
    ('"1_000"', NUMBER, "string", "'1_000' is no number"),
    ('"nan"', NUMBER, "string", "'nan' is no number"),
    ('"1.5 "', NUMBER, "string", "'1.5 ' is no number"),
    ('"\u0661"', NUMBER, "string", "'\u0661' is no number"),
    ("{}", STRING, "string", "it is an object, wanted string, or the setting coerce: lossless"),
    (
        '"a\\u0000"',
        STRING,
        "string",
        "text holds NUL (U+0000), which a database cannot store (setting on_bad_text: replace)",
    ),
    ('"\\ud800"', STRING, "string", "text holds the lone surrogate U+D800, which"),
    ('[{"\\u0000": 1}]', JSON, "array", "text holds NUL"),
    ('"2024-02-30"', DATE, "string", "no such day"),
    ("[" * 501 + "]" * 501, JSON, "array", "nested deeper than 500 levels"),
    ('"' + "a" * 1000 + '"', BOOLEAN, "boolean", "'" + "a" * 78 + "… is a string, wanted boolean"),
    ("7" * 1000, STRING, "string", "7" * 60 + "… (1000 characters) is an integer, wanted string"),
]


@pytest.mark.parametrize(("text", "kind", "type_", "message"), REFUSED, ids=[f"{t[:30]}-{k}" for t, k, _, _ in REFUSED])
def test_refused(text: str, kind: Kind, type_: str, message: str) -> None:
    assert message in fault(text, kind, type_)


COERCED: list[tuple[str, Kind, str, Any]] = [
    ('"5"', INTEGER, "integer", 5),
    ('"5.0"', INTEGER, "integer", 5),
    ('"1.50"', NUMBER, "number", "1.50"),
    ('"0.1"', DOUBLE, "number", 0.1),
    ('"true"', BOOLEAN, "boolean", True),
    ("0", BOOLEAN, "boolean", False),
    ("5.10", STRING, "string", "5.10"),
    ("true", STRING, "string", "true"),
    ('{"a": [1.0]}', STRING, "string", '{"a":[1.0]}'),
    ('"x"', JSON, "array", '"x"'),
]


@pytest.mark.parametrize(("text", "kind", "type_", "wanted"), COERCED, ids=[f"{t}-{k}" for t, k, _, _ in COERCED])
def test_coerced(text: str, kind: Kind, type_: str, wanted: Any) -> None:
    assert converted(text, kind, type_, coerce=True) == wanted


@pytest.mark.parametrize(
    ("text", "kind", "message"),
    [
        ('"5.5"', INTEGER, "is no integer"),
        ('"05"', INTEGER, "is no integer"),
        ('""', INTEGER, "is no integer"),
        ("2", BOOLEAN, "is no boolean"),
        ('"True"', BOOLEAN, "is no boolean"),
        ('"9007199254740993"', DOUBLE, "would change in a double precision column"),
        ('"0.12345678901234567890"', DOUBLE, "would change in a double precision column"),
        ("5", DATE, "5 is an integer, wanted a string"),
        ("[1]", INTEGER, "it is no integer"),
    ],
)
def test_not_coerced(text: str, kind: Kind, message: str) -> None:
    assert message in fault(text, kind, "null", coerce=True)


@pytest.mark.parametrize(
    ("text", "encoding", "wanted"),
    [
        ("aGk=", "base64", b"hi"),
        ("", "base64", b""),
        ("aGk=", None, b"hi"),
        ("c0FFee", "base16", b"\xc0\xff\xee"),
        ("aGk", "base64", None),
        ("aG k=", "base64", None),
        ("aGl=", "base64", None),
        ("aGk=\n", "base64", None),
        ("aGk-", "base64", None),
        ("é", "base64", None),
        ("c0 ff", "base16", None),
        ("c0f", "base16", None),
        ("é0", "base16", None),
    ],
)
def test_binary(text: str, encoding: str | None, wanted: bytes | None) -> None:
    written = json.dumps(text)
    if wanted is None:
        assert fault(written, BINARY, "string", encoding=encoding) == f"the string is not {encoding}"
    else:
        assert converted(written, BINARY, "string", encoding=encoding) == wanted


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (b'{"a": NaN}', "NaN is no JSON number"),
        (b"[Infinity]", "Infinity is no JSON number"),
        (b'"\xff"', "byte 2 is not valid UTF-8"),
        (b"{", "not JSON: Expecting property name enclosed in double quotes at character 2"),
        (b"01", "not JSON: Extra data at character 2"),
        (b'"\t"', "not JSON: Invalid control character at character 2"),
        (b"\xef\xbb\xbf1", "not JSON"),
        (b"[" * 100_000, "nested deeper than 500 levels"),
    ],
    ids=ascii,
)
def test_what_is_not_json_is_refused_with_the_place(line: bytes, message: str) -> None:
    with pytest.raises(ValueError, match="^.+$") as caught:
        values.parse(line)
    assert str(caught.value).startswith(message)


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        (b'"a\\u0000b"', "a\ufffdb"),
        (b'"\\ud800\\udc80x"', "\U00010080x"),
        (b'"\\udc80\\ud800"', "\ufffd\ufffd"),
        (b'"\xff\xe9"', "\ufffd\ufffd"),
    ],
    ids=["NUL", "pair", "no pair", "not UTF-8"],
)
def test_bad_text_is_replaced_and_counted(text: bytes, wanted: str) -> None:
    notes = Notes()
    leaf = Leaf(("p",), STRING, frozenset({"string"}))
    assert values.convert(leaf, values.parse(text, REPLACE), REPLACE, notes) == wanted
    assert notes.replaced[("p",)] == ("\ufffd" in wanted)


def test_names_that_become_one_by_replacement_are_refused() -> None:
    assert (
        fault('{"\\u0000": 1, "\\ud800": 2}', JSON, "object", rules=REPLACE)
        == "two names in an object would become one"
    )


def test_json_keeps_all_digits_and_the_last_of_equal_names() -> None:
    text = '{"a":1,"b":[0.10,1E+2,-0,1e99999999999999999999],"a":"é"}'
    assert values.json_text(values.parse(text.encode())) == '{"a":"\\u00e9","b":[0.10,1E+2,-0,1e99999999999999999999]}'


@pytest.mark.parametrize(
    ("number", "wanted"),
    [
        ("0", ("", 0)),
        ("-0.00e5", ("", 0)),
        ("100", ("1", 2)),
        ("1.50", ("15", -1)),
        ("0.001e3", ("1", 0)),
        ("1e000000000000000000000005", ("1", 5)),
    ],
)
def test_exact(number: str, wanted: tuple[str, int]) -> None:
    assert exact(number) == wanted


@given(st.decimals(allow_nan=False, allow_infinity=False))
def test_exact_and_integral_are_as_decimal_says(number: Decimal) -> None:
    digits, power = exact(str(number))
    assert Decimal(f"{'-' * number.is_signed()}{digits or 0}e{power}") == number
    assert values.is_integral(Number(number)) is (number == number.to_integral_value())


@pytest.mark.parametrize(
    "texts",
    [
        ("1", "1.0", "10e-1", "0.1E1"),
        ("0", "-0", "0.0e9"),
        ('{"a": 1, "b": [2]}', '{"b":[2.0],"a":1e0}'),
        ('"\\u00e9"', '"é"'),
    ],
    ids=["one", "zero", "object", "string"],
)
def test_equal_values_have_one_canonical_text(texts: tuple[str, ...]) -> None:
    assert len({values.canonical(values.parse(text.encode())) for text in texts}) == 1


@pytest.mark.parametrize("pair", [("1", "-1"), ("1", '"1"'), ("[1,2]", "[2,1]"), ("1", "10"), ("0", "null")])
def test_other_values_have_another(pair: tuple[str, str]) -> None:
    first, second = (values.canonical(values.parse(text.encode())) for text in pair)
    assert first != second


def test_the_deepest_json_that_is_stored_can_be_a_key() -> None:
    text = '{"a":' * 500 + "1" + "}" * 500
    assert values.json_text(values.parse(text.encode())) == text
    assert values.canonical(values.parse(text.encode())).startswith('{"a":')


NODE = schema.read(
    "s",
    {
        "properties": {
            "id": {"type": "integer"},
            "o": {"type": ["object", "null"], "properties": {"a": {"type": "string"}}},
            "n": {"type": "null"},
        }
    },
)


def read(text: str, rules: Rules = STRICT) -> tuple[list[Any], Notes]:
    notes = Notes()
    return rows.read_row(values.parse(text.encode()), NODE, rules, notes, line=7, stream="s"), notes


@pytest.mark.parametrize(
    ("text", "row"),
    [
        ('{"id": 1, "o": {"a": "x"}, "n": null}', [1, "x"]),
        ("{}", [None, None]),
        ('{"o": null}', [None, None]),
        ('{"o": {}}', [None, None]),
    ],
)
def test_row(text: str, row: list[Any]) -> None:
    assert read(text)[0] == row


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[]", "line 7: stream 's': $: a record is an object, not an array"),
        ("null", "line 7: stream 's': $: a record is an object, not null"),
        ("5", "line 7: stream 's': $: a record is an object, not an integer"),
        ('{"o": 5}', "line 7: stream 's': $.o: 5 is an integer, wanted an object; setting column_types: \"s.o\": \"json\" holds it"),
        (
            '{"o": {"a": 5}}',
            "line 7: stream 's': $.o.a: 5 is an integer, wanted string, or the setting coerce: lossless",
        ),
        ('{"n": 0}', "line 7: stream 's': $.n: 0 is an integer, and the schema allows only null; setting column_types: \"s.n\": \"number\" holds it"),
    ],
)
def test_a_refused_record_is_told_by_line_stream_and_path(text: str, message: str) -> None:
    with pytest.raises(RecordError) as caught:
        read(text)
    assert str(caught.value) == message


def test_unknown_fields_are_counted_at_every_depth() -> None:
    row, notes = read('{"id": 1, "x": 1, "o": {"y": null}}')
    assert (row, dict(notes.unknown)) == ([1, None], {("x",): 1, ("o", "y"): 1})


def test_unknown_fields_can_be_kept_where_they_were() -> None:
    row, _ = read('{"id": 1, "x": 1.0, "o": {"y": [2]}}', Rules(unknown_fields="keep"))
    assert row[2] is not None
    assert json.loads(row[2]) == {"x": 1.0, "o": {"y": [2]}}
    assert read('{"id": 1}', Rules(unknown_fields="keep"))[0] == [1, None, None]


def test_unknown_fields_can_fail() -> None:
    with pytest.raises(RecordError, match=r"\$\.o\.y: the schema does not name this field \(setting unknown_fields"):
        read('{"o": {"y": null}}', Rules(unknown_fields="fail"))


def test_no_number_is_too_long_to_be_looked_at() -> None:
    text = "1" * (sys.get_int_max_str_digits() + 1 if hasattr(sys, "get_int_max_str_digits") else 5000)
    assert "is beyond the 64 bits" in fault(text, INTEGER, "integer")
    assert converted(text, JSON, "any") == text
