"""Content that only its server can read: encrypted reasoning and compacted conversations.

Invariant: what is opened was sealed by the same secret and is unaltered. "Encrypted" is said of a fake: it is signed.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from collections.abc import Mapping
from typing import Any

_MARK = "gAAAAA"
_SIGNED = 16


class Seals:
    """The seals of one organisation, which its secret stands for."""

    def __init__(self, secret: bytes) -> None:
        self._secret = secret

    def close(self, content: Mapping[str, Any]) -> str:
        """Give the content as nobody else can read it."""
        body = json.dumps(content, sort_keys=True).encode()
        return _MARK + base64.urlsafe_b64encode(self._sign(body) + body).decode()

    def open(self, sealed: str) -> dict[str, Any]:
        """Give the content.

        Raises:
            ValueError: it is another's, or altered.
        """
        raw = base64.urlsafe_b64decode(sealed.removeprefix(_MARK).encode())
        signature, body = raw[:_SIGNED], raw[_SIGNED:]
        if not sealed.startswith(_MARK) or not hmac.compare_digest(signature, self._sign(body)):
            raise ValueError("not sealed here")
        content: dict[str, Any] = json.loads(body)
        return content

    def _sign(self, body: bytes) -> bytes:
        return hmac.new(self._secret, body, hashlib.sha256).digest()[:_SIGNED]


def digest(value: Any) -> str:
    """Give a short digest of a JSON value."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:24]
