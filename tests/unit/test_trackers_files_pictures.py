"""Pictures of issues in tracker `files`: those of the folder, and nothing that a path or a link could lead to."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from symphony.trackers.files.pictures import pictures
from symphony.trackers.protocol import MOST_PICTURE_BYTES, MOST_PICTURES

PNG = b"\x89PNG\r\n\x1a\n" + b"0" * 32


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "issues"
    (folder / "shots").mkdir(parents=True)
    (folder / "shots" / "one two.png").write_bytes(PNG)
    (folder / "two.webp").write_bytes(b"RIFF0000WEBP")
    (tmp_path / "secret.png").write_bytes(PNG + b"secret")
    return folder


def test_pictures_come_in_the_order_of_the_description_each_once(folder: Path) -> None:
    text = (
        "Like ![this](two.webp) and ![that](<shots/one%20two.png> 'a title'), again ![this](./two.webp) ![this](two.webp)"
    )
    found = pictures(folder, text)
    assert [(one.name, one.media_type) for one in found] == [
        ("two.webp", "image/webp"), ("shots/one%20two.png", "image/png"), ("./two.webp", "image/webp"),
    ]  # fmt: skip
    assert found[1].content == PNG


@pytest.mark.parametrize(
    "name",
    ["../secret.png", "shots/../../secret.png", "/etc/passwd", "https://example.org/x.png", "link.png", "away/secret.png",
     "notes.png", "pipe.png", "missing.png", "shots", "huge.png", "data:image/png;base64,AAAA", "a%00b.png", "%2e%2e/secret.png"],
)  # fmt: skip
def test_what_is_no_picture_of_the_folder_stays_text(folder: Path, name: str) -> None:
    (folder / "link.png").symlink_to(folder.parent / "secret.png")
    (folder / "away").symlink_to(folder.parent)
    (folder / "notes.png").write_text("not a picture")
    os.mkfifo(folder / "pipe.png")
    with (folder / "huge.png").open("wb") as file:
        file.write(PNG)
        file.truncate(MOST_PICTURE_BYTES + 1)
    assert pictures(folder, f"![x]({name})") == ()


def test_there_are_no_more_than_a_model_takes(folder: Path) -> None:
    for number in range(MOST_PICTURES + 5):
        (folder / f"{number}.png").write_bytes(PNG)
    text = " ".join(f"![x]({number}.png)" for number in range(MOST_PICTURES + 5))
    assert len(pictures(folder, text)) == MOST_PICTURES


@pytest.mark.parametrize("part", ["![](", "![", "![](a ", "![]( "])
def test_a_hostile_description_takes_no_time(folder: Path, part: str) -> None:
    began = time.process_time()
    assert pictures(folder, part * 50_000) == ()
    assert time.process_time() - began < 2
