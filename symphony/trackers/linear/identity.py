"""The ids of our own comments and attachments on Linear: made from the key of what is written, known again by themselves.

Invariant: the same key always gives the same UUID, of the form of version 4; a UUID that somebody else made is taken for
one of ours with a chance of one in 2**32 only, whoever's credential wrote it.
"""

from __future__ import annotations

import hashlib
from uuid import UUID

from symphony.trackers.protocol import OWN_COMMENT

_DOMAIN = b"symphony/linear/own/1\0"
_CHECKED = 4  # bytes


def own_uuid(key: str) -> str:
    """Give the id of what is written for a key: twelve bytes of its digest, four that check these."""
    return _sealed(hashlib.sha256(_DOMAIN + key.encode()).digest()[: 16 - _CHECKED])


def is_own_uuid(text: str) -> bool:
    """Tell whether an id was made by `own_uuid`."""
    try:
        found = UUID(text)
    except ValueError:
        return False
    return _sealed(found.bytes[: 16 - _CHECKED]) == str(found)


def comment_id(uuid: str) -> str:
    """Give the id of a comment as the rest of Symphony sees it."""
    return f"{OWN_COMMENT}{uuid}" if is_own_uuid(uuid) else uuid


def _sealed(stem: bytes) -> str:
    shaped = bytearray(stem)
    shaped[6] = shaped[6] & 0x0F | 0x40  # version 4
    shaped[8] = shaped[8] & 0x3F | 0x80  # of RFC 9562
    return str(UUID(bytes=bytes(shaped) + hashlib.sha256(_DOMAIN + bytes(shaped)).digest()[:_CHECKED]))
