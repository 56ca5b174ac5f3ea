"""What PostgreSQL advises, where that can have no value of a row in it, and what we advise instead."""

from __future__ import annotations

import re
from typing import Any

from . import pages

MAX_HINT = 200  # characters

# Errors in values (22, 23), those that code of others raises (P0), and those of extensions (XX, and
# what is not listed) may quote values in their HINT. What is left tells of privileges, objects,
# resources and limits.
_CLASSES = ("0A", "25", "28", "42", "53", "54", "55", "57", "58")
# The sources of PL/pgSQL, PL/Perl, PL/Python and PL/Tcl: RAISE … USING HINT may have any SQLSTATE.
_LANGUAGES = re.compile(r"pl_|plp|plt|plv8")
_OURS = {"row is too big": pages.ADVICE}


def advice(diag: Any) -> str:
    """Return what is behind a message, from its `diag`, with a semicolon in front; empty for none."""
    primary, hint = diag.message_primary or "", diag.message_hint or ""
    for start, words in _OURS.items():
        if primary.startswith(start):
            return f"; {words}"
    is_safe = (diag.sqlstate or "")[:2] in _CLASSES and not _LANGUAGES.match(diag.source_file or "")
    text = " ".join(hint.split())[:MAX_HINT].rstrip(".")
    return f"; {text}" if text and is_safe else ""
