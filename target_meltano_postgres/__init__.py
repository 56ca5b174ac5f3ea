"""target-meltano-postgres: Singer streams into PostgreSQL.

The dialect and its settings load when they are first used, so that the command line starts fast.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import target_meltano

if TYPE_CHECKING:
    from .dialect import PostgresDialect
    from .session import PostgresSettings

__all__ = ["PostgresDialect", "PostgresSettings", "main"]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from . import dialect

    return getattr(dialect, name)


def main() -> None:
    """Run the command `target-meltano-postgres`."""
    if sys.argv[1:2] == ["db"]:
        from . import db

        sys.exit(db.main(sys.argv[2:]))
    try:
        code = target_meltano.main("postgres", "target_meltano_postgres.dialect:PostgresDialect", sys.argv[1:])
    except KeyboardInterrupt:  # while even that is imported
        code = 130
    sys.exit(code)
