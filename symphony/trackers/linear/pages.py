"""Pages of Linear's connections, followed to their end.

Invariant: what is given is whole or an error: a page that is missing, a cursor that is missing or leads in a circle, a null
in the place of a record never makes a list shorter. Relied on by every read.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from symphony.domain.errors import Transient
from symphony.trackers.linear.failures import malformed
from symphony.trackers.linear.records import Payload

PAGINATION = "tracker_pagination"


@dataclass(frozen=True, slots=True)
class Page:
    """The records of a page, and where the next one begins; None: there is none."""

    nodes: list[Payload]
    after: str | None


def page_of(data: Mapping[str, Any], name: str) -> Page:
    """Read a connection of an answer. Raises: Transient (`tracker_response`, `tracker_pagination`)."""
    connection = data.get(name)
    nodes = connection.get("nodes") if isinstance(connection, Mapping) else None
    if not isinstance(nodes, list) or not all(isinstance(node, Mapping) for node in nodes):
        raise malformed(f"no list of records in {name}")
    assert isinstance(connection, Mapping)
    info = connection.get("pageInfo", {"hasNextPage": False})
    has_next = info.get("hasNextPage") if isinstance(info, Mapping) else None
    if not isinstance(has_next, bool):
        raise _broken(f"does not say whether {name} goes on")
    after = info.get("endCursor") if has_next else None
    if has_next and not (isinstance(after, str) and after):
        raise _broken(f"says that {name} goes on, and not where")
    return Page(nodes, after)


def follow(first: Page, next_page: Callable[[str], Page]) -> Iterator[list[Payload]]:
    """Give the records of each page in order. Raises: Transient (`tracker_pagination`), and what `next_page` does."""
    page, seen = first, set[str]()
    yield page.nodes
    while page.after is not None:
        if page.after in seen:
            raise _broken("leads in a circle")
        seen.add(page.after)
        page = next_page(page.after)
        if not page.nodes:
            raise _broken("promises a page that is empty")
        yield page.nodes


def _broken(what: str) -> Transient:
    return Transient(f"Linear's answer {what}", category=PAGINATION)
