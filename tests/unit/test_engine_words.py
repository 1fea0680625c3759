"""What Symphony writes to people: short enough for a comment, without secrets, and true in number."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from symphony.domain.run import RunState
from symphony.domain.stage import Stage
from symphony.engine import words
from symphony.ledger.database import new_id
from symphony.ledger.records import Proof, Run
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


def proof(**changed: Any) -> Proof:
    """Make a proof."""
    checks = [{"name": "tests", "verdict": "passed", "seconds": 1.26}, {"name": "lint", "verdict": "passed", "seconds": 0}]
    values = {"id": new_id(), "run_id": new_id(), "base_sha": "b", "head_sha": "h", "merge_sha": "m", "verdict": "passed"}
    return Proof(**({**values, "tree_sha": "0123456789", "checks": checks, "created_at": NOW} | changed))  # type: ignore[arg-type]


def test_a_landing_is_told_with_its_evidence() -> None:
    assert words.landed(run(landed_sha="abcdef0123"), proof()) == (
        "**Landed** `abcdef0`.\n\nProof **passed** for tree `0123456`:\n- tests: passed (1.3 s)\n- lint: passed (0.0 s)"
    )


@pytest.mark.parametrize(("rounds", "told"), [(0, "`a`."), (1, "1 round of rework."), (2, "2 rounds of rework.")])
def test_rounds_of_rework_are_counted_in_words(rounds: int, told: str) -> None:
    assert words.landed(run(landed_sha="a", rework_rounds=rounds), None).endswith(told)


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
