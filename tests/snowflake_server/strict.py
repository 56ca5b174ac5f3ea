"""fakesnow's SQL engine, with the rules of Snowflake that it lacks.

A `Cursor` takes the place of fakesnow's: it answers some statements itself, refuses what Snowflake
refuses, and rewrites what DuckDB means otherwise. What it knows beside DuckDB is in `Catalogue`:
Snowflake does not enforce primary keys, and DuckDB has no comments on columns that can be renamed.
"""

from __future__ import annotations

import itertools
import re
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import databases
import duckdb
import fakesnow.conn
import fakesnow.copy_into
import fakesnow.server
import loads
import policies
import privileges
import rewrites
import rules
import sqlglot
from fakesnow import cursor as engine
from fakesnow import transforms
from fakesnow.transforms import stage
from snowflake.connector.errors import ProgrammingError
from sqlglot import exp

Name = tuple[str, str]  # of a table: schema, table
OWN = "@"  # in the name that a temporary table has in the engine


@dataclass
class Described:
    """What a table has that DuckDB is not told."""

    keys: list[str] = field(default_factory=list)
    comment: str = ""
    kind: str = "TABLE"
    comments: dict[str, str] = field(default_factory=dict)
    decfloats: set[str] = field(default_factory=set)  # columns of that type, texts for DuckDB


@dataclass
class Catalogue:
    tables: dict[Name, Described] = field(default_factory=dict)
    foreign: list[tuple[Name, Name]] = field(default_factory=list)  # tables with foreign keys, and whose keys those are
    open: dict[int, Any] = field(default_factory=dict)  # transactions, by number, with their connections
    refused: dict[str, bool] = field(default_factory=dict)  # texts that no COPY takes; whether it says where
    numbers: Any = field(default_factory=lambda: itertools.count(1_700_000_000_000))


catalogue = Catalogue()
turn = threading.RLock()  # sessions share one DuckDB, whose catalogue knows no two writers


def refusal(number: int, state: str, words: str) -> ProgrammingError:
    return ProgrammingError(msg=words, errno=number, sqlstate=state)


class Cursor(engine.FakeSnowflakeCursor):
    """One statement at a time, as Snowflake would take it."""

    refusal = staticmethod(refusal)

    def execute(self, command: str, params: Any = None, *args: Any, **options: Any) -> Cursor:
        if not self._conn._schema:
            self._conn._schema = "PUBLIC"  # which every database has
        with turn:
            return self._strictly(command, options.get("binding_params") or params)

    def _describe_last_sql(self) -> list[Any]:
        with turn:  # a PUT and the statement beside it share DuckDB's connection: one would take the other's result
            return super()._describe_last_sql()  # type: ignore[no-any-return]

    def _strictly(self, command: str, params: Any) -> Cursor:
        text = _without_comments(command)
        for pattern, answer in ANSWERS:
            found = pattern.fullmatch(text)
            if found:
                answer(self, found)
                return self
        expression = engine.parse_one(text)
        if self._commented(expression):
            return self
        as_asked = expression.copy()  # the engine's own changes are made in place
        try:
            self._check(expression)
            if not isinstance(expression, exp.Copy):  # where the engine takes the stage for a table
                self.check_db_and_schema(expression)
            if isinstance(expression, (exp.Commit, exp.Rollback)) and not getattr(self._conn, "transaction", None):
                self.done()  # no transaction is open: nothing to do, and no error (sql-reference/sql/commit)
                return self
            if isinstance(expression, exp.Transaction) and getattr(self._conn, "transaction", None):
                self.done()  # it is ignored in an open one (sql-reference/sql/begin)
                return self
            if isinstance(expression, exp.Rollback):
                self.end_transaction(commit=False)
                self.done()
                return self
            self._begin_implicitly(expression)
            expression = policies.applied(self, expression)
            expression = expression.transform(rewrites.rewritten, self._own_table)
            if isinstance(expression, exp.Merge):
                self._merge(self._transform(expression, None))
                return self
            if isinstance(expression, exp.TruncateTable):
                for table in expression.find_all(exp.Table):
                    loads.forget(self, table.db, table.name)
            for statement in self._transform_explode(expression):
                ready = self._transform(statement, params)
                self._execute(ready, list(params) if params and ready.find(exp.Placeholder) else None)
        except NotImplementedError as error:
            raise refusal(9999, "0A000", f"the stand-in has no {error}") from error
        except ProgrammingError:
            raise
        except Exception as error:  # of DuckDB, or a fault of the engine: no answer would be tried again
            raise self._worded(error) from error
        self._note(as_asked)
        return self

    def _worded(self, error: Exception) -> ProgrammingError:
        words = (str(error).splitlines() or [''])[0]
        if "onflict" in words and isinstance(error, duckdb.TransactionException):
            return refusal(625, "57014", f"Statement has locked table in another transaction: {words}")
        if "NOT NULL constraint" in words:
            return refusal(100072, "22000", "NULL result in a non-nullable column")
        if isinstance(error, duckdb.InvalidInputException) and "ValueError" in str(error):
            return refusal(100069, "22P02", f"Error parsing JSON: {str(error).splitlines()[-1]}")
        return refusal(9998, "0A000", f"the stand-in failed: {type(error).__name__}: {words}")

    def _commented(self, expression: Any) -> bool:
        """Do what only gives a column its comment."""
        if isinstance(expression, exp.Comment) and isinstance(expression.this, exp.Column):
            column, text = expression.this, expression.expression.name
        elif isinstance(expression, exp.Alter) and isinstance(expression.args["actions"][0], exp.AlterColumn) and expression.args["actions"][0].args.get("comment"):
            action = expression.args["actions"][0]
            column, text = exp.column(action.this, expression.this.this, expression.this.args["db"]), action.args["comment"].name
        else:
            return False
        self.end_transaction(commit=True)
        if column.name not in self._types(exp.table_(column.args["table"], column.args["db"])):
            raise refusal(904, "42000", f"SQL compilation error: invalid identifier '{column.name}'")
        catalogue.tables.setdefault((column.db, column.table), Described()).comments[column.name] = text
        self.done()
        return True

    # --- before a statement

    @property
    def role(self) -> str:
        """The role that the session was asked for."""
        return str(self._conn.__dict__.get("role") or "LOADER")

    def _begin_implicitly(self, expression: Any) -> None:
        """Without AUTOCOMMIT the first DML begins a transaction (user-guide/transactions)."""
        is_dml = isinstance(expression, (exp.Insert, exp.Update, exp.Delete, exp.Merge, exp.Copy, exp.TruncateTable))
        if is_dml and not getattr(self._conn, "commits_itself", True) and not getattr(self._conn, "transaction", None):
            self._duck_conn.execute("BEGIN TRANSACTION")
            self._note(exp.Transaction())

    def _check(self, expression: Any) -> None:
        privileges.check(self, expression)
        if isinstance(expression, exp.Alter):
            self._check_alter(expression)
        if isinstance(expression, exp.Copy):
            self._check_copy(expression)
        if isinstance(expression, (exp.Create, exp.Alter, exp.Drop, exp.Comment)):
            self.end_transaction(commit=True)  # as all DDL does
        if isinstance(expression, exp.Create) and expression.kind == "TABLE":
            self._take_constraints(expression)
        if isinstance(expression, exp.Create):
            privileges.own(self, expression)

    def _check_alter(self, alter: exp.Alter) -> None:
        types = self._types(alter.this)
        for action in alter.args.get("actions") or ():
            if isinstance(action, exp.AlterColumn) and action.args.get("dtype"):
                name, wanted = action.this.name, action.args["dtype"].sql(dialect="snowflake")
                why = rules.refuses_change(types[name], wanted) if name in types else None
                if why is not None:
                    raise refusal(2262, "22000", f"SQL compilation error: cannot change column {name} from type {types[name]} to {wanted}{why}.")
            if isinstance(action, exp.Drop):
                for column in action.find_all(exp.Column):
                    holds = policies.of((alter.this.db, alter.this.name)).holds(column.name)
                    if holds:
                        raise refusal(2443, "42601", f"SQL compilation error: cannot drop column '{column.name}' of the {holds}")
                # Whether Snowflake refuses that, too, is not known.
                keys = catalogue.tables.get((alter.this.db, alter.this.name), Described()).keys
                if {column.name for column in action.find_all(exp.Column)} & set(keys):
                    raise refusal(2262, "42601", "SQL compilation error: the column belongs to the primary key")
            if isinstance(action, exp.ColumnDef) and action.name in types and not action.args.get("exists"):
                raise refusal(1430, "42601", f"SQL compilation error: column '{action.name}' already exists")
            if isinstance(action, exp.ColumnDef):
                policies.collate_column(action, (alter.this.db, alter.this.name))

    def _types(self, table: exp.Table) -> dict[str, str]:
        rows = self._rows(f'DESCRIBE TABLE "{table.db}"."{table.name}"') if table.db else []
        return {row[0]: row[1] for row in rows}

    def _check_copy(self, copy: exp.Copy) -> None:
        options = {one.this.name.upper(): [e.this.name.upper() for e in one.expressions] for one in copy.args.get("params") or ()}
        faults = rules.copy_faults(options)
        if faults:
            raise refusal(1420, "42601", f"SQL compilation error: invalid parameter '{faults[0]}'")
        if catalogue.refused:
            self._refuse_rows(copy.sql("snowflake"))

    def _refuse_rows(self, copy: str) -> None:
        for file in self._staged_files(*re.search(r"FROM @([^/\s]+)/(\S*?)\)", copy).groups()):
            words = rules.refused_text(file, catalogue.refused)
            if words:
                raise refusal(100071, "22000", words)

    def _merge(self, merge: exp.Merge) -> None:
        """Refuse what would update a row twice, then let DuckDB merge: the engine's own way takes ten times as long."""
        name, on, using = merge.this.alias or merge.this.name, merge.args["on"], merge.args["using"]
        joined = f"{merge.this.sql('duckdb')} JOIN {using.sql('duckdb')} ON {on.sql('duckdb')}"
        twice = f'SELECT 1 FROM {joined} GROUP BY "{name}".rowid HAVING COUNT(*) > 1 LIMIT 1'
        whens = merge.args["whens"].expressions
        if any(when.args.get("matched") for when in whens) and self._duck_conn.execute(twice).fetchall():
            raise refusal(100090, "42P18", "Duplicate row detected during DML action")
        self._duck_conn.execute(f"{merge.sql('duckdb')} RETURNING merge_action")
        done = [action for (action,) in self._duck_conn.fetchall()]
        kinds = ["INSERT", *(["UPDATE"] if any(when.args.get("matched") for when in whens) else [])]
        names = {"INSERT": "number of rows inserted", "UPDATE": "number of rows updated"}
        self.answer([names[kind] for kind in kinds], [[done.count(kind) for kind in kinds]])

    def _take_constraints(self, create: exp.Create) -> None:
        """Note keys and comments, and leave them out."""
        table, described = create.this, Described()
        if not isinstance(table, exp.Schema):
            return
        kept = []
        for part in table.expressions:
            if isinstance(part, exp.ForeignKey):
                other = part.find(exp.Reference).find(exp.Table)
                catalogue.foreign.append(((table.this.db, table.this.name), (other.db, other.name)))
                continue
            if isinstance(part, exp.PrimaryKey):
                described.keys = [key.name for key in part.expressions]
                continue
            if isinstance(part, exp.ColumnDef):
                self._take_comment(part, described)
                self._take_decfloat(part, described)
            kept.append(part)
        table.set("expressions", kept)
        for one in create.find_all(exp.SchemaCommentProperty):
            described.comment = one.this.name
            one.pop()
        name = table.this
        if create.args.get("exists") and (name.db, name.name) in catalogue.tables:
            return
        catalogue.tables[name.db, name.name] = described
        policies.guarded.pop((name.db, name.name), None)
        policies.collate(create, (name.db, name.name))
        if create.find(exp.TemporaryProperty):
            self.temporary.add((name.db, name.name))
            create.find(exp.TemporaryProperty).pop()
        if create.find(exp.TransientProperty):
            described.kind = "TRANSIENT"

    @staticmethod
    def _take_comment(column: exp.ColumnDef, described: Described) -> None:
        constraints = column.args.get("constraints") or []
        for one in list(constraints):
            if isinstance(one.kind, exp.CommentColumnConstraint):
                described.comments[column.name] = one.kind.this.name
                constraints.remove(one)

    @staticmethod
    def _take_decfloat(column: exp.ColumnDef, described: Described) -> None:
        if column.kind.this == exp.DataType.Type.DECFLOAT:
            described.decfloats.add(column.name)

    @property
    def temporary(self) -> set[Name]:
        """The temporary tables of the session, which have names of their own in the engine."""
        return self._conn.__dict__.setdefault("temporary", set())

    def own_name(self, name: str) -> str:
        return f"{name}{OWN}{id(self._conn)}"

    def _own_table(self, table: exp.Table) -> str | None:
        """Return the name in the engine of a temporary table of the session, None for others."""
        return self.own_name(table.name) if (table.db, table.name) in self.temporary else None

    def end(self) -> None:
        """End the session: what is not committed is gone, and what was temporary, too."""
        with turn:
            self.end_transaction(commit=False)
            for schema, table in self.temporary:
                self._duck_conn.execute(f'DROP TABLE IF EXISTS "{schema}"."{self.own_name(table)}"')

    # --- after it

    def _note(self, expression: Any) -> None:
        if isinstance(expression, exp.Transaction):
            self._conn.transaction = next(catalogue.numbers)
            catalogue.open[self._conn.transaction] = self._conn
        elif isinstance(expression, (exp.Commit, exp.Rollback)):
            self._forget_transaction()
        elif isinstance(expression, exp.Drop) and expression.kind == "TABLE":
            table = expression.find(exp.Table)
            catalogue.tables.pop((table.db, table.name), None)
            policies.guarded.pop((table.db, table.name), None)
            self.temporary.discard((table.db, table.name))
        elif isinstance(expression, exp.Alter):
            table = expression.find(exp.Table)
            described = catalogue.tables.setdefault((table.db, table.name), Described())
            for action in expression.args.get("actions") or ():
                if isinstance(action, exp.ColumnDef):
                    self._take_comment(action, described)
                    self._take_decfloat(action, described)
                if isinstance(action, exp.RenameColumn):
                    old, new = action.this.name, action.args["to"].name
                    policies.of((table.db, table.name)).renamed(old, new)
                    described.keys = [new if key == old else key for key in described.keys]
                    if old in described.decfloats:
                        described.decfloats = described.decfloats - {old} | {new}
                    if old in described.comments:
                        described.comments[new] = described.comments.pop(old)

    def _forget_transaction(self) -> None:
        catalogue.open.pop(getattr(self._conn, "transaction", None), None)
        self._conn.transaction = None

    def end_transaction(self, commit: bool) -> None:
        if getattr(self._conn, "transaction", None):
            loaded = [] if commit else loads.noted(self)
            self._duck_conn.execute("COMMIT" if commit else "ROLLBACK")
            loads.keep(self, loaded)
            self._forget_transaction()

    # --- statements of which the engine knows nothing

    def _rows(self, command: str) -> list[Any]:
        other = Cursor(self._conn, self._duck_conn)
        return list(other._strictly(command, None).fetchall())

    def answer(self, names: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
        """Let the result be these *rows*."""
        columns = ", ".join(f'"{name}"' for name in names)
        values = ", ".join(f"({', '.join(map(_literal, row))})" for row in rows)
        nothing = f"({', '.join(['CAST(NULL AS VARCHAR)'] * len(names))})"
        query = f"SELECT * FROM (VALUES {values or nothing}) AS t ({columns}){'' if rows else ' WHERE 1 = 0'}"
        self._execute(sqlglot.parse_one(query, read="duckdb"))

    def autocommit(self, found: re.Match[str]) -> None:
        self._conn.commits_itself = found["value"].upper() == "TRUE"
        self.end_transaction(commit=True)
        self.done()

    def done(self, *_: Any) -> None:
        self.answer(["status"], [["Statement executed successfully."]])

    def remove(self, found: re.Match[str]) -> None:
        name, _, path = found["at"].partition("/")
        files = self._staged_files(name, path)
        for file in files:
            file.unlink()
        self.answer(["name", "result"], [[file.name, "removed"] for file in files])

    def _staged_files(self, name: str, path: str) -> list[Path]:
        parts = stage.parts_from_var(name, self._conn.database, self._conn.schema)
        folder = Path(stage.internal_dir(".".join(parts)))
        return sorted(file for file in folder.glob(f"{path.rstrip('/') or '*'}/**/*") if file.is_file())

    def describe(self, found: re.Match[str]) -> None:
        if not found["schema"] or not self._has_table(found["schema"], found["table"]):
            raise refusal(2003, "42S02", f"SQL compilation error: Object '{found['table']}' does not exist or not authorized.")
        described = catalogue.tables.get((found["schema"], found["table"]), Described())
        its = policies.of((found["schema"], found["table"]))
        other = Cursor(self._conn, self._duck_conn)
        ready = other._transform(engine.parse_one(f'DESCRIBE TABLE "{found["schema"]}"."{found["table"]}"'), None)
        other._execute(ready)
        rows = []
        for row in other.fetchall():
            name, spelt, kind, null, default = row[:5]
            is_key = name in described.keys
            spelt = "DECFLOAT(38)" if name in described.decfloats else spelt
            spelt += f" COLLATE '{its.collated[name]}'" if name in its.collated else ""
            policy = its.masks.get(name)
            masked = f"{self._conn.database}.{policy.schema}.{policy.name}" if policy else None
            rows.append([name, spelt, kind, "N" if is_key else null, default, "Y" if is_key else "N", "N", None, None, described.comments.get(name), masked, None])
        self.answer(DESCRIBED, rows)

    def _has_table(self, schema: str, table: str) -> bool:
        query = "SELECT 1 FROM information_schema.tables WHERE table_name = ? AND table_schema = ? AND table_catalog = ?"
        return bool(self._duck_conn.execute(query, [table, schema, self._conn.database]).fetchall())

    def show_objects(self, found: re.Match[str]) -> None:
        schemas = "SELECT 1 FROM information_schema.schemata WHERE schema_name = ? AND catalog_name = ?"
        if not self._duck_conn.execute(schemas, [found["schema"], self._conn.database]).fetchall():
            raise refusal(2043, "02000", "SQL compilation error: Object does not exist, or operation cannot be performed.")
        query = "SELECT table_name, table_type FROM information_schema.tables WHERE table_schema = ? AND table_catalog = ?"
        rows = []
        for name, kind in self._duck_conn.execute(query, [found["schema"], self._conn.database]).fetchall():
            if OWN not in name and (not found["like"] or _like(found["like"], name)):
                count = self._duck_conn.execute(f'SELECT count(*) FROM "{found["schema"]}"."{name}"').fetchall()[0][0]
                known = catalogue.tables.get((found["schema"], name), Described())
                its = policies.of((found["schema"], name))
                rows.append([None, name, self._conn.database, found["schema"], "VIEW" if kind == "VIEW" else known.kind, known.comment, its.cluster, count, its.owner])
        self.answer(["created_on", "name", "database_name", "schema_name", "kind", "comment", "cluster_by", "rows", "owner"], rows)

    def current_transaction(self, _: re.Match[str]) -> None:
        number = getattr(self._conn, "transaction", None)
        self.answer(["CURRENT_TRANSACTION()"], [[str(number) if number else None]])

    def show_transactions(self, _: re.Match[str]) -> None:
        self.answer(["id", "user", "session"], [[str(number), "LOADER", "1"] for number in catalogue.open])

    def abort(self, found: re.Match[str]) -> None:
        connection = catalogue.open.get(int(found["id"]))
        if connection is None:
            raise refusal(3013, "22023", f"Transaction {found['id']} is not running")
        connection.cursor().end_transaction(commit=False)
        self.answer(["status"], [["Transaction aborted."]])

    def show_exported_keys(self, found: re.Match[str]) -> None:
        names = ["fk_schema_name", "fk_table_name"]
        self.answer(names, [list(table) for table, key in catalogue.foreign if key == (found["schema"], found["table"])])

    def replace_key(self, found: re.Match[str]) -> None:
        self.end_transaction(commit=True)
        described = catalogue.tables.setdefault((found["schema"], found["table"]), Described())
        wanted = re.findall(r'"((?:[^"]|"")*)"', found["keys"] or "")
        if bool(wanted) == bool(described.keys):
            raise refusal(2200 if wanted else 2201, "42601", "SQL compilation error: the primary key is there already, or is not")
        described.keys = [key.replace('""', '"') for key in wanted]
        self.done()


DESCRIBED = ["name", "type", "kind", "null?", "default", "primary key", "unique key", "check", "expression", "comment", "policy name", "privacy domain"]
TABLE = r'"(?P<schema>[^"]+)"\."(?P<table>(?:[^"]|"")+)"'
ANSWERS: list[tuple[re.Pattern[str], Callable[[Cursor, re.Match[str]], None]]] = [
    (re.compile(pattern, re.IGNORECASE | re.DOTALL), answer)
    for pattern, answer in [
        (r"alter\s+session\s+set\s+autocommit\s*=\s*(?P<value>\w+)", Cursor.autocommit),
        (r"alter\s+session\s+(set|unset)\s.*", Cursor.done),
        (r"(remove|rm)\s+@(?P<at>\S+)", Cursor.remove),
        (rf"desc(ribe)?\s+table\s+{TABLE}", Cursor.describe),
        (r"show\s+objects(\s+like\s+'(?P<like>(?:[^']|'')*)')?\s+in\s+schema\s+\"(?P<schema>[^\"]+)\"(\s+limit\s+\d+)?", Cursor.show_objects),
        (r"select\s+current_transaction\(\)", Cursor.current_transaction),
        (r"show\s+transactions", Cursor.show_transactions),
        (r"select\s+system\$abort_transaction\('?(?P<id>\d+)'?\)", Cursor.abort),
        (rf"show\s+exported\s+keys\s+in\s+table\s+{TABLE}", Cursor.show_exported_keys),
        *policies.ANSWERS,
        (rf"alter\s+table\s+{TABLE}\s+(drop\s+primary\s+key(\s+restrict)?|add\s+primary\s+key\s*\((?P<keys>.*)\))", Cursor.replace_key),
        *databases.ANSWERS,
        *privileges.ANSWERS,
    ]
]


def _without_comments(command: str) -> str:
    return re.sub(r"^\s*(/\*.*?\*/\s*)*", "", command, flags=re.DOTALL).strip().rstrip(";").strip()


def parsed(command: str) -> Any:
    """Return what the server reads a statement's kind from; the grammar lacks some that are answered here."""
    try:
        return engine.parse_one(command)
    except ProgrammingError:
        if any(pattern.fullmatch(_without_comments(command)) for pattern, _ in ANSWERS):
            return engine.parse_one("SHOW TABLES")
        raise


def _literal(value: Any) -> str:
    if value is None:
        return "CAST(NULL AS VARCHAR)"
    return str(value) if isinstance(value, int) else "'" + str(value).replace("'", "''") + "'"


def _like(pattern: str, name: str) -> bool:
    """Snowflake's LIKE of SHOW: without regard to case, with a backslash before what is meant as it is."""
    pattern = pattern.replace("''", "'").replace("\\\\", "\\")
    parts = re.findall(r"\\.|.", pattern, re.DOTALL)
    spelt = "".join(re.escape(part[1]) if part[0] == "\\" and len(part) > 1 else {"%": ".*", "_": "."}.get(part, re.escape(part)) for part in parts)
    return re.fullmatch(spelt, name, re.IGNORECASE | re.DOTALL) is not None


def install(database: duckdb.DuckDBPyConnection) -> None:
    """Put all this in the place of fakesnow's own."""
    database.create_function("fs_variant", rules.variant, ["VARCHAR", "VARCHAR"], "VARCHAR")
    fakesnow.conn.FakeSnowflakeCursor = Cursor
    fakesnow.server.parse_one = parsed
    transforms.integer_precision = rewrites.whole_number
