"""Bytes to a Singer catalog, whose shape is checked here and nowhere else.

What comes out of `read` is a JSON object with a list of streams; each of them has a name or an id of its own, a
schema that is an object or none, and metadata with breadcrumbs. Whether its schemas are JSON Schemas is not looked at.
"""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Iterator, Mapping
from typing import Any

from target_meltano.deep import MAX_DEPTH, recursive

from .errors import RunError

MOST_BYTES = 128 << 20  # Salesforce's with a thousand objects has 30 MB; as Python objects it takes eight times its size
MOST_LEVELS = 2 * MAX_DEPTH + 50  # of JSON: targets take schemas of MAX_DEPTH levels, which are two each
LONGEST_NAME = 60  # characters, in a message
_KEYS = ("table-key-properties", "view-key-properties")

_KINDS = {bool: "true or false", int: "a number", float: "a number", str: "a text", list: "a list", dict: "an object", type(None): "null"}


def read(data: bytes, what: str, remedy: str) -> dict[str, Any]:
    """Return the catalog in *data*, which *what* says the origin of.

    Raises:
        RunError: in one line: where in *what*, what was found, what is wanted, and the *remedy*.
    """
    try:
        return _checked(_parsed(data))
    except ValueError as fault:
        raise RunError(f"{what}: {fault}; {remedy}") from None


def check(catalog: Any, what: str, remedy: str) -> None:
    """Check the shape of what is a catalog already; the rest as `read`."""
    try:
        _checked(catalog)
    except ValueError as fault:
        raise RunError(f"{what}: {fault}; {remedy}") from None


def text(catalog: Mapping[str, Any]) -> str:
    """Return a catalog as JSON, in ASCII: a name may have half of a surrogate pair, of which there is no UTF-8."""
    return recursive(json.dumps, catalog)


def names(stream: Mapping[str, Any]) -> list[str]:
    """Return a stream's name, and its id where that is another one."""
    return list(dict.fromkeys(stream[word] for word in ("stream", "tap_stream_id") if stream.get(word)))


def about(stream: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the metadata of a stream itself, without those of its properties."""
    return next((one.get("metadata") or {} for one in reversed(stream.get("metadata") or ()) if not one["breadcrumb"]), {})


def keys(stream: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the properties that are a stream's key, none where nothing tells."""
    tables, views = (_texts(about(stream).get(word)) for word in _KEYS)
    return tuple(tables or _texts(stream.get("key_properties")) or views)


def _texts(found: Any) -> Any:
    """Return a list of texts; one text is a list of one, as it is to singer-python, and so some taps write it."""
    return [found] if found and isinstance(found, str) else found or []


def _parsed(data: bytes) -> Any:
    """Return the JSON in *data*, or raise a ValueError that says where it is none."""
    if len(data) > MOST_BYTES:
        raise ValueError(f"found more than {MOST_BYTES >> 20} MiB, wanted a catalog")
    if not data.strip():
        raise ValueError("found nothing, wanted a JSON object with streams")
    if data.startswith(b"\xef\xbb\xbf"):
        raise ValueError("line 1: found a byte order mark, wanted UTF-8 without one")
    try:
        return recursive(json.loads, data.decode("utf-8"))
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise ValueError(f"line {line}: found the byte 0x{data[error.start]:02x}, wanted UTF-8 text") from None
    except json.JSONDecodeError as error:
        raise ValueError(f"line {error.lineno}, column {error.colno}: found no JSON ({error.msg}), wanted a JSON object with streams") from None
    except RecursionError:
        raise ValueError(f"found more than {MOST_LEVELS} levels, wanted no more") from None
    except ValueError:
        raise ValueError(f"found a number of more than {sys.get_int_max_str_digits()} digits, wanted a shorter one") from None


def _checked(catalog: Any) -> dict[str, Any]:
    """Return *catalog*, or raise a ValueError that says where it is none."""
    _check_values(catalog)
    streams = _wanted(_wanted(catalog, dict, "$").get("streams"), list, "streams")
    seen: dict[str, str] = {}
    for number, stream in enumerate(streams):
        where = f"streams[{number}]"
        _check_stream(_wanted(stream, dict, where), where)
        known = stream.get("tap_stream_id") or stream["stream"]
        if known in seen:
            raise ValueError(f"{where}: found {_shown(known)}, which {seen[known]} is, wanted a tap_stream_id of its own for each stream")
        seen[known] = where
    return catalog  # type: ignore[no-any-return]


def _check_stream(stream: Mapping[str, Any], where: str) -> None:
    for word in ("stream", "tap_stream_id"):
        if stream.get(word) is not None:
            _wanted(stream[word], str, f"{where}.{word}")
    if not names(stream):
        raise ValueError(f"{where}: found no name, wanted stream or tap_stream_id")
    where += f" ({_shown(names(stream)[0])})"
    if stream.get("schema") is not None:
        _wanted(stream["schema"], dict, f"{where}.schema")
    if stream.get("metadata") is not None:
        _wanted(stream["metadata"], list, f"{where}.metadata")
    _check_texts(stream, "key_properties", where)
    for number, one in enumerate(stream.get("metadata") or ()):
        at = f"{where}.metadata[{number}]"
        crumb = _wanted(_wanted(one, dict, at).get("breadcrumb"), list, f"{at}.breadcrumb")
        for place, part in enumerate(crumb):
            _wanted(part, str, f"{at}.breadcrumb[{place}]")
        if one.get("metadata") is not None:
            _wanted(one["metadata"], dict, f"{at}.metadata")
        if not crumb:
            for word in _KEYS:
                _check_texts(one.get("metadata") or {}, word, f"{at}.metadata")


def _check_texts(found: Mapping[str, Any], word: str, where: str) -> None:
    for number, one in enumerate(_wanted(_texts(found.get(word)), list, f"{where}.{word}")):
        _wanted(one, str, f"{where}.{word}[{number}]")


def _check_values(catalog: Any) -> None:
    """Raise where values are nested too deeply, or are numbers that JSON does not have. Without recursion: that has an end, too."""
    above: list[Iterator[tuple[Any, Any]]] = [iter([("", catalog)])]
    way: list[Any] = [""]
    while above:
        way[-1], value = next(above[-1], (None, above))
        if value is above:
            above.pop()
            way.pop()
        elif isinstance(value, float) and not math.isfinite(value):
            raise ValueError(f"{_path(way)}: found {value}, wanted a number that a double holds")
        elif isinstance(value, dict | list):
            if len(above) > MOST_LEVELS:
                raise ValueError(f"{_path(way)}: found more than {MOST_LEVELS} levels, wanted no more")
            above.append(iter(value.items() if isinstance(value, dict) else enumerate(value)))
            way.append(None)


def _path(way: list[Any]) -> str:
    """Return the way to a value, of a long one its start."""
    parts = [f"[{part}]" if isinstance(part, int) else f".{str(part)[:LONGEST_NAME]}" for part in way[1:8]]
    return ("".join(parts) + ("…" if len(way) > 8 else "")).removeprefix(".") or "$"


def _wanted(value: Any, kind: type, where: str) -> Any:
    if not isinstance(value, kind):
        raise ValueError(f"{where}: found {_KINDS[type(value)]}, wanted {_KINDS[kind]}")
    return value


def _shown(name: str) -> str:
    return repr(name if len(name) <= LONGEST_NAME else f"{name[:LONGEST_NAME]}…")
