"""What is measured: workloads, their sizes, and what runs beside what."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from . import workloads
from .workloads import Messages, each_record

PEER_PART = 20  # peers are slow: they get one row in so many
NUMBERS = ("exact", "double")
NEW_TABLE, OLD_TABLE = "its table is made", "its table is there"  # of an empty stream


@dataclass(frozen=True)
class Load:
    """A workload that the target, the limit and the peers load.

    *messages* makes so many rows of it. *known* is the share of its keys that are in the table
    before, None for an empty table. *numbers* are the values of the setting `number` that make a
    difference here.
    """

    name: str
    rows: int
    messages: Callable[[int], Messages]
    about: str
    known: float | None = None
    numbers: tuple[str, ...] = ("exact",)
    has_peers: bool = True
    is_keyed: bool = True
    streams: int = 1
    is_short: bool = True


@dataclass(frozen=True)
class Disturbed:
    """What is done to the narrow workload, to be compared with it as it was."""

    name: str
    messages: Callable[[int], Messages]


def upsert(rows: int, known: float) -> Messages:
    """Narrow rows with other values, that share of them with keys below *rows*."""
    return workloads.narrow(rows, first=rows - round(rows * known), seed=9)


def appended(rows: int) -> Messages:
    return workloads.without_key(workloads.narrow(rows))


def disturbed(change: Callable[[dict[str, object]], dict[str, object]], rows: int) -> Messages:
    return each_record(change, workloads.narrow(rows))


def repeated_schema(rows: int) -> Messages:
    return workloads.repeated_schema(workloads.narrow(rows))


LOADS = (
    Load("upsert, all keys known", 1_000_000, partial(upsert, known=1.0), "the daily case: each record replaces a row", known=1.0),
    Load("narrow", 1_000_000, workloads.narrow, "6 columns, a line of 230 bytes", numbers=NUMBERS),
    Load("wide", 200_000, workloads.wide, "40 columns, nested, a line of 1.4 KB", numbers=NUMBERS),
    Load("many streams", 1_000_000, workloads.many, "20 narrow streams, 25 records of each in turn", streams=workloads.STREAMS),
    Load("upsert, half known", 1_000_000, partial(upsert, known=0.5), "every other key is in the table", known=0.5, has_peers=False),
    Load("upsert, none known", 1_000_000, partial(upsert, known=0.0), "new keys into a filled table", known=0.0, has_peers=False),
    Load("append-only", 1_000_000, appended, "narrow, without a key", is_keyed=False, is_short=False),
    Load("long strings", 20_000, workloads.strings, "a text of 1 to 100 KB a row", is_short=False),
    Load("300 columns", 100_000, workloads.sparse, "15 of them filled", is_short=False),
)  # fmt: skip

DISTURBED_ROWS = 500_000
CLEAN = "narrow, clean"
DISTURBED = (
    Disturbed(CLEAN, workloads.narrow),
    Disturbed("the SCHEMA again before every 10 records", repeated_schema),
    Disturbed("a field that the SCHEMA does not name, in each record", partial(disturbed, workloads.unknown_field)),
    Disturbed("times without an offset", partial(disturbed, workloads.naive_times)),
    Disturbed("times with 9 digits", partial(disturbed, workloads.nine_digits)),
    Disturbed("integers written like 1.0", partial(disturbed, workloads.float_integers)),
)
