"""The demo's recorded model, asked through the real `openai` client, its calls done by the real tools on the demo's repository."""

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import openai
import pytest

from symphony.agents.openai.tools import Desk, for_run, schema
from symphony.agents.openai.tools.registry import call as do
from symphony.local.demo import sample
from symphony.local.demo.replay import ReplayServer
from symphony.local.demo.story import QUESTION, STORY
from symphony.processes.guardian import Tree
from tests.fakes import model_types

pytest_plugins = ["tests.fakes.repository_fixtures"]

INTERRUPTED = "This call was interrupted: the worker that ran it was lost. It may have run in part."
NOT_BEGUN = "This call was not begun: the work was interrupted before. Make it again if you still want it."
TOOLS = for_run()
TITLES = {issue.identifier: f"Work on {issue.identifier}: {issue.title}\n\n{issue.text}" for issue in STORY}
PLAIN = ("DEMO-1", "DEMO-2", "DEMO-6", "DEMO-7", "DEMO-10")


class Agent:
    """A loop as small as can be, which checks all that it sends and does."""

    def __init__(self, server: ReplayServer, desk: Desk, prompt: str) -> None:
        self.client = openai.OpenAI(base_url=server.url, api_key="replay", max_retries=0, timeout=20)
        self.desk = desk
        self.items: list[dict[str, Any]] = []
        self.called: list[tuple[str, dict[str, Any]]] = []
        self.lost: Callable[[int], str | None] = lambda _: None
        self.failures: list[str] = []
        self.cached = 0.0
        self.say(prompt)

    def say(self, text: str) -> None:
        self.items.append({"type": "message", "role": "user", "content": [{"type": "input_text", "text": text}]})

    def turn(self) -> tuple[str, dict[str, Any]]:
        """Work until the model ends the turn; give that call."""
        for _ in range(40):
            for call in self._ask():
                name, arguments = call["name"], json.loads(call["arguments"])
                TOOLS[name].arguments.model_validate(arguments)
                self.called.append((name, arguments))
                lost = self.lost(len(self.called))
                output = lost if lost == NOT_BEGUN else self._do(name, arguments)
                self.items.append({"type": "function_call_output", "call_id": call["call_id"], "output": lost or output})
                if name in ("finish", "ask_human") and lost is None:
                    return name, arguments
        raise AssertionError(f"no end: {self.called}")

    def _ask(self) -> list[dict[str, Any]]:
        asked: dict[str, Any] = {
            "model": "gpt-6.2-sol",
            "instructions": "Work.",
            "input": self.items,
            "tools": schema(TOOLS),
            "include": ["reasoning.encrypted_content"],
            "prompt_cache_key": "demo",
            "store": False,
        }
        assert model_types.complaint("/v1/responses", asked) is None
        last: Any = None
        for event in self.client.responses.create(**asked, stream=True):
            last = event
        if last.type == "response.failed":
            self.failures.append(last.response.error.code)
            return []
        assert last.type == "response.completed"
        self.cached = last.response.usage.input_tokens_details.cached_tokens / last.response.usage.input_tokens
        output = last.response.model_dump(mode="json", exclude_unset=True, warnings=False)["output"]
        self.items += [{name: value for name, value in item.items() if value is not None} for item in output]
        return [item for item in output if item["type"] == "function_call"]

    def _do(self, name: str, arguments: dict[str, Any]) -> str:
        if str(arguments.get("command")).startswith("sleep"):
            return INTERRUPTED
        return do(TOOLS, name, json.dumps(arguments), self.desk).text


@pytest.fixture(scope="module")
def origin(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return sample.make(tmp_path_factory.mktemp("demo")).origin


@pytest.fixture
def workspace(origin: Path, tmp_path: Path) -> Path:
    folder = tmp_path / "workspace"
    sample.git("clone", "--quiet", str(origin), str(folder), cwd=tmp_path)
    return folder


@pytest.fixture
def desk(workspace: Path, tmp_path: Path, tree: Tree) -> Iterator[Desk]:
    desk = Desk(workspace, tree, {"PATH": os.environ["PATH"]}, tmp_path, stop_reason=lambda: None, heard=lambda _: None)
    yield desk
    desk.sessions.close()


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[ReplayServer]:
    monkeypatch.setattr("symphony.local.demo.model_http.Exchange.wait", lambda *_: True)  # no need to take its time
    with ReplayServer() as server:
        yield server


def changed(workspace: Path) -> set[str]:
    """Give the paths that differ from the base."""
    said = sample.git("status", "--porcelain", "--untracked-files=all", cwd=workspace)
    return {line[2:].strip() for line in said.splitlines()}


def check_account(arguments: dict[str, Any], workspace: Path) -> None:
    """The walkthrough names every changed file and no other, and lines that are there."""
    assert arguments["outcome"] == "done", arguments
    walkthrough = arguments["walkthrough"]
    assert {path for group in walkthrough["groups"] for path in group["files"]} == changed(workspace)
    for hunk in walkthrough["hunks"]:
        lines = (workspace / hunk["file"]).read_text().splitlines()
        assert 1 <= hunk["start_line"] <= hunk["end_line"] <= len(lines)
    assert walkthrough["tests_added"] and all((workspace / path).is_file() for path in walkthrough["tests_added"])


@pytest.mark.parametrize("identifier", PLAIN)
def test_it_writes_what_the_issue_asks_for(server: ReplayServer, desk: Desk, workspace: Path, identifier: str) -> None:
    agent = Agent(server, desk, TITLES[identifier])
    _, arguments = agent.turn()
    check_account(arguments, workspace)
    assert sample.run_tests(workspace)[0]
    assert agent.failures == (["recorded_failure"] if identifier == "DEMO-6" else [])
    assert agent.cached > 0.5
    if identifier == "DEMO-6":
        patches = [given["patch"] for name, given in agent.called if name == "apply_patch"]
        assert len(patches) == 2 and "*** Update File: words/reversing.py" in patches[1]
    if identifier == "DEMO-7":
        assert agent.called[0][1]["command"] == "sleep 40"


def test_its_first_proof_fails_and_the_quoted_assertion_mends_it(server: ReplayServer, desk: Desk, workspace: Path) -> None:
    agent = Agent(server, desk, TITLES["DEMO-3"])
    agent.turn()
    done = subprocess.run(sample.CHECK, cwd=workspace, capture_output=True, text=True, check=False)
    assert done.returncode and "AssertionError: 'al' != 'AL'" in done.stderr
    quoted = "\n".join(f"> {line}" for line in done.stderr.splitlines())
    agent.say(f"## What must be better than last time\n\n{quoted}")
    _, arguments = agent.turn()
    check_account(arguments, workspace)
    assert sample.run_tests(workspace)[0]


def test_it_does_not_guess_what_must_be_better(server: ReplayServer, desk: Desk, workspace: Path) -> None:
    agent = Agent(server, desk, TITLES["DEMO-3"])
    agent.turn()
    agent.say("## What must be better than last time\n\n> Something.")
    _, arguments = agent.turn()
    assert arguments["outcome"] == "blocked" and "assertion" in arguments["summary"]


def test_it_resolves_the_conflict_that_it_reads(server: ReplayServer, desk: Desk, workspace: Path) -> None:
    agent = Agent(server, desk, TITLES["DEMO-5"])
    check_account(agent.turn()[1], workspace)
    greeting = workspace / "words/greeting.py"
    ours = greeting.read_text()
    first, _, rest = ours.partition("\n")
    theirs = '"en": "Hello", "fr": "Bonjour"'
    greeting.write_text(f"<<<<<<< main\nGREETINGS = {{{theirs}}}\n=======\n{first}\n>>>>>>> DEMO-5\n{rest}")
    agent.say("## What must be better than last time\n\n> `main` has moved on, and this change conflicts with it.")
    _, arguments = agent.turn()
    check_account(arguments, workspace)
    assert '{"en": "Hello", "fr": "Bonjour", "de": "Hallo"}' in greeting.read_text()
    assert "<<<<" not in greeting.read_text() and sample.run_tests(workspace)[0]


@pytest.mark.parametrize(
    "told", ["## You had asked\n\n> {0}\n\n## The answer\n\n> USD, please", "Ada writes on the issue:\n> USD"]
)
def test_it_asks_what_only_a_person_knows(server: ReplayServer, desk: Desk, workspace: Path, told: str) -> None:
    agent = Agent(server, desk, TITLES["DEMO-8"])
    assert agent.turn() == ("ask_human", {"question": QUESTION})
    assert changed(workspace) == set()
    agent.say(told.format(QUESTION))
    _, arguments = agent.turn()
    check_account(arguments, workspace)
    assert "USD" in (workspace / "words/pricing.py").read_text() and sample.run_tests(workspace)[0]


def test_it_builds_on_other_issues_and_not_without_them(server: ReplayServer, desk: Desk, workspace: Path) -> None:
    agent = Agent(server, desk, TITLES["DEMO-9"])
    assert agent.turn()[1]["outcome"] == "blocked"
    (workspace / "words/slugs.py").write_text('def slug(title):\n    return "hello-world"\n')
    (workspace / "words/shortening.py").write_text('def shorten(text, width):\n    return "Hello, W…"\n')
    sample.git("add", "--all", cwd=workspace)
    sample.git("commit", "--quiet", "--message", "Both", cwd=workspace)
    check_account(Agent(server, desk, TITLES["DEMO-9"]).turn()[1], workspace)
    assert sample.run_tests(workspace)[0]


@pytest.mark.parametrize(
    ("number", "words"),
    [(1, INTERRUPTED), (3, INTERRUPTED), (4, INTERRUPTED), (4, NOT_BEGUN), (5, INTERRUPTED), (7, NOT_BEGUN)],
)
def test_it_goes_on_after_any_call_that_was_lost(
    server: ReplayServer, desk: Desk, workspace: Path, number: int, words: str
) -> None:
    agent = Agent(server, desk, TITLES["DEMO-4"])
    agent.lost = lambda place: words if place == number else None
    _, arguments = agent.turn()
    check_account(arguments, workspace)
    assert len(agent.called) >= min(number, 8)
    assert '{"en": "Hello", "fr": "Bonjour"}' in (workspace / "words/greeting.py").read_text()


def test_it_says_that_it_is_a_recording_where_it_knows_nothing(server: ReplayServer, desk: Desk, workspace: Path) -> None:
    _, arguments = Agent(server, desk, "Work on DEMO-77: Fly").turn()
    assert arguments["outcome"] == "blocked" and "OPENAI_API_KEY" in arguments["summary"]


def test_many_at_once_without_a_stream(server: ReplayServer) -> None:
    client = openai.OpenAI(base_url=server.url, api_key="replay", max_retries=0, timeout=20)
    said: list[str] = []

    def ask(identifier: str) -> None:
        response = client.responses.create(model="any", input=TITLES[identifier])
        said.extend(item.name for item in response.output if item.type == "function_call")

    threads = [threading.Thread(target=ask, args=(identifier,)) for identifier in TITLES for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (len(said), set(said)) == (40, {"list_files", "shell", "search"})


def test_what_is_no_request_is_refused(server: ReplayServer) -> None:
    client = openai.OpenAI(base_url=server.url, api_key="replay", max_retries=0, timeout=20)
    assert client.models.retrieve("gpt-6.2-sol").id == "gpt-6.2-sol"
    nameless: Any = [{"role": "user", "content": "DEMO-1"}, {"type": "function_call"}]
    with pytest.raises(openai.BadRequestError):
        client.responses.create(model="any", input=[])
    with pytest.raises(openai.BadRequestError, match="none of the Responses API"):
        client.responses.create(model="any", input=nameless)
    with pytest.raises(openai.NotFoundError):
        client.chat.completions.create(model="any", messages=[{"role": "user", "content": "DEMO-1"}])
    with pytest.raises(openai.AuthenticationError):
        client.models.retrieve("any", extra_headers={"Authorization": ""})


def test_it_is_served_by_itself_for_a_folder_that_was_kept() -> None:
    command = [sys.executable, "-m", "symphony.local.demo.replay"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            url = process.stdout.readline().split()[0].removeprefix("OPENAI_BASE_URL=")
            assert openai.OpenAI(base_url=url, api_key="any", timeout=20).models.retrieve("x").id == "x"
            process.send_signal(signal.SIGTERM)
            assert process.wait(10) == 0
        finally:
            process.kill()
