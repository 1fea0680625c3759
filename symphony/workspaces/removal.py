"""Removing directories that an agent has filled.

Invariant: nothing outside the directory is touched (no symbolic link is followed), however deep and however unreadable
its inside is. Mirrors, workspaces and checkouts are removed here.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from symphony.domain.errors import Transient

if TYPE_CHECKING:
    from symphony.processes.guardian import Tree

_REMOVE_S = 600.0


def remove_tree(tree: Tree, path: Path) -> None:
    """Remove `path` and everything under it; nothing there is fine.

    Raises:
        Transient: when something is left.
    """
    if not os.path.lexists(path):
        return
    environment = {"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C"}
    removal = ["rm", "-rf", "--", str(path)]
    # Python's own rmtree recurses: a chain of a few thousand directories would end it.
    said = tree.run(removal, cwd=path.parent, env=environment, timeout_s=_REMOVE_S).stderr
    if os.path.lexists(path):
        tree.run(["chmod", "-R", "u+rwX", "--", str(path)], cwd=path.parent, env=environment, timeout_s=_REMOVE_S)
        said = tree.run(removal, cwd=path.parent, env=environment, timeout_s=_REMOVE_S).stderr
    if os.path.lexists(path):
        raise Transient(f"cannot remove {path}: {said.text()[:300].strip()}", category="not_removed")
