"""What a tap is to send: its catalog, with streams and properties selected by patterns.

A pattern is the name of a stream, or of a property behind its stream's, with dots between: `orders`,
`orders.id`, `orders.address.*`, `*.updated_at`; * and ? stand for any characters, as in names of files.
It means what it names and all that is in that. With ! in front it excludes. In place of a stream's name its
`tap_stream_id` will do, which tells two streams of one name apart.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Iterator, Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Any

from .errors import RunError

Way = tuple[str, ...]  # to a property, through the objects that it is in; () is the stream


def selected(catalog: Mapping[str, Any], select: Sequence[str], metadata: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """Return a copy of *catalog* with only what *select* names selected, and *metadata* by pattern added.

    Nothing is named: everything. What the tap marks as automatic stays, what it marks as unsupported does not.

    Raises:
        RunError: it is no catalog, or naming the patterns that match nothing in it.
    """
    made = copy.deepcopy(dict(catalog))
    streams = made.get("streams")
    if not isinstance(streams, list):
        raise RunError("the catalog has no list of streams")
    wanted = [pattern for pattern in select if not pattern.startswith("!")] or ["*"]
    unwanted = [pattern[1:] for pattern in select if pattern.startswith("!")]
    used = {"*"}
    for stream in streams:
        used |= _select(stream, wanted, unwanted) | _add(stream, metadata)
    if unused := sorted({*wanted, *unwanted, *metadata} - used):
        there = ", ".join(sorted(map(_shown, streams))) or "none"
        raise RunError(f"select, metadata: nothing in the catalog matches {', '.join(unused)}; its streams: {there}")
    return made


def only(catalog: Mapping[str, Any], wanted: Sequence[str]) -> dict[str, Any]:
    """Return a copy of a `selected` catalog in which no stream is selected but the *wanted* ones, by name or id.

    Raises:
        RunError: naming those that are not selected.
    """
    made = copy.deepcopy(dict(catalog))
    found = set()
    for stream in made["streams"]:
        mine = {one for one in wanted if one in names(stream)}
        root: dict[str, Any] = next((one["metadata"] for one in stream["metadata"] if not one["breadcrumb"]), {})
        found |= mine if root.get("selected") else set()
        if not mine:
            root["selected"] = False
            if isinstance(stream.get("schema"), dict):
                stream["schema"]["selected"] = False
    if missing := [one for one in wanted if one not in found]:
        there = ", ".join(_shown(stream) for stream in catalog["streams"] if _entries(stream)[()].get("selected")) or "none"
        raise RunError(f"no stream is selected that is called {', '.join(missing)}; there is: {there}")
    return made


def count(catalog: Mapping[str, Any]) -> int:
    """Return how many streams of a catalog are selected."""
    return sum(bool(_entries(stream)[()].get("selected")) for stream in catalog["streams"])


def _select(stream: dict[str, Any], wanted: Iterable[str], unwanted: Iterable[str]) -> set[str]:
    """Mark what is selected of *stream*, and return the patterns that match something in it."""
    entries = _entries(stream)
    labels = {way: [".".join((name, *way)) for name in names(stream)] for way in entries}
    used: set[str] = set()

    def named(patterns: Iterable[str]) -> set[Way]:
        hits = {pattern: {way for way in labels if any(fnmatchcase(label, pattern) for label in labels[way])} for pattern in patterns}
        used.update(pattern for pattern, ways in hits.items() if ways)
        tops = set().union(*hits.values())
        return {way for way in labels if any(way[:size] in tops for size in range(len(way) + 1))}

    included = named(wanted)
    parents = {way[:size] for way in included for size in range(len(way))}
    chosen = (included | parents) - named(unwanted)
    for way, entry in entries.items():
        inclusion = entry.get("inclusion")
        entry["selected"] = inclusion == "automatic" or (way in chosen and inclusion != "unsupported")
    stream["metadata"] = [{"breadcrumb": _breadcrumb(way), "metadata": entry} for way, entry in entries.items()]
    if isinstance(stream.get("schema"), dict):
        stream["schema"]["selected"] = entries[()]["selected"]  # where old taps look
    return used


def _add(stream: dict[str, Any], metadata: Mapping[str, Mapping[str, Any]]) -> set[str]:
    """Add *metadata* to *stream*, and return the patterns that match something in it."""
    used = set()
    for pattern, added in metadata.items():
        for one in stream["metadata"]:
            way = _way(one["breadcrumb"])
            labels = (".".join((name, *way)) for name in names(stream))
            if any(fnmatchcase(label, pattern) for label in labels) and ("." in pattern or not way):
                used.add(pattern)
                one["metadata"].update(added)
                if not way:  # and where other taps look
                    stream.update({key.replace("-", "_"): value for key, value in added.items() if key.startswith("replication-")})
    return used


def names(stream: Mapping[str, Any]) -> list[str]:
    """Return a stream's name, and its id where that is another one."""
    found = [str(stream[word]) for word in ("stream", "tap_stream_id") if stream.get(word)]
    return list(dict.fromkeys(found)) or ["None"]


def _shown(stream: Mapping[str, Any]) -> str:
    name, *ids = names(stream)
    return f"{name} ({ids[0]})" if ids else name


def _entries(stream: Mapping[str, Any]) -> dict[Way, dict[str, Any]]:
    """Return the metadata of a stream, by the way to what they are of: its own, and each property's."""
    ways: list[Way] = [(), *_ways(stream.get("schema"), ())]
    given = {_way(one.get("breadcrumb", ())): dict(one.get("metadata") or {}) for one in stream.get("metadata") or ()}
    return {**{way: {} for way in ways}, **given}


def _ways(schema: Any, above: Way) -> Iterator[Way]:
    properties = schema.get("properties") if isinstance(schema, dict) else None
    for name, child in (properties if isinstance(properties, dict) else {}).items():
        yield (*above, name)
        yield from _ways(child, (*above, name))


def _way(breadcrumb: Sequence[str]) -> Way:
    return tuple(breadcrumb[1::2])


def _breadcrumb(way: Way) -> list[str]:
    return [part for name in way for part in ("properties", name)]
