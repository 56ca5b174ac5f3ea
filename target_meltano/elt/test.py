"""`target-meltano test`: the tests of the dbt models."""

from __future__ import annotations

from . import transforms
from .transform import with_dbt


def command(arguments: list[str]) -> int:
    """Run it and return the exit code."""
    return with_dbt("test", "Run the tests of the dbt project.", transforms.ONLY_TESTS, arguments)
