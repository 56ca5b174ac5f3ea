"""What is chosen of a catalog for a sync, and how the rows of a source and of a table are compared."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

SHOWN = 5  # differences in a failure
Row = tuple[Any, ...]


def selected(catalog: Mapping[str, Any], method: str, key: str | None, tables: Iterable[str]) -> dict[str, Any]:
    """Return the streams of these *tables*, with all their fields, by *method* and replication *key*."""
    streams = [stream for stream in catalog["streams"] if stream["table_name"] in tables]
    for stream in streams:
        chosen = {"replication-method": method, **({"replication-key": key} if key else {})}
        stream |= {name.replace("-", "_"): value for name, value in chosen.items()}
        for entry in stream["metadata"]:
            if not entry["breadcrumb"]:
                entry["metadata"] |= {"selected": True, **chosen}
            elif entry["metadata"].get("inclusion") != "unsupported":
                entry["metadata"]["selected"] = True
    return {"streams": streams}


def differences(wanted: Iterable[Row], found: Iterable[Row], names: Sequence[str]) -> list[str]:
    """Return what of two bags of rows is not in the other, the first few; of rows whose first value is equal, the columns."""
    missing, extra = Counter(wanted), Counter(found)
    missing, extra = missing - extra, extra - missing
    others = {row[0]: row for row in extra}
    told = []
    for row in list(missing)[:SHOWN]:
        if other := others.pop(row[0], None):
            pairs = zip(names, row, other, strict=True)
            told.append(f"{row[0]}: " + ", ".join(f"{name} {one!r:.80} became {two!r:.80}" for name, one, two in pairs if one != two))
        else:
            told.append(f"missing: {row!r:.300}")
    return told + [f"too many: {row!r:.300}" for row in list(others.values())[:SHOWN]]
