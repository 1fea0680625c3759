from __future__ import annotations

import os
import socket

import pytest

from symphony.processes import wire


@pytest.mark.parametrize("packet", [b"{", b"\xff\xfe", b"[1]", b"[" * 50000, b'{"op": 1} x', b"\0" * 60000])
def test_a_packet_that_is_no_message_is_refused(packet: bytes) -> None:
    ours, theirs = wire.pair()
    with ours, theirs:
        ours.send(packet)
        with pytest.raises(wire.Garbled):
            wire.receive(theirs)


def test_descriptors_of_a_refused_packet_are_closed() -> None:
    ours, theirs = wire.pair()
    reading, writing = os.pipe()
    with ours, theirs:
        socket.send_fds(ours, [b"?"], [writing])
        os.close(writing)
        with pytest.raises(wire.Garbled):
            wire.receive(theirs)
    assert os.read(reading, 1) == b""
    os.close(reading)


def test_received_descriptors_do_not_leak_into_commands() -> None:
    ours, theirs = wire.pair()
    with ours, theirs:
        socket.send_fds(ours, [b"{}"], [0])
        _, (descriptor,) = wire.receive(theirs)
        assert not os.get_inheritable(descriptor)
        os.close(descriptor)


def test_a_channel_never_waits_for_a_receiver_that_is_stopped() -> None:
    ours, theirs = wire.pair()
    with ours, theirs:
        channel = wire.Channel(ours)
        for number in range(2000):
            channel.send({"number": number})
        assert channel.unsent
        for number in range(2000):
            assert wire.receive(theirs)[0] == {"number": number}
            channel.flush()


def test_the_end_is_told_apart_from_nothing_yet() -> None:
    ours, theirs = wire.pair()
    channel = wire.Channel(theirs)
    with pytest.raises(BlockingIOError):
        channel.receive()
    ours.close()
    with pytest.raises(EOFError):
        channel.receive()
    channel.close()
    with pytest.raises(EOFError):
        channel.receive()
