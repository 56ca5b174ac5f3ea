"""target-meltano-snowflake: Singer streams into Snowflake.

The dialect and its settings load when they are first used, so that the command line starts fast.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import target_meltano

if TYPE_CHECKING:
    from .dialect import SnowflakeDialect
    from .session import SnowflakeSettings

__all__ = ["SnowflakeDialect", "SnowflakeSettings", "main"]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from . import dialect

    return getattr(dialect, name)


def main() -> None:
    """Run the command `target-meltano-snowflake`."""
    try:
        code = target_meltano.main("snowflake", "target_meltano_snowflake.dialect:SnowflakeDialect", sys.argv[1:])
    except KeyboardInterrupt:  # while even that is imported
        code = 130
    sys.exit(code)
