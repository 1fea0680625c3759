"""The tools of a model, in a real tree: what they answer, in workspaces that mean harm as well."""

from __future__ import annotations

import base64
import json
import os
import re
import shlex
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from symphony.agents.openai.hands import searching
from symphony.agents.openai.tools import Desk, Result, Sessions, call, for_run, schema
from symphony.agents.openai.tools import sessions as sessions_room
from symphony.agents.protocol import Asked, Finished
from symphony.domain.errors import Cancelled, InvariantViolated, Transient
from symphony.processes.guardian import Guardian, Limits, Tree
from symphony.telemetry.redaction import MASK, remember_secrets
from tests.conftest import wait_until
from tests.fakes.seen_processes import alive, daemon, mark, states

pytest_plugins = ["tests.fakes.repository_fixtures"]

TOOLS = for_run()
PNG = b"\x89PNG\r\n\x1a\n" + bytes(20)
WALKTHROUGH = {
    "purpose": "p",
    "groups": [{"title": "t", "files": ["a"], "why": "w"}],
    "hunks": [{"file": "a", "start_line": 1, "end_line": 2, "why": "w"}],
    "tests_added": [],
    "risks": ["r"],
    "not_done": [],
}


@dataclass
class Seat:
    """A desk in an empty workspace, and what its owner hears and says."""

    workspace: Path
    tree: Tree
    heard: list[str] = field(default_factory=list)
    stop: str | None = None
    sessions: Sessions = field(default_factory=Sessions)
    path: str = os.environ["PATH"]

    def call(self, tool: str, **arguments: object) -> Result:
        """Call a tool as a model does."""
        return self.raw(tool, json.dumps(arguments))

    def raw(self, tool: str, arguments: str) -> Result:
        """Call a tool with what need not be JSON."""
        desk = Desk(
            workspace=self.workspace,
            tree=self.tree,
            environment={"PATH": self.path},
            artifacts=self.workspace.parent / "artifacts",
            stop_reason=lambda: self.stop,
            heard=self.heard.append,
            sessions=self.sessions,
        )
        return call(TOOLS, tool, arguments, desk)

    def text(self, tool: str, **arguments: object) -> str:
        """Call a tool and give what the model reads."""
        return self.call(tool, **arguments).text

    def patch(self, body: str) -> str:
        """Apply a patch with this body."""
        return self.text("apply_patch", patch=f"*** Begin Patch\n{body}\n*** End Patch")

    def write(self, path: str, content: str | bytes) -> Path:
        """Put a file into the workspace."""
        place = self.workspace / path
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(content.encode() if isinstance(content, str) else content)
        return place

    def repository(self) -> None:
        """Make the workspace a repository."""
        subprocess.run(["git", "init", "-q"], cwd=self.workspace, check=True)


def session_of(text: str) -> str:
    """Give the session that a text names."""
    found = re.search(r'session "(\w+)"', text)
    assert found, text
    return found[1]


@pytest.fixture
def seat(tree: Tree, tmp_path: Path) -> Iterator[Seat]:
    """A seat at a workspace that lies beside something secret."""
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside/secret").write_text("needle\n")
    workspace = tmp_path / "workspace"
    workspace.mkdir()
    seat = Seat(workspace, tree)
    yield seat
    seat.sessions.close()


# What the model is told, and what it may say wrong


def test_the_schema_is_strict_and_always_the_same() -> None:
    told = schema(for_run())
    assert json.dumps(told) == json.dumps(schema(for_run()))
    assert [tool["name"] for tool in told] == sorted(TOOLS)

    def look(part: object) -> None:
        if isinstance(part, dict):
            if part.get("type") == "object":
                assert part["additionalProperties"] is False and sorted(part["required"]) == sorted(part["properties"])
            assert "default" not in part
            for inner in part.values():
                look(inner)
        elif isinstance(part, list):
            for inner in part:
                look(inner)

    for tool in told:
        assert tool["strict"] is True and tool["description"]
        look(tool["parameters"])
    assert "title" in json.dumps(TOOLS["finish"].parameters)


def test_which_tools_change_something() -> None:
    assert [name for name, tool in TOOLS.items() if tool.changes] == ["apply_patch", "shell"]


def test_two_tools_of_one_name_are_our_mistake() -> None:
    with pytest.raises(InvariantViolated, match="shell"):
        for_run([TOOLS["shell"]])


@pytest.mark.parametrize(
    ("tool", "arguments", "expected"),
    [
        ("nope", "{}", "there is no tool 'nope'. There are: apply_patch, ask_human, finish"),
        ("shell", "{", "the arguments of shell are no valid JSON"),
        ("shell", "", "no valid JSON"),
        ("shell", "[" * 100_000, "no valid JSON"),
        ("shell", "1" * 5000, "no valid JSON"),
        ("shell", "[]", "must be a JSON object, not list"),
        ("shell", '"ls"', "must be a JSON object, not str"),
        ("shell", '{"command": 1}', "- command: Input should be a valid string (given: 1)"),
        ("shell", '{"command": "ls", "wait_ms": "5"}', "- wait_ms: Input should be a valid integer (given: '5')"),
        ("shell", '{"command": "ls", "wait_ms": true}', "- wait_ms: Input should be a valid integer"),
        ("shell", '{"cmd": "ls"}', "do not fit shell, which takes command, wait_ms, session, input.\n- cmd: Extra inputs"),
        ("shell", '{"command": "a\\u0000b"}', "must not contain the character NUL"),
        ("shell", '{"command": "\\ud800"}', "must not contain half of a surrogate pair"),
        ("shell", '{"command": "cat", "input": "\\ud800"}', "must not contain half of a surrogate pair"),
        ("shell", "{}", "give a command to start"),
        ("shell", '{"command": "ls", "session": "x"}', "not both"),
        ("shell", '{"session": "x"}', "There is no session 'x'. No command runs."),
        ("read_file", "{}", "- path: Field required"),
        ("read_file", '{"path": " "}', "must not be empty"),
        ("ask_human", '{"question": ""}', "must not be empty"),
        ("finish", '{"outcome": "perhaps", "summary": "x"}', "Input should be 'done', 'no_change' or 'blocked'"),
        (
            "finish",
            '{"outcome": "done", "summary": "x", "walkthrough": {"purpose": 1}}',
            "- walkthrough.purpose: Input should",
        ),
    ],
)
def test_what_is_wrong_with_a_call_is_answered(seat: Seat, tool: str, arguments: str, expected: str) -> None:
    answer = seat.raw(tool, arguments)
    assert expected in answer.text
    assert answer.ending is None


JSON = st.recursive(st.none() | st.booleans() | st.integers() | st.floats() | st.text(), lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=8)  # fmt: skip


@settings(max_examples=60, deadline=None)
@given(st.sampled_from(sorted(TOOLS)), st.dictionaries(st.sampled_from(["command", "session", "path", "patch", "summary", "walkthrough", "x"]), JSON.filter(lambda value: not isinstance(value, str)), max_size=4))  # fmt: skip
def test_no_arguments_raise(tool: str, arguments: dict[str, object]) -> None:
    checked = TOOLS[tool].run(arguments, None) if _is_refused(tool, arguments) else None  # type: ignore[arg-type]
    assert checked is None or checked.ending is None


def _is_refused(tool: str, arguments: dict[str, object]) -> bool:
    try:
        TOOLS[tool].arguments.model_validate(arguments)
    except ValueError:
        return True
    return False


# The end


def test_ask_human_and_finish_end_the_work(seat: Seat) -> None:
    assert seat.call("ask_human", question=" Which? ").ending == Asked("Which?")
    assert seat.call("finish", outcome="blocked", summary="No key.", walkthrough=None).ending == Asked("No key.")
    no_change = seat.call("finish", outcome="no_change", summary="It works.", walkthrough=None).ending
    assert no_change == Finished("It works.", outcome="no_change", reason="It works.")
    done = seat.call("finish", outcome="done", summary="Did it.", walkthrough=WALKTHROUGH).ending
    assert done == Finished("Did it.", walkthrough=WALKTHROUGH)


def test_what_is_said_is_redacted_and_fit_for_a_row(seat: Seat) -> None:
    remember_secrets(["correct-horse-battery"])
    assert seat.call("ask_human", question="Is correct-horse-battery right?").ending == Asked(f"Is {MASK} right?")
    walkthrough = {**WALKTHROUGH, "risks": ["correct-horse-battery"]}
    ending = seat.call("finish", outcome="done", summary="correct-horse-battery", walkthrough=walkthrough).ending
    assert ending == Finished(MASK, walkthrough={**WALKTHROUGH, "risks": [MASK]})
    told = seat.text("shell", command=r"echo correct-horse-battery; printf 'a\0b\377'")
    assert MASK in told and "shown as" in told and "correct" not in told
    assert "a\\x00b\ufffd" in told


# shell


def test_a_command_tells_its_exit_code_and_output(seat: Seat) -> None:
    assert (
        seat.text("shell", command="echo one; echo two >&2; pwd; exit 3")
        == f"Exit code 3\nOutput:\none\ntwo\n{seat.workspace}\n"
    )
    assert seat.text("shell", command="true") == "Exit code 0\nNo output."
    assert seat.text("shell", command="kill -9 $$") == "Killed by signal 9 (SIGKILL)\nNo output."
    assert seat.text("shell", command="cat") == "Exit code 0\nNo output."
    assert seat.text("shell", command="echo $SYMPHONY_ARTIFACTS").endswith("/artifacts\n")


def test_a_long_output_is_cut_in_the_middle(seat: Seat) -> None:
    told = seat.text("shell", command="echo first; head -c 30000000 /dev/zero | tr '\\0' x; echo; echo last")
    assert told.startswith("Exit code 0\nOutput:\nfirst\n") and told.endswith("\nlast\n")
    assert "bytes left out" in told
    assert len(told) < 40_000


def test_a_command_outlives_its_call_and_is_asked_again(seat: Seat) -> None:
    go = seat.workspace / "go"
    told = seat.text("shell", command=f"echo one; until [ -e {go} ]; do sleep 0.01; done; echo two; exit 4", wait_ms=300)
    assert "Still running after 0.3 s as process" in told and "Output:\none\n" in told
    name = session_of(told)
    assert "No output." in seat.text("shell", session=name, wait_ms=0)
    go.touch()
    assert seat.text("shell", session=name) == "Exit code 4\nOutput:\ntwo\n"
    assert f"There is no session '{name}'" in seat.text("shell", session=name)


def test_a_session_that_nobody_asks_is_not_blocked(seat: Seat) -> None:
    go, done = seat.workspace / "go", seat.workspace / "done"
    told = seat.text(
        "shell",
        command=f"until [ -e {go} ]; do sleep 0.01; done; head -c 3000000 /dev/zero | tr '\\0' x; touch {done}",
        wait_ms=0,
    )
    go.touch()
    wait_until(done.exists)
    assert "Exit code 0" in seat.text("shell", session=session_of(told))


def test_a_session_takes_input_interrupts_and_its_end(seat: Seat) -> None:
    told = seat.text("shell", command="while read line; do echo got $line; done; echo over", input="one\n", wait_ms=200)
    name = session_of(told)
    assert "got one\n" in told
    assert "got two\n" in seat.text("shell", session=name, input="two\n", wait_ms=200)
    assert seat.text("shell", session=name, input="three\n\x04") == "Exit code 0\nOutput:\ngot three\nover\n"
    name = session_of(
        seat.text("shell", command="trap 'echo caught; exit 5' INT; echo ready; while :; do sleep 0.05; done", wait_ms=300)
    )
    assert seat.text("shell", session=name, input="\x03") == "Exit code 5\nOutput:\ncaught\n"
    name = session_of(seat.text("shell", command="trap '' INT TERM; sleep 600", wait_ms=100))
    assert "Killed by signal 9" in seat.text("shell", session=name, input="\x1c")


def test_input_that_cannot_be_sent_is_told(seat: Seat) -> None:
    name = session_of(seat.text("shell", command="sleep 600", wait_ms=0))
    assert "standard input is closed" in seat.text("shell", session=name, input="x", wait_ms=0)
    name = session_of(seat.text("shell", command="sleep 600", input="", wait_ms=0))
    assert "Still running" in seat.text("shell", session=name, input="x" * (1 << 20), wait_ms=0)
    assert "more than 1 MiB" in seat.text("shell", session=name, input="x" * (1 << 20), wait_ms=0)
    told = seat.text("shell", command="exec <&-; sleep 0.3; echo done", input="x" * 500_000)
    assert told.endswith("Exit code 0\nOutput:\ndone\n")


def test_large_input_reaches_a_slow_reader(seat: Seat) -> None:
    assert (
        seat.text("shell", command="sleep 0.2; wc -c", input="x" * 1_000_000 + "\x04") == "Exit code 0\nOutput:\n1000000\n"
    )


def test_a_daemon_that_keeps_the_pipe_does_not_keep_the_call(seat: Seat) -> None:
    word = mark()
    began = time.monotonic()
    chatter = shlex.join(
        [sys.executable, "-I", "-S", "-c", "import time\nwhile 1: print('x' * 70000, flush=True); time.sleep(0.01)", word]
    )
    told = seat.text("shell", command=f"{chatter} & echo done")
    assert time.monotonic() - began < 10 and told.startswith("Exit code 0") and "done" in told
    assert alive(word)
    seat.sessions.close()
    wait_until(lambda: not alive(word), what="its end by a closed pipe")


def test_too_many_sessions_are_refused(seat: Seat, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sessions_room, "MOST_COMMANDS", 2)
    first = session_of(seat.text("shell", command="sleep 600", wait_ms=0))
    second = session_of(seat.text("shell", command="true; sleep 0.1", wait_ms=0))
    wait_until(lambda: seat.sessions.get(second).finished.is_set())  # type: ignore[union-attr]
    third = session_of(seat.text("shell", command="sleep 600", wait_ms=0))
    assert seat.sessions.names() == [first, third]
    said = seat.text("shell", command="sleep 600", wait_ms=0)
    assert said.startswith("Nothing was started") and first in said and third in said


def test_closing_a_desk_ends_its_commands(seat: Seat) -> None:
    word, stubborn = mark(), mark()
    seat.text("shell", command=f": {word}; sleep 600; true", wait_ms=100)
    seat.text("shell", command=f"trap '' TERM; : {stubborn}; while :; do sleep 0.05; done", wait_ms=100)
    assert alive(word) and alive(stubborn)
    seat.sessions.close()
    wait_until(lambda: not alive(word) and not alive(stubborn))
    wait_until(lambda: not [thread for thread in threading.enumerate() if thread.name == "command-reader"])


def test_a_call_ends_when_the_work_must(seat: Seat) -> None:
    timer = threading.Timer(0.3, lambda: setattr(seat, "stop", "the issue was cancelled"))
    timer.start()
    began = time.monotonic()
    assert "the work is being stopped: the issue was cancelled" in seat.text("shell", command="sleep 600", wait_ms=600_000)
    assert time.monotonic() - began < 10


def test_a_silent_command_gives_signs_of_life(seat: Seat) -> None:
    seat.text("shell", command="sleep 1.2; echo; sleep 1.2")
    assert set(seat.heard) == {"waiting", "output"}


def test_frozen_time_does_not_count(seat: Seat) -> None:
    word = mark()
    answers: list[str] = []
    thread = threading.Thread(
        target=lambda: answers.append(seat.text("shell", command=f": {word}; sleep 600; true", wait_ms=1500))
    )
    thread.start()
    wait_until(lambda: alive(word))
    seat.tree.freeze()
    assert states(word) <= {"T"}
    time.sleep(1.6)  # what is tested is that this time does not count
    assert not answers
    seat.tree.thaw()
    thread.join(20)
    assert "Still running after" in answers[0]


def test_a_killed_tree_ends_the_run_and_not_only_the_call(seat: Seat) -> None:
    raised: list[BaseException] = []

    def wait() -> None:
        try:
            seat.text("shell", command="sleep 600", wait_ms=600_000)
        except BaseException as error:
            raised.append(error)

    name = session_of(seat.text("shell", command="sleep 600", wait_ms=0))
    thread = threading.Thread(target=wait)
    thread.start()
    wait_until(lambda: len(seat.sessions._served) == 2)
    seat.tree.kill()
    thread.join(20)
    assert [type(error) for error in raised] == [Cancelled]
    for tool, arguments in (
        ("shell", {"session": name}),
        ("shell", {"command": "true"}),
        ("read_file", {"path": "a"}),
        ("nope", {}),
    ):
        with pytest.raises(Cancelled):
            seat.call(tool, **arguments)
    seat.sessions.close()


def test_a_tree_over_its_limit_ends_the_run(guardian: Guardian, tmp_path: Path) -> None:
    with guardian.tree(mark(), limits=Limits(processes=20)) as tree:
        seat = Seat(tmp_path, tree)
        with pytest.raises(Transient) as raised:
            seat.text("shell", command="for i in $(seq 100); do sleep 600 & done; wait", wait_ms=60_000)
        assert raised.value.category == "processes"
        seat.sessions.close()


def test_what_cannot_be_started_is_answered(seat: Seat) -> None:
    assert seat.text("shell", command="x" * 200_000) == "The command was not started: Argument list too long: bash."
    seat.path = "/nowhere"
    assert seat.text("shell", command="true") == "The command was not started: No such file or directory: bash."
    seat.workspace.rmdir()
    assert "No such file or directory" in seat.text("shell", command="true")
    assert "No such file or directory" in seat.text("read_file", path="a")


# read_file


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


# list_files and search


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


# apply_patch


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


def test_a_daemon_lives_until_the_tree_does_not(seat: Seat) -> None:
    word = mark()
    assert "Exit code 0" in seat.text("shell", command=shlex.join(daemon(word)))
    wait_until(lambda: alive(word))
    seat.tree.kill()
    assert not alive(word)
