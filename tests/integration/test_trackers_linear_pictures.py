"""Pictures come from Linear's own places only, with the credential there and nowhere else."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

import httpx
import pytest

from symphony.domain.errors import Transient
from symphony.local.demo.model_http import Endpoint, Exchange
from symphony.trackers.linear.adapter import LinearTracker
from symphony.trackers.linear.client import Client
from symphony.trackers.linear.pictures import pictures
from symphony.trackers.protocol import MOST_PICTURE_BYTES
from symphony.trackers.quota import OwnQuota
from tests.fakes.linear_server import LinearServer
from tests.integration.linear_board import linear

PNG = b"\x89PNG\r\n\x1a\n" + bytes(100)
KEY = "lin_api_viewer"


@pytest.fixture
def served() -> Iterator[tuple[Endpoint, list[Exchange]]]:
    seen: list[Exchange] = []

    def answer(exchange: Exchange) -> None:
        seen.append(exchange)
        name = exchange.path.rpartition("/")[2]
        if name.startswith("moved"):
            exchange.send(302, b"", kind="text/plain", headers={"Location": "/a.png"})
        elif name.startswith("status"):
            exchange.send(int(name[6:9]), b"no", kind="text/plain")
        else:
            body = {"text.png": b"words", "large.png": PNG + bytes(MOST_PICTURE_BYTES)}.get(name, PNG)
            exchange.send(200, body, kind="image/png")

    with Endpoint(answer) as endpoint:
        yield endpoint, seen


def names(endpoint: Endpoint, description: str) -> list[str]:
    found = pictures(Client(endpoint.url, KEY, OwnQuota()), description)
    assert all((one.media_type, one.content) == ("image/png", PNG) for one in found)
    return [one.name for one in found]


def test_an_uploaded_picture_is_shown() -> None:
    with LinearServer() as server:
        tracker: LinearTracker = linear(server)
        upload = server.storage.announce(
            {"filename": "a.png", "contentType": "image/png", "size": len(PNG)}, base=server.base
        )
        headers = {one["key"]: one["value"] for one in upload["headers"]} | {"content-type": "image/png"}
        assert httpx.put(upload["uploadUrl"], content=PNG, headers=headers, trust_env=False).status_code == 200
        made = server.create_issue(description=f"Look:\n\n![shot]({upload['assetUrl']})\n")
        (issue,) = tracker.fetch_issues_by_ids([made.id])
        (picture,) = tracker.fetch_pictures(issue)
        assert (picture.name, picture.media_type, picture.content) == (upload["assetUrl"], "image/png", PNG)
        assert tracker.fetch_pictures(replace(issue, description=None)) == ()
        assert server.violations == []


def test_each_picture_comes_once_in_order_and_with_the_key(served: tuple[Endpoint, list[Exchange]]) -> None:
    endpoint, seen = served
    base = endpoint.url
    assert names(endpoint, f"![]({base}/b.png) ![x]({base}/a.png 'title') ![]({base}/b.png)") == [
        f"{base}/b.png",
        f"{base}/a.png",
    ]
    assert [exchange.headers["authorization"] for exchange in seen] == [KEY, KEY]


def test_what_is_elsewhere_is_not_asked_for(served: tuple[Endpoint, list[Exchange]]) -> None:
    endpoint, seen = served
    with Endpoint(lambda exchange: seen.append(exchange)) as other:
        host = endpoint.url.removeprefix("http://").removesuffix("/v1")
        elsewhere = [
            other.url + "/a.png",
            f"http://ann:word@{host}/a.png",
            f"http://{host}@{other.url.removeprefix('http://')}/a.png",
            f"https://{host}/a.png",
            f"ftp://{host}/a.png",
            f"//{host}/a.png",
            "/etc/passwd",
            "file:///etc/passwd",
            "http://uploads.linear.app/a.png",
            "http://[::1/a.png",
            "http://127.0.0.1:99999999/a.png",
            f"http://{host}/\1.png",
            f"http://{host}/\x7f.png",
            f"http://{host}/\ud83d.png",
            f"http://{host}/{'a' * 70_000}.png",
            f"http://{host}\\@{other.url.removeprefix('http://')}/a.png",
        ]
        assert names(endpoint, " ".join(f"![]({url})" for url in elsewhere)) == []
    assert seen == []


def test_what_is_no_picture_or_too_large_stays_text(served: tuple[Endpoint, list[Exchange]]) -> None:
    endpoint, seen = served
    wanted = ("text.png", "large.png", "status404", "status403", "moved", "fine.png")
    description = " ".join(f"![]({endpoint.url}/{name})" for name in wanted)
    assert names(endpoint, description) == [f"{endpoint.url}/fine.png"]
    assert len(seen) == len(wanted)


def test_no_more_than_ten_are_fetched(served: tuple[Endpoint, list[Exchange]]) -> None:
    endpoint, seen = served
    assert len(names(endpoint, " ".join(f"![]({endpoint.url}/{number}.png)" for number in range(15)))) == 10
    assert len(seen) == 10


@pytest.mark.parametrize("name", ["status500", "status503", "status429"])
def test_a_place_that_fails_is_tried_again(served: tuple[Endpoint, list[Exchange]], name: str) -> None:
    endpoint, _ = served
    with pytest.raises(Transient) as fault:
        names(endpoint, f"![]({endpoint.url}/{name})")
    assert fault.value.category == "tracker_status"


@pytest.mark.parametrize("break_off", [Exchange.cut, Exchange.reset])
def test_a_place_that_breaks_off_is_tried_again(break_off: Callable[[Exchange], None]) -> None:
    with Endpoint(break_off) as endpoint, pytest.raises(Transient) as fault:
        names(endpoint, f"![]({endpoint.url}/a.png)")
    assert fault.value.category == "tracker_request"
    assert KEY not in str(fault.value)


def test_a_hostile_description_takes_no_time(served: tuple[Endpoint, list[Exchange]]) -> None:
    endpoint, _ = served
    assert names(endpoint, "![" * 200_000 + "](" * 1000 + "<" * 10_000) == []
