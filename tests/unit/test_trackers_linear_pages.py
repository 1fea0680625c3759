"""Pages are followed to their end, and what leads nowhere is an error."""

from __future__ import annotations

from typing import Any

import pytest

from symphony.domain.errors import Transient
from symphony.trackers.linear.pages import Page, follow, page_of


def connection(*names: str, after: str | None = None, **info: Any) -> dict[str, Any]:
    page_info = {"hasNextPage": after is not None, "endCursor": after} | info
    return {"things": {"nodes": [{"id": name} for name in names], "pageInfo": page_info}}


def test_pages_are_followed_in_order() -> None:
    pages = {"1": Page([{"id": "b"}], "2"), "2": Page([{"id": "c"}], None)}
    assert [[node["id"] for node in nodes] for nodes in follow(Page([{"id": "a"}], "1"), pages.__getitem__)] == [
        ["a"],
        ["b"],
        ["c"],
    ]
    assert list(follow(Page([], None), pages.__getitem__)) == [[]]


@pytest.mark.parametrize(
    "pages",
    [
        {"1": Page([{"id": "b"}], "1")},
        {"1": Page([{"id": "b"}], "2"), "2": Page([{"id": "c"}], "1")},
        {"1": Page([], None)},
        {"1": Page([{"id": "b"}], "2"), "2": Page([], "3"), "3": Page([{"id": "c"}], None)},
    ],
)
def test_pages_that_lead_in_a_circle_or_to_nothing_are_an_error(pages: dict[str, Page]) -> None:
    with pytest.raises(Transient) as fault:
        list(follow(Page([{"id": "a"}], "1"), pages.__getitem__))
    assert fault.value.category == "tracker_pagination"


def test_a_page_is_read() -> None:
    assert page_of(connection("a", "b", after="c"), "things") == Page([{"id": "a"}, {"id": "b"}], "c")
    assert page_of({"things": {"nodes": []}}, "things") == Page([], None)


@pytest.mark.parametrize(
    ("data", "category"),
    [
        ({}, "tracker_response"),
        ({"things": None}, "tracker_response"),
        ({"things": {"nodes": None}}, "tracker_response"),
        ({"things": {"nodes": [{}, None]}}, "tracker_response"),
        ({"things": {"nodes": ["a"]}}, "tracker_response"),
        ({"things": []}, "tracker_response"),
        (connection("a", hasNextPage=True), "tracker_pagination"),
        (connection("a", hasNextPage=True, endCursor=""), "tracker_pagination"),
        (connection("a", hasNextPage=True, endCursor=7), "tracker_pagination"),
        (connection("a", hasNextPage="no"), "tracker_pagination"),
        ({"things": {"nodes": [], "pageInfo": None}}, "tracker_pagination"),
    ],
)
def test_what_is_no_page_is_an_error(data: dict[str, Any], category: str) -> None:
    with pytest.raises(Transient) as fault:
        page_of(data, "things")
    assert fault.value.category == category
