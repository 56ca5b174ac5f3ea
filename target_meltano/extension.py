"""The extension in C (`_reader.c`), which is there where a C compiler was when the package was built."""

from __future__ import annotations

import os
from typing import Any

reader: Any = None
if os.environ.get("TARGET_MELTANO_DECODER") != "msgspec":  # else do without it, to compare
    try:
        from . import _reader as reader
    except ImportError:
        pass
