"""The parts of an answer that a write depends on, read strictly.

Invariant: what is missing or of another kind raises; it never reads as "there is none". Relied on by all that looks
before it writes.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from symphony.trackers.linear.failures import malformed
from symphony.trackers.linear.pages import page_of


def required_object(source: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    """Give an object. Raises: Transient."""
    found = source.get(name)
    if not isinstance(found, Mapping):
        raise malformed(f"no {name}")
    return found


def required_text(source: Mapping[str, Any], name: str) -> str:
    """Give a text that is not empty. Raises: Transient."""
    found = source.get(name)
    if not isinstance(found, str) or not found:
        raise malformed(f"no {name}")
    return found


def required_nodes(source: Mapping[str, Any], name: str) -> list[Mapping[str, Any]]:
    """Give the nodes of a connection, every one an object. Raises: Transient."""
    return page_of(source, name).nodes
