"""Singer streams into SQL warehouses: what a program or a dialect imports.

`load` runs a target from Python; `Dialect` is what a new database subclasses. The names load their
modules when they are first used, so that the command line starts fast.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .cli import main
    from .dialect import Dialect, RowCounts
    from .diff import AddColumn, ChangeType, Column, CreateTable, Found, FoundColumn, Need, ReplaceKey, Table
    from .digits import NOT_FINITE, exact
    from .errors import (
        Again,
        DatabaseError,
        IncompleteError,
        MaskingError,
        MessageError,
        OutputError,
        RecordError,
        RowError,
        SchemaError,
        SettingsError,
        SpoolError,
        TargetError,
        UpgradeError,
        shown,
    )
    from .extension import in_c
    from .kinds import (
        BINARY,
        BOOLEAN,
        DATE,
        DOUBLE,
        INTEGER,
        INTEGER_DIGITS,
        JSON,
        NUMBER,
        STRING,
        TIME,
        TIMESTAMP,
        Kind,
    )
    from .library import load
    from .limits import SINGLE, Limit
    from .naming import lower, upper
    from .report import Result
    from .reviews import Copies
    from .settings import Settings, make, setting
    from .ties import Link, Ties

__version__ = "0.1.0"

_HOMES = {
    "cli": "main",
    "dialect": "Dialect RowCounts",
    "diff": "AddColumn ChangeType Column CreateTable Found FoundColumn Need ReplaceKey Table",
    "digits": "NOT_FINITE exact",
    "errors": "Again DatabaseError IncompleteError MaskingError MessageError OutputError RecordError RowError SchemaError SettingsError SpoolError TargetError UpgradeError shown",
    "extension": "in_c",
    "kinds": "BINARY BOOLEAN DATE DOUBLE INTEGER INTEGER_DIGITS JSON NUMBER STRING TIME TIMESTAMP Kind",
    "library": "load",
    "limits": "SINGLE Limit",
    "naming": "lower upper",
    "report": "Result",
    "reviews": "Copies",
    "settings": "Settings make setting",
    "ties": "Link Ties",
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names.split()}

__all__ = [
    "BINARY",
    "BOOLEAN",
    "DATE",
    "DOUBLE",
    "INTEGER",
    "INTEGER_DIGITS",
    "JSON",
    "NOT_FINITE",
    "NUMBER",
    "SINGLE",
    "STRING",
    "TIME",
    "TIMESTAMP",
    "AddColumn",
    "Again",
    "ChangeType",
    "Column",
    "Copies",
    "CreateTable",
    "DatabaseError",
    "Dialect",
    "Found",
    "FoundColumn",
    "IncompleteError",
    "Kind",
    "Limit",
    "Link",
    "MaskingError",
    "MessageError",
    "Need",
    "OutputError",
    "RecordError",
    "ReplaceKey",
    "Result",
    "RowCounts",
    "RowError",
    "SchemaError",
    "Settings",
    "SettingsError",
    "SpoolError",
    "Table",
    "TargetError",
    "Ties",
    "UpgradeError",
    "exact",
    "in_c",
    "load",
    "lower",
    "main",
    "make",
    "setting",
    "shown",
    "upper",
]


def __getattr__(name: str) -> Any:
    from importlib import import_module

    if name not in _HOME_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f".{_HOME_OF[name]}", __name__), name)
