"""A batch of rows as the bytes of PostgreSQL's binary COPY: in C (c/copy.c), or by pgpq, with our own exact numbers.

No Arrow type lets each value have a display scale of its own, so numbers travel as text and become
PostgreSQL's numeric here: groups of four decimal digits, the point between two groups. Because
`numeric_recv` drops zero groups at both ends, all numbers of a batch may have the same width, and
numpy makes them at once. What is too long for that, or has an exponent, is made alone, also for C.
"""

from __future__ import annotations

import re
import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
from pgpq import ArrowToPostgresBinaryEncoder
from pgpq.encoders import StringEncoderBuilder
from pgpq.schema import Jsonb

from target_meltano import in_c

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from numpy.typing import NDArray
    from pgpq._pgpq import EncoderBuilder

    from target_meltano import Kind

# pgpq keeps the GIL while it encodes, 2 ms for a megabyte, and other threads wait as long.
PIECE_BYTES = 1 << 20
# Sending takes the same time for any size from 64 KiB to all at once. With this one a piece passes
# as it is, where a smaller one would have it copied.
READ_BYTES = 4 << 20

# https://www.postgresql.org/docs/current/datatype-numeric.html#DATATYPE-NUMERIC-DECIMAL
MAX_WHOLE = 131072  # digits before the point
MAX_PLACES = 16383  # digits after the point

NUMBER = re.compile(rb"(-?)(0|[1-9][0-9]*)(?:\.([0-9]+))?(?:[eE]([+-]?)0*([0-9]+))?")
EXPONENT_DIGITS = 12  # more move the point further than any token is long
NEGATIVE = 0x4000  # the sign's word in the header of a numeric
NOT_FINITE = {b"NaN": 0xC000, b"Infinity": 0xD000, b"-Infinity": 0xF000}  # in its place; infinities since PostgreSQL 14
WORD_DIGITS = 19  # numbers of so many digits fit 64 bits, unsigned
SHOWN = 40  # bytes of a token in a message
MINUS, POINT, ZERO = b"-.0"
_TEXT = 6  # as c/copy.c counts kinds
_TEXTS = {"json": 7, "number": 8, "decimal": 8}
POWERS = 10 ** np.arange(5, dtype=np.uint64)

_c = in_c("target_meltano_postgres._copy")


class NumberError(ValueError):
    """A token is no number of JSON or Python, or does not fit its column; *row* and *column* count from 0."""

    def __init__(self, fault: str, *, row: int = 0, column: int = 0) -> None:
        super().__init__(f"row {row}, column {column}: {fault}")
        self.fault = fault
        self.row = row
        self.column = column


class Reader:
    """A file of *buffers*, one after the other, as psycopg2's `copy_expert` reads it."""

    def __init__(self, buffers: Iterable[bytes]) -> None:
        self._buffers = filter(None, buffers)
        self._buffer = b""
        self._at = 0

    def read(self, size: int = READ_BYTES) -> bytes:
        """Return at most *size* bytes, more than 0, of one buffer; nothing at the end."""
        if self._at == len(self._buffer):
            self._buffer, self._at = next(self._buffers, b""), 0
        piece = self._buffer[self._at : self._at + size]  # all of it is no copy
        self._at += len(piece)
        return piece


def encode(batch: pa.RecordBatch, kinds: Sequence[Kind]) -> list[bytes]:
    """Return a whole COPY, from header to trailer, in one buffer or several.

    Column *i* of *batch* is of `arrow_type(kinds[i])`; its name does not matter.

    Raises:
        NumberError: for the first number, row by row, that its column would refuse or change.
    """
    return [_encode_in_c(batch, kinds)] if _c else _encode(batch, kinds)


def _encode_in_c(batch: pa.RecordBatch, kinds: Sequence[Kind]) -> bytes:
    digits = [_digits(kind) for kind in kinds]

    def odd(token: bytes, row: int, column: int) -> bytes:
        try:
            return _alone(token, row, *digits[column])
        except NumberError as error:
            raise NumberError(error.fault, row=error.row, column=column) from None

    texts = [_TEXTS.get(kind.name, _TEXT) for kind in kinds]
    columns = tuple((texts_are, *its) for texts_are, its in zip(texts, digits, strict=True))
    made: bytes = _c.encode(*batch.__arrow_c_array__(), columns, odd)
    return made


def _digits(kind: Kind) -> tuple[int, int]:
    """Return how many digits a number has before and behind the point, at most."""
    if kind.precision is None or kind.scale is None:
        return MAX_WHOLE, MAX_PLACES
    return kind.precision - kind.scale, kind.scale


def _encode(batch: pa.RecordBatch, kinds: Sequence[Kind]) -> list[bytes]:
    """Do the same in buffers of about `PIECE_BYTES`."""
    batch = batch.rename_columns([str(i) for i in range(len(kinds))])
    faults = []
    for i, kind in enumerate(kinds):
        if kind.name in ("number", "decimal"):
            try:
                batch = batch.set_column(i, str(i), numeric(batch.column(i), *_digits(kind)))
            except NumberError as error:
                faults.append(NumberError(error.fault, row=error.row, column=i))
    if faults:
        raise min(faults, key=lambda fault: (fault.row, fault.column))
    builders = {field.name: _builder(field, kinds[i]) for i, field in enumerate(batch.schema)}
    encoder = ArrowToPostgresBinaryEncoder.new_with_encoders(batch.schema, builders)
    header = encoder.write_header()
    rows = max(1, batch.num_rows * PIECE_BYTES // max(1, batch.nbytes))
    pieces = [encoder.write_batch(batch.slice(i, rows)) for i in range(0, batch.num_rows, rows)]
    return [header, *pieces, encoder.finish()]


def _builder(field: pa.Field[Any], kind: Kind) -> EncoderBuilder:
    if kind.name == "json":
        return StringEncoderBuilder.new_with_output(field, Jsonb())
    return ArrowToPostgresBinaryEncoder.infer_encoder(field)


def numeric(
    tokens: pa.Array[Any], whole: int = MAX_WHOLE, places: int = MAX_PLACES
) -> pa.Array[Any]:
    """Return *tokens*, JSON numbers, NaN, infinities or null, as the binary form of numeric, each with its own scale.

    A number has at most *whole* digits before the point and *places* after it, but for zeros at the
    end, which are left out.

    Raises:
        NumberError: for the first token that is no JSON number or has more digits.
    """
    texts = _texts(tokens)
    short = _short(texts, whole, places)
    rows = np.flatnonzero(texts.known & ~short.fits).tolist()
    alone = {row: _alone(texts[row], row, whole, places) for row in rows}
    return _column(_groups(short), alone, texts.known)


@dataclass(frozen=True)
class _Texts:
    """Strings as Arrow keeps them, n of them."""

    text: NDArray[np.uint8]  # one after the other, and a zero more, so that ends are places in it
    offsets: NDArray[np.int32]  # n + 1: where each begins, and where the last one ends
    known: NDArray[np.bool_]  # n: whether it is not null

    def __getitem__(self, row: int) -> bytes:
        return self.text[self.offsets[row] : self.offsets[row + 1]].tobytes()


@dataclass(frozen=True)
class _Short:
    """The numbers of plain grammar and at most `WORD_DIGITS`; n each, zero where *fits* is not."""

    fits: NDArray[np.bool_]
    negative: NDArray[np.bool_]
    digits: NDArray[np.uint64]  # all digits of the number, without the point
    scale: NDArray[np.int32]  # how many of them are after the point


def _texts(tokens: pa.Array[Any]) -> _Texts:
    buffers: list[Any] = tokens.buffers()
    offsets = np.frombuffer(buffers[1], np.int32, len(tokens) + 1, tokens.offset * 4)
    text = np.frombuffer(buffers[2] or b"", np.uint8)[offsets[0] : offsets[-1]]
    known = tokens.is_valid().to_numpy(zero_copy_only=False)
    return _Texts(np.append(text, np.uint8(ZERO)), offsets - offsets[0], known)


def _short(texts: _Texts, whole: int, places: int) -> _Short:
    """Return what can be made at once, in 50 ns a number.

    A token fits if it has no bytes but digits, a minus at the start and one point between digits.
    """
    text, starts, ends = texts.text, texts.offsets[:-1], texts.offsets[1:]
    odd = (text - np.uint8(ZERO)) > 9  # what is below "0" wraps to far above
    before = np.zeros(len(text) + 1, np.int32)
    np.cumsum(odd, out=before[1:])
    before = before[texts.offsets]  # how many odd bytes each token has before it
    negative = text[starts] == MINUS
    points = before[1:] - before[:-1] - negative
    odd_at = np.append(np.flatnonzero(odd), len(text) - 1).astype(np.int32)
    point = np.where(points == 1, odd_at[before[:-1] + negative], ends)
    first = starts + negative
    zero = text[first] == ZERO
    scale = np.maximum(ends - point - 1, 0)
    fits = texts.known & (point > first) & (ends - first - points - zero <= WORD_DIGITS)
    fits &= (point - first <= whole) & (scale <= places) & ~(zero & (point - first > 1))
    fits &= (points == 0) | ((points == 1) & (text[point] == POINT) & (scale > 0))
    digits = _integers(text[~odd], texts.offsets - before, fits)
    return _Short(fits, negative & fits, digits, np.where(fits, scale, 0))


def _integers(
    text: NDArray[np.uint8], offsets: NDArray[np.int32], fits: NDArray[np.bool_]
) -> NDArray[np.uint64]:
    """Return the strings of digits in *text* as numbers, 0 where they do not fit."""
    strings = _array(pa.string(), fits, offsets, text)
    integers: NDArray[np.uint64] = strings.cast(pa.uint64()).fill_null(0).to_numpy()
    return integers


def _groups(short: _Short) -> NDArray[np.uint16]:
    """Return numerics of one width as words: how many groups, weight, sign, scale, the groups.

    The last group has the digits after the last four that fill a group, or none.
    """
    unit = POWERS[short.scale % 4]
    rest = short.digits // unit
    last = (short.digits - rest * unit) * POWERS[4 - short.scale % 4]
    count = -(-len(str(rest.max(initial=0))) // 4)
    words = np.empty((len(rest), 4 + count + 1), ">u2")
    words[:, 0] = count + 1
    words[:, 1] = count - 1 - short.scale // 4
    words[:, 2] = short.negative * np.uint16(NEGATIVE)
    words[:, 3] = short.scale
    words[:, -1] = last
    for i in range(3 + count, 3, -1):
        high = rest // 10000
        words[:, i] = rest - high * 10000
        rest = high
    return words


def _alone(token: bytes, row: int, whole: int, places: int) -> bytes:
    """Return one token as a numeric, in 3 to 6 µs, or raise NumberError."""
    if token in NOT_FINITE:
        return _pack(b"", 0, 0, NOT_FINITE[token])
    found = NUMBER.fullmatch(token)
    if not found:
        shown = token[:SHOWN].decode(errors="replace")
        raise NumberError(f"found {shown!r}, wanted a JSON number", row=row)
    minus, integer, fraction, sign, exponent = (part or b"" for part in found.groups())
    shift = int(sign + (exponent or b"0")[:EXPONENT_DIGITS])
    digits = (integer + fraction).lstrip(b"0")
    point = len(digits) - len(fraction) + shift  # comes after so many of the digits
    scale = min(max(len(fraction) - shift, 0), places)
    digits = digits.rstrip(b"0")
    after = len(digits) - point
    if digits and (point > whole or after > places):
        raise NumberError(
            f"found a number with {max(point, 0)} digits before the point and {max(after, 0)}"
            f" after it, wanted at most {whole} and {places}",
            row=row,
        )
    return _pack(digits, point if digits else 0, scale, NEGATIVE if minus else 0)


def _pack(digits: bytes, point: int, scale: int, sign: int) -> bytes:
    """Return a numeric of groups that are filled up with zeros, the point between two of them."""
    digits = b"0" * (-point % 4) + digits
    digits += b"0" * (-len(digits) % 4)
    groups = [int(digits[i : i + 4]) for i in range(0, len(digits), 4)]
    weight = -(-point // 4) - 1  # of the first group, as a power of 10000
    return struct.pack(f">HhHH{len(groups)}H", len(groups), weight, sign, scale, *groups)


def _column(
    words: NDArray[np.uint16], alone: Mapping[int, bytes], known: NDArray[np.bool_]
) -> pa.Array[Any]:
    """Return numerics as an Arrow array: those of *alone* at their rows, else rows of *words*."""
    width, made = words.itemsize * words.shape[1], words.view(np.uint8).reshape(-1).data
    offsets = np.full(len(words) + 1, width, np.int64)
    offsets[0] = 0
    parts: list[bytes | memoryview] = []
    done = 0
    for row, value in alone.items():
        offsets[row + 1] = len(value)
        parts += made[done * width : row * width], value
        done = row + 1
    data = b"".join([*parts, made[done * width :]]) if parts else made
    return _array(pa.large_binary(), known, offsets.cumsum(), data)


def _array(kind: pa.DataType, known: NDArray[np.bool_], offsets: Any, data: Any) -> pa.Array[Any]:
    """Return strings of *kind*: from place to place of *offsets* in *data*, null if not known."""
    buffers = [np.packbits(known, bitorder="little"), offsets, data]
    return pa.Array.from_buffers(kind, len(known), [pa.py_buffer(buffer) for buffer in buffers])
