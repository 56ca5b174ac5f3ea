"""The extension in C (`c/module.c`), which is there where a C compiler was when the package was built."""

from __future__ import annotations

import os
from importlib import import_module
from typing import Any


def _found() -> Any:
    if os.environ.get("TARGET_MELTANO_DECODER") == "msgspec":  # do without it, to compare
        return None
    try:
        return import_module("._reader", __package__)
    except ImportError:
        return None


reader: Any = _found()  # the module, or None
