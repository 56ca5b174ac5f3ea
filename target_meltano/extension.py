"""Modules in C, which are there where a C compiler was when the package was built."""

from __future__ import annotations

import os
from importlib import import_module
from typing import Any


def in_c(name: str) -> Any:
    """Return the module of a full name; None where it was not built, or TARGET_MELTANO_C is 0, to compare."""
    if os.environ.get("TARGET_MELTANO_C") == "0":
        return None
    try:
        return import_module(name)
    except ImportError:
        return None


reader: Any = in_c("target_meltano._reader")  # `c/module.c`
