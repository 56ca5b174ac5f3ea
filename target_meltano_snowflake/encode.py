"""From a batch to what a Parquet file holds, and back out of it on Snowflake's side.

Snowflake holds fewer values than a batch may have. What it would change or refuse is refused here,
with the row that it is in, so that nothing goes wrong where 250 MB are loaded at once.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from decimal import Decimal
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from target_meltano import INTEGER_DIGITS, Column, RowError, Table, exact, shown

MAX_TEXT = 16 << 20  # bytes of a VARCHAR, and of JSON's text
MAX_BINARY = 8 << 20
MAX_DIGITS = 38
MAX_SCALE = 37
SAFE_DIGITS = 15  # a decimal number with so many comes out of a double as it was
ARRIVAL = "N"  # the column with the number of each row, in the order of arrival
# They work where the table is there already, as it is once a record was refused. NAME is the property, as settings have it, COLUMN its column.
_JSON_REMEDY = 'column_types: "NAME": "string" keeps the text, in a column of its own (column_names: "NAME": "COLUMN_2")'
_FLOAT_REMEDY = 'the setting number: decfloat keeps 38 digits, in a new table decimal(p,s) does, and '
_DECFLOAT_REMEDY = ', and "number" with the setting number: decfloat 38 digits'


def encode(table: Table, batch: pa.RecordBatch, type_of: Callable[[Column], str], arrival: int) -> pa.RecordBatch:
    """Return *batch* as it is written to a file: columns C0, C1, …, and the numbers of the rows from *arrival* on.

    Raises:
        RowError: the first row with a value that its column does not hold.
    """
    arrays, faults = [], []
    for column, array in zip(table.columns, batch.columns, strict=True):
        try:
            arrays.append(_stored(array, column.kind.name, type_of(column)))
        except _Refused as refused:
            fault = str(refused).replace("NAME", f"{table.source}.{column.source}").replace("COLUMN", column.name)
            faults.append((refused.row, f"column {column.name!r}: {fault}"))
    if faults:
        row, fault = min(faults)
        raise RowError(fault, row=row)
    names = [f"C{i}" for i in range(len(arrays))]
    numbers = pa.array(np.arange(arrival, arrival + batch.num_rows), pa.int64())
    return pa.RecordBatch.from_arrays([*arrays, numbers], [*names, ARRIVAL])


def expression(position: int, type_name: str) -> str:
    """Return the SQL for a column of the file, as a value of the type."""
    name = type_name.partition("(")[0].upper()
    cell = f'$1:"C{position}"'
    if name == "VARIANT":
        return f"PARSE_JSON({cell}::VARCHAR, 'd')"
    if name == "BINARY":
        return f"TO_BINARY({cell}::VARCHAR, 'HEX')"
    if name.startswith("TIMESTAMP"):
        naive = f"TO_TIMESTAMP_NTZ({cell}::NUMBER(38,0), 6)"
        return naive if name == "TIMESTAMP_NTZ" else f"{naive}::{name}"
    if name in ("BOOLEAN", "FLOAT", "VARCHAR") or type_name.upper() == "NUMBER(38,0)":
        return f"{cell}::{type_name.upper() if name == 'NUMBER' else name}"
    return f"{cell}::VARCHAR::{type_name.upper() if name == 'NUMBER' else name}"


class _Refused(Exception):
    def __init__(self, row: int, fault: str):
        super().__init__(fault)
        self.row = row


def _stored(array: pa.Array, kind: str, type_name: str) -> pa.Array:
    name = type_name.partition("(")[0].upper()
    if kind in ("number", "decimal"):
        return _floats(array) if name == "FLOAT" else _digits(array, type_name.upper())
    if kind == "string":
        _refuse_long(array, MAX_TEXT, "characters of UTF-8 and more are no VARCHAR")
        return array
    if kind == "json":
        _refuse_long(array, MAX_TEXT, "characters of UTF-8 and more are no VARIANT")
        _refuse_inexact_json(array)
        return array
    if kind == "binary":
        _refuse_long(array, MAX_BINARY, "bytes and more are no BINARY")
        return pa.array([None if value is None else value.hex() for value in array.to_pylist()], pa.string())
    if kind == "timestamp":
        return array.cast(pa.int64())
    return array.cast(pa.string()) if kind in ("date", "time") else array


def _positions(mask: pa.Array) -> list[int]:
    return list(np.flatnonzero(pc.fill_null(mask, False).to_numpy(zero_copy_only=False)).tolist())


def _refuse_long(array: pa.Array, most: int, what: str) -> None:
    if array.nbytes > most:
        for row in _positions(pc.greater(pc.binary_length(array), most)):
            raise _Refused(row, f"{most + 1:,} {what}")


# --- numbers


def _floats(texts: pa.Array) -> pa.Array:
    """Doubles; numbers that would not come out of them as they were are refused."""
    values = pc.cast(texts, pa.float64())
    doubtful = pc.or_(pc.greater(pc.binary_length(texts), SAFE_DIGITS), pc.match_substring_regex(texts, "[eE]"))
    for row in _positions(doubtful):
        text = texts[row].as_py()
        if not _is_double(text, values[row].as_py()):
            others = _FLOAT_REMEDY if _is_decfloat(text) else ""
            raise _Refused(row, f'FLOAT would change {shown(text)}; {others}column_types: "NAME": "string" keeps all')
    return values


def _is_decfloat(text: str) -> bool:
    digits, exponent = exact(text)
    return len(digits) <= MAX_DIGITS and abs(exponent + len(digits)) < 16_000


def _is_double(text: str, value: float) -> bool:
    return bool(np.isfinite(value)) and exact(repr(value)) == exact(text)


def _digits(texts: pa.Array, type_name: str) -> pa.Array:
    """Numbers for NUMBER(p,s) or DECFLOAT, as text; without exponents for the former."""
    precision, scale = _sizes(type_name)
    whole = precision - scale
    plain = pc.match_substring_regex(texts, rf"^-?[0-9]{{1,{whole}}}$") if whole else pc.equal(texts, "0")
    odd = _positions(pc.invert(plain))
    if not odd:
        return texts
    found = texts.to_pylist()
    for row in odd:
        found[row] = _fitting(row, found[row], type_name, precision, scale)
    return pa.array(found, pa.string())


def _sizes(type_name: str) -> tuple[int, int]:
    if type_name.startswith("DECFLOAT"):
        return MAX_DIGITS, 0
    precision, scale = type_name.partition("(")[2].rstrip(")").split(",")
    return int(precision), int(scale)


def _fitting(row: int, text: str, type_name: str, precision: int, scale: int) -> str:
    digits, exponent = exact(text)
    number = (int(text.startswith("-")), tuple(map(int, digits)), exponent)
    if type_name.startswith("DECFLOAT"):
        if _is_decfloat(text):
            return str(Decimal(number))
        raise _Refused(row, f'{shown(text)} has more than {MAX_DIGITS} digits, which DECFLOAT would cut; column_types: "NAME": "string" keeps them')
    if -exponent > scale or (digits and len(digits) + exponent > precision - scale):
        places, whole = max(scale, -exponent), max(min(precision - scale, INTEGER_DIGITS), len(digits) + exponent)
        kind = f"decimal({MAX_DIGITS},{places})" if places <= MAX_SCALE and whole + places <= MAX_DIGITS else "string"
        others = _DECFLOAT_REMEDY if _is_decfloat(text) else ""
        raise _Refused(row, f'{shown(text)} is no {type_name}; column_types: "NAME": "{kind}" holds it, "double" its nearest double{others} (narrow_columns: widen)')
    return f"{Decimal(number):f}"


# --- JSON

_SUSPECT = r"[0-9][0-9.]{37}|[0-9][eE][-+]?[0-9]"  # more digits than a VARIANT keeps, or an exponent


class _Number(str):
    """A number of JSON, as it is written."""


def _refuse_inexact_json(texts: pa.Array) -> None:
    """A number in a VARIANT has 38 digits, or is a double, as one with an exponent may be in any case."""
    for row in _positions(pc.match_substring_regex(texts, _SUSPECT)):
        for number in _numbers(json.loads(texts[row].as_py(), parse_float=_Number, parse_int=_Number)):
            if not _is_kept(number):
                raise _Refused(row, f"VARIANT would change {shown(str(number))} in it; {_JSON_REMEDY}")


def _numbers(value: Any) -> Iterator[_Number]:
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, list):
        for one in value:
            yield from _numbers(one)
    elif isinstance(value, _Number):
        yield value


def _is_kept(text: _Number) -> bool:
    digits, exponent = exact(text)
    whole, fraction = max(len(digits) + exponent, 0), max(-exponent, 0)
    if whole + fraction <= MAX_DIGITS and fraction <= MAX_SCALE and "e" not in text.lower():
        return True
    return _is_double(text, float(text))
