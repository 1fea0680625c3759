"""A workspace in which paths lead elsewhere: no tool reads or writes outside of it, or waits for what is no file."""

from __future__ import annotations

import os
import re
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.fakes.tool_seat import Seat, session_of

pytest_plugins = ["tests.fakes.repository_fixtures", "tests.fakes.tool_seat_fixtures"]


SPECIAL: dict[str, Callable[[Path], object]] = {
    "a named pipe": os.mkfifo,
    "a socket": lambda path: socket.socket(socket.AF_UNIX).bind(str(path)),
    "a symbolic link to /etc/passwd": lambda path: path.symlink_to("/etc/passwd"),
    "a symbolic link to /dev/zero": lambda path: path.symlink_to("/dev/zero"),
    "a symbolic link to special": lambda path: path.symlink_to(path.name),
}


@pytest.mark.parametrize("kind", SPECIAL)
def test_what_is_no_file_is_named_and_never_opened(
    seat: Seat, kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(seat.workspace)  # a socket's path must be short
    SPECIAL[kind](Path("special"))
    seat.write("plain", "needle\n")
    assert kind in seat.text("read_file", path="special")
    assert kind in seat.patch("*** Update File: special\n@@\n-root\n+toor")
    assert kind in seat.patch("*** Delete File: special")
    assert seat.text("search", pattern="needle|root") == "plain:1: needle"
    assert seat.text("list_files") == "plain\nspecial"
    assert os.path.lexists("special")


def test_no_path_leads_out(seat: Seat) -> None:
    (seat.workspace / "link").symlink_to("../outside")
    seat.write("d/ok", "needle\n")
    for path in (
        "../outside/secret",
        "/etc/passwd",
        "d/../../outside/secret",
        f"{seat.workspace}/../outside/secret",
        "link/secret",
    ):
        for tool in ("read_file", "search", "list_files"):
            told = seat.text(tool, path=path, **({"pattern": "needle"} if tool == "search" else {}))
            assert re.search("outside of the workspace|leads out|symbolic link to", told), (tool, path, told)
        assert seat.patch(f"*** Add File: {path}x\n+x").startswith("Nothing was changed.")
    assert seat.text("search", pattern="needle") == "d/ok:1: needle"
    assert sorted(path.name for path in (seat.workspace.parent / "outside").iterdir()) == ["secret"]


def test_a_folder_that_is_swapped_for_a_link_all_the_time_leads_nowhere(seat: Seat) -> None:
    """Somebody swaps a folder for a link to the outside while tools run: nothing outside is read or written."""
    seat.write("real/secret", "inside\n")
    swap = "while :; do mv real kept; ln -s ../outside real; rm real; mv kept real; done"
    name = session_of(seat.text("shell", command=swap, wait_ms=0))
    for number in range(4):
        assert "needle" not in seat.text("read_file", path="real/secret")
        seat.patch(f"*** Add File: real/new{number}\n+x")
    seat.text("shell", session=name, input="\x1c")
    assert [path.name for path in (seat.workspace.parent / "outside").iterdir()] == ["secret"]
    assert (seat.workspace.parent / "outside/secret").read_text() == "needle\n"
