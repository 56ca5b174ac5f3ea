"""What a tap is to send: its catalog, with streams and properties selected by patterns.

A pattern is the name of a stream, or of a property behind its stream's, with dots between: `orders`,
`orders.id`, `orders.address.*`, `*.updated_at`; * and ? stand for any characters, as in names of files.
It means what it names and all that is in that. With ! in front it excludes. In place of a stream's name its
`tap_stream_id` will do, which tells two streams of one name apart.

A catalog here is as `catalog_file.read` gives it, and none is changed: what is returned is another one.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Any

from . import catalog_file
from .catalog_file import names
from .errors import RunError

Way = tuple[str, ...]  # the names of properties on the way to what a breadcrumb leads to; () is the stream
_NAMING = ("properties", "patternProperties", "definitions", "$defs")  # the parts of a breadcrumb behind which there is a name


def selected(catalog: Mapping[str, Any], select: Sequence[str], metadata: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """Return *catalog* with only what *select* names selected, and *metadata* by pattern added; the rest stays as it is.

    Nothing is named: everything. What the tap marks as automatic stays, what it marks as unsupported does not.

    Raises:
        RunError: naming the patterns that match nothing in it; or *metadata* make it none.
    """
    wanted = [pattern for pattern in select if not pattern.startswith("!")] or ["*"]
    unwanted = [pattern[1:] for pattern in select if pattern.startswith("!")]
    used = {"*"}
    streams = []
    for stream in catalog["streams"]:
        made = {**stream, "metadata": _whole(stream)}
        used |= _select(made, wanted, unwanted) | _add(made, metadata)
        streams.append(made)
    if unused := sorted({*wanted, *unwanted, *metadata} - used):
        there = ", ".join(sorted(map(_shown, streams))) or "none"
        raise RunError(f"select, metadata: nothing in the catalog matches {', '.join(unused)}; its streams: {there}")
    found = {**catalog, "streams": streams}
    catalog_file.check(found, "the catalog with the metadata of elt.yml", "correct metadata in elt.yml")
    return found


def only(catalog: Mapping[str, Any], wanted: Sequence[str]) -> dict[str, Any]:
    """Return a `selected` catalog in which no stream is selected but the *wanted* ones, by name or id.

    Raises:
        RunError: naming those that are not selected.
    """
    found: set[str] = set()
    streams = []
    for stream in catalog["streams"]:
        mine = {one for one in wanted if one in names(stream)}
        found |= mine if _is_selected(stream) else set()
        entries = [_with(one, {"selected": False}) if not (mine or one["breadcrumb"]) else one for one in stream["metadata"]]
        made = {**stream, "metadata": entries}
        streams.append(made if mine else _marked(made, False))
    if missing := [one for one in wanted if one not in found]:
        there = ", ".join(_shown(stream) for stream in catalog["streams"] if _is_selected(stream)) or "none"
        raise RunError(f"no stream is selected that is called {', '.join(missing)}; there is: {there}")
    return {**catalog, "streams": streams}


def count(catalog: Mapping[str, Any]) -> int:
    """Return how many streams of a `selected` catalog are selected."""
    return sum(map(_is_selected, catalog["streams"]))


def _is_selected(stream: Mapping[str, Any]) -> bool:
    return bool(catalog_file.about(stream).get("selected"))


def _select(stream: dict[str, Any], wanted: Iterable[str], unwanted: Iterable[str]) -> set[str]:
    """Mark what is selected of *stream*, and return the patterns that match something in it."""
    ways = [_way(one["breadcrumb"]) for one in stream["metadata"]]
    labels = {way: [".".join((name, *way)) for name in names(stream)] for way in ways}
    used: set[str] = set()

    def named(patterns: Iterable[str]) -> set[Way]:
        hits = {pattern: {way for way in labels if any(fnmatchcase(label, pattern) for label in labels[way])} for pattern in patterns}
        used.update(pattern for pattern, ways in hits.items() if ways)
        tops = set().union(*hits.values())
        return {way for way in labels if any(way[:size] in tops for size in range(len(way) + 1))}

    included = named(wanted)
    parents = {way[:size] for way in included for size in range(len(way))}
    chosen = (included | parents) - named(unwanted)
    last = {tuple(one["breadcrumb"]): one for one in stream["metadata"]}  # of two that are of the same, this counts for taps
    inclusions = {crumb: (one.get("metadata") or {}).get("inclusion") for crumb, one in last.items()}

    def is_selected(one: Mapping[str, Any], way: Way) -> bool:
        inclusion = inclusions[tuple(one["breadcrumb"])]
        return inclusion == "automatic" or (way in chosen and inclusion != "unsupported")

    stream["metadata"] = [_with(one, {"selected": is_selected(one, way)}) for one, way in zip(stream["metadata"], ways, strict=True)]
    stream.update(_marked(stream, _is_selected(stream)))
    return used


def _add(stream: dict[str, Any], metadata: Mapping[str, Mapping[str, Any]]) -> set[str]:
    """Add *metadata* to *stream*, and return the patterns that match something in it."""
    used = set()
    for pattern, added in metadata.items():
        for number, one in enumerate(stream["metadata"]):
            way = _way(one["breadcrumb"])
            labels = (".".join((name, *way)) for name in names(stream))
            if any(fnmatchcase(label, pattern) for label in labels) and ("." in pattern or not one["breadcrumb"]):
                used.add(pattern)
                stream["metadata"][number] = _with(one, added)
                if not one["breadcrumb"]:  # and where other taps look
                    stream.update({key.replace("-", "_"): value for key, value in added.items() if key.startswith("replication-")})
    return used


def _with(entry: Mapping[str, Any], more: Mapping[str, Any]) -> dict[str, Any]:
    return {**entry, "metadata": {**(entry.get("metadata") or {}), **more}}


def _marked(stream: Mapping[str, Any], selected: bool) -> dict[str, Any]:
    """Return *stream* with its selection where old taps look."""
    return {**stream, "schema": {**stream["schema"], "selected": selected}} if stream.get("schema") is not None else {**stream}


def _shown(stream: Mapping[str, Any]) -> str:
    name, *ids = names(stream)
    return f"{name} ({ids[0]})" if ids else name


def _whole(stream: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the metadata of a stream with an entry for itself, and for each property of its objects; those that are there come first."""
    given = list(stream.get("metadata") or ())
    there = {tuple(one["breadcrumb"]) for one in given}
    wanted = [(), *_breadcrumbs(stream.get("schema"))]
    return given + [{"breadcrumb": list(crumb), "metadata": {}} for crumb in wanted if crumb not in there]


def _breadcrumbs(schema: Any) -> Iterator[tuple[str, ...]]:
    """Yield those of all properties of objects in *schema*, each behind that of its object."""
    open_: list[tuple[tuple[str, ...], Any]] = [((), schema)]
    while open_:
        above, one = open_.pop()
        if above:
            yield above
        properties = one.get("properties") if isinstance(one, dict) else None
        below = properties.items() if isinstance(properties, dict) else ()
        open_ += reversed([((*above, "properties", name), child) for name, child in below])


def _way(breadcrumb: Sequence[str]) -> Way:
    """Return the names in a breadcrumb: what is between, as `items`, leads on to what belongs to the same property."""
    found, parts = [], iter(breadcrumb)
    for part in parts:
        if part in _NAMING:
            found += [name for name in [next(parts, None)] if name is not None]
    return tuple(found)
