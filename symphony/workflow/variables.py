"""`$NAME` and `~` in configuration values, read from an environment that is passed in.

A message names the variable and the place, never a value. Only whole values are references, except in paths, where
`$NAME` may stand anywhere.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from pathlib import Path

_WHOLE = re.compile(r"\$(?:([A-Za-z_][A-Za-z0-9_]*)|\{([A-Za-z_][A-Za-z0-9_]*)\})")


def is_reference(value: object) -> bool:
    """Tell whether a value is nothing but `$NAME` or `${NAME}`."""
    return isinstance(value, str) and _WHOLE.fullmatch(value) is not None


def referenced(value: object) -> str | None:
    """Name the variable that a value refers to, or None where it is no reference."""
    match = _WHOLE.fullmatch(value) if isinstance(value, str) else None
    return (match[1] or match[2]) if match else None


def expand_path(text: str, *, environ: Mapping[str, str], base: Path, missing: Callable[[str], Exception]) -> Path:
    """Give the absolute path that a configured path means, without following links.

    Raises:
        Exception: what `missing` makes of the name of a variable (or `~user`) that is not set or empty.
    """

    def value_of(match: re.Match[str]) -> str:
        name = match[1] or match[2]
        if not environ.get(name):
            raise missing(f"${name}")
        return environ[name]

    path = _WHOLE.sub(value_of, text)
    if path.startswith("~"):
        path = _expand_home(path, environ, missing)
    return Path(os.path.normpath(base.absolute() / path))


def _expand_home(path: str, environ: Mapping[str, str], missing: Callable[[str], Exception]) -> str:
    user, slash, rest = path.partition("/")
    if user == "~" and environ.get("HOME"):
        return environ["HOME"] + slash + rest
    home = str(Path(user).expanduser()) if user == "~" or _is_user(user) else user
    if home.startswith("~"):
        raise missing(user)
    return home + slash + rest


def _is_user(name: str) -> bool:
    return os.path.expanduser(name) != name  # noqa: PTH111 (Path.expanduser raises for unknown users)
