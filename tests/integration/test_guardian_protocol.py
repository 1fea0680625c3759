"""Nonsense on a socket ends what it belongs to, loudly; it is never believed and never ignored."""

from __future__ import annotations

import logging
import os
import signal
from pathlib import Path

import pytest

from symphony.processes.guardian import Guardian
from tests.fakes.seen_processes import alive, daemon, mark, seconds_until, sleeper, until

ENV = {"PATH": os.environ["PATH"]}
NONSENSE = [b"\xff\xff", b"{}", b'{"op": "open"}', b'{"op": "renew", "trust": 5, "reachable": true}', b'{"op": "dance"}']


@pytest.mark.parametrize("packet", [*NONSENSE, b"x" * 70000])
def test_a_guardian_that_hears_nonsense_ends_with_all_its_trees(packet: bytes, capfd: pytest.CaptureFixture[str]) -> None:
    word = mark()
    guardian = Guardian.start()
    tree = guardian.tree(word)
    tree.run(daemon(word), cwd=Path("/"), env=ENV)
    until(lambda: alive(word))
    guardian._link._sock.send(packet)
    assert guardian.lost.wait(5)
    assert seconds_until(lambda: not alive(word)) < 3
    tree.close()
    guardian.close()
    assert "guardian" in capfd.readouterr().err


@pytest.mark.parametrize("packet", [*NONSENSE, b'{"op": "start", "re": 1}', b'{"op": "signal", "number": {}}'])
def test_a_warden_that_hears_nonsense_ends_its_tree_only(packet: bytes) -> None:
    word, other = mark(), mark()
    with Guardian.start() as guardian, guardian.tree(word) as tree, guardian.tree(other) as neighbour:
        neighbour.start(sleeper(other), cwd=Path("/"), env=ENV)
        tree.run(daemon(word), cwd=Path("/"), env=ENV)
        until(lambda: alive(word) and alive(other))
        tree._link._sock.send(packet)
        until(lambda: tree.ended == "protocol" and not alive(word))
        assert len(alive(other)) == 1
        assert not guardian.lost.is_set()


def test_a_guardian_that_talks_nonsense_is_given_up(caplog: pytest.LogCaptureFixture) -> None:
    word = mark()
    guardian = Guardian.start()
    tree = guardian.tree(word)
    process = tree.start(sleeper(word), cwd=Path("/"), env=ENV)
    with caplog.at_level(logging.ERROR):
        guardian._link._deliver = lambda message: {}["no sense"]  # type: ignore[method-assign]
        guardian.renew({}, database_reachable=True)
        assert guardian.lost.wait(5)
    assert process.wait(5) == -signal.SIGKILL
    tree.close()
    assert alive(word) == []
    assert "no sense" in caplog.text
    guardian.close()
