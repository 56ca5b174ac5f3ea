"""What a target does besides loading: it looks after the STATE and the invalid records that a database keeps."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from typing import Any

import pyarrow as pa
import sqlalchemy as sa

from . import diff, kinds, masking, messages, ownership, tables, values, wanting
from .dialect import Dialect
from .diff import Policy, Table
from .errors import MessageError, SchemaError, SettingsError, TargetError
from .ledger import Ledger, Rejected, new_run_id, now

PATIENCE = 5.0  # seconds that the database may need to end a run that has died
Warn = Callable[[str], None]
IsLater = Callable[[Rejected], bool]


@contextmanager
def _opened(dialect: Dialect[Any], what: str) -> Iterator[tuple[sa.Connection, Ledger]]:
    """Connect; what is not committed at the end is rolled back."""
    dialect.run_id = new_run_id()
    ledger = Ledger(dialect, dialect.settings.schema or dialect.default_schema or "", dialect.run_id)
    connection = dialect.connect()
    try:
        with tables.our_errors(dialect, what):
            yield connection, ledger
    finally:
        dialect.close(connection)


def _is_there(dialect: Dialect[Any], connection: sa.Connection, table: Table) -> bool:
    return dialect.found(connection, table.schema, table.name) is not None


# --- the STATE


def get_state(dialect: Dialect[Any]) -> str | None:
    """Return the STATE that is kept for the setting `state_id`, as JSON; None where there is none.

    The database may still work on a COMMIT of a run that has died: then a STATE read now would be
    old soon, and a tap that starts from it would send rows again. So it waits for the run's end.

    Raises:
        DatabaseError: a run is under way.
    """
    state_id = _state_id(dialect)
    with _opened(dialect, "state") as (connection, ledger):
        if not _is_there(dialect, connection, ledger.states):
            return None
        ownership.wait_for_others(dialect, connection, ledger, state_id, PATIENCE)
        return ledger.state(connection, state_id)


def set_state(dialect: Dialect[Any], text: bytes) -> None:
    """Keep the JSON *text* as the STATE.

    Raises:
        SettingsError: it is no JSON object, or a whole message.
        DatabaseError: a run is under way.
    """
    state_id, state = _state_id(dialect), _checked_state(text)
    with _opened(dialect, "state") as (connection, ledger):
        tables.follow(dialect, connection, ledger.states, Policy(), lambda statement: None)
        ownership.wait_for_others(dialect, connection, ledger, state_id, 0)
        ledger.take_over(connection, state_id)
        ledger.keep(connection, state_id, state, now())
        connection.commit()


def clear_state(dialect: Dialect[Any]) -> None:
    """Forget the STATE; the next run starts from the beginning.

    Raises:
        DatabaseError: a run is under way.
    """
    state_id = _state_id(dialect)
    with _opened(dialect, "state") as (connection, ledger):
        if _is_there(dialect, connection, ledger.states):
            ownership.wait_for_others(dialect, connection, ledger, state_id, 0)
            ledger.forget(connection, state_id)
            connection.commit()


def _state_id(dialect: Dialect[Any]) -> str:
    if dialect.settings.state_id:
        return str(dialect.settings.state_id)
    raise SettingsError("settings: state_id: missing; it names the pipeline whose STATE is meant")


def _checked_state(text: bytes) -> str:
    try:
        found = values.parse(text)
    except ValueError as error:
        raise SettingsError(f"the STATE to be set: {error}") from None
    if not isinstance(found, dict):
        kind = {list: "a list", str: "a text", bool: "true or false", type(None): "null"}.get(type(found), "a number")
        raise SettingsError(f"the STATE to be set: found {kind}, wanted an object, as taps send it; to forget what is kept: state clear")
    if found.get("type") == "STATE" and "value" in found:
        raise SettingsError('the STATE to be set is a whole message; give its "value" alone')
    return values.json_text(found)


# --- invalid records


def rejected(dialect: Dialect[Any], run_id: str | None, stream: str | None, warn: Warn = lambda text: None) -> Iterator[str]:
    """Yield a line per invalid record: run, time, stream, line, path, reason, when it was replayed, with tabs in between."""
    with _opened(dialect, "rejected") as (connection, ledger):
        there = dialect.found(connection, ledger.rejected.schema, ledger.rejected.name)
        one = None
        for one in ledger.rejections(connection, run_id, stream, there.columns) if there else ():
            replayed = f"replayed {one.replayed_at:%Y-%m-%dT%H:%M:%SZ}" if one.replayed_at else "-"
            found = (one.run_id, f"{one.at:%Y-%m-%dT%H:%M:%S.%fZ}", one.stream or "-", one.line, one.path, one.reason, replayed)
            yield "\t".join(_printable(str(word)) for word in found)
        if one is None:
            warn(_nothing(run_id, stream))


def _nothing(run_id: str | None, stream: str | None) -> str:
    of = [f"{what} {name!r}" for what, name in (("run", run_id), ("stream", stream)) if name is not None]
    return f"nothing{' of ' if of else ''}{' and '.join(of)} is in quarantine"


def clear_rejected(dialect: Dialect[Any], run_id: str | None, stream: str | None, warn: Warn, *, replayed: bool) -> int:
    """Delete invalid records, or only those that were *replayed*, and return how many."""
    with _opened(dialect, "rejected") as (connection, ledger):
        if not _is_there(dialect, connection, ledger.rejected):
            count = 0
        else:
            if replayed:
                tables.follow(dialect, connection, ledger.rejected, Policy(), lambda statement: None)
            count = ledger.clear_rejected(connection, run_id, stream, replayed=replayed)
            connection.commit()
        if not count:
            warn(_nothing(run_id, stream) + (" that was replayed" if replayed else ""))
        return count


def mark_replayed(dialect: Dialect[Any], given: Sequence[Rejected], warn: Warn) -> None:
    """Note of invalid records that they were given out; that it cannot be noted is only a warning."""
    if not given:
        return
    try:
        with _opened(dialect, "rejected") as (connection, ledger):
            tables.follow(dialect, connection, ledger.rejected, Policy(), lambda statement: None)
            ledger.mark_replayed(connection, given, now())
            connection.commit()
    except TargetError as error:
        warn(f"what was replayed is not marked as such: {error}")


def _printable(text: str) -> str:
    """Return *text* without what a terminal obeys."""
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in text)


def replay(dialect: Dialect[Any], run_id: str | None, stream: str | None, warn: Warn, given: list[Rejected] | None = None) -> Iterator[bytes]:
    """Yield lines that load the invalid records once they are mended: their SCHEMAs, then they.

    A stream's SCHEMA is the latest that is kept. A record is left out where a row of its key was
    loaded later, and *warn* is told of how many. *given* gets the others, without their lines, to be marked.
    """
    with _opened(dialect, "rejected") as (connection, ledger):
        there = dialect.found(connection, ledger.rejected.schema, ledger.rejected.name)
        given = [] if given is None else given
        rejections = partial(ledger.rejections, connection, run_id, stream, there.columns if there else ())
        streams = {one.stream for one in rejections()} if there else set()
        if not streams:
            warn(_nothing(run_id, stream))
            return
        is_later: dict[str | None, IsLater] = {None: lambda one: False}
        for name in sorted(filter(None, streams)):
            schema = ledger.schema(connection, name)
            if schema:
                is_later[name], lines = _known(dialect, connection, name, schema, warn)
                yield from lines
            else:
                is_later[name] = is_later[None]
                warn(f"stream {name!r}: no SCHEMA of it is kept; put one in front")
        left_out: dict[str | None, int] = {}
        withheld = 0
        for one in rejections():
            if masking.is_withheld(one.source):
                withheld += 1
            elif is_later[one.stream](one):
                left_out[one.stream] = left_out.get(one.stream, 0) + 1
            else:
                yield _line(one.source)
                given.append(replace(one, source=b""))
        again = sum(one.replayed_at is not None for one in given)
        if again:
            warn(f"{again:,} of the records were replayed before; a table without a key has them twice if they were loaded (rejected clear --replayed)")
        if withheld:
            warn(f"{withheld:,} lines are left out, of which the setting pii kept only length and hash; only the tap can send them again")
        for name_, count in left_out.items():
            warn(f"stream {name_!r}: {count:,} records are left out, rows of their keys were loaded later")


def _line(source: bytes) -> bytes:
    return source.rstrip(b"\r\n") + b"\n"


def _known(dialect: Dialect[Any], connection: sa.Connection, stream: str, schema: str, warn: Warn) -> tuple[IsLater, list[bytes]]:
    """Return what `_lookup` does, and the lines that describe *stream*: its SCHEMA.

    Where that does not name the table's keys, one that names nothing comes before it, as it did then.
    """
    line = _line(schema.encode())
    try:
        return _lookup(dialect, connection, schema), [line]
    except wanting.NoProperties:
        return lambda one: False, [line]
    except (SchemaError, MessageError) as fault:
        try:
            opened = {**json.loads(schema), "schema": {"type": "object"}}
            return _lookup(dialect, connection, schema, opened=True), [_line(json.dumps(opened).encode()), line]
        except (SchemaError, MessageError):
            warn(f"stream {stream!r}: its SCHEMA is refused, mend it before its records: {fault}")
            return lambda one: False, [line]


def _lookup(dialect: Dialect[Any], connection: sa.Connection, schema: str, opened: bool = False) -> IsLater:
    """Return a function that tells whether a row of a record's key was loaded after the record came.

    A record whose key cannot be read was not.

    Raises:
        SchemaError: the SCHEMA is refused; if the stream was *opened* by one before, the table lacks its keys.
    """
    settings = dialect.settings
    rules = wanting.rules_of(settings)
    message = messages.parse(schema.encode(), 0, rules)
    assert isinstance(message, messages.Schema)
    wanted = wanting.wanted(message, settings, dialect, opened)
    found = dialect.found(connection, wanted.table.schema, wanted.table.name)
    if opened and (found is None or not set(wanted.table.keys) <= set(found.columns)):
        raise SchemaError("there is no table with its keys")
    received = wanted.table.stamp
    if found is None or not wanted.table.keys or received is None or received not in found.columns:
        return lambda one: False
    kept = diff.kept_kinds(wanted.table, found, Policy(narrowing="keep"))
    layout = wanting.layout(wanted, kept, settings, dialect)
    table = dialect.as_sqlalchemy(kept)

    def is_later(one: Rejected) -> bool:
        conditions = [table.c[received] > one.at]
        for position in layout.keys:
            leaf, column = layout.leaves[position], table.c[kept.columns[position].name]
            try:
                cell = values.convert(leaf, values.parse(one.source, rules, not_finite=True)["record"][leaf.path[0]], rules, values.Notes())
            except (ValueError, KeyError, TypeError):
                return False
            if cell is None:
                return False
            value = pa.array([cell], kinds.arrow_type(leaf.kind))[0].as_py()
            literal = sa.literal(value, sa.String()) if isinstance(value, str) else sa.literal(value)
            conditions.append(column == sa.cast(literal, column.type))
        return connection.execute(sa.select(sa.literal(1)).select_from(table).where(*conditions).limit(1)).first() is not None

    return is_later
