"""The words between a worker, its guardian and the wardens: one JSON object per packet, descriptors beside it.

Invariant: a packet is read whole or refused with `Garbled`; nobody acts on half a message. A sender never waits for a
receiver that is stopped: what does not fit is queued. Standard library only, as the guardian imports it.
"""

from __future__ import annotations

import array
import collections
import json
import os
import socket
import time
from collections.abc import Sequence

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    Message = dict[str, Any]

MAX_PACKET = 65536
# Plain numbers: each operation on the enumerations' members runs their machinery and touches its pages in every warden.
_CUT_OFF = int(socket.MSG_TRUNC | socket.MSG_CTRUNC)
_CLOSE_ON_EXEC = int(socket.MSG_CMSG_CLOEXEC)
_RIGHTS = (int(socket.SOL_SOCKET), int(socket.SCM_RIGHTS))
_encode = json.JSONEncoder(separators=(",", ":")).encode
_decode = json.JSONDecoder().decode
MAX_DESCRIPTORS = 8


class Garbled(Exception):
    """A packet that is no message: its sender cannot be trusted any more."""


def now() -> float:
    """Return the instant that leases are measured in (CLOCK_BOOTTIME, seconds)."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def pair() -> tuple[socket.socket, socket.socket]:
    """Return two connected sockets that keep packets apart."""
    return socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)


def encode(message: Message) -> bytes:
    """Return `message` as a packet.

    Raises: ValueError for one that does not fit.
    """
    packet = _encode(message).encode()
    if len(packet) > MAX_PACKET:
        raise ValueError(f"a message of {len(packet)} bytes does not fit into a packet")
    return packet


def receive(sock: socket.socket) -> tuple[Message, list[int]]:
    """Return the next message and the descriptors that came with it, which are the caller's to close.

    Raises: EOFError, Garbled, BlockingIOError.
    """
    room = socket.CMSG_SPACE(MAX_DESCRIPTORS * array.array("i").itemsize)
    try:
        packet, ancillary, flags, _ = sock.recvmsg(MAX_PACKET + 1, room, _CLOSE_ON_EXEC)
    except ConnectionResetError:
        raise EOFError from None
    descriptors = array.array("i")
    for level, kind, data in ancillary:
        if (level, kind) == _RIGHTS:
            descriptors.frombytes(data[: len(data) - len(data) % descriptors.itemsize])
    try:
        return _parse(packet, flags), list(descriptors)
    except BaseException:
        close_all(descriptors)
        raise


def _parse(packet: bytes, flags: int) -> Message:
    if flags & _CUT_OFF:
        raise Garbled("a packet was cut off")
    if not packet:
        raise EOFError
    try:
        message = _decode(packet.decode())
    except (ValueError, RecursionError) as error:
        raise Garbled(f"a packet is not JSON: {packet[:60]!r}") from error
    if not isinstance(message, dict):
        raise Garbled(f"a packet is not an object: {packet[:60]!r}")
    return message


def close_all(descriptors: Sequence[int]) -> None:
    """Close `descriptors`, whatever state they are in."""
    for descriptor in descriptors:
        try:
            os.close(descriptor)
        except OSError:
            continue


class Channel:
    """One end of a packet socket in a single-threaded program: never waits, queues what does not fit yet."""

    def __init__(self, sock: socket.socket) -> None:
        sock.settimeout(0)
        self.sock = sock
        self.unsent: collections.deque[bytes] = collections.deque()

    def fileno(self) -> int:
        """Return the descriptor to poll."""
        return self.sock.fileno()

    def send(self, message: Message) -> None:
        """Queue `message` and send what fits; a peer that is gone is noticed when reading."""
        self.unsent.append(encode(message))
        self.flush()

    def flush(self) -> None:
        """Send queued packets as far as they fit."""
        while self.unsent:
            try:
                self.sock.send(self.unsent[0])
            except BlockingIOError:
                return
            except OSError:
                self.unsent.clear()
                return
            self.unsent.popleft()

    def receive(self) -> tuple[Message, list[int]]:
        """Return the next message and its descriptors.

        Raises: EOFError, Garbled, BlockingIOError (nothing there yet).
        """
        if self.sock.fileno() < 0:
            raise EOFError
        return receive(self.sock)

    def close(self) -> None:
        """Close this end."""
        self.sock.close()
