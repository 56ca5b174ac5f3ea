"""Parquet's types as JSON text: each value exactly, or marked as one that cannot be written.

Nothing here depends on what Arrow makes of a value in Python, or on whether pandas is there. Times
are texts with all their digits, bytes are base64, a MAP with text keys is an object. What JSON has
no word for (durations, intervals, types of a vendor) is refused by the type's name.
"""

from __future__ import annotations

import base64
import json
import uuid
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from .errors import shown

INFINITY = (2**63 - 1, 1 - 2**63, 2**31 - 1, 1 - 2**31)  # as DuckDB writes it: microseconds, days
_PLAIN_TYPES = ("NONE", "STRING", "ENUM", "JSON", "DECIMAL", "DATE", "TIME", "TIMESTAMP", "INT", "UUID", "FLOAT16", "NULL", "UNKNOWN", "MAP", "LIST")
_EXTENSIONS = {"arrow.uuid", "arrow.json", "arrow.bool8"}
_DAY = 86_400
_FIRST, _LAST = -62_135_596_800, 253_402_300_800  # seconds since 1970 of the years 1 and 10000
_UNITS = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}

Texts = list[str]
Convert = Callable[..., Texts]  # of an array; with INT96 in it also of the same one in nanoseconds

# A value that cannot be written is, in its text, NUL, the value, NUL, the fault, NUL: no JSON has a NUL.
BAD = "\0"


def refuse_twice(names: Sequence[str], where: str = "") -> None:
    """Refuse columns of one name, of which a record could have one.

    Raises:
        OSError: with the name.
    """
    for name, count in Counter(names).items():
        if count > 1:
            raise OSError(f"two columns{where} have the name {shown(name)}, of which a record could have one; rename one of them")


def has_length(kind: pa.DataType) -> bool:
    return any(test(kind) for test in (pa.types.is_binary, pa.types.is_large_binary, pa.types.is_string, pa.types.is_large_string))


def is_list(kind: pa.DataType) -> bool:
    return any(test(kind) for test in (pa.types.is_list, pa.types.is_large_list, pa.types.is_fixed_size_list))


def _is_text(kind: pa.DataType) -> bool:
    return str(kind) in ("string", "large_string", "string_view")


def within(array: pa.Array, part: pa.Array) -> pa.Array:
    """Return what is of a MAP's rows in its keys or values, which do not know of slices."""
    start, stop = array.offsets[0].as_py(), array.offsets[-1].as_py()
    return part.slice(start, stop - start)


# --- a converter for each type


def converter(field: pa.Field, path: list[str], schema: Any, leaves: Iterator[int]) -> Convert:
    """Return what makes texts of the arrays of a field; *leaves* are the columns of the file, in order."""
    kind = field.type
    extension = (field.metadata or {}).get(b"ARROW:extension:name", b"").decode("utf-8", "replace")
    if isinstance(kind, pa.BaseExtensionType):
        extension, kind = getattr(kind, "extension_name", str(kind)), kind.storage_type
    if extension and extension not in _EXTENSIONS:
        for _ in range(_leaves_of(kind)):
            next(leaves)
        return partial(_without_text, extension)
    if pa.types.is_struct(kind):
        return _struct(kind, path, schema, leaves)
    if pa.types.is_map(kind):
        parts = (kind.key_field, "key"), (kind.item_field, "value")
        return partial(_map, _is_text(_value_type(kind.key_type)), *(converter(one, [*path, name], schema, leaves) for one, name in parts))
    if is_list(kind):
        return partial(_list, converter(kind.value_field, [*path, "[]"], schema, leaves))
    return _leaf(kind, path, schema.column(next(leaves)), extension)


def _value_type(kind: pa.DataType) -> pa.DataType:
    return kind.value_type if pa.types.is_dictionary(kind) else kind


def _leaves_of(kind: pa.DataType) -> int:
    """Return how many columns of a file a type has."""
    if pa.types.is_dictionary(kind):
        return 1
    return sum(_leaves_of(kind.field(i).type) for i in range(kind.num_fields)) if kind.num_fields else 1


def _without_text(kind: str, array: pa.Array, _: object = None) -> Texts:
    """Refuse values for which JSON has no word, as durations and what only a vendor knows."""
    array = _plain(array)
    if pa.types.is_duration(array.type):
        array = array.view(pa.int64())
    shows = pa.types.is_integer(array.type)
    values = map(str, array.to_pylist()) if shows else [""] * len(array)
    fault = f"a value of the type {kind} has no exact JSON; write it as text or a number"
    return ["null" if not is_there else f"{BAD}{value}{BAD}{fault}{BAD}" for value, is_there in zip(values, array.is_valid().to_pylist(), strict=True)]


def _leaf(kind: pa.DataType, path: list[str], column: Any, extension: str) -> Convert:
    logical = column.logical_type.type
    if column.converted_type == "INTERVAL" or logical not in _PLAIN_TYPES:
        return partial(_without_text, "INTERVAL" if column.converted_type == "INTERVAL" else logical)
    if pa.types.is_dictionary(kind):
        return partial(_dictionary, _leaf(kind.value_type, path, column, extension))
    if logical == "UUID" or extension == "arrow.uuid":
        return partial(_each, lambda value: f'"{uuid.UUID(bytes=value)}"')
    if extension == "arrow.bool8":
        return partial(_each, lambda value: "true" if value else "false")
    if logical in ("STRING", "ENUM", "JSON"):
        return _text
    if pa.types.is_timestamp(kind):
        convert = _int96 if column.physical_type == "INT96" else _timestamp
        return partial(convert, kind.unit, "+00:00" if kind.tz else "")
    for test, convert in _LEAVES:
        if test(kind):
            return convert
    return partial(_without_text, str(kind))


def _plain(array: pa.Array) -> pa.Array:
    return array.storage if isinstance(array.type, pa.BaseExtensionType) else array


def _each(text: Callable[[Any], str], array: pa.Array, _: object = None) -> Texts:
    return ["null" if value is None else text(value) for value in _plain(array).to_pylist()]


def _float(value: float) -> str:
    text = repr(float(value))
    return _CONSTANTS.get(text, text)


_CONSTANTS = {"nan": "NaN", "inf": "Infinity", "-inf": "-Infinity"}
quoted = json.JSONEncoder(ensure_ascii=False).encode


def _text(array: pa.Array, _: object = None) -> Texts:
    """Bytes that are no UTF-8 stay what they are, to be judged with the record."""
    array = _plain(array)
    if _is_text(array.type):
        try:
            return _each(quoted, array)
        except UnicodeDecodeError:
            array = array.cast(pa.large_binary())
    return _each(lambda value: quoted(value.decode("utf-8", "surrogateescape")), array)


def _half(array: pa.Array, _: object = None) -> Texts:
    return _each(_float, pc.cast(array, pa.float64()))


# --- times


def _timestamp(unit: str, zone: str, array: pa.Array, _: object = None) -> Texts:
    """Times with a zone are written in UTC."""
    first, last = _FIRST * _UNITS[unit], _LAST * _UNITS[unit]
    return _in_range(array.view(pa.int64()), first, last, f"timestamp[{unit}]", partial(_iso, pa.timestamp(unit), zone))


def _int96(unit: str, zone: str, array: pa.Array, twin: pa.Array) -> Texts:
    """Arrow has it in microseconds, and in nanoseconds (*twin*) without their highest bits: together these are all digits."""
    found = zip(array.view(pa.int64()).to_pylist(), twin.view(pa.int64()).to_pylist(), _timestamp(unit, zone, array), strict=True)
    return [text if text == "null" or BAD in text else _with_nanos(micros, nanos, text) for micros, nanos, text in found]


def _with_nanos(micros: int, nanos: int, text: str) -> str:
    """Return the text with the three digits that microseconds do not have; *nanos* are right modulo 2**64."""
    more = (nanos - micros * 1000) % 2**64
    if not more:
        return text
    clock, point, fraction = text.strip('"').partition(".")
    return f'"{clock}{point or "."}{fraction.ljust(6, "0")}{more:03}"'


def _iso(kind: pa.DataType, zone: str, numbers: pa.Array) -> Texts:
    texts = pc.replace_substring_regex(pc.cast(numbers.view(kind), pa.string()), r"\.0+$", "")
    return ["null" if text is None else f'"{text[:10]}T{text[11:]}{zone}"' for text in texts.to_pylist()]


def _date(array: pa.Array, _: object = None) -> Texts:
    days = array.view(pa.int32())
    return _in_range(days, _FIRST // _DAY, _LAST // _DAY, "date", lambda fine: _cast(fine.view(pa.date32())))


def _date_in_ms(array: pa.Array, _: object = None) -> Texts:
    numbers = array.view(pa.int64())
    return _in_range(numbers, _FIRST * 1000, _LAST * 1000, "date64", lambda fine: _cast(fine.view(pa.date64()).cast(pa.date32())), _DAY * 1000)


def _time(array: pa.Array, _: object = None) -> Texts:
    """24:00:00 is written as such, and is judged with the record."""
    day = _DAY * _UNITS[array.type.unit]
    numbers = array.view(pa.int32() if array.type.bit_width == 32 else pa.int64())

    def write(fine: pa.Array) -> Texts:
        ends = pc.equal(fine, pa.scalar(day, fine.type))
        texts = _cast(pc.if_else(ends, pa.scalar(None, fine.type), fine).view(array.type), zeros=True)
        return [text if not end else '"24:00:00"' for text, end in zip(texts, ends.to_pylist(), strict=True)]

    return _in_range(numbers, 0, day + 1, str(array.type), write)


def _cast(array: pa.Array, zeros: bool = False) -> Texts:
    texts = pc.cast(array, pa.string())
    texts = pc.replace_substring_regex(texts, r"\.0+$", "") if zeros else texts
    return ["null" if text is None else f'"{text}"' for text in texts.to_pylist()]


def _in_range(numbers: pa.Array, low: int, high: int, kind: str, write: Callable[[pa.Array], Texts], of: int = 1) -> Texts:
    """Return what *write* makes of numbers from *low* up to *high*, multiples of *of*; others are bad."""
    most = 2 ** (numbers.type.bit_width - 1)
    fine = pc.and_(
        pc.greater_equal(numbers, pa.scalar(max(low, -most), numbers.type)), pc.less_equal(numbers, pa.scalar(min(high, most) - 1, numbers.type))
    )
    if of > 1:
        fine = pc.and_(fine, pc.equal(pc.multiply(pc.divide(numbers, of), of), numbers))
    if pc.all(fine).as_py() is not False:
        return write(numbers)
    texts = write(pc.if_else(fine, numbers, pa.scalar(None, numbers.type)))
    found = zip(texts, fine.to_pylist(), numbers.to_pylist(), strict=True)
    return [_bad(kind, number) if is_fine is False else text for text, is_fine, number in found]


def _bad(kind: str, number: int) -> str:
    beyond = "not within a day" if kind.startswith("time[") or kind.startswith(("time32", "time64")) else "not within the years 1 to 9999"
    also = " (DuckDB's infinity)" if number in INFINITY else ""
    return f"{BAD}{number}{BAD}the {kind} {number} is {beyond}{also}{BAD}"


_LEAVES: list[tuple[Callable[[pa.DataType], bool], Convert]] = [
    (pa.types.is_null, lambda array, _=None: ["null"] * len(array)),
    (pa.types.is_boolean, partial(_each, lambda value: "true" if value else "false")),
    (pa.types.is_integer, partial(_each, str)),
    (pa.types.is_float16, _half),
    (pa.types.is_floating, partial(_each, _float)),
    (pa.types.is_decimal, partial(_each, lambda value: format(value, "f"))),
    (_is_text, _text),
    (pa.types.is_binary, partial(_each, lambda value: f'"{base64.b64encode(value).decode()}"')),
    (pa.types.is_large_binary, partial(_each, lambda value: f'"{base64.b64encode(value).decode()}"')),
    (pa.types.is_fixed_size_binary, partial(_each, lambda value: f'"{base64.b64encode(value).decode()}"')),
    (pa.types.is_date32, _date),
    (pa.types.is_date64, _date_in_ms),
    (pa.types.is_time, _time),
]


def _dictionary(convert: Convert, array: pa.Array, _: object = None) -> Texts:
    """Write each value that comes once; a batch may use few of many."""
    array = _plain(array)
    used = pc.unique(array.indices.drop_null())
    texts = dict(zip(used.to_pylist(), convert(array.dictionary.take(used)), strict=True))
    return [texts.get(at, "null") for at in array.indices.to_pylist()]


# --- what has values within


def _struct(kind: pa.DataType, path: list[str], schema: Any, leaves: Iterator[int]) -> Convert:
    fields = [kind.field(i) for i in range(kind.num_fields)]
    refuse_twice([field.name for field in fields], f" in {shown('.'.join(path))}")
    below = [converter(field, [*path, field.name], schema, leaves) for field in fields]
    template = "{" + ", ".join(f"{quoted(field.name)}: \0" for field in fields).replace("%", "%%").replace("\0", "%s") + "}"

    def texts(array: pa.Array, twin: pa.Array | None = None) -> Texts:
        columns = [convert(array.field(i), None if twin is None else twin.field(i)) for i, convert in enumerate(below)]
        rows = zip(*columns, array.is_valid().to_pylist(), strict=True)
        return [template % row[:-1] if row[-1] else "null" for row in rows]

    return texts


def _list(convert: Convert, array: pa.Array, twin: pa.Array | None = None) -> Texts:
    items = iter(convert(array.flatten(), None if twin is None else twin.flatten()))
    lengths = pc.list_value_length(array).to_pylist()
    return ["null" if length is None else f"[{', '.join(next(items) for _ in range(length))}]" for length in lengths]


def _map(has_names: bool, convert_key: Convert, convert_value: Convert, array: pa.Array, twin: pa.Array | None = None) -> Texts:
    """A MAP with text keys is an object, else an array of pairs."""
    keys = convert_key(within(array, array.keys), None if twin is None else within(twin, twin.keys))
    items = convert_value(within(array, array.items), None if twin is None else within(twin, twin.items))
    ends = array.offsets.to_pylist()
    found = []
    for start, stop, is_there in zip(ends, ends[1:], array.is_valid().to_pylist(), strict=False):
        start, stop = start - ends[0], stop - ends[0]
        pairs = list(zip(keys[start:stop], items[start:stop], strict=True))
        if not is_there:
            found.append("null")
        elif not has_names:
            found.append(f"[{', '.join(f'[{key}, {value}]' for key, value in pairs)}]")
        elif len({key for key, _ in pairs} - {"null"}) < len(pairs):
            found.append(f"{BAD}{', '.join(keys[start:stop])[:80]}{BAD}a MAP has a key twice, of which an object could have one{BAD}")
        else:
            found.append(f"{{{', '.join(f'{key}: {value}' for key, value in pairs)}}}")
    return found
