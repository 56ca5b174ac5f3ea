"""The digits of numbers, as JSON and Python write them, without ever rounding one."""

from __future__ import annotations

from decimal import Decimal

NOT_FINITE = frozenset({"NaN", "Infinity", "-Infinity"})  # as Python writes them into JSON, which has no such numbers
_LONGEST_DOUBLE = 1100  # characters of the exact digits of any double, an exponent included
SAFE = 16  # characters; a number with no more is the shortest one for its double
MAX_SCALE = 1000  # from it on no number is made shorter


def exact(number: str) -> tuple[str, int]:
    """Return a number's digits, without zeros at either end, and the power of ten behind the last.

    Decimal is of no use: 1e999999999 fills its memory, and larger exponents it does not take. No
    digits: 0. Of the power, 20 digits count; no database comes near.

    Raises:
        ValueError: it is one of `NOT_FINITE`.
    """
    if number in NOT_FINITE:
        raise ValueError(f"{number} has no digits")
    mantissa, _, power = number.lower().partition("e")
    whole, _, fraction = mantissa.lstrip("-").partition(".")
    digits = (whole + fraction).lstrip("0")
    stripped = digits.rstrip("0")
    if not stripped:
        return "", 0
    sign = -1 if power.startswith("-") else 1
    power = power.lstrip("+-0")[:20] or "0"
    return stripped, sign * int(power) - len(fraction) + len(digits) - len(stripped)


def places(number: str) -> int:
    """Return how many digits a number has behind the point, without zeros at the end."""
    if "e" in number or "E" in number:
        return max(0, -exact(number)[1])
    return len(number.partition(".")[2].rstrip("0"))


def shortest(number: str, scale: int) -> str:
    """Return *number* as it was meant, where a tap wrote all the binary digits of a float.

    With more places than its schema's *scale*, and exactly the digits of a double, it is the shortest
    number that is read as that double, if that one has no more places: 0.200000000000000011102230…
    (54 digits) is 0.2. Any other number is returned as it is.
    """
    if not SAFE < len(number) <= _LONGEST_DOUBLE or scale >= MAX_SCALE or places(number) <= scale:
        return number
    value = float(number)
    short = repr(value)
    if value - value != 0 or places(short) > scale:  # infinite, or not what was meant
        return number
    expansion = f"{Decimal(value):f}"
    return short if expansion == number or exact(expansion) == exact(number) else number
