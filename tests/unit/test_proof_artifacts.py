"""What an agent leaves is kept for what it is: nothing is followed, nothing is believed for its name, nothing is too much."""

from __future__ import annotations

import hashlib
import os
import socket
import threading
from pathlib import Path

import pytest

from symphony.proof.artifacts import ArtifactLimits, collect, folder_of, kept_at, open_kept, type_of
from symphony.telemetry.redaction import redact

PNG = b"\x89PNG\r\n\x1a\n" + bytes(100)


@pytest.fixture
def left(tmp_path: Path) -> Path:
    """The agent's folder."""
    folder = tmp_path / "left"
    folder.mkdir()
    return folder


@pytest.fixture
def store(tmp_path: Path) -> Path:
    """Where the run's artifacts are kept."""
    return folder_of(tmp_path / "home", "run-1")


def test_files_are_kept_under_their_digest_and_listed(left: Path, store: Path) -> None:
    (left / "shots").mkdir()
    (left / "shots" / "one.png").write_bytes(PNG)
    (left / "log.txt").write_text("fine\n")
    found = collect(left, store)
    assert [(kept.name, kept.type, kept.bytes) for kept in found.kept] == [
        ("log.txt", "text/plain", 5),
        ("shots/one.png", "image/png", len(PNG)),
    ]
    shot = found.kept[1]
    assert shot.sha256 == hashlib.sha256(PNG).hexdigest() and shot.stored == f"{shot.sha256}.png"
    assert (store / shot.stored).read_bytes() == PNG
    assert sorted(path.name for path in store.iterdir()) == sorted(kept.stored for kept in found.kept)
    assert store == store.parents[1] / "artifacts" / "run-1"
    assert collect(left, store) == found, "once more changes nothing"


@pytest.mark.parametrize(
    ("head", "kind"),
    [
        (PNG, "image/png"), (b"\xff\xd8\xff\xe0", "image/jpeg"), (b"GIF89a..", "image/gif"), (b"RIFF1234WEBPVP8", "image/webp"),
        (b"\0\0\0\x20ftypisom", "video/mp4"), (b"\x1aE\xdf\xa3", "video/webm"), (b"%PDF-1.7", "application/pdf"),
        (b"<html><script>alert(1)</script>", "text/plain"), (b"<svg onload='x'/>", "text/plain"), (b"\x7fELF\0\0", "application/octet-stream"),
        (b"", "text/plain"), ("é".encode()[:1], "text/plain"), (b"\xff\xfe\x00", "application/octet-stream"), (b"1234WEBP", "text/plain"),
    ],
)  # fmt: skip
def test_a_file_is_what_its_first_bytes_say(head: bytes, kind: str) -> None:
    assert type_of(head)[0] == kind


def test_a_name_makes_nothing_of_a_file(left: Path, store: Path) -> None:
    (left / "shot.png").write_bytes(b"<script>alert(1)</script>")
    (kept,) = collect(left, store).kept
    assert kept.type == "text/plain" and kept.stored.endswith(".txt")


def test_links_pipes_sockets_and_devices_are_refused(
    left: Path, store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    secret = tmp_path / "secret"
    secret.mkdir()
    (secret / "key").write_text("key")
    (left / "link").symlink_to(secret / "key")
    (left / "folder").symlink_to(secret)
    (left / "zero").symlink_to("/dev/zero")
    os.mkfifo(left / "pipe")
    with socket.socket(socket.AF_UNIX) as listening:
        monkeypatch.chdir(left)
        listening.bind("sock")
        found = collect(left, store)
    assert found.kept == () and len(found.refused) == 5 and all("no regular file" in why for why in found.refused)
    (tmp_path / "alias").symlink_to(secret)
    assert collect(tmp_path / "alias", store).kept == () and collect(tmp_path / "none", store).kept == ()


def test_a_folder_that_is_swapped_for_a_link_meanwhile_leads_nowhere(left: Path, store: Path, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.mkdir()
    (secret / "key").write_text("the key\n")
    (left / "a").mkdir()
    (left / "a" / "key").write_text("harmless\n")
    stop = threading.Event()

    def swap() -> None:
        while not stop.is_set():
            (left / "a").rename(tmp_path / "away")
            (left / "a").symlink_to(secret)
            (left / "a").unlink()
            (tmp_path / "away").rename(left / "a")

    thread = threading.Thread(target=swap)
    thread.start()
    try:
        for _ in range(200):
            assert all(kept.bytes != len("the key\n") for kept in collect(left, store).kept)
    finally:
        stop.set()
        thread.join()


def test_sizes_numbers_and_depth_are_bounded(left: Path, store: Path) -> None:
    with (left / "huge").open("wb") as file:
        file.truncate(1 << 40)
    for number in range(6):
        (left / f"n{number}").write_bytes(bytes(10))
    found = collect(left, store, limits=ArtifactLimits(file_bytes=100, total_bytes=25, files=4))
    assert [kept.name for kept in found.kept] == ["n0", "n1"]
    assert found.refused[0] == "huge: larger than 25 bytes" and len(found.refused) == 4
    few = collect(left, store, limits=ArtifactLimits(files=2))
    assert len(few.kept) == 2 and "more than 2 files" in few.refused[1]
    deep = left
    for _ in range(30):
        deep = deep / "d"
        deep.mkdir()
    assert any("nested more than 8 deep" in why for why in collect(left, store).refused)
    assert "more than 3 entries" in collect(left, store, limits=ArtifactLimits(entries=3)).refused[-1]
    assert not list(store.glob(".*"))


def test_no_descriptor_is_left_open(left: Path, store: Path) -> None:
    for number in range(5):
        (left / f"d{number}").mkdir()
        (left / f"d{number}" / "f").write_text("x")
    before = len(os.listdir("/proc/self/fd"))
    for limits in (ArtifactLimits(), ArtifactLimits(entries=4), ArtifactLimits(files=1), ArtifactLimits(depth=0)):
        collect(left, store, limits=limits)
    assert len(os.listdir("/proc/self/fd")) == before


def test_text_is_redacted_even_where_it_is_read_in_pieces(left: Path, store: Path) -> None:
    token = "ghp_0123456789abcdefghij"
    line = f"a line with {token} in it\n"
    (left / "log").write_text(line * (3 * 1024 * 1024 // len(line)))
    (kept,) = collect(left, store).kept
    content = (store / kept.stored).read_text()
    assert token not in content and content.count("[redacted]") == content.count("\n")
    assert kept.bytes == len(content) and kept.sha256 == hashlib.sha256(content.encode()).hexdigest()
    (left / "log").write_bytes(b"x" * (5 * 1024 * 1024))
    assert collect(left, store).kept[0].bytes == 5 * 1024 * 1024


def test_an_output_full_of_beginnings_of_keys_is_redacted_at_once() -> None:
    text = "-----BEGIN PRIVATE KEY-----" * 4000
    assert redact(text) == text
    assert redact(f"{text}\nabc\n-----END PRIVATE KEY-----").endswith("[redacted]")


def test_odd_names_are_fit_for_printing(left: Path, store: Path) -> None:
    (left / os.fsdecode(b"a\xff\x1b[2J\n.txt")).write_text("x")
    (kept,) = collect(left, store).kept
    assert kept.name.isprintable()
    kept.name.encode()


def test_what_is_kept_is_opened_by_its_stored_name_only(left: Path, store: Path, tmp_path: Path) -> None:
    home = tmp_path / "home"
    (left / "shot.png").write_bytes(PNG)
    (kept,) = collect(left, store).kept
    file = open_kept(home, "run-1", kept.stored)
    assert file is not None and file.read() == PNG
    file.close()
    assert kept_at(home, "run-1", kept.stored) == store / kept.stored
    (home / "secret.png").write_bytes(b"secret")
    (store / "secret.png").write_bytes(b"secret")
    assert [open_kept(home, "run-1", name) for name in ("../../secret.png", "secret.png", "", ".", "a" * 64 + ".png")] == [
        None
    ] * 5
    assert kept_at(home, "run-2", kept.stored) is None


@pytest.mark.parametrize("what", ["link", "folder", "fifo", "linked folder"])
def test_what_lies_in_its_place_is_not_opened(left: Path, store: Path, tmp_path: Path, what: str) -> None:
    (left / "shot.png").write_bytes(PNG)
    (kept,) = collect(left, store).kept
    place = store / kept.stored
    place.rename(tmp_path / kept.stored)
    match what:
        case "link":
            place.symlink_to(tmp_path / kept.stored)
        case "folder":
            place.mkdir()
        case "fifo":
            os.mkfifo(place)
        case _:
            store.rmdir()
            store.symlink_to(tmp_path)
    assert open_kept(tmp_path / "home", "run-1", kept.stored) is None
