from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from symphony.processes.capture import Capture


@given(st.lists(st.binary(max_size=50)), st.integers(0, 40), st.integers(0, 40))
def test_keeps_exactly_the_head_and_the_tail_and_counts_the_rest(chunks: list[bytes], head: int, tail: int) -> None:
    capture = Capture(head, tail)
    for chunk in chunks:
        capture.add(chunk)
    whole, kept = b"".join(chunks), capture.result()
    rest = whole[head:]
    assert kept.head == whole[:head]
    assert kept.tail == rest[max(0, len(rest) - tail) :]
    assert len(kept.head) + kept.dropped + len(kept.tail) == len(whole)


def test_text_says_how_much_was_left_out() -> None:
    capture = Capture(3, 3)
    capture.add(b"abc" + b"-" * 100 + b"xyz")
    assert capture.result().text() == "abc\n[… 100 bytes left out …]\nxyz"


def test_text_of_a_whole_output_is_the_output() -> None:
    capture = Capture(2, 3)
    capture.add("dié".encode())
    assert capture.result().text() == "dié"
