"""The storage behind stages, as Azure would show it to connector 5; connector 4 uses fakesnow's own."""

from __future__ import annotations

import os
import re
import urllib.parse
from pathlib import Path
from typing import Any

from fakesnow.transforms import stage

PREFIX = "/blobs/"
ROOT = Path(stage.LOCAL_BUCKET_PATH)
_blocks: dict[Path, dict[str, bytes]] = {}


def handle(method: str, path: str, query: str, body: bytes) -> tuple[int, dict[str, str], bytes]:
    """Return status, headers and body of the answer to a request for a blob."""
    target = Path(os.path.normpath(ROOT / urllib.parse.unquote(path[len(PREFIX) :])))
    headers = {"x-ms-request-id": "1", "etag": '"1"'}
    if not target.is_relative_to(ROOT):
        return 400, headers, b""
    if method == "PUT":
        _put(target, urllib.parse.parse_qs(query), body)
        return 201, headers, b""
    if not target.is_file():
        return 404, {**headers, "x-ms-error-code": "BlobNotFound"}, b""
    content = target.read_bytes()
    return 200, {**headers, "content-length": str(len(content))}, content if method == "GET" else b""


def _put(target: Path, query: dict[str, list[str]], body: bytes) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    if query.get("comp") == ["block"]:
        _blocks.setdefault(target, {})[query["blockid"][0]] = body
    elif query.get("comp") == ["blocklist"]:
        names = re.findall(r"<(?:Latest|Uncommitted|Committed)>([^<]+)<", body.decode())
        parts = _blocks.pop(target)
        target.write_bytes(b"".join(parts[name] for name in names))
    else:
        target.write_bytes(body)


def put_answer(answer: dict[str, Any], sql: str, major: int, address: str) -> None:
    """Complete fakesnow's answer to a PUT with what the connectors need to know."""
    data = answer["data"]
    data["overwrite"] = bool(re.search(r"overwrite\s*=\s*true", sql, re.IGNORECASE))
    data.setdefault("threshold", 200 << 20)
    parallel = re.search(r"parallel\s*=\s*(\d+)", sql, re.IGNORECASE)
    data["parallel"] = int(parallel[1]) if parallel else 4
    if major < 5:
        return
    info = data["stageInfo"]
    if info["locationType"] == "GCS":
        folder = os.path.dirname(urllib.parse.unquote(info["presignedUrl"].split("/fs_bucket/", 1)[1]))
    else:
        folder = os.path.relpath(info["location"], ROOT)
    data["stageInfo"] = {
        "locationType": "AZURE",
        "location": f"{PREFIX.strip('/')}/{folder}/",
        "path": f"{folder}/",
        "region": "eastus2",
        "storageAccount": "standin",
        "endPoint": address,
        "isClientSideEncrypted": False,
        "creds": {"AZURE_SAS_TOKEN": "?sv=2021-08-06&sig=none&sp=racwl"},
        "presignedUrl": None,
    }
    data["encryptionMaterial"] = None
