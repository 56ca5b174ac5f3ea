"""From a SCHEMA message to a table in the database that is ready for the stream's rows."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from decimal import Context, localcontext
from typing import Any

import backoff
import pyarrow as pa
import sqlalchemy as sa

from . import diff, kinds, messages, naming, schema, values
from .decode import Layout
from .dialect import Dialect
from .diff import Change, Column, Found, FoundColumn, Policy, Table
from .errors import SchemaError, SettingsError, TargetError, UpgradeError, json_path
from .schema import Leaf, Node
from .settings import Settings

DDL_TRIES = 5  # each waits for locks as long as the dialect says, then we pause and let others in


VERSION_COLUMNS = {"__version": kinds.INTEGER, "__deleted_at": kinds.TIMESTAMP}


@dataclass(frozen=True)
class Wanted:
    """What a SCHEMA asks for: a table, and the tree of properties that fills its columns in order."""

    table: Table
    node: Node
    leaves: tuple[Leaf, ...]
    schema: str  # as JSON, for `validation: schema`
    stamped: bool
    versioned: bool = False

    def with_versions(self, dialect: Dialect[Any]) -> Wanted:
        """Return the same with the columns that ACTIVATE_VERSION needs, before the stamp."""
        last = len(self.table.columns) - self.stamped
        columns = self.table.columns
        more = tuple(Column(dialect.fold(name), kind) for name, kind in VERSION_COLUMNS.items())
        table = replace(self.table, columns=(*columns[:last], *more, *columns[last:]))
        return replace(self, table=table, versioned=True)


@dataclass
class Names:
    """Which stream has which table."""

    taken: dict[str, str] = field(default_factory=dict)

    def claim(self, stream: str, table: str) -> None:
        """Note that *stream* loads *table*.

        Raises:
            SchemaError: another stream does, too.
        """
        pairs = [(other, name) for name, other in self.taken.items()] + [(stream, table)]
        naming.refuse_collisions(pairs, what="streams", where="this input", setting="table_names")
        self.taken[table] = stream


def wanted(message: messages.Schema, settings: Settings, dialect: Dialect[Any]) -> Wanted:
    """Return the table that a SCHEMA message asks for.

    Raises:
        SchemaError: naming the stream and what is wrong with its schema, keys or names.
    """
    stream = message.stream
    check(stream, message.schema)
    types = {name: kinds.parse(text) for name, text in settings.column_types.items()}
    depth, double = settings.flatten_depth, settings.number == "double"
    options = schema.Options(depth, double, settings.decode_binary, settings.coerce == "lossless", types)
    node = schema.read(stream, message.schema, options)
    leaves = tuple(node.leaves())
    names = naming_of(settings, dialect)
    columns = [
        Column(
            settings.column_names.get(f"{stream}.{'.'.join(leaf.path)}") or names.of(leaf.path),
            dialect.kind(leaf.kind),
            ".".join(leaf.path),
        )
        for leaf in leaves
    ]
    if settings.unknown_fields == "keep":
        columns.append(Column(dialect.fold("__extra"), kinds.JSON, ""))
    paths = [".".join(repr(part) if "." in part else part for part in leaf.path) for leaf in leaves]
    pairs = [(path, column.name) for path, column in zip(paths, columns, strict=False)]
    pairs += [(column.source, column.name) for column in columns[len(paths) :]]
    naming.refuse_collisions(pairs, what="properties", where=f"stream {stream!r}", setting="column_names")
    stamp = dialect.fold(settings.timestamp_column)
    stamped = stamp not in {column.name for column in columns}
    if stamped:
        columns.append(Column(stamp, kinds.TIMESTAMP, ""))
    keys = () if settings.load_method == "append" else _keys(message, node, leaves, columns)
    name = settings.table_names.get(stream) or names.of([stream])
    place = settings.schema or dialect.default_schema or ""
    table = Table(place, name, tuple(columns), keys, stream)
    text = messages.json_of(message.schema) if settings.validation == "schema" else ""
    return Wanted(table, node, leaves, text, stamped)


def naming_of(settings: Settings, dialect: Dialect[Any]) -> naming.Naming:
    return naming.Naming(settings.naming, dialect.fold, dialect.name_size, dialect.name_length, dialect.reserved)


def check(stream: str, found: Any) -> None:
    """Check that *found* is a JSON Schema at all.

    Raises:
        SchemaError: with the place of the fault in the schema.
    """
    import jsonschema

    draft = _draft(found)
    if draft is None:
        return
    try:
        draft.check_schema(found)
    except jsonschema.SchemaError as error:
        if "$schema" not in found and _is_draft_4(found):
            return
        where = ".".join(("$", *map(str, error.path)))
        raise SchemaError(f"the schema is no JSON Schema: {where}: {error.message[:200]}") from None
    except RecursionError:
        raise SchemaError("the schema is nested too deeply") from None


def _draft(found: Any) -> Any:
    """Return the validator of the schema's own draft, else of draft 7; None where jsonschema has none.

    It is too old then, as singer-python wants it.
    """
    import jsonschema

    if not isinstance(found.get("$schema", ""), str):
        raise SchemaError("the schema is no JSON Schema: $.$schema is not a string")
    default: Any = getattr(jsonschema, "Draft7Validator", False)
    return jsonschema.validators.validator_for(found, default=default) or None


def _is_draft_4(found: Any) -> bool:
    """Tell whether a schema is one of draft 4, whose exclusiveMaximum is a boolean."""
    import jsonschema

    try:
        jsonschema.Draft4Validator.check_schema(found)
    except jsonschema.SchemaError:
        return False
    return True


def _keys(message: messages.Schema, node: Node, leaves: Sequence[Leaf], columns: list[Column]) -> tuple[str, ...]:
    by_path = {leaf.path: column.name for leaf, column in zip(leaves, columns, strict=False)}
    keys = []
    for key in message.keys:
        child = node.properties.get(key)
        if isinstance(child, Leaf):
            keys.append(by_path[key,])
            continue
        fault = "is a nested object" if child else "can only be null" if key in node.nulls else "is not in the schema"
        raise SchemaError(f"key property {key!r} {fault}; a key needs a column of its own")
    return tuple(keys)


def policy(stream: str, settings: Settings, dialect: Dialect[Any]) -> Policy:
    """Return how far the table of *stream* may follow."""
    return Policy(
        settings.for_stream("schema_changes", stream), settings.for_stream("narrowing", stream), dialect.max_columns
    )


def found(dialect: Dialect[Any], connection: sa.Connection, table: Table) -> Found | None:
    """Return *table* as the database has it, None where there is none."""
    with our_errors(dialect, f"table {table.full_name}"), _left_as_found(connection):
        return dialect.found(connection, table.schema, table.name)


def follow(
    dialect: Dialect[Any], connection: sa.Connection, table: Table, policy: Policy, done: Callable[[str], None]
) -> Table:
    """Make the database have *table*, and return it as it is kept there.

    In a transaction of its own, or in the one that is open, which stays open.

    What others do to the table at the same time makes it start again, some times.

    Raises:
        SchemaError, UpgradeError: before anything is changed.
        DatabaseError: the database refuses.
    """

    @backoff.on_exception(
        backoff.expo,
        (sa.exc.SQLAlchemyError, *dialect.driver_errors),
        factor=0.2,  # seconds, doubled each time
        max_tries=DDL_TRIES,
        giveup=lambda error: was_open or not dialect.is_transient(error),  # open: rows would be lost
        on_backoff=lambda _: connection.rollback(),
        logger=None,  # it would log the driver's errors as they are
    )
    def followed() -> tuple[Table, list[str]]:
        found = dialect.found(connection, table.schema, table.name)
        kept = diff.kept_kinds(table, found, policy)
        changes = diff.diff(kept, found, policy)
        if not changes:
            return kept, []
        dialect.begin(connection, changes)
        statements = ddl(dialect, connection, kept, changes)
        for statement in statements:
            connection.exec_driver_sql(statement)
        if not was_open:
            connection.commit()
        return kept, statements

    was_open = connection.in_transaction()
    with our_errors(dialect, f"table {table.full_name}"), _left_as_found(connection):
        kept, statements = followed()
    for statement in statements:
        done(statement)
    return kept


@contextmanager
def _left_as_found(connection: sa.Connection) -> Iterator[None]:
    """Hold no transaction open afterwards, but for one that is open already: it has rows."""
    was_open = connection.in_transaction()
    try:
        yield
    finally:
        if not was_open and connection.in_transaction():
            connection.rollback()


def ddl(
    dialect: Dialect[Any], connection: sa.Connection, table: Table, changes: list[Change], is_there: bool = True
) -> list[str]:
    """Return the statements of all *changes*, the missing schema first.

    Where the table *is_there*, its data and what depends on it are looked at.

    Raises:
        UpgradeError: the data, its size, or something that depends on it forbids a change.
    """
    statements = []
    creates = any(isinstance(change, diff.CreateTable) for change in changes)
    if creates and not dialect.has_schema(connection, table.schema):
        statements.append(dialect.create_schema(table.schema))
    for change in changes:
        if isinstance(change, diff.ChangeType) and is_there:
            _refuse_unsafe(dialect, connection, change)
        statements.extend(dialect.statements(change))
    return statements


def _refuse_unsafe(dialect: Dialect[Any], connection: sa.Connection, change: diff.ChangeType) -> None:
    what = f"{change.table.full_name}: column {change.column.name!r} cannot change from {change.found.type} to {change.column.kind}"
    obstacles = dialect.obstacles(connection, change)
    if obstacles:
        raise UpgradeError(f"{what} while {', '.join(obstacles)} depends on it; drop that, load, and create it again")
    query = dialect.loses_by(change)
    if query and connection.exec_driver_sql(query).first():
        raise UpgradeError(f"{what}: a value in it would change")
    most = dialect.settings.max_rewrite_rows
    if dialect.rewrites(change) and dialect.has_more_rows(connection, change.table, most):
        statements = "; ".join(dialect.statements(change))
        raise UpgradeError(
            f"{what}: the table has more than {most:,} rows (setting max_rewrite_rows) and would be locked "
            f"while it is written anew; run by hand when that suits: {statements}"
        )


class Plan:
    """Shows the statements that `follow` would run; what they would make is remembered here."""

    def __init__(self, show: Callable[[str], None]):
        self.show = show
        self.made: dict[str, Found] = {}

    def follow(self, dialect: Dialect[Any], connection: sa.Connection, table: Table, policy: Policy) -> Table:
        """Return the table that `follow` would return."""
        with our_errors(dialect, f"table {table.full_name}"), _left_as_found(connection):
            found = self.made.get(table.full_name) or dialect.found(connection, table.schema, table.name)
            kept = diff.kept_kinds(table, found, policy)
            is_there = table.full_name not in self.made
            for statement in ddl(dialect, connection, kept, diff.diff(kept, found, policy), is_there):
                self.show(statement)
        columns = {column.name: FoundColumn(column.name, column.kind, str(column.kind)) for column in kept.columns}
        self.made[table.full_name] = Found({**(found.columns if found else {}), **columns}, kept.keys)
        return kept


def layout(wanted: Wanted, table: Table, settings: Settings, rules: values.Rules) -> Layout:
    """Return the layout of the rows that fill *table*, whose columns may be wider than wanted."""
    columns = table.columns[: len(table.columns) - wanted.stamped]
    leaves = tuple(
        replace(leaf, kind=column.kind)
        for leaf, column in zip(wanted.leaves, columns, strict=False)
    )
    arrow = pa.schema([pa.field(column.name, kinds.arrow_type(column.kind)) for column in columns])
    keys = tuple(i for i, column in enumerate(columns) if column.name in table.keys)
    validate = _validator(wanted.schema) if wanted.schema else None
    tree = rebuilt(wanted.node, iter(leaves))
    versions = None if settings.activate_version == "ignore" else wanted.versioned
    return Layout(table.source, tree, leaves, arrow, keys, rules, validate, versions)


def rebuilt(node: Node, leaves: Iterator[Leaf]) -> Node:
    """Return *node* with other leaves, in the same order."""
    children: dict[str, Leaf | Node] = {}
    for name, child in node.properties.items():
        children[name] = next(leaves) if isinstance(child, Leaf) else rebuilt(child, leaves)
    return Node(node.path, children, node.nulls)


def _validator(text: str) -> Callable[[bytes], None]:
    """Return a function that checks a record's line by every keyword of the schema."""
    found = messages.numbers_as_python(values.parse(text.encode()))
    draft = _draft(found)
    if draft is None:
        raise SettingsError("settings: validation: schema needs jsonschema 3.0 or later; singer-python holds it back")
    validator = draft(found, format_checker=None)

    def validate(line: bytes) -> None:
        record = messages.numbers_as_python(values.parse(line)["record"])
        try:
            with localcontext(Context(prec=1000)):  # multipleOf divides, and 28 digits would not do
                fault = next(validator.iter_errors(record), None)
        except (ArithmeticError, RecursionError):
            raise ValueError("$: too large a number, or too deep, for validation: schema") from None
        if fault:
            raise ValueError(f"{json_path(map(str, fault.path))}: {_worded(fault)}")

    return validate


def _worded(fault: Any) -> str:
    """Return the keyword and what it wants; jsonschema's own message prints the whole value."""
    return f"the value breaks {fault.validator!r}: {str(fault.validator_value)[:200]} of the schema"


@contextmanager
def our_errors(dialect: Dialect[Any], where: str) -> Iterator[None]:
    """Turn the errors of the database and its driver into ours, with the place in front."""
    theirs: tuple[type[Exception], ...] = (sa.exc.SQLAlchemyError, *dialect.driver_errors)
    try:
        yield
    except TargetError:
        raise
    except theirs as error:
        raise dialect.error(error, where) from error
