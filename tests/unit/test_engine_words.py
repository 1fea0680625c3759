"""What Symphony writes to people: short enough for a comment, without secrets, and true in number."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from symphony.domain.run import RunState
from symphony.domain.stage import Stage
from symphony.engine import words
from symphony.ledger.database import new_id
from symphony.ledger.records import Run
from symphony.proof.artefact import Facts
from symphony.telemetry.redaction import MASK, remember_secrets

NOW = datetime(2026, 11, 20, 12, 0, tzinfo=UTC)


def run(**changed: Any) -> Run:
    """Make a run."""
    values: dict[str, Any] = dict.fromkeys(Run.__dataclass_fields__)
    values |= {
        "id": new_id(), "number": 1, "state": RunState.RUNNING, "stage": Stage.AGENT, "failures": 0, "crashes": 0,
        "rework_rounds": 0, "created_at": NOW,
    }  # fmt: skip
    return Run(**(values | changed))


def facts(**changed: Any) -> Facts:
    """Give what is known of a landed run."""
    checks = [
        {"name": "tests", "verdict": "passed", "seconds": 1.26, "report": {"tests": {"passed": 2}}, "command": "make"}
    ]
    values = {"state": "landed", "commit": "abcdef0123", "verdict": "passed", "tree_sha": "0123456789", "checks": checks}
    return Facts(**(values | changed))


def test_a_landing_is_told_in_a_line_with_its_evidence_below() -> None:
    text = words.landed(facts(rework=1, seconds=60.0))
    assert text.splitlines()[0] == "**Landed abcdef0 · 2 tests · 1 rework · 1 min**"
    assert "<details><summary>Proof passed: 1 check</summary>" in text and "`tests`: passed in 1.3 s" in text


def test_a_comment_has_room_for_a_mark_in_any_forge() -> None:
    reason = "x" * 1000
    files = [{"path": f"{n}-{'y' * 200}", "status": "added", "added": 1, "deleted": 0} for n in range(49)]
    told = {"groups": [{"title": f"{n}", "files": files} for n in range(20)]}
    for text in (words.landed(facts(walkthrough=told)), words.review(run(), reason, facts(walkthrough=told))):
        assert len(text) <= 60_000 and "left out here for its length" in text


def test_a_review_shows_what_was_proved() -> None:
    text = words.review(run(branch="b"), "look", facts(state="reviewing", reason=None))
    assert text.startswith("**Ready for review** on `b`: look\n\n**Reviewing abcdef0 · 2 tests**\n\n<details>")
    assert words.review(run(), "look", facts(verdict=None)) == "**Ready for review**: look"


@pytest.mark.parametrize(
    ("failures", "crashes", "told"),
    [(1, 0, "after 1 failed attempt and 0 crashes"), (5, 1, "after 5 failed attempts and 1 crash")],
)
def test_a_failure_counts_what_happened(failures: int, crashes: int, told: str) -> None:
    text = words.failure(run(failures=failures, crashes=crashes), "no luck")
    assert f"{told}: no luck" in text and "symphony retry" in text and "in agent" in text


def test_a_review_names_its_branch_only_where_there_is_one() -> None:
    assert words.review(run(branch="symphony/DEMO-1"), "look", None) == ("**Ready for review** on `symphony/DEMO-1`: look")
    assert words.review(run(), "look", None) == "**Ready for review**: look"


@pytest.mark.parametrize(
    "said",
    [
        lambda text: words.question(text, is_moved=True),
        lambda text: words.failure(run(), text),
        lambda text: words.review(run(), text, None),
    ],
)
def test_long_texts_are_cut_and_secrets_masked_before_the_cut(said: Any) -> None:
    remember_secrets(["staple-of-the-battery"])
    text = said("x" * 3990 + "staple-of-the-battery" + "y" * 1000)
    assert "staple" not in text
    assert len(text) < 4400 and "more characters" in text
    assert f"a {MASK} b" in said("a staple-of-the-battery b")


@pytest.mark.parametrize("is_moved", [True, False])
def test_a_question_names_only_the_ways_on_that_there_are(is_moved: bool) -> None:
    said = words.question("which?", is_moved=is_moved)
    assert "Reply here" in said and ("move the issue" in said) is is_moved
