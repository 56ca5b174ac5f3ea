#!/usr/bin/env bash
# snowflake-connector-python: version 5 percent-encodes an OAuth client's secret in the header, version 4 does not.
#
# Software:  snowflake-connector-python 4.8.1 and 5.2.0 from PyPI (CPython 3.11 or later).
# Behaviour: with authenticator OAUTH_CLIENT_CREDENTIALS both ask the provider for a token by HTTP Basic. RFC 6749
#            (2.3.1) has ID and secret percent-encoded there; 4.8.1 sends them as they are. So a provider that
#            does not decode takes a secret with + or / from version 4 only, and one that decodes may take it from
#            version 5 only. With oauth_credentials_in_body both send the same.
# Seen:      the secret s3cret/+ arrives as s3cret/+ (4.8.1) and as s3cret%2F%2B (5.2.0).
# Exit:      0 while that is so, 1 once it has changed.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
cat >ask.py <<'PYTHON'
import base64, http.server, os, threading
from snowflake import connector

os.environ["NO_PROXY"] = os.environ["no_proxy"] = "127.0.0.1"
seen = []


class Provider(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        self.rfile.read(int(self.headers["content-length"]))
        seen.append(base64.b64decode(self.headers["authorization"].removeprefix("Basic ")).decode())
        self.send_response(401)
        self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, *_):
        pass


provider = http.server.HTTPServer(("127.0.0.1", 0), Provider)
threading.Thread(target=provider.serve_forever, daemon=True).start()
try:
    connector.connect(
        account="none", host="127.0.0.1", port=9, protocol="http", login_timeout=5, authenticator="OAUTH_CLIENT_CREDENTIALS",
        oauth_client_id="loader", oauth_client_secret="s3cret/+", oauth_token_request_url=f"http://127.0.0.1:{provider.server_port}/",
    )
except connector.errors.Error:
    pass
print(seen[0])
PYTHON
for version in 4.8.1 5.2.0; do
    python3 -m venv "$version"
    "$version/bin/pip" install --quiet --disable-pip-version-check "snowflake-connector-python==$version"
    HOME=$folder "$version/bin/python" ask.py >"$version.txt" 2>/dev/null
    echo "snowflake-connector-python $version: $(cat "$version.txt")"
done
[ "$(cat 4.8.1.txt)" = 'loader:s3cret/+' ] && [ "$(cat 5.2.0.txt)" = 'loader:s3cret%2F%2B' ]
