"""The tool `apply_patch`: all of a patch or nothing of it reaches the files."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from tests.fakes.tool_seat import Seat

pytest_plugins = ["tests.fakes.repository_fixtures", "tests.fakes.tool_seat_fixtures"]


def test_a_patch_changes_files_and_keeps_their_modes(seat: Seat) -> None:
    seat.repository()
    seat.write("run.sh", "#!/bin/sh\necho one\n").chmod(0o750)
    seat.write("old.txt", "a\n")
    told = seat.patch("""*** Update File: run.sh
@@
-echo one
+echo two
*** Add File: new/deep/file.txt
+hello
*** Delete File: old.txt""")
    assert told == "Applied:\nupdated run.sh (hunk 1 at line 2)\nadded new/deep/file.txt\ndeleted old.txt"
    assert (seat.workspace / "run.sh").read_text() == "#!/bin/sh\necho two\n"
    assert (seat.workspace / "run.sh").stat().st_mode & 0o7777 == 0o750
    assert (seat.workspace / "new/deep/file.txt").read_text() == "hello\n"
    assert not (seat.workspace / "old.txt").exists()
    moved = seat.patch("*** Update File: run.sh\n*** Move to: bin/run.sh\n@@\n-echo two\n+echo three")
    assert moved == "Applied:\nupdated run.sh, moved to bin/run.sh (hunk 1 at line 2)"
    assert (seat.workspace / "bin/run.sh").stat().st_mode & 0o7777 == 0o750
    assert seat.text("list_files") == "bin/run.sh\nnew/deep/file.txt"
    assert not list((seat.workspace / ".git").glob(".symphony*"))


def contents(folder: Path) -> dict[str, bytes]:
    """Give everything in a folder outside of .git."""
    return {
        str(path.relative_to(folder)): path.read_bytes() if path.is_file() else b"/"
        for path in sorted(folder.rglob("*"))
        if ".git" not in path.parts
    }


@pytest.mark.parametrize(
    "last",
    [
        "*** Update File: a\n@@\n-nope\n+x",
        "*** Delete File: missing",
        "*** Add File: a/below\n+x",
        "*** Add File: .git/hooks/x\n+x",
        "*** Update File: binary\n@@\n+x",
        "*** Update File: closed/file\n@@\n-1\n+2",
        f"*** Add File: {'x' * 300}\n+x",
        "*** Add File: closed/new\n+x",
    ],
)
@pytest.mark.parametrize("git", [True, False])
def test_a_patch_that_fails_anywhere_changes_nothing(seat: Seat, last: str, git: bool) -> None:
    if git:
        seat.repository()
    seat.write("a", "one\n")
    seat.write("b", "two\n")
    seat.write("binary", b"\0")
    seat.write("closed/file", "1\n")
    if "closed" in last and os.geteuid() == 0:
        pytest.skip("root may write everywhere")
    (seat.workspace / "closed").chmod(0o555)
    before = contents(seat.workspace)
    told = seat.patch(
        f"*** Update File: b\n@@\n-two\n+2\n*** Add File: made/new\n+x\n*** Delete File: a\n*** Add File: a\n+x\n{last}"
    )
    assert told.startswith("Nothing was changed."), told
    (seat.workspace / "closed").chmod(0o755)
    assert contents(seat.workspace) == before


def test_a_write_that_fails_is_taken_back(seat: Seat) -> None:
    """A folder comes to stand where the last file shall go, after the patch was found to fit."""
    seat.write("a", "one\n")
    seat.write("gone", "two\n")
    before = contents(seat.workspace)
    program = f"""
import os, sys
sys.path.insert(0, {str(Path.cwd())!r})
from symphony.agents.openai.hands import patching
from symphony.agents.openai.hands.paths import Refused
real = patching.plan
def plan(*given):
    planned = real(*given)
    os.mkdir("z")
    return planned
patching.plan = plan
try:
    print(patching.patch(sys.stdin.read()))
except Refused as error:
    print(error)
os.rmdir("z")
"""
    text = "*** Begin Patch\n*** Update File: a\n@@\n-one\n+1\n*** Delete File: gone\n*** Add File: deep/new\n+x\n*** Add File: z\n+x\n*** End Patch"
    done = seat.tree.run([sys.executable, "-I", "-S", "-c", program], cwd=seat.workspace, env={}, stdin=text.encode())
    assert done.stdout.text().startswith("Nothing was changed.\nz: "), done.stderr.text()
    assert contents(seat.workspace) == before


def test_a_patch_breaks_hard_links(seat: Seat) -> None:
    """A file that is also a name outside is replaced here and stays as it was there."""
    os.link(seat.workspace.parent / "outside/secret", seat.workspace / "a")
    assert seat.patch("*** Update File: a\n@@\n-needle\n+x").startswith("Applied:")
    assert (seat.workspace.parent / "outside/secret").read_text() == "needle\n"
