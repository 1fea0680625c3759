"""Files: the upload that a client asks for, the storage that takes the bytes, the assets that only a key may read.

Invariant: the storage takes exactly what was announced: the signed headers, the type, the size, once, and no credential of
the API. An asset is served with a credential alone, never to whoever knows its address.
"""

from __future__ import annotations

import secrets
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass
class Upload:
    """A file that was announced; `content` is None until it came."""

    id: str
    filename: str
    content_type: str
    size: int
    headers: Mapping[str, str]
    signature: str
    content: bytes | None = None


class Storage:
    """The uploads of a server."""

    def __init__(self) -> None:
        self.uploads: dict[str, Upload] = {}

    def announce(self, arguments: Mapping[str, Any], *, base: str) -> dict[str, Any]:
        """Take an upload's announcement; give the API's UploadFile."""
        upload_id = str(uuid.uuid4())
        name, kind, size = arguments["filename"], arguments["contentType"], arguments["size"]
        headers = {
            "x-goog-content-length-range": f"{size},{size}",
            "Content-Disposition": f'attachment; filename="{name}"',
        }
        upload = Upload(upload_id, name, kind, size, headers, secrets.token_urlsafe(12))
        self.uploads[upload_id] = upload
        return {
            "filename": name,
            "contentType": kind,
            "size": size,
            "uploadUrl": f"{base}/upload/{upload_id}/{upload.signature}",
            "assetUrl": f"{base}/assets/{upload_id}/{name}",
            "headers": [{"key": key, "value": value} for key, value in headers.items()],
            "metaData": arguments.get("metaData"),
        }

    def take(self, path: str, headers: Mapping[str, str], content: bytes) -> str | None:
        """Take the bytes of an upload; give what is wrong with them, if something is."""
        _, _, upload_id, signature = [*path.split("/"), "", "", ""][:4]
        upload = self.uploads.get(upload_id)
        if upload is None or upload.signature != signature:
            return "SignatureDoesNotMatch: the address is not one that was given"
        wanted = {"content-type": upload.content_type, **{key.lower(): value for key, value in upload.headers.items()}}
        for name, value in wanted.items():
            if headers.get(name) != value:
                return f"SignatureDoesNotMatch: {name} is {headers.get(name)!r}, not {value!r}"
        if "authorization" in headers:
            return "InvalidAuthentication: a credential of the API was sent to the storage"
        if len(content) != upload.size:
            return f"EntityTooLarge or EntityTooSmall: {len(content)} bytes, not {upload.size}"
        upload.content = content
        return None

    def asset(self, path: str) -> Upload | None:
        """Find a file that came, by the path of its address."""
        upload = self.uploads.get([*path.split("/"), "", ""][2])
        return upload if upload is not None and upload.content is not None else None
