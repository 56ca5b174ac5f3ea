"""Streams whose records cannot be taken: their SCHEMA is refused, or has named no property yet."""

from __future__ import annotations

from dataclasses import dataclass, field

from .errors import RecordError, SchemaError, TargetError
from .messages import Activate

MOST_NAMED = 3  # in the error at the end


def placed(error: SchemaError, stream: str, line: int) -> SchemaError:
    """Return *error* with its line and stream, and a remedy: at least what lets the other streams load."""
    has_remedy = any(word in str(error) for word in ("(setting", "the setting", "with `", "run: "))
    remedy = "" if has_remedy else " (setting invalid_schemas: quarantine loads the other streams)"
    return type(error)(f"line {line}: stream {stream!r}: {error}{remedy}")


def remedied(error: TargetError, keeps: bool) -> TargetError:
    """Return *error*; where it is of a record, and invalid ones are not kept, with what would load the others."""
    if isinstance(error, RecordError) and not keeps and "invalid_records" not in error.fault:
        error.fault += "; the setting invalid_records: quarantine loads the others"
    return error


@dataclass(frozen=True)
class Refused:
    """A stream that is put aside; *words* say why, *schema* is the line of its SCHEMA, where that is the reason."""

    name: str
    words: str
    schema: bytes = b""

    def fault(self, number: int) -> RecordError:
        """Return the fault of one of its records."""
        return RecordError(f"its stream is put aside, since its SCHEMA is refused: {self.words}", line=number, stream=self.name)


@dataclass
class Waiting:
    """A stream whose SCHEMA of line *line* names no property; *activate* is the last version that came for it."""

    name: str
    line: int
    activate: Activate | None = None

    def fault(self, number: int) -> RecordError:
        """Return the fault of one of its records."""
        words = f"there is no column for it: the SCHEMA of line {self.line} names no property, and no other came (setting unknown_fields: keep stores it as JSON)"
        return RecordError(words, line=number, stream=self.name)


@dataclass
class Refusals:
    """With `invalid_schemas: quarantine`: the streams that are put aside now, and why each was first; *told* stay when a later SCHEMA is taken."""

    streams: dict[str, Refused] = field(default_factory=dict)
    told: dict[str, str] = field(default_factory=dict)

    def add(self, refused: Refused) -> bool:
        """Put a stream aside; tell whether this reason of it is new."""
        is_new = self.told.get(refused.name) != refused.words
        self.streams[refused.name] = refused
        self.told.setdefault(refused.name, refused.words)
        return is_new

    def error(self) -> SchemaError | None:
        """Return what the run is to end with, None if nothing was put aside."""
        if not self.told:
            return None
        which = [f"stream {name!r}: {words}" for name, words in list(self.told.items())[:MOST_NAMED]]
        more = f"; and {len(self.told) - MOST_NAMED} more" if len(self.told) > MOST_NAMED else ""
        return SchemaError(
            f"{len(self.told)} of the streams had a SCHEMA that is refused, and their records are in __rejected; all else is loaded: "
            f"{'; '.join(which)}{more}"
        )
