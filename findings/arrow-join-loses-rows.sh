#!/usr/bin/env bash
# pyarrow: an element-wise join that skips nulls returns fewer rows than it got.
#
# Software:  pyarrow 26.0.1 from PyPI (x86_64, CPython 3.10 or later).
# Behaviour: compute.binary_join_element_wise(..., null_handling="skip") has no row for a position at
#            which all of its columns are null, though the function is one of those that work element by
#            element. What comes behind moves up, so that values meet rows that are not theirs. With "replace"
#            and with "emit_null" all rows are there.
# Seen:      3 rows in, 2 rows out.
# Exit:      0 while that is so, 1 once it has changed.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check pyarrow==26.0.1
"$folder/venv/bin/python" - <<'PYTHON'
import sys

import pyarrow as pa
import pyarrow.compute as pc

first = pa.array(["a", None, None])
second = pa.array([None, None, "b"])


def joined(**options):
    return pc.binary_join_element_wise(first, second, "-", **options).to_pylist()


skipped = joined(null_handling="skip")
replaced = joined(null_handling="replace", null_replacement="")
nulls = joined(null_handling="emit_null")
print(f"pyarrow {pa.__version__}: 3 rows in; skip {skipped}, replace {replaced}, emit_null {nulls}")
sys.exit(0 if (skipped, len(replaced), len(nulls)) == (["a", "b"], 3, 3) else 1)
PYTHON
