"""Which model the demo talks to, what it tells its processes of it, and how it judges what that model has made."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from symphony.ledger.usage import Used
from symphony.local.demo.chosen_model import chosen_model
from symphony.local.demo.evidence import Event, Evidence
from symphony.local.demo.sample import Sample, git, make
from symphony.local.demo.story import ASKING, QUESTION, STORY
from symphony.local.demo.verdict import judge

THEIRS = {
    "OPENAI_API_KEY": "sk-theirs",
    "OPENAI_BASE_URL": "https://me:secret@models.example/v1?key=1",
    "OPENAI_ORG_ID": "org",
    "https_proxy": "http://proxy",
    "SYMPHONY_DAILY_USD": "3",
    "SYMPHONY_HOME": "/theirs",
    "GIT_DIR": "/theirs",
    "PATH": "/bin",
}


@pytest.fixture
def theirs(monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    for name, value in THEIRS.items():
        monkeypatch.setenv(name, value)
    return dict(THEIRS)


def test_with_a_key_it_is_the_real_model_within_their_limits(theirs: dict[str, str]) -> None:
    with chosen_model(offline=False) as model:
        given = model.environment(theirs)
    assert not model.is_recorded and model.name == "gpt-6.2-sol at https://models.example/v1"
    assert given == {name: value for name, value in theirs.items() if name not in {"SYMPHONY_HOME", "GIT_DIR"}}


@pytest.mark.parametrize(("key", "offline"), [("sk-theirs", True), (" ", False)])
def test_offline_nothing_of_theirs_is_used(
    theirs: dict[str, str], monkeypatch: pytest.MonkeyPatch, key: str, offline: bool
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", key)
    with chosen_model(offline=offline) as model:
        given = model.environment(theirs)
    assert model.is_recorded and model.name == "recorded model, offline"
    assert given.pop("OPENAI_BASE_URL").startswith("http://127.0.0.1:")
    assert given == {"PATH": "/bin", "OPENAI_API_KEY": "replay"}


@pytest.fixture
def sample(tmp_path: Path) -> Sample:
    return make(tmp_path, tuple(issue for issue in STORY if issue.identifier == ASKING))


def faults(sample: Sample, run: dict[str, Any], *, is_recorded: bool) -> list[str]:
    """Judge what became of the issue that asks; whether agents worked side by side is not the question here."""
    given = {"state": "blocked", "error": None, "question": QUESTION, "landings": [], "proofs": [], "attempts": []}
    event = Event(1, datetime.now(UTC), ASKING, "claimed", "running", "agent", {}, None)
    evidence = Evidence({ASKING: given | run}, {ASKING: Used()}, [], [event])
    findings = judge(sample, evidence, None, is_recorded=is_recorded, is_exact=False)
    return [fault for finding in findings for fault in finding.faults if "at the same time" not in fault]


def on_board(sample: Sample, state: str, comment: str = "") -> None:
    path = sample.issue(ASKING)
    text = path.read_text().replace("state: Todo", f"state: {state}")
    path.write_text(f"{text}\n## Comments\n\n{comment}\n")


def land(sample: Sample, tmp_path: Path) -> dict[str, Any]:
    """Put a commit on main, and give the run that landed it with its proof."""
    checkout = tmp_path / "landing"
    git("clone", "--quiet", str(sample.origin), str(checkout), cwd=tmp_path)
    (checkout / "words/pricing.py").write_text("PRICE = 1\n")
    git("add", "--all", cwd=checkout)
    git("commit", "--quiet", "--message", "Prices", cwd=checkout)
    git("push", "--quiet", "origin", "HEAD:main", cwd=checkout)
    sha, tree = (git("rev-parse", name, cwd=checkout) for name in ("HEAD", "HEAD^{tree}"))
    proof = {"verdict": "passed", "merge_sha": sha, "tree_sha": tree}
    return {"state": "landed", "landings": [{"state": "landed", "merge_sha": sha}], "proofs": [proof]}


def test_a_real_model_may_know_what_the_recorded_one_asks(sample: Sample, tmp_path: Path) -> None:
    run = land(sample, tmp_path)
    on_board(sample, "Done")
    assert faults(sample, run, is_recorded=False) == []
    (tmp_path / "clone").rename(tmp_path / "first-clone")
    assert any("landed, not blocked" in fault for fault in faults(sample, run, is_recorded=True))


def test_a_real_model_asks_in_its_own_words(sample: Sample, tmp_path: Path) -> None:
    on_board(sample, "Blocked", "In which currency?")
    own = {"question": "In which currency?"}
    assert faults(sample, own, is_recorded=False) == []
    (tmp_path / "clone").rename(tmp_path / "first-clone")
    assert faults(sample, own, is_recorded=True) == [f"it does not ask: {QUESTION}"]


def test_an_issue_that_ends_otherwise_is_a_fault_with_any_model(sample: Sample) -> None:
    on_board(sample, "In Progress")
    said = faults(sample, {"state": "failed", "error": "no hope"}, is_recorded=False)
    assert said == [
        f"the run of {ASKING} is failed, not blocked: no hope",
        f"{ASKING} is in 'In Progress' on the board, not in 'Blocked'",
    ]


def test_a_tip_without_a_proof_of_its_tree_is_a_fault(sample: Sample, tmp_path: Path) -> None:
    run = land(sample, tmp_path)
    on_board(sample, "Done")
    run["proofs"][0]["tree_sha"] = "0" * 40
    assert any("has no passed proof for its tree" in fault for fault in faults(sample, run, is_recorded=False))
