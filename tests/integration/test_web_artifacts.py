"""What agents leave reaches people: by the status API, by the links of comments, and by `symphony show`."""

from __future__ import annotations

import os
import re
import socket
import threading
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
import uvicorn
from fastapi.testclient import TestClient
from markdown_it import MarkdownIt

from symphony.ledger import accounts
from symphony.ledger.database import Database, Held, new_id
from symphony.ledger.records import Run
from symphony.local.ports import any_free_port
from symphony.proof.artifacts import collect, folder_of
from symphony.settings import Settings
from symphony.web.api import create_app
from symphony.web.server import listen
from tests.conftest import wait_until
from tests.fakes.board import Board
from tests.fakes.command import Command
from tests.integration.fleet import Fleet

LOOPBACK = "http://127.0.0.1:7777"
PNG = b"\x89PNG\r\n\x1a\n" + bytes(range(100))
SCRIPT = b"<html><script>alert(1)</script></html>"
STRANGE = 'a"b\n[x](http:y)<img src=x>.html'


@pytest.fixture
def board(database_url: str, tmp_path: Path) -> Iterator[Board]:
    database = Database(database_url, pool_size=4)
    yield Board.make(database, tmp_path)
    database.close()


@pytest.fixture
def client(board: Board, tmp_path: Path) -> TestClient:
    return client_of(board, tmp_path)


def client_of(board: Board, home: Path, *, public_url: str | None = None) -> TestClient:
    app = create_app(board.database, Settings(home=home, node="n1", public_url=public_url))
    return TestClient(app, base_url=LOOPBACK, raise_server_exceptions=False)


def leave(
    board: Board, home: Path, *, node: str = "n1", identifier: str = "DEMO-1", **files: bytes
) -> tuple[Run, dict[str, str]]:
    """Keep files as a run's agent left them on a node; give their paths at the status API, by name."""
    folder = home / "left" / identifier
    folder.mkdir(parents=True)
    for name, content in files.items():
        (folder / name).write_bytes(content)
    run = board.claim(board.admit(identifier))
    kept = collect(folder, folder_of(home, run.id))
    board.database.fenced(Held(run.id, run.token), lambda t: accounts.note_artifacts(t, kept.as_json(), node=node))
    return run, {one.name: f"/api/v1/runs/{run.id}/artifacts/{one.stored}" for one in kept.kept}


def test_pictures_are_shown_and_all_else_is_saved_as_what_it_is(board: Board, client: TestClient, tmp_path: Path) -> None:
    files = {"shot.png": PNG, "take.html": b"\x1aE\xdf\xa3video", "page.html": SCRIPT, "x.svg": b"<svg onload='x'/>",
             STRANGE: SCRIPT + b"2", "raw": b"\0\1"}  # fmt: skip
    _, paths = leave(board, tmp_path, **files)
    told = {
        name: client.get(path)
        for name, path in zip(files, (paths[name.replace("\n", "\ufffd")] for name in files), strict=True)
    }
    assert {name: (answer.status_code, answer.content) for name, answer in told.items()} == {
        name: (200, content) for name, content in files.items()
    }
    assert {name: (answer.headers["content-type"], answer.headers["content-disposition"]) for name, answer in told.items()} == {
        "shot.png": ("image/png", "inline; filename*=UTF-8''shot.png"),
        "take.html": ("video/webm", "inline; filename*=UTF-8''take.html.webm"),
        "page.html": ("text/plain; charset=utf-8", "attachment; filename*=UTF-8''page.html.txt"),
        "x.svg": ("text/plain; charset=utf-8", "attachment; filename*=UTF-8''x.svg.txt"),
        STRANGE: ("text/plain; charset=utf-8",
                  "attachment; filename*=UTF-8''a%22b%EF%BF%BD%5Bx%5D%28http%3Ay%29%3Cimg%20src%3Dx%3E.html.txt"),
        "raw": ("application/octet-stream", "attachment; filename*=UTF-8''raw.bin"),
    }  # fmt: skip
    for answer in told.values():
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["content-security-policy"] == "sandbox; default-src 'none'"


def test_a_film_can_be_wound_to_any_place(board: Board, client: TestClient, tmp_path: Path) -> None:
    film = b"\x1aE\xdf\xa3" + bytes(range(250)) * 1000
    size = len(film)
    _, paths = leave(board, tmp_path, film=film)
    for asked, start, end in (
        ("0-1", 0, 2),
        ("100-199999", 100, 200_000),
        ("5-", 5, size),
        ("-7", size - 7, size),
        ("9-9999999", 9, size),
    ):
        answer = client.get(paths["film"], headers={"range": f"bytes={asked}"})
        assert (answer.status_code, answer.content) == (206, film[start:end]), asked
        assert answer.headers["content-range"] == f"bytes {start}-{end - 1}/{size}"
    for other in (
        {"range": "bytes=x-y"},
        {"range": "lines=1-2"},
        {"range": "bytes=0-1,5-6"},
        {"range": "bytes=0-1", "if-range": '"x"'},
    ):
        answer = client.get(paths["film"], headers=other)
        assert (answer.status_code, answer.content) == (200, film), other
    for beyond in (f"bytes={size}-", "bytes=9-3", "bytes=-0"):
        answer = client.get(paths["film"], headers={"range": beyond})
        assert (answer.status_code, answer.json()["error"]["code"]) == (416, "range_not_satisfiable"), beyond
        assert answer.headers["content-range"] == f"bytes */{size}"
    head = client.head(paths["film"])
    assert (head.status_code, head.content, head.headers["content-length"]) == (200, b"", str(size))


def test_readers_who_go_away_leave_no_file_open(board: Board, tmp_path: Path) -> None:
    run, paths = leave(board, tmp_path, film=b"\x1aE\xdf\xa3" + bytes(20_000_000))
    app = create_app(board.database, Settings(home=tmp_path, node="n1"))
    server = uvicorn.Server(uvicorn.Config(app, log_level="critical", timeout_graceful_shutdown=1))

    def count() -> int:
        return sum(
            os.path.realpath(file).startswith(str(folder_of(tmp_path, run.id))) for file in Path("/proc/self/fd").iterdir()
        )

    with listen("127.0.0.1", 0) as listening:
        address = listening.getsockname()
        thread = threading.Thread(target=server.run, args=([listening],))
        thread.start()
        try:
            readers = [socket.create_connection(address) for _ in range(5)]
            for reader in readers:
                reader.sendall(f"GET {paths['film']} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n".encode())
                assert reader.recv(12) == b"HTTP/1.1 200"
            assert count() == 5
            for reader in readers:
                reader.close()
            wait_until(lambda: count() == 0, what="all files closed")
        finally:
            server.should_exit = True
            thread.join(30)


def test_what_cannot_be_given_is_said_in_an_envelope(board: Board, client: TestClient, tmp_path: Path) -> None:
    run, paths = leave(board, tmp_path, **{"shot.png": PNG})
    other, others = leave(board, tmp_path, identifier="DEMO-2", text=b"theirs")
    away, far = leave(board, tmp_path, identifier="DEMO-3", node="n7", text=b"far")
    (folder_of(tmp_path, away.id) / Path(far["text"]).name).unlink()
    stored = Path(paths["shot.png"]).name
    (folder_of(tmp_path, run.id) / "unlisted.txt").write_text("x")
    begin = f"/api/v1/runs/{run.id}/artifacts"
    for path, status, code, words in (
        (f"/api/v1/runs/{new_id()}/artifacts/{stored}", 404, "run_not_found", "no run of this id"),
        (f"/api/v1/runs/DEMO-1/artifacts/{stored}", 404, "run_not_found", "no run of this id"),
        (f"{begin}/unlisted.txt", 404, "artifact_not_found", f"symphony show {run.id} --md"),
        (f"{begin}/{Path(others['text']).name}", 404, "artifact_not_found", "no artifact of this name"),
        (f"{begin}/%2e%2e%2f{other.id}%2f{Path(others['text']).name}", 404, "issue_not_found", "is called"),
        (far["text"], 404, "artifact_elsewhere", "on the node n7, and this is n1"),
    ):  # fmt: skip
        answer = client.get(path)
        assert (answer.status_code, answer.json()["error"]["code"]) == (status, code), path
        assert words in answer.json()["error"]["message"], path
    assert client.post(paths["shot.png"]).status_code == 405
    (folder_of(tmp_path, run.id) / stored).unlink()
    answer = client.get(paths["shot.png"])
    assert (answer.status_code, answer.json()["error"]["code"]) == (410, "artifact_gone")
    assert "not kept any more on the node n1" in answer.json()["error"]["message"]


@pytest.mark.parametrize("what", ["file", "folder"])
def test_nothing_is_given_out_through_a_link(board: Board, client: TestClient, tmp_path: Path, what: str) -> None:
    run, paths = leave(board, tmp_path, text=b"mine")
    kept = folder_of(tmp_path, run.id)
    stored = Path(paths["text"]).name
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / stored).write_text("a secret")
    (kept / stored).unlink()
    if what == "file":
        (kept / stored).symlink_to(outside / stored)
    else:
        kept.rmdir()
        kept.symlink_to(outside)
    answer = client.get(paths["text"])
    assert (answer.status_code, answer.json()["error"]["code"]) == (410, "artifact_gone")
    assert client.get("/api/v1/DEMO-1").json()["artifacts"]["kept"][0]["path"] is None


def test_an_issue_links_its_artifacts_by_the_name_that_was_asked_for(
    board: Board, client: TestClient, tmp_path: Path
) -> None:
    run, paths = leave(board, tmp_path, **{"shot.png": PNG})
    (kept,) = client.get("/api/v1/DEMO-1").json()["artifacts"]["kept"]
    assert kept["url"] == f"{LOOPBACK}{paths['shot.png']}" and client.get(kept["url"]).content == PNG
    assert kept["path"] == str(folder_of(tmp_path, run.id) / kept["stored"]) and kept["node"] == "n1"
    public = client_of(board, tmp_path, public_url="https://symphony.example/team/")
    assert (
        public.get("/api/v1/DEMO-1").json()["artifacts"]["kept"][0]["url"]
        == f"https://symphony.example/team{paths['shot.png']}"
    )


def test_the_public_name_is_answered_on_loopback(board: Board, tmp_path: Path) -> None:
    _, paths = leave(board, tmp_path, **{"shot.png": PNG})
    public = client_of(board, tmp_path, public_url="https://Symphony.example:8443/")
    assert public.get(paths["shot.png"], headers={"host": "symphony.example"}).content == PNG
    assert public.get(paths["shot.png"], headers={"host": "127.0.0.1:7777"}).content == PNG
    answer = public.get(paths["shot.png"], headers={"host": "evil.example"})
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "host_not_allowed")


def test_show_names_the_link_or_the_file_or_the_node(
    board: Board, database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run, paths = leave(board, tmp_path, **{"shot.png": PNG})
    file = folder_of(tmp_path, run.id) / Path(paths["shot.png"]).name
    symphony = Command(capsys)
    for name, value in (("DATABASE_URL", database_url), ("HOME", str(tmp_path)), ("NODE", "n1")):
        monkeypatch.setenv(f"SYMPHONY_{name}", value)
    assert f"`shot.png`: image/png, {len(PNG)} bytes" in symphony("show", "DEMO-1", "--md").out
    assert f"at `{file}`" in symphony("show", "DEMO-1", "--md").out
    assert f"artifact shot.png (image/png, {len(PNG)} bytes): {file}" in symphony("show", "DEMO-1").out
    kept = symphony("show", "DEMO-1", "--json").document["artifacts"]["kept"][0]
    assert (kept["url"], kept["path"]) == (None, str(file))
    monkeypatch.setenv("SYMPHONY_HOME", str(tmp_path / "other"))
    assert "on the node `n1`" in symphony("show", "DEMO-1", "--md").out
    assert "bytes): on the node n1" in symphony("show", "DEMO-1").out
    monkeypatch.setenv("SYMPHONY_PUBLIC_URL", "https://symphony.example")
    assert f"[shot.png](<https://symphony.example{paths['shot.png']}>)" in symphony("show", "DEMO-1", "--md").out
    monkeypatch.setenv("SYMPHONY_PUBLIC_URL", "symphony.example")
    assert "SYMPHONY_PUBLIC_URL: should be an http or https URL" in symphony("show", "DEMO-1").err


def test_the_link_of_a_comment_leads_to_what_the_agent_left(tmp_path: Path, database_url: str, broker_url: str) -> None:
    port = any_free_port()
    url = f"http://127.0.0.1:{port}"
    left = 'printf "\\211PNG\\r\\n\\032\\npicture" > "$SYMPHONY_ARTIFACTS/shot](http:evil) #1.png"; echo x > new.txt'
    with Fleet(tmp_path, database_url, broker_url, settings={"SYMPHONY_PUBLIC_URL": url}) as fleet:
        (tmp_path / "agent.sh").write_text(left)
        board = fleet.board(issues=1, command=f". {tmp_path}/agent.sh")
        fleet.start(fleet.web(port), wait=False)
        fleet.start(fleet.control(), fleet.worker(), fleet.beat())
        issue = board.issue_file("FLEET-1")
        fleet.until(lambda: "1 artifact" in issue.read_text(), timeout_s=90, what="the comment")
        page = MarkdownIt("gfm-like", {"linkify": False}).render(issue.read_text())
        (link,) = set(re.findall(r'(?:href|src)="([^"]*)"', page))
        assert link.startswith(f"{url}/api/v1/runs/") and "<img" in page
        wait_until(lambda: "status API" in fleet.members[0].text, what="the status API")
        with urllib.request.urlopen(link, timeout=20) as answer:
            assert answer.read() == b"\x89PNG\r\n\x1a\npicture"
            assert (answer.headers["content-type"], answer.headers["content-disposition"].partition(";")[0]) == (
                "image/png", "inline",
            )  # fmt: skip
