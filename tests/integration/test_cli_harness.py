"""`symphony check --harness` on real small repositories: hermetic, needing the network, flaky, broken."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from symphony.local.harness.bench import bench_for
from tests.fakes.command import Command
from tests.integration.test_cli_init import repository

NETWORK = """\
import socket, unittest
class T(unittest.TestCase):
    def test_own_server(self):
        server = socket.create_server(("127.0.0.1", 0)); socket.create_connection(server.getsockname()).close()
    def test_other(self):
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as one: one.connect(("192.0.2.1", 9))
"""
MAKE = "test:\n\tpython3 -B -m unittest test_a\n"


@pytest.fixture
def symphony(capsys: pytest.CaptureFixture[str]) -> Command:
    return Command(capsys)


def can_cut(top: Path) -> bool:
    with bench_for(top) as bench:
        return bench.can_cut_network()


def audited(symphony: Command, top: Path, *options: str) -> tuple[dict[str, Any], list[str]]:
    said = symphony("check", "--harness", str(top), "--json", *options)
    assert said.code == 0, said
    document = said.document
    assert set(document) == {"name", "commit", "described", "score", "parts", "faults"}
    return {part["name"]: part["points"] for part in document["parts"]}, [one["category"] for one in document["faults"]]


def test_hermetic_tests_get_all_their_points(symphony: Command, tmp_path: Path) -> None:
    good = {"Makefile": MAKE, "test_a.py": NETWORK.partition("    def test_other")[0], "AGENTS.md": "`make test`\n"}
    top = repository(tmp_path / "acme", good)
    cut = can_cut(top)
    points, faults = audited(symphony, top)
    assert faults == [] and points["tests pass"] == 15 and points["same result again"] == 10
    assert points["without the network"] == (10 if cut else None) and points["leaves no files"] == 5
    page = symphony("check", "--harness", str(top))
    assert "score: 100 of 100" in page.out and "1 of 1 commands are good" in page.out


def test_tests_that_need_the_network_are_told_from_flaky_ones(symphony: Command, tmp_path: Path) -> None:
    top = repository(tmp_path / "acme", {"Makefile": MAKE, "test_a.py": NETWORK})
    if not can_cut(top):
        pytest.skip("this kernel lets us cut no network")
    points, faults = audited(symphony, top)
    assert faults == ["needs_network", "no_agents_md"]
    assert (points["same result again"], points["without the network"]) == (10, 0)


def test_flaky_tests_are_found_and_what_they_leave(symphony: Command, tmp_path: Path) -> None:
    count = tmp_path / "count"
    recipe = f"test:\n\t@echo x >> {count}; echo x > left; test $$(wc -l < {count}) = 1\n"
    points, faults = audited(symphony, repository(tmp_path / "acme", {"Makefile": recipe}))
    assert {"flaky", "leaves_files"} <= set(faults) and points["same result again"] == points["leaves no files"] == 0
    assert points["without the network"] is None and points["tests pass"] == 15


@pytest.mark.parametrize(
    ("files", "category"),
    [
        ({"Makefile": "test:\n\t@echo red; exit 1\n"}, "tests_fail"),
        ({"Makefile": "deps:\n\tpip install --no-index ./nothing-here\ntest: \n\ttrue\n"}, "setup_fails"),
        ({"README.md": "x"}, "no_tests"),
    ],
)
def test_what_does_not_even_begin_gets_no_points(
    symphony: Command, tmp_path: Path, files: dict[str, str], category: str
) -> None:
    points, faults = audited(symphony, repository(tmp_path / "acme", files))
    assert category in faults and points["tests pass"] == 0


def test_nothing_is_run_when_so_asked_and_a_folder_without_code_is_the_users_mistake(
    symphony: Command, tmp_path: Path
) -> None:
    top = repository(tmp_path / "acme", {"Makefile": f"test:\n\ttouch {tmp_path / 'ran'}\n"})
    points, _ = audited(symphony, top, "--no-run")
    assert points["tests pass"] is None and not (tmp_path / "ran").exists()
    said = symphony("check", "--harness", str(tmp_path))
    assert (said.code, said.out) == (2, "") and "is no git repository" in said.err
