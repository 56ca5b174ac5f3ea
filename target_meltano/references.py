"""What a `$ref` within a schema leads to: a JSON Pointer (RFC 6901) behind `#`."""

from __future__ import annotations

from typing import Any
from urllib.parse import unquote


def pointed_at(root: Any, reference: Any) -> Any:
    """Return the schema in *root* that a reference leads to; some taps write #definitions/x.

    Raises:
        LookupError: with words that go on behind the reference, and do not show it.
    """
    if not isinstance(reference, str) or not reference.startswith("#") or (len(reference) > 1 and "/" not in reference):
        raise LookupError("is not read; only those within the schema are, like #/…/…")
    found = root
    inside = unquote(reference)[1:]
    for part in inside.removeprefix("/").split("/") if inside else ():
        part = part.replace("~1", "/").replace("~0", "~")
        try:
            found = found[int(part)] if isinstance(found, list) else found[part]
        except (KeyError, IndexError, ValueError, TypeError):
            raise LookupError("leads nowhere in the schema") from None
    return found
