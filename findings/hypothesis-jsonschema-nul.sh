#!/usr/bin/env bash
# hypothesis-jsonschema: allow_x00=False keeps NUL out of strings, but not out of values that may be anything.
#
# Software:  hypothesis-jsonschema 0.23.1, hypothesis 6.111.2 from PyPI (CPython 3.10 or later).
# Behaviour: from_schema(schema, allow_x00=False, codec="utf-8") is for programs that take no NUL, like
#            PostgreSQL. Where the schema says "string", there is none; where it says nothing ({}), or no
#            more than "object" or "array", names in objects and texts within have some.
# Seen:      of 500 values each: none for {"type": "string"}, dozens for {} and {"type": "object"}.
# Exit:      0 while that is so, 1 once it has changed.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check hypothesis==6.111.2 hypothesis-jsonschema==0.23.1
cd "$folder"
"$folder/venv/bin/python" - <<'PYTHON'
import json
import sys

from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis_jsonschema import from_schema

NUL = json.dumps("\0").strip('"')


def with_nul(schema):
    """How many of 500 values have one, in a name or a text."""
    found = []

    @seed(1)
    @settings(max_examples=500, database=None, deadline=None, phases=[Phase.generate], suppress_health_check=list(HealthCheck))
    @given(from_schema(schema, allow_x00=False, codec="utf-8"))
    def take(value):
        found.append(NUL in json.dumps(value))

    take()
    return sum(found)


texts, objects, anything = with_nul({"type": "string"}), with_nul({"type": "object"}), with_nul({})
print(f"hypothesis-jsonschema 0.23.1: of 500 values each, with NUL: {texts} strings, {objects} objects, {anything} of any type")
sys.exit(0 if not texts and objects and anything else 1)
PYTHON
