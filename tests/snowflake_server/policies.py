"""Masking and row access policies, clustering keys and collations: what the engine has nothing of.

From Snowflake's documentation: a policy's body stands for the column, and its condition is added, wherever a
query reads them (user-guide/security-column-intro, security-row-intro), the owner's included; a row access
policy keeps no row from being inserted. That UPDATE's SET and MERGE's ON read what the policy shows is how
we understand "wherever the column appears"; so is that a column of a clustering key, or one that a policy
takes, cannot be dropped. What DESCRIBE and POLICY_REFERENCES show: sql-reference/sql/desc-table,
sql-reference/functions/policy_references. A column without COLLATE has its table's DEFAULT_DDL_COLLATION,
a table without that its schema's (sql-reference/parameters, sql-reference/collation).
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import sqlglot
from sqlglot import exp

if TYPE_CHECKING:
    from strict import Cursor

Name = tuple[str, str]  # schema and table
TEXTS = (exp.DataType.Type.VARCHAR, exp.DataType.Type.TEXT)


@dataclass(frozen=True)
class Policy:
    """*arguments* are names in its *body*, which is SQL."""

    kind: str
    schema: str
    name: str
    arguments: tuple[str, ...]
    body: str

    def applied(self, columns: list[Any], role: str) -> Any:
        """Return the body for these *columns*, as who has the *role* in use meets it."""
        body = re.sub(r"(?i)\bcurrent_role\s*\(\s*\)", f"'{role}'", self.body)
        instead = dict(zip(self.arguments, columns, strict=True))
        made = exp.paren(sqlglot.parse_one(body, read="snowflake"))
        return made.transform(lambda node: instead[node.name.upper()].copy() if isinstance(node, exp.Column) and node.name.upper() in instead else node)


@dataclass
class Guarded:
    """What is on a table."""

    masks: dict[str, Policy] = field(default_factory=dict)  # by column
    rows: dict[Policy, list[str]] = field(default_factory=dict)  # with the columns that they take
    cluster: str = ""
    owner: str = "LOADER"
    collated: dict[str, str] = field(default_factory=dict)  # collation by column
    collation: str | None = None  # of columns to come; None: the schema's

    def renamed(self, old: str, new: str) -> None:
        for known in (self.masks, self.collated):
            if old in known:
                known[new] = known.pop(old)  # type: ignore[attr-defined, index]
        self.rows = {policy: [new if name == old else name for name in names] for policy, names in self.rows.items()}
        self.cluster = re.sub(rf'"{re.escape(old)}"|\b{re.escape(old)}\b', lambda _: f'"{new}"', self.cluster)

    def holds(self, column: str) -> str | None:
        """Return what keeps a column from being dropped."""
        if column in _parts(self.cluster):
            return "clustering key"
        if column in self.masks:
            return f"masking policy {self.masks[column].name}"
        return next((f"row access policy {policy.name}" for policy, names in self.rows.items() if column in names), None)


policies: dict[tuple[str, str], Policy] = {}
guarded: dict[Name, Guarded] = {}
collations: dict[str, str] = {}  # of schemas


def of(name: Name) -> Guarded:
    return guarded.setdefault(name, Guarded())


# --- in statements


def applied(cursor: Cursor, statement: Any) -> Any:
    """Return the statement as it is for who may not see all."""
    if not any(one.masks or one.rows for one in list(guarded.values())):
        return statement
    if isinstance(statement, exp.Copy):
        return statement  # it reads files only
    role, target = cursor.role, None
    if isinstance(statement, (exp.Update, exp.Merge, exp.Delete, exp.Insert)):
        target = statement.this.find(exp.Table)
    if isinstance(statement, (exp.Create, exp.Alter, exp.Drop)) and not statement.find(exp.Select):
        return statement
    for table in list(statement.find_all(exp.Table)):
        its = guarded.get((table.db, table.name))
        if its is None or not (its.masks or its.rows):
            continue
        if table is not target:
            table.replace(_shown(table, its, role))
        elif not isinstance(statement, exp.Insert):
            _hide(statement, table, its, role)
    return statement


def _shown(table: Any, its: Guarded, role: str) -> Any:
    """Return what a query reads instead of a table."""
    masks = [exp.alias_(policy.applied([exp.column(exp.to_identifier(name, quoted=True))], role), exp.to_identifier(name, quoted=True)) for name, policy in its.masks.items()]
    star = exp.Star(replace=masks) if masks else exp.Star()
    query = exp.select(star).from_(exp.Table(this=table.this.copy(), db=table.args["db"].copy()))
    for policy, names in its.rows.items():
        query = query.where(policy.applied([exp.column(exp.to_identifier(name, quoted=True)) for name in names], role))
    return query.subquery(exp.to_identifier(table.alias or table.name, quoted=True))


def _hide(statement: Any, table: Any, its: Guarded, role: str) -> None:
    """Let a statement that changes *table* read only what may be seen."""
    name = table.alias or table.name

    def at(column: str) -> Any:
        return exp.column(exp.to_identifier(column, quoted=True), table=exp.to_identifier(name, quoted=True))

    read: list[Any] = []
    if isinstance(statement, exp.Update):
        read = [one.expression for one in statement.expressions] + [statement.args.get("where")]
    elif isinstance(statement, exp.Delete):
        read = [statement.args.get("where")]
    elif isinstance(statement, exp.Merge):
        read = [statement.args["on"]]
    for part in filter(None, read):
        for column in list(part.find_all(exp.Column)):
            if column.name in its.masks and column.table in ("", name):
                column.replace(its.masks[column.name].applied([column.copy()], role))
    conditions = [policy.applied([at(column) for column in names], role) for policy, names in its.rows.items()]
    if not conditions:
        return
    if isinstance(statement, exp.Merge):
        statement.set("on", exp.and_(statement.args["on"], *conditions))
    else:
        where = statement.args.get("where")
        statement.set("where", exp.Where(this=exp.and_(*([where.this] if where else []), *conditions)))


def collate(create: Any, name: Name) -> None:
    """Give texts their collation; where none is said, the table's or the schema's. DuckDB knows two: with case and without."""
    its = of(name)
    properties = create.args.get("properties")
    for one in properties.expressions if properties else ():
        if one.name.upper() == "DEFAULT_DDL_COLLATION":
            its.collation = one.args["value"].name
            properties.set("expressions", [other for other in properties.expressions if other is not one])
            break
    for part in create.find_all(exp.ColumnDef):
        collate_column(part, name)


def collate_column(column: Any, name: Name) -> None:
    its, constraints = of(name), list(column.args.get("constraints") or [])
    spelt = next((one for one in constraints if isinstance(one.kind, exp.CollateColumnConstraint)), None)
    if column.kind is None or column.kind.this not in TEXTS:
        return
    said = spelt.kind.this.name if spelt else its.collation if its.collation is not None else collations.get(name[0], "")
    if spelt:
        constraints.remove(spelt)
    if said:
        its.collated[column.name] = said
        if "ci" in said.split("-"):
            constraints.append(exp.ColumnConstraint(kind=exp.CollateColumnConstraint(this=exp.Var(this="NOCASE"))))
    column.set("constraints", constraints)


# --- statements of their own


def _parts(text: str) -> list[str]:
    """Return identifiers of a dotted or listed name: in double quotes as they are, others in upper case."""
    found = re.findall(r'"((?:[^"]|"")+)"|([A-Za-z_][\w$]*)', text)
    return [quoted.replace('""', '"') if quoted else bare.upper() for quoted, bare in found]


def _named(cursor: Cursor, text: str) -> Name:
    *schema, name = _parts(text)
    return (schema[-1] if schema else cursor._conn.schema), name


def create_policy(cursor: Cursor, found: re.Match[str]) -> None:
    arguments = tuple(_parts(one)[0] for one in found["arguments"].split(","))
    kind = f"{'_'.join(found['kind'].upper().split())}_POLICY"
    name = _named(cursor, found["name"])
    policies[name] = Policy(kind, *name, arguments, found["body"])
    cursor.done()


def set_masking(cursor: Cursor, found: re.Match[str]) -> None:
    its, (column,) = of(_named(cursor, found["table"])), _parts(found["column"])
    if found["policy"]:
        its.masks[column] = policies[_named(cursor, found["policy"])]
    else:
        its.masks.pop(column, None)
    cursor.end_transaction(commit=True)
    cursor.done()


def set_rows(cursor: Cursor, found: re.Match[str]) -> None:
    its, policy = of(_named(cursor, found["table"])), policies[_named(cursor, found["policy"])]
    if found["columns"]:
        its.rows[policy] = _parts(found["columns"])
    else:
        its.rows.pop(policy, None)
    cursor.end_transaction(commit=True)
    cursor.done()


def set_collation(cursor: Cursor, found: re.Match[str]) -> None:
    collations[_parts(found["schema"])[-1]] = found["collation"]
    cursor.done()


def cluster(cursor: Cursor, found: re.Match[str]) -> None:
    its = of(_named(cursor, found["table"]))
    its.cluster = f"LINEAR({found['columns']})" if found["columns"] else ""
    cursor.end_transaction(commit=True)
    cursor.done()


def own(cursor: Cursor, found: re.Match[str]) -> None:
    of(_named(cursor, found["table"])).owner = _parts(found["role"])[0]
    cursor.end_transaction(commit=True)
    cursor.done()


REFERENCES = ["policy_db", "policy_schema", "policy_name", "policy_kind", "ref_database_name", "ref_schema_name", "ref_entity_name", "ref_entity_domain", "ref_column_name", "ref_arg_column_names", "policy_status"]


def references(cursor: Cursor, found: re.Match[str]) -> None:
    database, schema, table = (part.replace('""', '"') for part in re.findall(r'"((?:[^"]|"")+)"', found["name"]))
    if found["asked"] != database or database != cursor._conn.database:
        raise cursor.refusal(2003, "02000", f"SQL compilation error: Database '{found['asked']}' does not exist or not authorized.")
    its, rows = of((schema, table)), []
    if cursor.role != its.owner:  # who sees only what the role may apply or owns
        its = Guarded()
    of_table = [cursor._conn.database, schema, table, "TABLE"]
    for column, policy in its.masks.items():
        rows.append([database, policy.schema, policy.name, policy.kind, *of_table, column, None, "ACTIVE"])
    for policy, names in its.rows.items():
        rows.append([database, policy.schema, policy.name, policy.kind, *of_table, None, "[" + ", ".join(f'"{name}"' for name in names) + "]", "ACTIVE"])
    cursor.answer([name.upper() for name in REFERENCES], rows)


_WORD = r'(?:"(?:[^"]|"")+"|[A-Za-z_][\w$]*)'
_NAME = rf"{_WORD}(?:\.{_WORD}){{0,2}}"
TABLE = rf"alter\s+table\s+(?:if\s+exists\s+)?(?P<table>{_NAME})\s+"
POLICY = rf"policy\s+(?P<policy>{_NAME})"
ANSWERS = [
    (rf"create\s+(?:or\s+replace\s+)?(?P<kind>masking|row\s+access)\s+policy\s+(?:if\s+not\s+exists\s+)?(?P<name>{_NAME})\s+as\s*\((?P<arguments>.*?)\)\s*returns\s+\w+(?:\s*\([\d,\s]*\))?\s*->\s*(?P<body>.*)", create_policy),
    (rf"{TABLE}(?:modify|alter)\s+(?:column\s+)?(?P<column>{_WORD})\s+(?:unset\s+masking\s+policy|set\s+masking\s+{POLICY}(?:\s+force)?)", set_masking),
    (rf"{TABLE}(?:drop\s+row\s+access\s+|add\s+row\s+access\s+){POLICY}(?:\s+on\s*\((?P<columns>.*)\))?", set_rows),
    (rf"grant\s+ownership\s+on\s+table\s+(?P<table>{_NAME})\s+to\s+role\s+(?P<role>{_WORD}).*", own),
    (rf"{TABLE}(?:drop\s+clustering\s+key|cluster\s+by\s*\((?P<columns>.*)\))", cluster),
    (rf"alter\s+schema\s+(?P<schema>{_NAME})\s+set\s+default_ddl_collation\s*=\s*'(?P<collation>[^']*)'", set_collation),
    (r"select\s+.*\s+from\s+table\s*\(\s*\"(?P<asked>[^\"]+)\"\.information_schema\.policy_references\s*\(\s*ref_entity_name\s*=>\s*'(?P<name>.*)'\s*,\s*ref_entity_domain\s*=>\s*'table'\s*\)\s*\)", references),
]
