#!/usr/bin/env bash
# tap-jsonl: from its second run on, every file is sent once for each file that the state knows.
#
# Software:  tap-jsonl 0.3.1 and singer-sdk 0.53.7 from PyPI (CPython 3.10 or later).
# Behaviour: the stream keeps a bookmark per file, as a partition of its state. With such a state the SDK runs
#            the stream once for each partition, and the tap reads all files each time, also those that its
#            bookmarks say are known. So n files give n times their records, though none of them has changed.
# Seen:      2 files with a record each: 2 records in the first run, 4 in the second.
# Exit:      0 while that is so, 1 once it has changed.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check tap-jsonl==0.3.1 singer-sdk==0.53.7
mkdir files
echo '{"id": 1}' >files/a.jsonl
echo '{"id": 2}' >files/b.jsonl
echo "{\"path\": \"$folder/files/*.jsonl\", \"primary_keys\": [\"id\"]}" >config.json
venv/bin/tap-jsonl --config config.json >first 2>/dev/null
grep '"STATE"' first | tail -n 1 | sed 's/^{"type":"STATE","value":\(.*\)}$/\1/' >state.json
venv/bin/tap-jsonl --config config.json --state state.json >second 2>/dev/null
counts="$(grep -c '"RECORD"' first) $(grep -c '"RECORD"' second)"
echo "tap-jsonl 0.3.1: records of the first and the second run, files unchanged: $counts"
[ "$counts" = '2 4' ]
