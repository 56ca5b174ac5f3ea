"""Names as dbt's files have them: snake_case, and nothing that needs quotes where that can be had."""

from __future__ import annotations

import hashlib
import re
import unicodedata

MAX_NAME = 63  # bytes, of PostgreSQL; Snowflake takes more
PLAIN = {"postgres": re.compile(r"[a-z_][a-z0-9_]*"), "snowflake": re.compile(r"[A-Z_][A-Z0-9_]*")}
# Reserved by PostgreSQL, Snowflake or both.
_RESERVED = (
    "account all alter analyse analyze and any array as asc asymmetric authorization between binary both by case cast check "
    "collate collation column concurrently connect connection constraint create cross current current_catalog current_date "
    "current_role current_schema current_time current_timestamp current_user database default deferrable delete desc "
    "distinct do drop else end except exists false fetch following for foreign freeze from full grant group gscluster having "
    "ilike in increment initially inner insert intersect into is isnull issue join lateral leading left like limit localtime "
    "localtimestamp minus natural not notnull null of offset on only or order organization outer overlaps placing primary "
    "qualify references regexp returning revoke right rlike row rows sample schema select session_user set similar some start "
    "symmetric system_user table tablesample then to trailing trigger true try_cast union unique update user using values "
    "variadic verbose view when whenever where window with"
)
RESERVED = frozenset(_RESERVED.split())


def snake(name: str) -> str:
    """Return createdAt as created_at, and HTTPServer as http_server."""
    parted = re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", name)
    return re.sub(r"\W+", "_", parted).lower()


def slug(name: str) -> str:
    """Return *name* in snake_case, in letters of ASCII; what is lost by that comes back as a hash."""
    plain = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode()
    is_whole = len(plain) == len(unicodedata.normalize("NFC", name))
    text = snake(plain).strip("_") or "x"
    text = f"n{text}" if text[0].isdigit() else text
    text = f"{text}_" if text in RESERVED else text
    return text if is_whole else f"{text}_{short_hash(name)}"


def source_name(tap: str) -> str:
    """Return the name of a tap's source in dbt. There is no __ in it, so that of `stg_SOURCE__TABLE` it is known which is which."""
    return re.sub("_+", "_", slug(tap))


def short_hash(name: str, size: int = 6) -> str:
    return hashlib.sha256(name.encode()).hexdigest()[:size]


def cut(name: str) -> str:
    """Return *name* as long as a database takes it, the rest as a hash."""
    return name if len(name) <= MAX_NAME else f"{name[: MAX_NAME - 7]}_{short_hash(name)}"


def column(name: str, path: str | None) -> str:
    """Return the name in a staging model of the column *name*, whose property is at *path*."""
    if path is None:
        return slug(name.lstrip("_"))
    return cut("__".join(map(slug, path.split("."))))


def is_plain(name: str, dialect: str) -> bool:
    """Tell whether *name* needs no quotes."""
    return bool(PLAIN[dialect].fullmatch(name)) and name.lower() not in RESERVED


def quoted(name: str, dialect: str) -> str:
    """Return *name*, as the database has it, for SQL in a dbt model."""
    if is_plain(name, dialect):
        return name.lower()
    return jinja('"' + name.replace('"', '""') + '"')


def shown(text: str) -> str:
    """Return *text* on one line, with escapes for what is not printable: a line break, a tab, what a terminal obeys."""
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in text)


def jinja(text: str) -> str:
    """Return *text* so that Jinja leaves it as it is: also its line breaks, of which Jinja makes one kind, and loses a last one."""
    if not re.search(r"\{[{%#]|[#}%]\}|[\r\n]", text):
        return text
    spelt = text.replace("\\", "\\\\").replace("'", "\\'").replace("\r", "\\r").replace("\n", "\\n")
    return f"{{{{ '{spelt}' }}}}"
