"""Pages that are generated from the code say what the code says."""

from __future__ import annotations

from pathlib import Path

from symphony.domain.run import diagram
from tests import conformance

ROOT = Path(__file__).parents[2]


def test_conformance_page_is_up_to_date() -> None:
    assert (ROOT / "docs" / "conformance.md").read_text() == conformance.page(), "run `make docs`"


def test_every_section_that_this_build_covers_is_on_the_conformance_page() -> None:
    found = {section for section, _, _ in conformance.marks()}
    assert found == {"17.1", "17.2", "17.3", "17.4", "17.6", "17.7"}


def test_the_diagram_of_a_run_is_the_tables() -> None:
    assert f"```mermaid\n{diagram()}\n```" in (ROOT / "ARCHITECTURE.md").read_text()
