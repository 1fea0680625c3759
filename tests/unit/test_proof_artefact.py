"""The artefact says what is known, fits everywhere, and lets nobody speak in it who was only quoted."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from decimal import Decimal
from html.parser import HTMLParser

import pytest
from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from symphony.domain.proof import CheckResult, Verdict, judged
from symphony.domain.reported import Case, CaseOutcome, Coverage, Reported
from symphony.proof.account import account_of
from symphony.proof.artefact import MOST_CHARACTERS, Facts, as_json, headline, markdown
from symphony.proof.artifacts import Artifact, Collected
from symphony.proof.diff import FileDiff, Hunk
from symphony.proof.functions import Complexity, FunctionChange
from symphony.proof.lost_tests import LostTests
from symphony.proof.markdown import block, code, folded, inline
from symphony.proof.walkthrough import walkthrough

ATTACK = (
    "</summary></details><script>alert(1)</script>\n\n# Approved by @octocat\n\n- fixes #12\n[x](javascript:alert(1)) ![i](http://x/y) "
    "<img src=x onerror=y>\n```\n````\n~~~\n**Landed** https://evil.example/a www.evil.example GH-7\r```\r\n\x1b[2J\u202e<!-- | -->&lt;b&gt;"
)
ALLOWED = {"p", "strong", "em", "ul", "li", "code", "pre", "details", "summary"}


class Tags(HTMLParser):
    """What a browser would see."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.text = ""
        self.seen_at: list[tuple[str, str | None]] = []
        self.in_code = 0
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.seen_at += [(tag, value) for name, value in attrs if name in ("href", "src")]
        self.in_code += tag == "code"

    def handle_endtag(self, tag: str) -> None:
        self.in_code -= tag == "code"

    def handle_data(self, data: str) -> None:
        if not self.in_code:
            self.text += data


def seen(text: str) -> Tags:
    return Tags(MarkdownIt("gfm-like", {"html": True, "linkify": False}).render(text))


def full(word: str = "plain", repeat: int = 1) -> Facts:
    """Facts in which everything that others write is `word`."""
    report = Reported(
        (word,),
        (Case(word, CaseOutcome.FAILED, word * repeat), Case("b", CaseOutcome.PASSED), Case("c", CaseOutcome.PASSED)),
        Coverage(81.25, 13, 16), findings=(word,), doubts=(word,),
    )  # fmt: skip
    check = judged(CheckResult("tests", word, Verdict.PASSED, 0, 1.5, word * repeat), report)
    file = FileDiff(word, "added", 3, 1, hunks=(Hunk(0, 1, 3, ("+one", f"+{word}", "+three")),))
    account = account_of(
        {"purpose": word, "groups": [{"title": word, "files": [word], "why": word}], "risks": [word] * repeat, "not_done": [word],
         "hunks": [{"file": word, "start_line": 1, "end_line": 3, "why": word}], "tests_added": [word]}
    )  # fmt: skip
    return Facts(
        state="landed",
        commit="a1b2c3d4e5f6",
        reason=word,
        rework=1,
        seconds=660.0,
        cost_usd=Decimal("0.84"),
        verdict="failed",
        tree_sha="abcdef123456",
        checks=[check.as_json()],
        walkthrough=walkthrough([file], account).as_json(),
        lost_tests=LostTests((word,) * repeat, (word,), (), repeat, 1).as_json(),
        complexity=Complexity((FunctionChange(word, word, 3, 9, 20, 4, 10),), (), (word,), (word,)).as_json(),
        artifacts=Collected((Artifact(word, "image/png", 1234, "ab" * 32, "ab.png"),), (word,)).as_json(),
    )


def test_the_line_says_what_is_known_and_nothing_else() -> None:
    assert headline(Facts("landed")) == "Landed"
    passed = [{"name": "t", "verdict": "passed", "report": {"tests": {"passed": 212, "skipped": 3}}}]
    facts = Facts("landed", "a1b2c3d4e5", rework=1, seconds=660, cost_usd=Decimal("0.84"), checks=passed)
    assert headline(facts) == "Landed a1b2c3d · 212 tests · 1 rework · 11 min · $0.84"
    assert markdown(facts).startswith("**Landed a1b2c3d · 212 tests · 1 rework · 11 min · $0.84**")
    mixed = [{"report": {"tests": {"passed": 1, "failed": 2, "error": 1}}}, {"report": None}, {}]
    assert (
        headline(Facts("reviewing", rework=0, seconds=8000, checks=mixed)) == "Reviewing · 1 test · 3 failed · 2 h 13 min"
    )
    assert (
        headline(Facts("failed", rework=2, seconds=4, cost_usd=Decimal("0.001")))
        == "Failed · 2 reworks · 4 s · less than $0.01"
    )


def test_the_evidence_is_folded_below_the_line() -> None:
    text = markdown(full())
    for words in ("1 file, by purpose", "Risks (1)", "Not done (1)", "Proof failed: 1 check", "tests failed", "81.2 % coverage",
                  "Tests: 1 removed, 1 newly skipped", "complexity 4 → 9, 10 → 20 lines", "1 artifact", "1,234 bytes",
                  "The hunks that matter", "+one"):  # fmt: skip
        assert words in text, words
    assert text.count("<details>") == text.count("</details>") == seen(text).tags.count("details") > 8


def test_nothing_that_was_quoted_speaks() -> None:
    text = markdown(full(ATTACK))
    page = seen(text)
    assert set(page.tags) <= ALLOWED, set(page.tags) - ALLOWED
    assert page.tags.count("details") == page.tags.count("summary") == text.count("<details><summary>")
    assert not re.search(r"@octocat|#12|://evil|www\.evil|GH-7", page.text)
    assert not re.search("[\x00-\x08\x0b-\x1f\x7f\u202e]", text)


LINK = "https://symphony.example/api/v1/runs/7/artifacts/ab.png"


def with_artifacts(*artifacts: Artifact, **changed: object) -> Facts:
    kept = [artifact.as_json() | {"node": "n1"} for artifact in artifacts]
    return replace(Facts("landed", artifacts={"kept": kept, "refused": []}), **changed)  # type: ignore[arg-type]


def artifact(name: str, stored: str = "ab.png", kind: str = "image/png") -> Artifact:
    return Artifact(name, kind, 1234, "ab" * 32, stored)


def test_an_artifact_is_linked_or_told_where_it_lies() -> None:
    shot, log = artifact("shots/one.png"), artifact("log.txt", "cd.txt", "text/plain")
    text = markdown(with_artifacts(shot, log, links={"ab.png": LINK}, paths={"cd.txt": "/home/x`y/cd.txt"}))
    about = "1,234 bytes, `abababababab`"
    assert f"- [shots/one.png](<{LINK}>): image/png, {about}\n\n  ![shots/one.png](<{LINK}>)\n" in text
    assert f"- `log.txt`: text/plain, {about}, at ``/home/x`y/cd.txt``" in text
    assert seen(text).seen_at == [("a", LINK), ("img", LINK)]
    text = markdown(with_artifacts(shot, log, links={"cd.txt": f"{LINK}.txt"}))
    assert f"- `shots/one.png`: image/png, {about}, on the node `n1`" in text
    assert seen(text).seen_at == [("a", f"{LINK}.txt")], "only pictures are embedded"


@pytest.mark.parametrize(
    "name", [ATTACK, "](http://evil.example) ![", "a](<javascript:x>)", "x\n\n[y]: http://z", "<https://evil.example>"]
)
def test_a_name_changes_no_link(name: str) -> None:
    page = seen(markdown(with_artifacts(artifact(name), links={"ab.png": LINK})))
    assert page.seen_at == [("a", LINK), ("img", LINK)] and set(page.tags) <= {*ALLOWED, "a", "img"}


@pytest.mark.parametrize(
    "link",
    [
        "/api/v1/runs/7/artifacts/ab.png",
        "javascript:alert(1)",
        "https://h/a b",
        "https://h/<x>",
        "https://h/>) [x](y",
        "https://h/\nx",
        "https://h/\\",
        "https://",
    ],
)
def test_only_an_absolute_url_is_linked(link: str) -> None:
    page = seen(markdown(with_artifacts(artifact("one.png"), links={"ab.png": link})))
    assert page.seen_at == [] and set(page.tags) <= ALLOWED


def test_so_many_pictures_are_shown_and_the_others_linked() -> None:
    many = [artifact(f"{number}.png", f"{number}.png") for number in range(30)]
    page = seen(markdown(with_artifacts(*many, links={one.stored: f"{LINK}{one.stored}" for one in many})))
    assert (page.tags.count("a"), page.tags.count("img")) == (30, 10)


@pytest.mark.parametrize("repeat", [20, 200])
def test_it_fits_and_stays_whole(repeat: int) -> None:
    many = full(ATTACK, repeat)
    facts = Facts(**{name: getattr(many, name) for name in Facts.__dataclass_fields__} | {"checks": [*many.checks] * 40})
    for most in (MOST_CHARACTERS, 2_000):
        text = markdown(facts, most=most)
        assert len(text) <= most and text.endswith("left out here for its length.*")
        assert set(seen(text).tags) <= ALLOWED
        assert len(re.findall("(?m)^<details><summary>", text)) == len(re.findall("(?m)^</details>$", text)) > 0


def test_a_large_change_is_listed_and_counted() -> None:
    told = walkthrough([FileDiff(f"src/f{n}.py", added=1) for n in range(900)], None)
    text = markdown(Facts("landed", walkthrough=told.as_json()))
    assert "900 files, by purpose" in text and "… and 850 more" in text


def test_the_same_for_programs() -> None:
    told = as_json(full())
    assert json.loads(json.dumps(told))["tests"] == {"passed": 2, "failed": 1}
    assert told["headline"] == headline(full()) and told["cost_usd"] == "0.84"
    assert as_json(Facts("queued"))["tests"] is None


def test_what_was_stored_before_there_were_reports_is_shown() -> None:
    old = {
        "name": "t",
        "command": "make",
        "verdict": "failed",
        "exit_code": 1,
        "seconds": 1.0,
        "output": "bad",
        "dropped": 0,
    }
    text = markdown(Facts("reviewing", verdict="failed", checks=[old]))
    assert "failed in 1.0 s" in text and "bad" in text


def test_secrets_stay_out() -> None:
    assert "ghp_" not in markdown(full("ghp_0123456789abcdefghij"))


@given(st.text(max_size=200) | st.text(alphabet="`~*_<>&![]()#@|\\- \n\r1.=+:/w", max_size=60))
def test_no_text_becomes_anything_but_text(text: str) -> None:
    for page in (seen(inline(text)), seen(f"- {inline(text)}\n- b"), seen(f"a {code(text)} b"), seen(folded(text, "x"))):
        assert set(page.tags) <= ALLOWED
    assert seen(inline(text)).tags in ([], ["p"])
    assert seen(block(text, 100)).tags == ["pre", "code"]
    assert seen(f"a {code(text)} b").tags == ["p", "code"]
