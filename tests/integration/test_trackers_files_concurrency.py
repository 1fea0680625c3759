"""Tracker `files` against people who save at the same moment, and against kill -9.

What is proved: no edit of a person is lost, no comment of ours is lost (but by a person who saved an older copy over
it) or doubled, at any instant the file is whole, and a killed write is finished by the next one.
"""

from __future__ import annotations

import os
import random
import re
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections import Counter
from pathlib import Path

import pytest

from symphony.domain.errors import Transient
from symphony.trackers import Tracker, open_tracker
from symphony.trackers.files import exchange as exchange_module
from symphony.trackers.files import writer as writer_module
from symphony.trackers.files.document import Document

ISSUE = "---\ntitle: A title  # kept\nstate: Todo # ours\nlabels: [a]\n---\nWhat to do.\n"
STATES = ("Todo", "In Progress", "Review")


def board(folder: Path) -> Tracker:
    return open_tracker(
        "files", {"path": str(folder)}, active_states=None, terminal_states=None, base_dir=folder, environ={}
    )


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "issues"
    folder.mkdir()
    (folder / "DEMO-1.md").write_text(ISSUE)
    return folder


def start(code: str, *arguments: object) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(code), *map(str, arguments)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
    )


OURS = """
    import sys
    from pathlib import Path
    from symphony.domain.errors import Transient
    from tests.integration.test_trackers_files_concurrency import STATES, board
    folder, name, count = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
    tracker = board(folder)
    def surely(write):
        for _ in range(200):
            try:
                return write()
            except Transient as fault:
                last = fault
        raise last
    print("ready", flush=True)
    for number in range(count):
        surely(lambda: tracker.comment("DEMO-1", key=f"{name}-{number}", body=f"comment {name}-{number}"))
        if number % 5 == 0:
            to = STATES[number // 5 % len(STATES)]
            surely(lambda: tracker.move("DEMO-1", to, allowed_from=STATES))
        if number % 7 == 0:
            surely(lambda: tracker.comment("DEMO-1", key=f"{name}-{number}", body=f"edited {name}-{number}"))
"""


def keys(text: str) -> Counter[str]:
    return Counter(re.findall(r"^<!-- symphony:(\S+) -->$", text, re.MULTILINE))


def lines(text: str) -> Counter[str]:
    return Counter(re.findall(r"^line (\d+)\.$", text, re.MULTILINE))


def everyone(name: str, count: int) -> set[str]:
    return {f"{name}-{number}" for number in range(count)}


def test_lines_appended_by_people_and_comments_by_two_processes_all_arrive_once(folder: Path) -> None:
    path = folder / "DEMO-1.md"
    writers = [start(OURS, folder, name, 60) for name in ("one", "two")]
    for writer in writers:
        assert writer.stdout is not None
        assert writer.stdout.readline() == "ready\n"
    edits = 0
    while any(writer.poll() is None for writer in writers):
        with path.open("a") as file:
            file.write(f"\nedit {edits}.\n")
        edits += 1
        time.sleep(random.uniform(0, 0.02))
    assert [writer.wait() for writer in writers] == [0, 0]
    board(folder).fetch_issues_by_states(["Todo"])
    text = path.read_text()
    assert Counter(re.findall(r"^edit (\d+)\.$", text, re.MULTILINE)) == Counter(map(str, range(edits)))
    assert edits > 20
    assert keys(text) == Counter(everyone("one", 60) | everyone("two", 60))
    assert "title: A title  # kept\n" in text
    (issue,) = board(folder).fetch_issues_by_ids(["DEMO-1"])
    assert issue.state in STATES


class Editor:
    """A person's editor; it knows what a save of its own threw away, for that nobody can bring back."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.discarded: set[str] = set()
        self.overwritten: set[str] = set()
        self.count = 0

    def add_line(self, text: str) -> str:
        self.count += 1
        return text.replace("What to do.\n", f"What to do.\nline {self.count}.\n", 1)

    def save_by_rename(self) -> None:
        text = self.add_line(self.path.read_text())
        own = self.path.with_name(".#editor")
        own.write_text(text)
        exchange_module.exchange(own, self.path)
        self.discarded |= set(keys(own.read_text())) - set(keys(text))
        self.overwritten |= set(lines(own.read_text())) - set(lines(text))

    def save_in_place(self) -> None:
        with self.path.open("r+") as file:
            text = self.add_line(file.read())
            file.seek(0)
            file.truncate()
            half = random.randrange(len(text))
            file.write(text[:half])
            file.flush()
            time.sleep(random.uniform(0, 0.004))
            file.write(text[half:])

    def append(self) -> None:
        self.count += 1
        with self.path.open("a") as file:
            file.write(f"\nline {self.count}.\n")


@pytest.mark.parametrize("seed", range(2))
def test_edits_saved_in_every_way_while_we_write_are_kept(folder: Path, seed: int) -> None:
    random.seed(seed)
    path = folder / "DEMO-1.md"
    editor = Editor(path)
    writer = start(OURS, folder, "one", 60)
    assert writer.stdout is not None
    assert writer.stdout.readline() == "ready\n"
    while writer.poll() is None:
        random.choice([editor.save_by_rename, editor.save_in_place, editor.append])()
        time.sleep(random.uniform(0, 0.03))
    assert writer.wait() == 0
    board(folder).fetch_issues_by_states(["Todo"])
    text = path.read_text()
    assert set(lines(text)) | editor.overwritten == set(map(str, range(1, editor.count + 1)))
    assert len(editor.overwritten) < editor.count / 10
    assert max(lines(text).values()) == 1
    assert max(keys(text).values()) == 1
    assert everyone("one", 60) - set(keys(text)) <= editor.discarded


def test_an_editor_that_keeps_the_file_open_for_writing_makes_us_wait(folder: Path) -> None:
    tracker = board(folder)
    editor = start(
        """
        import sys
        with open(sys.argv[1], "a") as file:
            print("open", flush=True)
            sys.stdin.readline()
            file.write("\\nlate words\\n")
        """,
        folder / "DEMO-1.md",
    )
    assert editor.stdout is not None
    assert editor.stdout.readline() == "open\n"
    with pytest.raises(Transient, match="written to"):
        tracker.move("DEMO-1", "Done", allowed_from=["Todo"])
    assert len(tracker.fetch_issues_by_states(["Todo"]).issues) == 1
    editor.communicate("\n")
    tracker.move("DEMO-1", "Done", allowed_from=["Todo"])
    assert (folder / "DEMO-1.md").read_text() == ISSUE.replace("Todo", "Done") + "\nlate words\n"


def test_a_stopped_writer_makes_others_wait_and_a_killed_one_does_not(folder: Path) -> None:
    holder = start(
        """
        import sys
        from pathlib import Path
        from symphony.trackers.files.folder import Folder
        from symphony.trackers.files.writer import Writer
        def hold(text):
            print("held", flush=True)
            sys.stdin.readline()
        Writer(Folder(Path(sys.argv[1]))).rewrite("DEMO-1.md", hold)
        """,
        folder,
    )
    assert holder.stdout is not None
    assert holder.stdout.readline() == "held\n"
    os.kill(holder.pid, signal.SIGSTOP)
    outcome: list[str] = []
    waiting = threading.Thread(
        target=lambda: outcome.append(board(folder).move("DEMO-1", "Done", allowed_from=STATES).outcome)
    )
    waiting.start()
    waiting.join(0.3)
    assert outcome == []
    assert len(board(folder).fetch_issues_by_states(["Todo"]).issues) == 1
    os.kill(holder.pid, signal.SIGKILL)
    holder.wait()
    waiting.join(20)
    assert outcome == ["applied"]


KILLED = """
    import os, signal, sys
    from pathlib import Path
    from symphony.domain.errors import SymphonyError
    from symphony.trackers.files import writer
    from tests.integration.test_trackers_files_concurrency import ISSUE, board
    root, fallback = Path(sys.argv[1]), sys.argv[2] == "links"
    if fallback:
        from symphony.trackers.files import exchange
        exchange._renameat2 = None
    swap = writer.exchange
    for step in range(1, 200):
        folder = root / str(step)
        folder.mkdir()
        (folder / "DEMO-1.md").write_text(ISSUE)
        child = os.fork()
        if child == 0:
            seen = exchanges = 0
            def maybe():
                global seen
                seen += 1
                if seen == step:
                    os.kill(os.getpid(), signal.SIGKILL)
            def person(line):
                with (folder / "DEMO-1.md").open("a") as file:
                    file.write(f"\\n{line}\\n")
                    (root / f"{step}.{line}").touch()
            def exchange_between_edits(one, other):
                global exchanges
                exchanges += 1
                if exchanges == 1:
                    person("before")
                maybe()
                swap(one, other)
                if exchanges == 1:
                    person("between")
                maybe()
            writer.exchange = exchange_between_edits
            tracker = board(folder)
            sys.addaudithook(
                lambda event, arguments: maybe()
                if event in {"open", "os.rename", "os.remove", "os.rmdir", "os.link", "os.truncate"}
                and str(folder / ".symphony") in str(arguments[0])
                else None
            )
            tracker.comment("DEMO-1", key="k", body="ours")
            os._exit(0)
        if os.waitpid(child, 0)[1] == 0:
            print(step, flush=True)
            break
"""


@pytest.mark.parametrize("way", ["exchange", "links"])
def test_a_kill_at_any_step_leaves_a_whole_file_and_loses_nothing(tmp_path: Path, way: str) -> None:
    out, _ = start(KILLED, tmp_path, way).communicate()
    steps = int(out)
    assert steps > 20
    for step in range(1, steps + 1):
        path = tmp_path / str(step) / "DEMO-1.md"
        Document.parse(path.read_text())
        assert path.read_text().startswith(ISSUE)
        said = [line for line in ("before", "between") if (tmp_path / f"{step}.{line}").exists()]
        tracker = board(path.parent)
        assert len(tracker.fetch_issues_by_states(["Todo"]).issues) == 1
        text = path.read_text()
        assert [line for line in ("before", "between") if text.count(f"\n{line}\n") == 1] == said, (step, text)
        tracker.comment("DEMO-1", key="k", body="ours")
        text = path.read_text()
        assert keys(text) == {"k": 1}, (step, text)
        assert [line for line in ("before", "between") if text.count(f"\n{line}\n") == 1] == said, (step, text)
        tracker.fetch_issues_by_states(["Todo"])
        assert sorted(entry.name for entry in path.parent.iterdir()) == [".symphony", "DEMO-1.md"]
        assert list((path.parent / ".symphony" / "pending").iterdir()) == []


def test_an_edit_saved_while_the_file_is_open_from_before_our_exchange_is_kept(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = folder / "DEMO-1.md"
    editors = []

    def open_then_exchange(one: Path, other: Path) -> None:
        if not editors:
            editors.append(
                start(
                    'import sys; f = open(sys.argv[1], "a"); print("", flush=True); sys.stdin.readline(); f.write("late")',
                    path,
                )
            )
            assert editors[0].stdout is not None
            editors[0].stdout.readline()
            threading.Timer(0.2, lambda: editors[0].communicate("\n")).start()
        exchange_module.exchange(one, other)

    monkeypatch.setattr(writer_module, "exchange", open_then_exchange)
    board(folder).comment("DEMO-1", key="k", body="ours")
    text = path.read_text()
    assert text.startswith(ISSUE + "late")
    assert keys(text) == {"k": 1}
