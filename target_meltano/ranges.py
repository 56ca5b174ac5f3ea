"""What the keywords of a JSON Schema say of numbers: their places behind the point, and their bounds."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import Any

Words = Mapping[str, Any]
INT64 = range(-(2**63), 2**63)
_BOUNDS = (("minimum", "exclusiveMinimum"), ("maximum", "exclusiveMaximum"))


def fits_int64(words: Words) -> bool:
    """Tell whether all bounds are in 64 bits; draft 4's exclusive ones are booleans and say nothing."""
    bounds = [words[word] for pair in _BOUNDS for word in pair if is_number(words.get(word))]
    return all(INT64[0] <= bound <= INT64[-1] for bound in bounds)


def scale(words: Words) -> int | None:
    """Return the places of numbers that are multiples of 10^-s, None where unknown."""
    step: Any = words.get("multipleOf")
    if not is_number(step) or step <= 0:
        return None
    _, digits, exponent = Decimal(str(step)).as_tuple()
    text = "".join(map(str, digits)).rstrip("0")
    return max(0, -int(exponent) - (len(digits) - len(text))) if text == "1" else None


def whole_digits(words: Words) -> int:
    """Return how many digits before the point the bounds allow.

    Where one is missing they allow any; then there is room for the largest integer of 64 bits.
    """
    most = 0
    for bound, exclusive in _BOUNDS:
        # Draft 4 has a boolean, that the bound itself is left out; later ones have a bound of its own.
        sides = ((bound, words.get(exclusive) is True), (exclusive, True))
        digits = [_whole_digits(words[name], is_outside) for name, is_outside in sides if is_number(words.get(name))]
        most = max(most, *(digits or [len(str(INT64[-1]))]))
    return most


def _whole_digits(bound: Any, is_outside: bool) -> int:
    value = Decimal(str(bound))
    digits = value.as_tuple().digits
    is_power = digits[0] == 1 and not any(digits[1:])
    return value.adjusted() + 1 - (is_outside and is_power) if value else 0


def is_number(value: Any) -> bool:
    return isinstance(value, (int, float, Decimal)) and not isinstance(value, bool)
