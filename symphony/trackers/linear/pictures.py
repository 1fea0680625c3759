"""Pictures that an issue's description shows, fetched from where Linear keeps them.

Invariant: the credential is sent to Linear's place for uploads and to the API's own host, nowhere else, and no redirection
is followed; what is elsewhere, too large or no picture stays the text that names it.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from itertools import islice

import httpx

from symphony.domain.errors import Transient
from symphony.trackers.linear import failures
from symphony.trackers.linear.client import Client
from symphony.trackers.protocol import MOST_PICTURE_BYTES, MOST_PICTURES, Picture, media_type_of

_UPLOADS = ("https", "uploads.linear.app", 443)
_PORTS = {"https": 443, "http": 80}
_ALL_S = 30.0
"""What is not there by then is not waited for: an agent can begin without."""
# No part gives back what it took or runs over the next bracket: a hostile description takes no time.
_SHOWN = re.compile(r"!\[[^\[\]\n]*+\]\(\s*+<?([^()<>\s]++)(?=[\s)>])")


def pictures(client: Client, description: str) -> tuple[Picture, ...]:
    """Fetch the pictures that a description shows, each once, in its order, within the limits. Raises: Transient."""
    began = time.monotonic()
    names = dict.fromkeys(match[1] for match in _SHOWN.finditer(description))
    ours = [name for name in names if _origin(name) in {_UPLOADS, _origin(client.endpoint)}]
    found = (picture for name in ours if time.monotonic() - began < _ALL_S for picture in _fetch(client, name))
    return tuple(islice(found, MOST_PICTURES))


def _fetch(client: Client, url: str) -> Iterator[Picture]:
    client.quota.ensure_open()
    try:
        with client.http.stream("GET", url, headers={"Authorization": client.authorization}) as response:
            if response.status_code == 429 or response.status_code >= 500:
                raise Transient(
                    f"Linear answered for a picture with status {response.status_code}", category=failures.STATUS
                )
            content = _content(response) if response.status_code == 200 else None
    except httpx.HTTPError as error:
        raise client.unreachable("a picture", error) from error
    kind = media_type_of(content) if content is not None else None
    if content is not None and kind is not None:
        yield Picture(url, kind, content)


def _content(response: httpx.Response) -> bytes | None:
    content = bytearray()
    for part in response.iter_bytes():
        content += part
        if len(content) > MOST_PICTURE_BYTES:
            return None
    return bytes(content)


def _origin(url: str) -> tuple[str, str, int | None] | None:
    """Give scheme, host and port of an address as the client reads it; None: it is none that may be asked."""
    try:
        parts = httpx.URL(url)
    except (httpx.InvalidURL, ValueError):
        return None
    if parts.userinfo or not parts.host:
        return None
    return parts.scheme, parts.host, parts.port if parts.port is not None else _PORTS.get(parts.scheme)
