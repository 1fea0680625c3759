"""A workflow's name: safe in refs, paths, rows and urls, and told from the folder where the file gives none."""

from __future__ import annotations

import re
from pathlib import Path

_SAFE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_UNSAFE = re.compile(r"[^A-Za-z0-9._-]+")
_FALLBACK = "workflow"


def is_safe_name(name: str) -> bool:
    """Tell whether a name can stand in a ref and in a path as it is."""
    return bool(_SAFE.fullmatch(name)) and ".." not in name and not name.endswith((".", ".lock"))


def name_from_folder(folder: Path) -> str:
    """Give the default name of a workflow that lies in `folder`."""
    name = _UNSAFE.sub("-", folder.name).strip("-._")[:64].replace("..", ".").rstrip(".")
    return name if is_safe_name(name) else _FALLBACK
