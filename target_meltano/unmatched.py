"""Names in settings that no stream, and no property of one, has had in a run: they were meant for something."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator, Mapping

from .settings import Settings
from .stream import Stream

_BY_STREAM = ("table_names", "indexes", "absent_fields", "schema_changes", "narrowing", "narrow_columns")


def unmatched(settings: Settings, streams: Mapping[str, Stream], others: Iterable[str]) -> Iterator[str]:
    """Yield a line per setting with such names.

    *streams* are those that came; of *others* it is not known what they have. Nothing is said
    of a run without any stream: the source may have had nothing new.
    """
    came = {*streams, *others}
    if not came:
        return
    for setting in _BY_STREAM:
        value = getattr(settings, setting)
        names = [name for name in value if name not in came and name != "*"] if isinstance(value, Mapping) else []
        if names:
            yield f"{setting}: no such stream came: {_listed(names, came)}"
    paths = {f"{name}.{'.'.join(leaf.path)}" for name, stream in streams.items() for leaf in stream.wanted.leaves}
    for setting in ("column_names", "column_types"):
        names = [name for name in getattr(settings, setting) if name not in paths and not any(name.startswith(f"{other}.") for other in others)]
        if names:
            yield f"{setting}: no such property of a stream came: {_listed(names, paths)}"


def _listed(names: Iterable[str], known: Iterable[str]) -> str:
    found = list(known)
    near = ((name, difflib.get_close_matches(name, found, 1)) for name in names)
    return ", ".join(f"{name!r}{f' (did you mean {meant[0]!r}?)' if meant else ''}" for name, meant in near)
