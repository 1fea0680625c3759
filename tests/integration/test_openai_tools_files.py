"""The tools that read: files, images, listings and searches, in ordinary workspaces."""

from __future__ import annotations

import base64
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from symphony.agents.openai.hands import searching
from tests.fakes.tool_seat import Seat, session_of

pytest_plugins = ["tests.fakes.repository_fixtures", "tests.fakes.tool_seat_fixtures"]

PNG = b"\x89PNG\r\n\x1a\n" + bytes(20)


def test_a_file_is_read_with_line_numbers(seat: Seat) -> None:
    seat.write("a.txt", "".join(f"line {number}\n" for number in range(1, 11)))
    assert (
        seat.text("read_file", path="a.txt", offset=3, limit=2)
        == "     3\tline 3\n     4\tline 4\n(of 10 lines; next: offset 5)"
    )
    assert seat.text("read_file", path=str(seat.workspace / "a.txt"), offset=10) == "    10\tline 10"
    assert seat.text("read_file", path="./x/../a.txt", offset=11) == "Nothing there: the file has 10 lines."
    assert seat.text("read_file", path="a.txt", offset=10**30) == "Nothing there: the file has 10 lines."
    assert seat.text("read_file", path="a.txt", offset=-5, limit=1).startswith("     1\tline 1\n")
    seat.write("b", "no end")
    assert seat.text("read_file", path="b") == "     1\tno end"
    seat.write("empty", "")
    assert seat.text("read_file", path="empty") == "The file is empty."
    seat.write("crlf", "a\r\n\r\n")
    assert seat.text("read_file", path="crlf") == "     1\ta\n     2\t"
    seat.write("latin", b"caf\xe9\n")
    assert seat.text("read_file", path="latin") == "     1\tcaf\\xe9"


def test_what_is_not_there_is_answered_with_what_is_similar(seat: Seat) -> None:
    seat.write("src/server.py", "")
    assert seat.text("read_file", path="src/sever.py") == "src/sever.py does not exist. In src there is: server.py."
    assert seat.text("read_file", path="scr/x") == "scr does not exist. In the workspace there is: src."
    assert seat.text("read_file", path="src/server.py/x") == "src/server.py is no folder."
    assert seat.text("read_file", path="src") == "src is a folder, not a file."
    assert "is a folder" in seat.text("read_file", path=".")
    assert "File name too long" in seat.text("read_file", path="x" * 300)


def test_images_are_shown_and_binaries_told(seat: Seat) -> None:
    seat.write("a.png", PNG)
    answer = seat.call("read_file", path="a.png")
    assert answer.images == (f"data:image/png;base64,{base64.b64encode(PNG).decode()}",)
    assert answer.text == f"a.png: png image, {len(PNG)} bytes."
    seat.write("big.png", PNG + bytes(5 << 20))
    assert "at most 5242880" in seat.text("read_file", path="big.png")
    seat.write("binary", b"\x7fELF\0\0")
    assert seat.text("read_file", path="binary") == "binary is binary: 6 bytes, beginning with 7f 45 4c 46 00 00."


def test_huge_lines_and_files_stay_small(seat: Seat) -> None:
    with (seat.workspace / "long").open("wb") as file:
        for _ in range(50):
            file.write(b"x" * 1_000_000)
        file.write(b"\nsecond\n")
    told = seat.text("read_file", path="long")
    assert told.endswith(" […49998001 bytes more]\n     2\tsecond") and len(told) < 2200
    (seat.workspace / "sparse").touch()
    os.truncate(seat.workspace / "sparse", 1 << 40)
    assert "binary" in seat.text("read_file", path="sparse")
    seat.write("many", "x" * 100 + "\n" + ("y" * 100 + "\n") * 400_000)
    told = seat.text("read_file", path="many", limit=5000)
    assert len(told) < 60_000 and "the file goes on, 40400101 bytes in all" in told


def test_files_are_listed_as_git_sees_them(seat: Seat) -> None:
    seat.repository()
    seat.write(".gitignore", "ignored/\n*.log\n")
    seat.write("ignored/x", "")
    seat.write("a.log", "")
    seat.write("src/deep/er/x.py", "")
    seat.write("src/deep/er/y.py", "")
    seat.write("src/a.py", "")
    assert seat.text("list_files") == ".gitignore\nsrc/a.py\nsrc/deep/er/ (2 files)"
    assert seat.text("list_files", depth=1) == ".gitignore\nsrc/ (3 files)"
    assert seat.text("list_files", path="src/deep", depth=5) == "er/x.py\ner/y.py"
    assert seat.text("list_files", limit=1).endswith(
        "\n(and 2 more entries: name a folder, a smaller depth, or a larger limit)"
    )
    assert seat.text("list_files", path="ignored") == "x\n(listed without the rules of .gitignore)"
    assert seat.text("list_files", path="src/a.py") == "src/a.py is a file."


def test_files_are_listed_where_there_is_no_repository(seat: Seat) -> None:
    assert seat.text("list_files") == "No files."
    seat.write("b/c", "")
    seat.write("a", "")
    (seat.workspace / "loop").symlink_to(".")
    assert seat.text("list_files") == "a\nb/c\nloop"
    assert seat.text("list_files", path="nope") == "nope does not exist."


def test_names_that_are_no_text_are_shown_escaped(seat: Seat) -> None:
    (seat.workspace / os.fsdecode(b"caf\xe9\n\x1b[31m")).write_text("needle\n")
    expected = r"caf\xe9\n\x1b[31m"
    assert seat.text("list_files") == expected
    assert seat.text("search", pattern="needle") == f"{expected}:1: needle"
    seat.repository()
    assert seat.text("list_files") == expected


def test_very_deep_folders_do_not_stop_a_walk(seat: Seat) -> None:
    for depth in range(1, 300):
        (seat.workspace / "/".join("d" * depth)).mkdir()
    seat.write("found", "needle\n")
    assert seat.text("search", pattern="needle") == "found:1: needle"
    subprocess.run(["rm", "-rf", str(seat.workspace / "d")], check=True)


def test_what_a_repository_would_start_is_not_started(seat: Seat) -> None:
    seat.repository()
    canary = seat.workspace.parent / "canary"
    subprocess.run(["git", "config", "core.fsmonitor", f"touch {canary}; false"], cwd=seat.workspace, check=True)
    seat.write("a", "needle\n")
    assert seat.text("search", pattern="needle") == "a:1: needle"
    assert not canary.exists()


@pytest.mark.parametrize("head", ["gitdir: /nowhere\n", "\0", "gitdir: ../outside\n"])
def test_a_broken_repository_is_walked(seat: Seat, head: str) -> None:
    seat.write(".git", head)
    seat.write("a", "needle\n")
    assert "a:1: needle" in seat.text("search", pattern="needle")
    assert "a" in seat.text("list_files")


def test_lines_are_found(seat: Seat) -> None:
    seat.write("a.py", "def one():\r\n    return 'x'\n")
    seat.write("src/b.ts", "const one = 1\n" * 3)
    seat.write("src/c.tsx", "x" * 5000 + "one" + "y" * 5000 + "\n")
    assert seat.text("search", pattern=r"def \w+\(\):$") == "a.py:1: def one():"
    assert seat.text("search", pattern="(?i)CONST", limit=2) == (
        "src/b.ts:1: const one = 1\nsrc/b.ts:2: const one = 1\n"
        "(there are more than these 2 matches: name a folder, a glob, or a larger limit)"
    )
    assert seat.text("search", pattern="one", glob="*.py") == "a.py:1: def one():"
    assert seat.text("search", pattern="one", glob="!*.{ts,tsx}") == "a.py:1: def one():"
    assert seat.text("search", pattern="one", path="src", glob="**/*.tsx").startswith("src/c.tsx:1: …xxx")
    assert len(seat.text("search", pattern="one", path="src/c.tsx")) < 400
    assert seat.text("search", pattern="nothing", path="src") == "No match in 2 files."
    seat.write("latin", b"caf\xe9 x9\r\n")
    assert seat.text("search", pattern="caf. x") == "latin:1: caf\\xe9 x9"
    assert seat.text("search", pattern="^$|xe9") == "No match in 4 files."


def test_an_expression_that_is_wrong_is_explained(seat: Seat) -> None:
    assert "no valid regular expression: missing ), unterminated subpattern" in seat.text("search", pattern="f(")
    assert "[a-zA-Z]" in seat.text("search", pattern="[[:alpha:]]")
    assert "no valid glob" in seat.text("search", pattern="x", glob="[z-a]")


def test_binaries_and_large_files_are_not_searched(seat: Seat) -> None:
    seat.write("binary", b"needle\n\0")
    (seat.workspace / "large").touch()
    os.truncate(seat.workspace / "large", searching.LARGEST_FILE + 1)
    assert seat.text("search", pattern="needle") == "No match in 2 files.\n(not searched, larger than 16 MiB: large)"


def test_an_expression_that_never_ends_is_ended(seat: Seat) -> None:
    seat.write("a", "needle\n")
    seat.write("b", "a" * 40 + "b\n")
    program = f"import sys; sys.path.insert(0, {str(Path.cwd())!r})\nfrom symphony.agents.openai.hands import searching\nsearching.CPU_S = 0.3\nprint(searching.search('needle|(a+)+$', '.', None, 9))"
    done = seat.tree.run([sys.executable, "-I", "-S", "-c", program], cwd=seat.workspace, env={}, timeout_s=20)
    assert (
        done.stdout.text() == "a:1: needle\n(ended after 0.3 s of work: name a folder or a glob, or a simpler expression)\n"
    )


def test_the_answer_is_the_same_with_ripgrep(seat: Seat) -> None:
    """A program called rg narrows the search; what it cannot do changes nothing."""
    for number in range(600):
        seat.write(f"d/{number}.txt", "needle\n" if number % 100 == 7 else "hay\n")
    without = seat.text("search", pattern="needle")
    assert without.count("\n") == 5
    tools = seat.workspace.parent / "tools"
    tools.mkdir()
    rg = tools / "rg"
    seat.path = f"{tools}:{os.environ['PATH']}"
    for script in (
        'touch "$0.ran"\nfor last; do case "$last" in --regexp=*) pattern="${last#--regexp=}";; --) break;; esac; done\n'
        'while [ "$1" != -- ]; do shift; done; shift\nexec grep -lZF -e "$pattern" -- "$@"',
        "exit 2",
        "kill -9 $$",
    ):
        rg.write_text(f"#!/bin/sh\n{script}\n")
        rg.chmod(0o755)
        assert seat.text("search", pattern="needle") == without
    assert (tools / "rg.ran").exists()


def test_a_hand_that_is_killed_is_answered(seat: Seat) -> None:
    killer = "while :; do pkill -9 -P $PPID -f hands/main.py; done"
    name = session_of(seat.text("shell", command=killer, wait_ms=0))
    seat.write("a", "x\n")
    answers = {seat.text("read_file", path="a").split(":")[0] for _ in range(5)}
    assert answers <= {"This could not be done (exit code -9)", "     1\tx"}
    seat.text("shell", session=name, input="\x1c")


def test_reads_run_at_once(seat: Seat) -> None:
    seat.write("a", "x\n")
    answers: list[str] = []
    threads = [threading.Thread(target=lambda: answers.append(seat.text("read_file", path="a"))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert answers == ["     1\tx"] * 8
