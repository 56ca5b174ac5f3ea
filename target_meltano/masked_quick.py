"""The quick way from a record's line to the masked one: what a SCHEMA and rules name is worked out once, as Structs.

msgspec decodes a line only as deep as something is named, and leaves the rest as it was written. What it refuses goes
the slow way, which says what is right.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any, Literal

import msgspec

from . import values
from .masked_record import RecordMasker, as_json
from .messages import REFUSED
from .pii import Node
from .shapes import Shape
from .values import Number

MARK = "masked"  # member of messages that are masked already, with the rules' fingerprint
Step = Callable[[Any], Any]  # from what was decoded to what is to be written
Steps = list[tuple[str, Step]]  # for the fields of an object
STEEP = 50  # levels of Structs
_UNSET = msgspec.UNSET
_OBJECT, _ARRAY = {"object", "null"}, {"array", "null"}
_members = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_items = msgspec.json.Decoder(list[msgspec.Raw]).decode
_encode = msgspec.json.Encoder().encode
_Version = Annotated[int, msgspec.Meta(ge=values.INT64[0], le=values.INT64[-1])]
_CLOCK = "([01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9](?:[.][0-9]{1,9})?"
_Time = Annotated[str, msgspec.Meta(pattern=rf"^[12][0-9]{{3}}-(0[1-9]|1[0-2])-(0[1-9]|[12][0-9]|3[01])T{_CLOCK}(?:Z|[+]00:00)\Z")]


class Quick:
    """Masks the records of one stream, which have one shape."""

    def __init__(self, name: str, shape: Shape, mark: str, masker: RecordMasker):
        self.name, self.shape, self.mark, self.masker = name, shape, mark, masker
        self._decode, self._steps = self._way(is_strict=True)
        self._loose: tuple[Callable[[bytes], Any], Steps] | None = None

    def record(self, line: bytes) -> bytes:
        """Return a record's line masked. `masker.left_out` is set where it had more than what is named.

        Raises:
            ValueError, or what is in REFUSED: it has to go the slow way.
        """
        steps = self._steps
        try:
            message = self._decode(line)
        except REFUSED:
            message, steps = self._with_more(line)
        record = message.record
        for field, step in steps:
            value = getattr(record, field)
            if value is not _UNSET:
                setattr(record, field, step(value))
        message.masked = self.mark
        return _encode(message)

    def _with_more(self, line: bytes) -> tuple[Any, Steps]:
        """Return what is named in a record that has more than that, and the steps behind it."""
        if self._loose is None:
            self._loose = self._way(is_strict=False)
        decode, steps = self._loose
        message = decode(line)
        self.masker.left_out = True
        return message, steps

    def _way(self, is_strict: bool) -> tuple[Callable[[bytes], Any], Steps]:
        try:
            record, steps = _Structs(self.masker, is_strict).struct(self.shape)
            fields: list[tuple[Any, ...]] = [
                ("type", Literal["RECORD"]),
                ("stream", Literal[self.name]),
                ("record", record),
                ("version", _Version | msgspec.UnsetType, _UNSET),
                ("time_extracted", _Time | msgspec.UnsetType, _UNSET),
                (MARK, None | msgspec.UnsetType, _UNSET),  # one that has it goes the slow way
            ]
            message: Any = msgspec.defstruct("Message", fields, gc=False)
            return msgspec.json.Decoder(message).decode, steps
        except (ValueError, RecursionError):  # a name that msgspec cannot spell
            return _refuse, []


def _refuse(line: bytes) -> Any:
    raise ValueError("there is no quick way")


class _Structs:
    """Makes the types that msgspec decodes into, each with what is to be done behind it: None for nothing.

    *is_strict*: an object refuses members that are not named.
    """

    def __init__(self, masker: RecordMasker, is_strict: bool):
        self.masker = masker
        self.is_strict = is_strict
        self.under: list[Shape] = []

    def struct(self, shape: Shape) -> tuple[Any, Steps]:
        """Return the type of an object, and the steps for its fields."""
        fields, rename, steps = [], {}, []
        self.under.append(shape)
        for number, (name, child) in enumerate(shape.members.items()):
            field = f"f{number}"
            found, step = self.part(child)
            fields.append((field, found | msgspec.UnsetType, _UNSET))
            rename[field] = name
            if step:
                steps.append((field, step))
        self.under.pop()
        struct = msgspec.defstruct("Object", fields, rename=rename, forbid_unknown_fields=self.is_strict, gc=False)
        return struct, steps

    def part(self, shape: Shape) -> tuple[Any, Step | None]:
        """Return the type of values at a place."""
        if shape.is_whole:
            return msgspec.Raw, None
        if shape.node and shape.node.rule:
            return msgspec.Raw, self.by_rule(shape.node)
        if len(self.under) < STEEP and shape not in self.under:
            if shape.is_closed and shape.types <= _OBJECT and not shape.items:
                struct, steps = self.struct(shape)
                return struct | None, _or_none(_in(steps))
            if shape.items and not shape.members and shape.types <= _ARRAY:
                self.under.append(shape)
                of_items, step = self.part(shape.items)
                self.under.pop()
                array: Any = list
                return array[of_items] | None, _or_none(_each(step))
        return msgspec.Raw, self.open(shape) if _is_open(shape) else self.slow(shape)

    def slow(self, shape: Shape) -> Step:
        return lambda raw: msgspec.Raw(as_json(self.masker.masked(shape, values.parse(bytes(raw)))))

    def by_rule(self, node: Node) -> Step:
        if node.drops:

            def drop(raw: Any) -> Any:
                self.masker.hit(node)
                return _UNSET

            return drop
        mask, mask_text = node.mask, node.mask_text
        assert mask

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

        def noted(raw: msgspec.Raw) -> Any:
            self.masker.hit(node)
            return masked(raw)

        return masked if len(node.path) == 1 else noted

    def open(self, shape: Shape) -> Step:
        """Return the step for a place where nothing but a rule names what is in it."""
        steps = [(name, self.raw(child)) for name, child in shape.members.items()]
        each = self.raw(shape.items) if shape.items else None
        slow = self.slow(shape)

        def inside(raw: msgspec.Raw) -> Any:
            first = bytes(memoryview(raw)[:1])
            if first == b"{" and steps:
                found = _members(raw)
                for name, step in steps:
                    if name in found:
                        value = step(found[name])
                        if value is _UNSET:
                            del found[name]
                        else:
                            found[name] = value
                return found
            if first == b"[" and each:
                return [each(item) for item in _items(raw)]
            return slow(raw)

        return inside

    def raw(self, shape: Shape) -> Step:
        return self.by_rule(shape.node) if shape.node and shape.node.rule else self.open(shape)


def _is_open(shape: Shape) -> bool:
    """Tell whether no SCHEMA names anything here, and all that is to be done is to follow rules."""
    if shape.node is None or shape.is_closed:
        return False
    below = [*shape.members.values(), *([shape.items] if shape.items else [])]
    return all((child.node and child.node.rule) or _is_open(child) for child in below)


def _in(steps: Steps) -> Step | None:
    def done(found: Any) -> Any:
        for field, step in steps:
            value = getattr(found, field)
            if value is not _UNSET:
                setattr(found, field, step(value))
        return found

    return done if steps else None


def _each(step: Step | None) -> Step | None:
    return (lambda found: [step(item) for item in found]) if step else None


def _or_none(step: Step | None) -> Step | None:
    return (lambda found: None if found is None else step(found)) if step else None
