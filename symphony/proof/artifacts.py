"""Keeping what an agent left in $SYMPHONY_ARTIFACTS: screenshots, recordings, logs.

Invariant: no symbolic link is followed and nothing but a regular file is opened, even where the folder changes meanwhile; a
file is what its first bytes say, whatever it is named, and nothing is kept as what a browser would run. Kept files are
named by their content and owned by Symphony; text passes the redactor first.
"""

from __future__ import annotations

import hashlib
import os
import re
import secrets
import stat
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, BinaryIO

from symphony.telemetry.redaction import redact

OTHER = "application/octet-stream"
TEXT = "text/plain"
_CHUNK = 1024 * 1024
_HEAD = 4096
_LONGEST_NAME = 200
_STORED = re.compile(r"[0-9a-f]{64}\.[a-z0-9]{1,8}")
_MAGIC: tuple[tuple[int, bytes, str, str], ...] = (
    (0, b"\x89PNG\r\n\x1a\n", "image/png", "png"),
    (0, b"\xff\xd8\xff", "image/jpeg", "jpg"),
    (0, b"GIF87a", "image/gif", "gif"),
    (0, b"GIF89a", "image/gif", "gif"),
    (8, b"WEBP", "image/webp", "webp"),
    (4, b"ftyp", "video/mp4", "mp4"),
    (0, b"\x1aE\xdf\xa3", "video/webm", "webm"),
    (0, b"%PDF-", "application/pdf", "pdf"),
    (0, b"PK\x03\x04", "application/zip", "zip"),
    (0, b"\x1f\x8b", "application/gzip", "gz"),
)


@dataclass(frozen=True, slots=True)
class ArtifactLimits:
    """How much is kept, and how far it is looked."""

    file_bytes: int = 25 * 1024 * 1024
    total_bytes: int = 100 * 1024 * 1024
    files: int = 100
    entries: int = 10_000
    depth: int = 8


LIMITS = ArtifactLimits()


@dataclass(frozen=True, slots=True)
class Artifact:
    """A file that is kept under `stored`, with the name that the agent gave it, fit for printing."""

    name: str
    type: str
    bytes: int
    sha256: str
    stored: str

    def as_json(self) -> dict[str, Any]:
        """Give it as it is stored."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Collected:
    """What is kept, and why the rest is not."""

    kept: tuple[Artifact, ...] = ()
    refused: tuple[str, ...] = ()

    def as_json(self) -> dict[str, Any]:
        """Give it as it is stored."""
        return {"kept": [artifact.as_json() for artifact in self.kept], "refused": list(self.refused)}


def folder_of(home: Path, run_id: object) -> Path:
    """Give where a run's artifacts are kept."""
    return home / "artifacts" / str(run_id)


def open_kept(home: Path, run_id: object, stored: str) -> BinaryIO | None:
    """Open an artifact by its stored name; None where it is not kept here, or something else lies in its place."""
    if not _STORED.fullmatch(stored):
        return None
    try:
        folder = os.open(folder_of(home, run_id), os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            opened = os.open(stored, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=folder)
        finally:
            os.close(folder)
    except OSError:
        return None
    if stat.S_ISREG(os.fstat(opened).st_mode):
        return os.fdopen(opened, "rb")
    os.close(opened)
    return None


def kept_at(home: Path, run_id: object, stored: str) -> Path | None:
    """Give the file in which an artifact is kept; None where it is not kept here."""
    file = open_kept(home, run_id, stored)
    if file is None:
        return None
    file.close()
    return folder_of(home, run_id) / stored


def collect(source: Path, store: Path, *, limits: ArtifactLimits = LIMITS) -> Collected:
    """Copy what lies in `source` into `store` (`folder_of`); what is kept there already is not copied again.

    Raises:
        OSError: `store` cannot be written.
    """
    kept: list[Artifact] = []
    refused: list[str] = []
    left = limits.total_bytes
    for abandoned in store.glob(".*.part"):
        abandoned.unlink(missing_ok=True)
    for name, descriptor in _files(source, limits, refused):
        with os.fdopen(descriptor, "rb", buffering=0) as file:
            if len(kept) >= limits.files:
                refused.append(f"{name}: more than {limits.files} files")
                continue
            most = min(limits.file_bytes, left)
            artifact = _keep(name, file.fileno(), store, most)
        if artifact is None:
            refused.append(f"{name}: larger than {most} bytes")
            continue
        kept.append(artifact)
        left -= artifact.bytes
    return Collected(tuple(kept), tuple(refused[: limits.files]))


def type_of(head: bytes) -> tuple[str, str]:
    """Give the media type and the suffix of a file by its first bytes; what looks like text is plain text, HTML, too."""
    for at, magic, kind, suffix in _MAGIC:
        if head[at : at + len(magic)] == magic and (kind != "image/webp" or head.startswith(b"RIFF")):
            return kind, suffix
    if b"\0" in head:
        return OTHER, "bin"
    for end in range(4):  # a character may be cut in two at the end of what was read
        with suppress(UnicodeDecodeError):
            head[: len(head) - end].decode()
            return TEXT, "txt"
    return OTHER, "bin"


def _files(source: Path, limits: ArtifactLimits, refused: list[str]) -> Iterator[tuple[str, int]]:
    """Open every regular file below a folder, going down by descriptors, so that no link is ever passed."""
    try:
        top = os.open(source, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError:
        return
    seen = 0
    folders = [("", top)]
    try:
        while folders:
            prefix, folder = folders.pop()
            try:
                for entry in sorted(_names(folder)):
                    seen += 1
                    if seen > limits.entries:
                        refused.append(f"more than {limits.entries} entries: the rest is not looked at")
                        return
                    name = f"{prefix}{entry}"
                    opened = _opened(folder, entry, _printable(name), refused)
                    if opened is None:
                        continue
                    if not stat.S_ISDIR(os.fstat(opened).st_mode):
                        yield _printable(name), opened
                    elif prefix.count("/") < limits.depth:
                        folders.append((f"{name}/", opened))
                    else:
                        os.close(opened)
                        refused.append(f"{_printable(name)}: nested more than {limits.depth} deep")
            finally:
                os.close(folder)
    finally:
        for _, folder in folders:
            os.close(folder)


def _names(folder: int) -> list[str]:
    try:
        return os.listdir(folder)
    except OSError:
        return []


def _opened(folder: int, entry: str, name: str, refused: list[str]) -> int | None:
    """Open a file or a folder; anything else is refused before it is opened, and again after, should it have changed."""
    try:
        found = os.stat(entry, dir_fd=folder, follow_symlinks=False)
        if not (stat.S_ISREG(found.st_mode) or stat.S_ISDIR(found.st_mode)):
            refused.append(f"{name}: no regular file")
            return None
        opened = os.open(entry, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=folder)
    except OSError:
        refused.append(f"{name}: cannot be read")
        return None
    mode = os.fstat(opened).st_mode
    if stat.S_ISREG(mode) or stat.S_ISDIR(mode):
        return opened
    os.close(opened)
    refused.append(f"{name}: no regular file")
    return None


def _keep(name: str, descriptor: int, store: Path, most: int) -> Artifact | None:
    """Copy an open file under the digest of what was copied; None when it is larger than `most` bytes."""
    store.mkdir(parents=True, exist_ok=True, mode=0o700)
    partial = store / f".{secrets.token_hex(8)}.part"
    try:
        with os.fdopen(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600), "wb") as file:
            copied = _copy(descriptor, file.write, most)
        if copied is None:
            return None
        size, digest, (kind, suffix) = copied
        stored = f"{digest}.{suffix}"
        partial.rename(store / stored)
        return Artifact(name, kind, size, digest, stored)
    finally:
        partial.unlink(missing_ok=True)


def _copy(descriptor: int, write: Callable[[bytes], object], most: int) -> tuple[int, str, tuple[str, str]] | None:
    """Copy to the end; give size and digest of what was written, and what it is. None when there is more than `most`."""
    digest = hashlib.sha256()
    read = size = 0
    kind: tuple[str, str] | None = None
    rest = b""
    while True:
        chunk = os.read(descriptor, _CHUNK)
        read += len(chunk)
        if read > most:
            return None
        kind = kind or type_of(chunk[:_HEAD])
        piece = chunk
        if kind[0] == TEXT:
            # Line by line, so that a secret is not cut in two; at the end of the file what is left.
            end = (rest + chunk).rfind(b"\n") + 1 if chunk and len(rest) < _CHUNK else len(rest + chunk)
            piece, rest = _redacted((rest + chunk)[:end]), (rest + chunk)[end:]
        digest.update(piece)
        write(piece)
        size += len(piece)
        if not chunk:
            return size, digest.hexdigest(), kind


def _redacted(text: bytes) -> bytes:
    return redact(text.decode(errors="surrogateescape")).encode(errors="surrogateescape")


def _printable(name: str) -> str:
    shown = os.fsencode(name).decode(errors="replace")
    return "".join(letter if letter.isprintable() else "\ufffd" for letter in shown)[:_LONGEST_NAME]
