"""A record as it is after masking, the slow and obvious way: what rules cover is masked, what nobody has named is left out."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any, TypeGuard

from . import values
from .masks import kind_of
from .pii import ITEMS, Node, Path, Rule, shown_path
from .shapes import Shape
from .values import MAX_DEPTH, Number

_LIKE_JSON = re.compile("[\\s\\x00-\\x1f\ufeff\u200b-\u200f\u2060]*[\\[{\"]")


@dataclass
class RecordMasker:
    """Masks values. *open* are rules for what the SCHEMA does not describe, and no record had yet.

    *left_out*: something was, since this was last set to False.
    """

    open: set[Rule] = field(default_factory=set)
    left_out: bool = False

    def hit(self, node: Node) -> None:
        """Take note that a record had what a rule is for."""
        if node.rule in self.open:
            self.open.remove(node.rule)

    def masked(self, shape: Shape, value: Any, path: Path = (), is_masked: bool = False) -> Any:
        """Return *value* at *path* with what is in it masked; if it *is_masked* already, only what nobody has named is left out.

        Raises:
            ValueError: with path and fault, which shows no value, where that cannot be.
        """
        node = shape.node
        if node and node.rule:
            return value if is_masked else self._by_rule(node, value)
        if value is None or shape.is_whole:
            return value
        if shape.check:
            try:
                shape.check(value)
            except ValueError as fault:
                raise ValueError(shown_path(path), f"it cannot be kept: {fault}") from None
            return value
        if isinstance(value, dict) and shape.members:
            return self._object(shape, value, path, is_masked)
        if isinstance(value, list) and shape.items:
            return [self.masked(shape.items, item, (*path, ITEMS), is_masked) for item in value]
        if is_text(value):
            return self._text(shape, value, path, is_masked)
        if node and not is_masked:
            wanted = " or ".join(["an object"] * bool(node.members) + ["an array"] * bool(node.items))
            raise ValueError(shown_path(path), f"it cannot be masked: it is {kind_of(value)}, and the rule wants {wanted}")
        if not shape.takes(value):
            raise self._unlike(shape, value, path)
        if isinstance(value, list) and shape.is_closed:  # of objects, whose members are named
            return [self.masked(shape, item, (*path, ITEMS), is_masked) for item in value]
        if isinstance(value, dict) and shape.items:  # one item, not in an array
            return self.masked(shape.items, value, path, is_masked)
        return value

    def _by_rule(self, node: Node, value: Any) -> Any:
        if len(node.path) > 1:
            self.hit(node)
        try:
            return node.mask(value) if node.mask else None
        except ValueError as fault:
            raise ValueError(shown_path(node.path), f"it cannot be masked: {fault}") from None

    def _object(self, shape: Shape, value: dict[str, Any], path: Path, is_masked: bool) -> dict[str, Any]:
        kept = {}
        for name, item in value.items():
            child = shape.members.get(name)
            if child is None:
                if shape.is_closed:
                    self.left_out = True
                else:
                    kept[name] = item
            elif child.drops and child.node:
                self.hit(child.node)
            else:
                kept[name] = self.masked(child, item, (*path, name), is_masked)
        return kept

    def _text(self, shape: Shape, text: str, path: Path, is_masked: bool) -> str:
        """Mask what is in JSON that is kept as a string."""
        try:
            found = values.parse(text.encode("utf-8", "surrogatepass"))
        except ValueError:
            if shape.node and not is_masked:
                words = "it cannot be masked: the rule goes into it, and it is a string without JSON"
                raise ValueError(shown_path(path), words) from None
            found = None
        if isinstance(found, (dict, list)) or is_text(found) or (shape.node and not is_masked):
            return as_json(self.masked(shape, found, path, is_masked)).decode()
        if not shape.takes(text) or _LIKE_JSON.match(text):  # what is nearly JSON may have the same in it
            raise self._unlike(shape, text, path)
        return text

    @staticmethod
    def _unlike(shape: Shape, value: Any, path: Path) -> ValueError:
        wanted = " or ".join(sorted({"object"} if "any" in shape.types else set(shape.types) - {"null"}))
        return ValueError(shown_path(path), f"it is {kind_of(value)}, and its SCHEMA names what is in it, wanted {wanted}")


def is_text(value: Any) -> TypeGuard[str]:
    return isinstance(value, str) and not isinstance(value, Number)


def as_json(value: Any) -> bytes:
    """Write what `values.parse` gave; a record may be as deep as without rules."""
    return values.json_text(value, depth=-MAX_DEPTH // 10).encode()
