"""Rules at work in tests: messages in, masked messages out."""

from __future__ import annotations

import json
from typing import Any

from target_meltano import masking
from target_meltano.lines import line_of
from target_meltano.samples import INT, schema

SECRET = "0123456789abcdef" * 2


def rule(*columns: Any, method: str = "hash", **more: Any) -> dict[str, Any]:
    return {"stream": "users", "columns": list(columns), "method": method, **more}


def stage(*rules: dict[str, Any], **more: Any) -> masking.Stage:
    made = masking.stage({"key": f"v1:{SECRET}", "rules": list(rules), **more})
    assert made
    return made


def users(**properties: Any) -> dict[str, Any]:
    return schema("users", id=INT, **properties)


def lines(at: masking.Stage, *messages: Any) -> list[bytes]:
    return at.lines([line_of(message, 0).rstrip(b"\n") for message in messages])


def masked(at: masking.Stage, *messages: Any) -> list[Any]:
    """Return the messages that come out; an error is raised."""
    found = lines(at, *messages)
    for number, line in enumerate(found, 1):
        masking.refuse_withheld(line, number, lambda number: (number, 0))
    return [json.loads(line) for line in found]
