"""The errors that a user can cause, or meet, and how the program ends on each.

TargetError                exit code
├── SettingsError          2   settings unknown, missing or wrong
├── MessageError           1   a line is not a Singer message
│   ├── BatchError         1   a file of a BATCH message cannot be read
│   └── RecordError        1   a record does not fit its schema, or the database
├── RowError               1   a row of a batch, on its way to become a RecordError
├── SchemaError            1   a SCHEMA cannot become a table
│   └── UpgradeError       1   a table cannot follow its SCHEMA without losing something
├── IncompleteError        1   an overwrite ended before all of its rows were there
├── DifferentError         1   the tables are not what the input says
├── TapError               1   the tap that feeds us has failed
├── MaskingError           1   rules for personal data and the input do not go together
├── OutputError            1   stdout is gone, a STATE could not be delivered
├── SpoolError             1   there is no room for what may have to be written again
├── DatabaseError          3   the database cannot be reached, or refuses
└── Stopped            128+n   signal n came

A message is one line and tells where, what was found, what is wanted and what to do. It shows at
most 80 characters of a value and never a whole record or a secret.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable

MAX_SHOWN = 80


class TargetError(Exception):
    """What a user can mend. Raised as one of its subclasses only."""

    exit_code = 1


class SettingsError(TargetError):
    """One or several settings are unknown, missing or wrong; the message names all of them."""

    exit_code = 2


class MessageError(TargetError):
    """A line of the input is not a Singer message that can be used."""

    def __init__(self, fault: str, *, line: int) -> None:
        super().__init__(fault)
        self.line = line
        self.fault = fault
        self.place = ""
        """Where it was, if the line alone does not tell: the record of a BATCH."""
        self.file = ""
        """The file of that record, and its place in it."""

    def __str__(self) -> str:
        return f"{self.place or f'line {self.line}'}: {self.fault}{f' ({self.file})' if self.file else ''}"


class BatchError(MessageError):
    """A file of a BATCH cannot be read. It is no fault of a record, so the quarantine does not take it: it may have many."""


class RecordError(MessageError):
    """A record does not fit its stream's schema, or the database cannot hold one of its values."""

    def __init__(self, fault: str, *, line: int, stream: str, path: str = "$") -> None:
        super().__init__(f"stream {stream!r}: {path}: {fault}", line=line)
        self.stream = stream
        self.path = path
        self.reason = fault


class RowError(TargetError):
    """A dialect cannot write a row of a batch: the *row* counts from 0. It becomes a RecordError."""

    def __init__(self, fault: str, *, row: int) -> None:
        super().__init__(fault)
        self.row = row


class Again(Exception):
    """Raised by `Dialect.write`: undo what it has done, and call it again."""


class InDoubt(Exception):
    """The database refuses rows, and which ones is only known when all that came before them is here."""


class SchemaError(TargetError):
    """A SCHEMA message cannot become a table."""


class UpgradeError(SchemaError):
    """A table cannot follow its SCHEMA without losing something."""


class IncompleteError(TargetError):
    """The input ended where it cannot be known that all rows of an overwrite came."""


class DifferentError(TargetError):
    """`verify` found that the tables are not what the input says."""


class TapError(TargetError):
    """The tap ended with an exit status other than 0."""


class MaskingError(TargetError):
    """Rules for personal data do not go with the input; nothing more is committed."""


class OutputError(TargetError):
    """A STATE is durable but could not be written to stdout."""


class SpoolError(TargetError):
    """The temporary file with what may have to be written again cannot be made, written or read."""


class DatabaseError(TargetError):
    """The database cannot be reached, or refuses what it was asked."""

    exit_code = 3


class Stopped(TargetError):
    """A signal asked the program to end."""

    def __init__(self, signum: int) -> None:
        super().__init__(f"stopped by signal {signum}")
        self.exit_code = 128 + signum


LOST = (DatabaseError, MaskingError, OutputError, SpoolError)  # after these nothing more can, or may, be committed


def json_path(path: Iterable[str]) -> str:
    """Return `$.a.b` for the path of a property, `$.a["b.c"]` where a name needs quotes."""
    return "$" + "".join(f"[{json.dumps(name)}]" if _ODD_NAME.search(name) else f".{name}" for name in path)


_ODD_NAME = re.compile(r'\A\Z|[\s.\[\]"\x00-\x1f\x7f-\x9f\ud800-\udfff]')


def shown(value: object, limit: int = MAX_SHOWN) -> str:
    """Return *value* as it may stand in a message: its repr, at most *limit* characters of it."""
    text = repr(value if not isinstance(value, str) else value[: limit + 1])
    return text if len(text) <= limit else text[: limit - 1] + "…"
