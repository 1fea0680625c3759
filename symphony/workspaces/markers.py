"""The marker of a workspace: whose it is, and how far it is made.

Invariant: a marker is written whole or not at all, and before its workspace appears at its path; so a directory without
one was not made by Symphony, and one whose marker is not `ready` was never handed to an agent.
"""

from __future__ import annotations

import json
import os
import secrets
from dataclasses import asdict, dataclass
from pathlib import Path

from symphony.domain.errors import ConfigError


@dataclass(frozen=True, slots=True)
class Marker:
    """Who a workspace belongs to; `head` is the commit that its content is known to be no older than."""

    workflow: str
    run: str
    repository: str | None = None
    head: str | None = None
    ready: bool = False


def write_marker(path: Path, marker: Marker) -> None:
    """Replace the marker at `path`."""
    temporary = path.with_name(f"{path.name}@{secrets.token_hex(4)}")
    with temporary.open("w", encoding="utf-8") as file:
        json.dump(asdict(marker), file)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)


def read_marker(path: Path) -> Marker | None:
    """Give the marker at `path`, `None` when there is none.

    Raises:
        ConfigError: when the file is not one that Symphony wrote.
    """
    try:
        found = json.loads(path.read_bytes())
        return Marker(**found)
    except FileNotFoundError:
        return None
    except (ValueError, TypeError, OSError) as error:
        raise ConfigError(
            "this file should say whose the workspace is, but cannot be read",
            place=str(path),
            cure="look at the workspace, save what you need, then delete both",
            category="marker_unreadable",
        ) from error
