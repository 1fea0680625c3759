"""The prompt: strict, bounded, and blind to what an issue contains."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from symphony.domain.errors import ConfigError
from symphony.domain.issue import Blocker, Issue
from symphony.workflow.prompt import render, validate_template

ISSUE = Issue(
    id="1",
    identifier="DEMO-1",
    title="Title",
    state="Todo",
    dispatchable=True,
    labels=("bug", "ui"),
    blocked_by=(Blocker(identifier="DEMO-0", state="Done"),),
    created_at=datetime(2026, 1, 2, tzinfo=UTC),
    native_ref={"a": {"b": [1, 2]}},
).as_json()


def rendered(template: str, *, attempt: int | None = None, **extra: Any) -> str:
    return render(template, issue=ISSUE, attempt=attempt, extra=extra)


def failure(template: str, **options: Any) -> ConfigError:
    with pytest.raises(ConfigError) as caught:
        render(template, issue=ISSUE, attempt=None, **options)
    return caught.value


def test_nested_lists_and_maps_can_be_walked() -> None:
    assert rendered("{% for l in issue.labels %}[{{ l }}]{% endfor %}") == "[bug][ui]"
    assert rendered("{% for b in issue.blocked_by %}{{ b.identifier }}={{ b.state }}{% endfor %}") == "DEMO-0=Done"
    assert rendered("{{ issue.native_ref.a.b[1] }}") == "2"


def test_every_field_is_there_and_null_is_blank() -> None:
    assert rendered("{% if issue.description %}x{% else %}none{% endif %}{{ issue.url }}") == "none"
    assert validate_template("".join(f"{{{{ issue.{name} }}}}" for name in ISSUE)) == []


def test_keys_become_text_and_instants_are_spelled_out() -> None:
    made = render("{{ issue.at }}/{{ issue['7'] }}", issue={"at": datetime(2026, 1, 2, tzinfo=UTC), 7: "x"}, attempt=1)  # type: ignore[dict-item]
    assert made == "2026-01-02T00:00:00+00:00/x"


def test_attempt_and_extra_variables() -> None:
    template = "{% if attempt %}again {{ attempt }}{% else %}first{% endif %} {{ feedback }}"
    assert rendered(template, feedback="f") == "first f"
    assert rendered(template, attempt=2, feedback="f") == "again 2 f"
    assert rendered("{{ issue.title }}", issue="mine") == "Title"


@pytest.mark.parametrize("template", ["", " \n\t"])
def test_a_blank_prompt_is_replaced_by_a_minimal_one(template: str) -> None:
    made = rendered(template)
    assert "DEMO-1" in made
    assert "Title" in made


@pytest.mark.parametrize(
    ("template", "line"),
    [
        ("{{ nope }}", 10),
        ("\n{{ issue.nope }}", 11),
        ("\n\n{% if nope %}{% endif %}", 12),
        ("{{ nope | default: 'x' }}", 10),
        ("{{ issue.labels[9] }}", 10),
        ("\n{{ issue.title | shout }}", 11),
        ("{{ 1 | divided_by: 0 }}", 10),
        ("{{ issue.title | slice }}", 10),
        ("{% for i in (1..100000000) %}x{% endfor %}", 10),
        ("{% for i in (1..1000) %}{% for j in (1..1000) %}x{% endfor %}{% endfor %}", 10),
    ],
)
def test_what_cannot_be_rendered_names_its_line(template: str, line: int) -> None:
    error = failure(template, first_line=10)
    assert (error.category, error.place) == ("template_render_error", f"WORKFLOW.md:{line}")
    assert "\n" not in str(error)


@pytest.mark.parametrize(
    "template",
    ["{% if %}", "{{ a", "{% for x in %}", "{% if true %}", "{% bogus %}", "{% include 'x' %}", "{% render 'x' %}"],
)
def test_what_is_no_template(template: str) -> None:
    error = failure("\n" + template)
    assert error.category == "template_parse_error"
    assert [found.category for found in validate_template(template)] == ["template_parse_error"]


@pytest.mark.parametrize(
    "template",
    [
        "{{ (1..999999999999) | join: ',' }}",
        "{% assign x = 'xxxxxxxx' %}{% for i in (1..60) %}{% assign x = x | append: x %}{% endfor %}",
        "{% for i in (1..90000) %}{{ issue.title | append: '" + "y" * 100 + "' }}{% endfor %}",
        "{% for a in (1..400) %}{% for b in (1..400) %}{% endfor %}{% endfor %}",
    ],
)
def test_a_template_without_measure_is_stopped(template: str) -> None:
    began = time.monotonic()
    assert failure(template).category == "template_render_error"
    assert time.monotonic() - began < 20


def test_what_an_issue_contains_is_never_a_template() -> None:
    hostile = "{{ nope }}{% raw %}{% include '/etc/passwd' %}{{ 'a' | nope }}"
    made = render("{{ issue.title }}|{{ feedback }}", issue={"title": hostile}, attempt=None, extra={"feedback": hostile})
    assert made == f"{hostile}|{hostile}"


@settings(max_examples=100, deadline=None)
@given(st.text())
def test_any_title_comes_out_as_it_went_in_but_for_line_ends(title: str) -> None:
    made = render("{{ issue.title }}", issue={"title": title}, attempt=None)
    assert made == title.replace("\r\n", "\n").replace("\r", "\n")


@settings(max_examples=200, deadline=None)
@given(st.text(alphabet="{}%|.:'\"-()[] \nissueattemptforendif0123", max_size=60))
def test_any_template_gives_text_or_a_config_error(template: str) -> None:
    validate_template(template)
    try:
        assert isinstance(rendered(template), str)
    except ConfigError as error:
        assert error.category in ("template_parse_error", "template_render_error")


def test_validation_looks_into_every_branch() -> None:
    template = "{% if attempt %}{{ nope }}\n{{ issue.colour }}{% else %}\n{{ issue.title | shout }}{% endif %}{{ more }}"
    found = validate_template(template, extra=["more"], first_line=5)
    assert [(finding.line, finding.category) for finding in found] == [
        (5, "template_render_error"),
        (6, "template_render_error"),
        (7, "template_render_error"),
    ]
    assert [word in str(finding) for word, finding in zip(("nope", "colour", "shout"), found, strict=True)] == [True] * 3


def test_validation_accepts_what_renders() -> None:
    template = "{% for l in issue.labels %}{{ l | upcase }}{{ forloop.index }}{% endfor %}{% assign x = 1 %}{{ x }}"
    assert validate_template(template) == []
    assert rendered(template) == "BUG1UI21"
