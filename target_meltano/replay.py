"""What was sent is applied in the order of its arrival, until each row that the database refuses is known.

Statements over whole batches, stream by stream, are a shortcut. Where the database refuses one, the
transaction is begun anew and its rows are written here: blocks of consecutive lines over all
streams. A block that is refused is cut, down to the one row that the database refuses in the place
where it came. Blocks grow while nothing is refused, and shrink where much is: the work is that of the
rows, and of a dozen small statements for each one that is refused.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from .arrival import Arrivals, Block, Part
from .kept import Step

FIRST, LEAST, MOST = 256, 8, 16_384  # rows of a block


@dataclass(frozen=True)
class Refusal:
    """The *error* with which the database refused rows of the part at this position of a block.

    *line* is that of the row, where the database tells.
    """

    error: Exception
    part: int = 0
    line: int | None = None


def replay(
    arrivals: Arrivals,
    write: Callable[[Block], Refusal | None],
    refuse: Callable[[Part, Refusal], None],
    do: Callable[[Step], None],
) -> None:
    """Apply all *arrivals*: `write` a block or nothing of it, `refuse` a row, `do` another step."""
    size = FIRST
    while (found := arrivals.next(size)) is not None:
        if not isinstance(found, Block):
            do(found)
        elif apply(found, write, refuse):
            size = min(2 * size, MOST)
        else:
            size = max(size // 2, LEAST)


def apply(block: Block, write: Callable[[Block], Refusal | None], refuse: Callable[[Part, Refusal], None]) -> bool:
    """Write *block* but for the rows that are refused; tell whether there were none."""
    waiting = [block]
    is_whole = True
    while waiting:
        block = waiting.pop()
        refusal = write(block)
        if refusal is None:
            continue
        is_whole = False
        if block.rows == 1:
            refuse(block.parts[0], refusal)
        else:
            waiting += reversed(_pieces(block, refusal))
    return is_whole


def _pieces(block: Block, refusal: Refusal) -> list[Block]:
    """Return *block* in pieces, in order.

    A stream whose rows begin first is written first. It may need rows of another stream that came in
    between: then what comes before these is a piece of its own, and the other stream is next.
    """
    if refusal.line is not None:
        return [piece for half in block.cut(refusal.line) for piece in half.cut(refusal.line + 1)]
    behind = block.parts[refusal.part + 1 :]
    return block.cut(int(behind[0].lines[0])) if behind else block.halves()
