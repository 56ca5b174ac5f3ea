"""One stream with rules: its records and its SCHEMA as they are after masking."""

from __future__ import annotations

import difflib
import hashlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, Literal, TypeGuard

import msgspec

from . import masked_schema, values
from .errors import MaskingError, RecordError, TargetError, shown
from .masks import kind_of
from .messages import REFUSED
from .pii import Node, Rule, path_text, shown_path
from .values import MAX_DEPTH, Number

MARK = "masked"  # member of messages that are masked already, with the rules' fingerprint
LENIENT = values.Rules(replace_bad_text=True)  # bad text stays in the line, for the target to judge
_REFUSED = (*REFUSED, ValueError)
_SCHEMA = ("type", "stream", "schema", "key_properties", "bookmark_properties")  # members of a SCHEMA that pass
WITHHELD = b'{"withheld": '


class Withheld(bytes):
    """What goes on in place of a line that must not be shown; `error(number, line)` is why."""

    error: Callable[[int, int], TargetError]


def withheld(line: bytes, secret: bytes, error: Callable[[int, int], TargetError]) -> Withheld:
    """Return what is kept of *line*. The hash is keyed with *secret*, so that nobody can try lines out."""
    line = getattr(line, "came", line)  # of a BATCH's file
    digest = hashlib.blake2b(line, key=secret[:64], digest_size=16).hexdigest()
    found = Withheld(WITHHELD + b'{"bytes": %d, "hash": "%b"}}' % (len(line), digest.encode()))
    found.error = error
    return found


_members = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_items = msgspec.json.Decoder(list[msgspec.Raw]).decode
_encode = msgspec.json.Encoder().encode


@dataclass
class MaskedStream:
    """A stream with rules, whose *tree* they are. *columns* are their paths, as rules write them."""

    name: str
    tree: Node
    mark: str
    secret: bytes
    has_schema: bool = False
    has_records: bool = False
    described: Any = None  # the SCHEMA's schema after masking
    open: set[Rule] = field(default_factory=set)  # rules for what the SCHEMA does not describe, and no record had yet

    def __post_init__(self) -> None:
        self.columns = {path_text(node.path) for node in _leaves(self.tree)}
        fields: list[tuple[Any, ...]] = [
            ("type", Literal["RECORD"]),
            ("stream", Literal[self.name]),
            ("record", dict[str, msgspec.Raw]),
            ("version", msgspec.Raw | msgspec.UnsetType, msgspec.UNSET),
            ("time_extracted", msgspec.Raw | msgspec.UnsetType, msgspec.UNSET),
            (MARK, str | msgspec.UnsetType, msgspec.UNSET),
        ]
        self._members = [field[0] for field in fields]
        try:
            message: Any = msgspec.defstruct("Message", fields, gc=False)
            self._decode: Callable[[bytes], Any] = msgspec.json.Decoder(message).decode
        except ValueError:  # a name that msgspec cannot spell
            self._decode = self._refuse
        self._masks = [(name, self._quick(node)) for name, node in self.tree.members.items() if not node.drops]
        self._drops = [name for name, node in self.tree.members.items() if node.drops]

    def record(self, line: bytes) -> bytes:
        """Return a record's line masked, or withheld."""
        try:
            message = self._decode(line)
            if message.masked is not msgspec.UNSET:
                return self.slow(line)
            found = message.record
            for name, mask in self._masks:
                if name in found:
                    found[name] = mask(found[name])
            for name in self._drops:
                found.pop(name, None)
            message.masked = self.mark
            self.has_records = True
            return _encode(message)
        except _REFUSED:
            return self.slow(line)

    @staticmethod
    def _refuse(line: bytes) -> Any:
        raise ValueError("has no fast path")

    def _quick(self, node: Node) -> Callable[[msgspec.Raw], Any]:
        """Return a function from a raw value at *node* to what is to be written; it may refuse what `slow` takes."""
        mask, mask_text = node.mask, node.mask_text
        if mask:

            def written(value: Any) -> Any:
                return msgspec.Raw(value.encode()) if type(value) is Number else value

            def masked(raw: msgspec.Raw) -> Any:
                data = bytes(raw)
                if data[0] == 0x22 and 0x5C not in data:  # a string without escapes
                    if mask_text and data.isascii():
                        return mask_text(data[1:-1])
                    return mask(data[1:-1].decode())
                if data.isdigit() and data[0] != 0x30:
                    return written(mask(Number(data.decode())))
                return written(mask(values.parse(data)))

            return masked if len(node.path) == 1 else self._noted(node, masked)
        members = [(name, self._quick(child)) for name, child in node.members.items() if not child.drops]
        drops = [(name, child) for name, child in node.members.items() if child.drops]
        item_mask = self._quick(node.items) if node.items else None

        def inside(raw: msgspec.Raw) -> Any:
            first = bytes(memoryview(raw)[:1])
            if first == b"{" and node.members:
                found = _members(raw)
                for name, mask in members:
                    if name in found:
                        found[name] = mask(found[name])
                for name, child in drops:
                    if found.pop(name, None) is not None:
                        self._hit(child)
                return found
            if first == b"[" and item_mask:
                return [item_mask(item) for item in _items(raw)]
            return self._inside(node, values.parse(bytes(raw)))

        return inside

    def _noted(self, node: Node, mask: Callable[[msgspec.Raw], Any]) -> Callable[[msgspec.Raw], Any]:
        def noted(raw: msgspec.Raw) -> Any:
            self._hit(node)
            return mask(raw)

        return noted

    def _hit(self, node: Node) -> None:
        if node.rule in self.open:
            self.open.remove(node.rule)

    def slow(self, line: bytes) -> bytes:
        """Return a record's line masked, or withheld: what `record` is a shortcut to."""
        try:
            found = values.parse(line, LENIENT, not_finite=True)
            if MARK in found:
                if found[MARK] == self.mark:
                    self.has_records = True
                    return line
                raise ValueError("it was masked before, by other rules or with another key")
            if not isinstance(found.get("record"), dict):
                raise ValueError(f"a record is an object, not {kind_of(found.get('record'))}")
            masked = {member: found[member] for member in self._members if member in found}
            masked["record"] = self._inside(self.tree, found["record"])
            self.has_records = True
            return as_json({**masked, MARK: self.mark})
        except ValueError as fault:
            path, text = fault.args if len(fault.args) == 2 else ("$", str(fault))
            return withheld(line, self.secret, lambda number, at: RecordError(text, line=number, stream=self.name, path=path))

    def _inside(self, node: Node, value: Any) -> Any:
        """Return *value* with what is in it masked.

        Raises:
            ValueError: with path and fault, where that cannot be.
        """
        if node.rule:
            if len(node.path) > 1:
                self._hit(node)
            try:
                return node.mask(value) if node.mask else None
            except ValueError as fault:
                raise ValueError(shown_path(node.path), f"it cannot be masked: {fault}") from None
        if value is None:
            return None
        if isinstance(value, dict) and node.members:
            return self._object(node, value)
        if isinstance(value, list) and node.items:
            return [self._inside(node.items, item) for item in value]
        if is_text(value):
            return self._text(node, value)
        wanted = " or ".join(["an object"] * bool(node.members) + ["an array"] * bool(node.items))
        raise ValueError(shown_path(node.path), f"it cannot be masked: it is {kind_of(value)}, and the rule wants {wanted}")

    def _object(self, node: Node, value: dict[str, Any]) -> dict[str, Any]:
        masked = {}
        for name, item in value.items():
            child = node.members.get(name)
            if child is None:
                masked[name] = item
            elif child.drops:
                self._hit(child)
            else:
                masked[name] = self._inside(child, item)
        return masked

    def _text(self, node: Node, text: str) -> str:
        """Mask what is in JSON that is kept as a string."""
        try:
            found = values.parse(text.encode("utf-8", "surrogatepass"))
        except ValueError:
            raise ValueError(shown_path(node.path), "it cannot be masked: the rule goes into it, and it is a string without JSON") from None
        return as_json(self._inside(node, found)).decode()

    def schema(self, line: bytes, found: dict[str, Any]) -> bytes:
        """Return a SCHEMA's line as it is after masking.

        Raises:
            MaskingError: the rules and it do not go together.
            ValueError: it is no SCHEMA, and may show anything.
        """
        if MARK in found:
            self.has_schema = True
            self.described = found.get("schema")
            return line
        if not isinstance(found.get("schema"), dict):
            raise ValueError(f'stream {shown(self.name)}: a SCHEMA has a "schema", a JSON object')
        for member in ("key_properties", "bookmark_properties"):
            if not all(map(is_text, _list(found.get(member)))) or not isinstance(found.get(member, []), (list, type(None))):
                raise ValueError(f'stream {shown(self.name)}: "{member}" is a list of names of properties')
        self._check_keys(found)
        try:
            result = masked_schema.masked(found["schema"], self.tree)
        except ValueError as fault:
            raise MaskingError(str(fault) if str(fault).startswith("pii: ") else f"pii: stream {self.name!r}: {fault}") from None
        rules = {node.rule for node in _leaves(self.tree) if node.rule}
        unknown = [rule for rule in rules - result.found - result.open if not rule.optional]
        if unknown:
            known = masked_schema.paths(found["schema"])
            words = [f"{path_text(rule.path)}{near(path_text(rule.path), known)}" for rule in unknown]
            raise MaskingError(f"pii: stream {self.name!r}: its SCHEMA has no column {'; '.join(sorted(words))}")
        if not self.has_schema:
            self.open = result.open - result.found
        self.has_schema = True
        self.described = result.schema
        return as_json({**{name: found[name] for name in _SCHEMA if name in found}, "schema": result.schema, MARK: self.mark})

    def named(self, line: bytes) -> bytes:
        """Return a record's line, which is masked, without the fields that its SCHEMA does not name."""
        try:
            found = values.parse(line, LENIENT, not_finite=True)
            return as_json({**found, "record": masked_schema.named(found["record"], self.described, self.tree)})
        except _REFUSED:
            return withheld(line, self.secret, lambda number, at: RecordError("is withheld", line=number, stream=self.name))

    def _check_keys(self, found: dict[str, Any]) -> None:
        for name in filter(is_text, _list(found.get("key_properties"))):
            node = self.tree.members.get(name)
            if node and node.rule and not node.rule.method.is_keyed:
                raise MaskingError(f"{node.rule} is a key, and {node.rule.method.name} would make different keys equal; hash it")
        for name in filter(is_text, _list(found.get("bookmark_properties"))):
            if name in self.tree.members:
                raise MaskingError(
                    f"pii: stream {self.name!r}: its bookmark {name!r} is masked, so its STATE could not be kept; "
                    "choose another replication key in the tap's catalog"
                )


def _leaves(node: Node) -> list[Node]:
    below = [*node.members.values(), *([node.items] if node.items else [])]
    return [leaf for child in below for leaf in _leaves(child)] if below else [node]


def is_text(value: Any) -> TypeGuard[str]:
    return isinstance(value, str) and not isinstance(value, Number)


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def as_json(value: Any) -> bytes:
    """Write what `values.parse` gave; a record may be as deep as without rules."""
    return values.json_text(value, depth=-MAX_DEPTH // 10).encode()


def near(name: str, names: Iterable[str]) -> str:
    near = difflib.get_close_matches(name, names, 1)
    return f" (did you mean {near[0]}?)" if near else ""


