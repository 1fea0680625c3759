"""The agent's log: whole lines, redacted, within its limit."""

from __future__ import annotations

import io

import pytest

from symphony.agents.log import LIMIT, AgentLog
from symphony.telemetry.redaction import MASK

TOKEN = b"ghp_" + b"a" * 30
KEY = b"-----BEGIN RSA PRIVATE KEY-----\nMIIE\nabcd\n-----END RSA PRIVATE KEY-----\n"


def written(*chunks: bytes, closed: bool = True) -> bytes:
    """Give what a log has written after these chunks."""
    file = io.BytesIO()
    log = AgentLog(file)
    for chunk in chunks:
        log.add(chunk)
    if closed:
        log.close()
    return file.getvalue()


def test_a_whole_line_is_written_at_once_and_the_rest_with_its_end() -> None:
    assert written(b"one\ntw", closed=False) == b"one\n"
    assert written(b"one\ntw", b"o\n", closed=False) == b"one\ntwo\n"
    assert written(b"one\ntw") == b"one\ntw"


@pytest.mark.parametrize("cut", range(1, len(TOKEN)))
def test_a_secret_in_two_pieces_is_masked(cut: int) -> None:
    line = b"token " + TOKEN
    assert written(line[: 6 + cut], line[6 + cut :] + b"\nnext\n") == b"token " + MASK.encode() + b"\nnext\n"


@pytest.mark.parametrize("cut", range(1, len(KEY)))
def test_a_private_key_is_masked_wherever_it_is_cut(cut: int) -> None:
    told = b"before\n" + KEY + b"after\n"
    assert written(told[: 7 + cut], told[7 + cut :]) == b"before\n" + MASK.encode() + b"\nafter\n"


def test_bytes_that_are_no_text_stay_what_they_are() -> None:
    assert written(bytes(range(256))) == bytes(range(256))


def test_a_line_without_an_end_does_not_fill_the_memory() -> None:
    chunk = b"x" * 65_536
    assert len(written(*[chunk] * 4, closed=False)) >= 2 * 65_536
    assert len(written(*[chunk] * 300)) == LIMIT
