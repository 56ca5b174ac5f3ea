"""One stream with rules: its records and its SCHEMA as they are after masking."""

from __future__ import annotations

import difflib
import hashlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

from . import masked_schema, shapes, times, values
from .errors import MaskingError, MessageError, RecordError, SchemaError, TargetError, shown
from .masked_quick import MARK, Quick
from .masked_record import RecordMasker, as_json, is_text
from .masks import kind_of
from .messages import REFUSED
from .pii import Node, path_text
from .schema import is_open
from .shapes import Shape

LENIENT = values.Rules(replace_bad_text=True)  # bad text stays in the line, for the target to judge
_REFUSED = (*REFUSED, ValueError)
WITHHELD = b'{"withheld": '
MORE = "fields that neither their SCHEMA nor a rule for personal data names"


class Withheld(bytes):
    """What goes on in place of a line that must not be shown; `error(number, line)` is why."""

    error: Callable[[int, int], TargetError]


def withheld(line: bytes, secret: bytes, error: Callable[[int, int], TargetError], of: str = "") -> Withheld:
    """Return what is kept of *line*. The hash is keyed with *secret*, so that nobody can try lines out.

    Of a SCHEMA *of* a stream it is told that it is one.
    """
    line = getattr(line, "came", line)  # of a BATCH's file
    digest = hashlib.blake2b(line, key=secret[:64], digest_size=16).hexdigest()
    what = b', "type": "SCHEMA", "stream": %b' % as_json(of) if of else b""
    found = Withheld(WITHHELD + b'{"bytes": %d, "hash": "%b"}%b}' % (len(line), digest.encode(), what))
    found.error = error
    return found


class MaskedSchemaError(SchemaError):
    """A SCHEMA of a stream with rules is none; *fault* is what is wrong."""

    def __init__(self, fault: str, *, line: int, stream: str):
        super().__init__(f"line {line}: stream {stream!r}: {fault}")
        self.fault = fault


@dataclass
class MaskedStream:
    """A stream with rules, whose *tree* they are. *refuses_more*: a record that has more than what is named is invalid.

    *left_out* counts records that had more than that.
    """

    name: str
    tree: Node
    mark: str
    secret: bytes
    refuses_more: bool = False
    has_schema: bool = False
    has_records: bool = False
    left_out: int = 0
    shape: Shape | None = None  # of its records, once a SCHEMA has come
    is_described: bool = False  # a SCHEMA has named properties
    masker: RecordMasker = field(default_factory=RecordMasker)
    quick: Quick | None = None

    def __post_init__(self) -> None:
        self.columns = _spellings(self.tree)

    def record(self, line: bytes) -> bytes:
        """Return a record's line masked, or withheld."""
        if self.quick is None:
            return self.slow(line)
        try:
            masked = self.quick.record(line)
        except _REFUSED:
            return self.slow(line)
        if self.masker.left_out:
            if self.refuses_more:
                return self.slow(line)
            self.left_out += 1
            self.masker.left_out = False
        self.has_records = True
        return masked

    def slow(self, line: bytes) -> bytes:
        """Return a record's line masked, or withheld: what `record` is a shortcut to."""
        if self.shape is None:  # so that nobody has named anything in it
            fault = f"a RECORD of stream {self.name!r} before its SCHEMA"
            return withheld(line, self.secret, lambda number, at: MessageError(fault, line=number))
        self.masker.left_out = False
        try:
            found = values.parse(line, LENIENT, not_finite=True)
            is_masked = MARK in found
            if is_masked and found[MARK] != self.mark:
                raise ValueError("it was masked before, by other rules or with another key")
            if not isinstance(found.get("record"), dict):
                raise ValueError(f"a record is an object, not {kind_of(found.get('record'))}")
            masked: dict[str, Any] = {"type": found["type"], "stream": self.name}
            masked["record"] = self.masker.masked(self.shape, found["record"], is_masked=is_masked)
            if found.get("version") is not None:
                masked["version"] = values.Number(values.version_of(found))
            if _is_time(found.get("time_extracted")):
                masked["time_extracted"] = found["time_extracted"]
            if self.masker.left_out and self.refuses_more:
                raise ValueError(f"it has {MORE} (setting unknown_fields)")
            self.left_out += self.masker.left_out
            self.has_records = True
            masked[MARK] = self.mark
            return line if is_masked and masked == found else as_json(masked)
        except ValueError as fault:
            path, text = fault.args if len(fault.args) == 2 else ("$", str(fault))
            return withheld(line, self.secret, lambda number, at: RecordError(text, line=number, stream=self.name, path=path))
        finally:
            self.masker.left_out = False

    def schema(self, line: bytes, found: dict[str, Any]) -> bytes:
        """Return a SCHEMA's line as it is after masking.

        Raises:
            MaskingError: the rules and it do not go together.
            ValueError: it is no SCHEMA, and may show anything.
        """
        if not isinstance(found.get("schema"), dict):
            raise ValueError(f'stream {shown(self.name)}: a SCHEMA has a "schema", a JSON object')
        for member in ("key_properties", "bookmark_properties"):
            if not all(map(is_text, _list(found.get(member)))) or not isinstance(found.get(member, []), (list, type(None))):
                raise ValueError(f'stream {shown(self.name)}: "{member}" is a list of names of properties')
        keys = list(dict.fromkeys(_list(found.get("key_properties"))))
        is_masked = MARK in found
        try:
            self._check_keys(found)
            result = masked_schema.masked(found["schema"], Node(()) if is_masked else self.tree)
            shape = shapes.shape_of(found["schema"], self.tree, keys)
            if not is_masked:
                self._check_rules(found["schema"], result)
        except masked_schema.RuleFault as fault:
            raise MaskingError(str(fault) if str(fault).startswith("pii: ") else f"pii: stream {self.name!r}: {fault}") from None
        except ValueError as fault:
            self.has_schema, text = True, str(fault)
            return withheld(line, self.secret, lambda number, at: MaskedSchemaError(text, line=at, stream=self.name), self.name)
        if self.shape is None and not is_masked:
            self.masker.open = result.open - result.found
        self.has_schema = True
        is_described = not is_open(found["schema"])
        if is_described or not self.is_described:  # else it says nothing new
            self.shape, self.is_described = shape, is_described
            self.quick = Quick(self.name, shape, self.mark, self.masker)
        members = {"type": found["type"], "stream": self.name, "schema": result.schema}
        members |= {"key_properties": keys} if "key_properties" in found else {}
        bookmarks = [name for name in _list(found.get("bookmark_properties")) if name in shape.members]
        members |= {"bookmark_properties": bookmarks} if bookmarks else {}
        return as_json({**members, MARK: self.mark})

    def _check_rules(self, schema: Any, result: masked_schema.Masked) -> None:
        rules = {node.rule for node in _leaves(self.tree) if node.rule}
        unknown = [rule for rule in rules - result.found - result.open if not rule.optional]
        if unknown:
            known = masked_schema.paths(schema)
            words = [f"{path_text(rule.path)}{near(path_text(rule.path), known)}" for rule in unknown]
            raise masked_schema.RuleFault(f"its SCHEMA has no column {'; '.join(sorted(words))}")

    def _check_keys(self, found: dict[str, Any]) -> None:
        for name in _list(found.get("key_properties")):
            node = self.tree.members.get(name)
            if node and node.rule and not node.rule.method.is_keyed:
                raise masked_schema.RuleFault(f"{node.rule} is a key, and {node.rule.method.name} would make different keys equal; hash it")
        for name in _list(found.get("bookmark_properties")):
            if name in self.tree.members:
                raise masked_schema.RuleFault(
                    f"its bookmark {name!r} is masked, so its STATE could not be kept; choose another replication key in the tap's catalog"
                )


def _is_time(value: Any) -> bool:
    try:
        return is_text(value) and len(value) < 50 and bool(times.timestamp(value))
    except ValueError:
        return False


def _spellings(tree: Node) -> set[str]:
    """Return the columns of rules as a STATE may have them: by their paths, or as tables have them."""
    paths = [node.path for node in _leaves(tree)]
    return {text.casefold() for path in paths for text in (path_text(path), "__".join(map(str, path)))}


def _leaves(node: Node) -> list[Node]:
    below = [*node.members.values(), *([node.items] if node.items else [])]
    return [leaf for child in below for leaf in _leaves(child)] if below else [node]


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def near(name: str, names: Iterable[str]) -> str:
    near = difflib.get_close_matches(name, names, 1)
    return f" (did you mean {near[0]}?)" if near else ""
