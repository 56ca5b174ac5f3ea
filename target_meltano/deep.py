"""Where recursion goes deeper than Python's usual stack: schemas and records of up to `MAX_DEPTH` levels."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable
from typing import Any, TypeVar

T = TypeVar("T")
MAX_DEPTH = 500  # levels of a schema, or of a record
STEEP = 50  # levels from which the usual stack may not do, whatever is done with them
LIMIT = 15_000  # frames: jsonschema takes 20 for each level of a schema with alternatives
STACK = 128 << 20  # bytes; only what is used becomes memory


def deeply(function: Callable[..., T], *arguments: Any) -> T:
    """Return what *function* returns, called where it may go deep: in a thread with a stack for that.

    Raises:
        RecursionError: not deep enough; or what it raises.
    """
    if is_here():
        return function(*arguments)
    thread = _Deep(function, arguments)
    limit, size = sys.getrecursionlimit(), threading.stack_size(STACK)
    try:
        sys.setrecursionlimit(max(limit, LIMIT))
        thread.start()
        thread.join()
    except RuntimeError:  # there is no memory for it
        raise RecursionError("no stack") from None
    finally:
        threading.stack_size(size)
        sys.setrecursionlimit(limit)
    if thread.error:
        raise thread.error
    return thread.result  # type: ignore[no-any-return]


def recursive(function: Callable[..., T], *arguments: Any) -> T:
    """Return what *function*, which changes nothing, returns: here, or deeply if that is not deep enough."""
    try:
        return function(*arguments)
    except RecursionError:
        return deeply(function, *arguments)


def is_here() -> bool:
    """Tell whether this is such a thread."""
    return isinstance(threading.current_thread(), _Deep)


class _Deep(threading.Thread):
    """Calls a function, and has its result or its error."""

    def __init__(self, function: Callable[..., Any], arguments: tuple[Any, ...]):
        super().__init__(name="deep", daemon=True)
        self.function, self.arguments = function, arguments
        self.result: Any = None
        self.error: BaseException | None = None

    def run(self) -> None:
        try:
            self.result = self.function(*self.arguments)
        except BaseException as error:
            self.error = error
