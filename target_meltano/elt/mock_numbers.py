"""Numbers for mock data: within bounds, and multiples, as exact decimals."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from decimal import Decimal
from fractions import Fraction
from random import Random
from typing import Any

from .mock_text import Column

TRIES = 200  # of neighbours, for one that is a multiple in floats, too


def grid(schema: Mapping[str, Any], kind: str) -> tuple[Decimal, int, int]:
    """Return step, least and most of the numbers that fit: they are step * n for all n from least to most."""
    low = max(_bounds(schema, "minimum", "exclusiveMinimum"), default=None)
    high = min(_bounds(schema, "maximum", "exclusiveMaximum"), key=lambda bound: (bound[0], not bound[1]), default=None)
    step = Decimal(str(schema["multipleOf"])) if schema.get("multipleOf") else None
    if kind == "integer":
        exact = Fraction(step or 1)
        step = Decimal(exact.numerator)  # the least that is a whole number and a multiple
    if step is None:
        span = (high[0] - low[0]) if low and high else Fraction(1000)
        digits = 2
        while span * 10**digits < 100 and digits < 15:
            digits += 1
        step = Decimal(1).scaleb(-digits)
    size = Fraction(step)
    least = _first(low[0] / size, low[1]) if low else None
    most = -_first(-high[0] / size, high[1]) if high else None
    steps = max(1000, int(1000 / size)) if kind == "number" else 10_000
    if least is None:
        least = 0 if most is None or most >= 0 else most - steps
    return step, least, least + steps if most is None else most


def _bounds(schema: Mapping[str, Any], word: str, exclusive: str) -> list[tuple[Fraction, bool]]:
    """Return bounds, each with whether it is excluded itself; exclusive ones are booleans in draft 4."""
    inner, outer = schema.get(word), schema.get(exclusive)
    found = [(Fraction(str(inner)), outer is True)] if isinstance(inner, (int, float)) else []
    if isinstance(outer, (int, float)) and not isinstance(outer, bool):
        found.append((Fraction(str(outer)), True))
    return found


def _first(bound: Fraction, is_excluded: bool) -> int:
    return math.floor(bound) + 1 if is_excluded else math.ceil(bound)


def number(schema: Mapping[str, Any], kind: str, random: Random, path: tuple[str, ...]) -> Column:
    step, least, most = grid(schema, kind)
    if least > most:
        raise ValueError(f"{'.'.join(path)}: no {kind} fits its bounds")
    r, span = random.random, most - least + 1
    if step == 1 and span < 1 << 50:
        return lambda count: [str(least + int(r() * span)) for _ in range(count)]
    write = written(step)
    is_fine = _divides(step) if schema.get("multipleOf") and kind == "number" else None

    def one() -> str:
        at = min(most, least + _share(random, span))
        text = write(at)
        if is_fine and not is_fine(text):
            near = (write(n) for n in (*range(at - 1, max(least, at - TRIES) - 1, -1), *range(at + 1, min(most, at + TRIES) + 1)))
            return next(filter(is_fine, near), text)
        return text

    return lambda count: [one() for _ in range(count)]


def _share(random: Random, span: int) -> int:
    """Return a number from 0 to below *span*, which may be more than a float holds."""
    return int(random.random() * span) if span < 1 << 1023 else span * random.getrandbits(64) >> 64


def written(step: Decimal) -> Callable[[int], str]:
    """Return a function that writes step * n with all its digits, and no exponent."""
    digits = max(0, -int(step.normalize().as_tuple().exponent))
    units = int(step.scaleb(digits))
    if not digits:
        return lambda n: str(n * units)

    def write(n: int) -> str:
        whole, rest = divmod(abs(n * units), 10**digits)
        return f"{'-' if n < 0 else ''}{whole}.{rest:0{digits}}"

    return write


def _divides(step: Decimal) -> Callable[[str], bool]:
    """Return a test whether a number is a multiple for those who calculate in floats, too: 4.35 / 0.01 is none."""
    size = float(step)
    return lambda text: (float(text) / size).is_integer()
