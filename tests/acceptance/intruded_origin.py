"""A bare repository whose reflog tells everything, and an intruder who pushes, rewinds, forces and restores its target.

Invariant: every change of the target stands in the reflog with who made it; the intruder acts under his own name. The
histories of landing are judged by it alone.
"""

from __future__ import annotations

import os
import random
import subprocess
from dataclasses import dataclass
from pathlib import Path

CHECK = 'test -z "$(cat things/* | sort | uniq -d)"'
"""What is red on a merge of two changes that are green alone; a reader of the repository can tell it from a tree."""
MAIN = "refs/heads/main"
WIP = "refs/symphony/wip"


@dataclass
class Update:
    """One line of the target's reflog."""

    old: str
    new: str
    by_us: bool


class Origin:
    """The bare repository, and the intruder's hands in it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        _git(path.parent, "init", "-q", "--bare", "-b", "main", str(path))
        for key, value in {"core.logAllRefUpdates": "always", "user.name": "symphony", "user.email": "s@localhost"}.items():
            self.git("config", key, value)
        self._import([_commit(MAIN, None, {"shared": "one\n", f"things/first-{n}": f"first {n}\n"}) for n in range(3)])
        self.count = 0

    def git(self, *words: str, stdin: str = "") -> str:
        """Act as the intruder."""
        return _git(self.path, *words, stdin=stdin)

    def heads(self, base: str, names: list[tuple[str, str]]) -> dict[str, str]:
        """Make a commit upon `base` for each (run, trailer), and give them; some clash in text, some in the check."""
        stream = []
        for number, (run, message) in enumerate(names):
            files = {f"things/{number}": f"thing {number % max(len(names) - 2, 2)}\n"}
            if number in (1, 4):
                files["shared"] = f"by {number}\n"
            stream.append(_commit(f"{WIP}/{run}/1", base, files, message))
        self._import(stream)
        listed = [line.split() for line in self.git("for-each-ref", "--format=%(refname) %(objectname)", WIP).splitlines()]
        return {ref.split("/")[3]: commit for ref, commit in listed}

    def tip(self) -> str:
        """Give the target's commit; it is never packed."""
        return (self.path / MAIN).read_text().strip()

    def updates(self) -> list[Update]:
        """Read the target's reflog, oldest first."""
        lines = (self.path / "logs" / MAIN).read_text().splitlines()
        return [Update(*line.split(" ", 2)[:2], by_us="intruder" not in line.partition("\t")[0]) for line in lines]

    def intrude(self, dice: random.Random, *, may_rewind: bool = True) -> None:
        """Push, rewind, force or restore."""
        self.count += 1
        files = {f"things/intruder-{self.count}": f"intruder {self.count}\n"}
        known = [update.new for update in self.updates()]
        way = dice.choice(["push", "push", "rewind", "force", "restore"]) if may_rewind else "push"
        if way == "push":
            if dice.random() < 0.1:
                files["things/red"] = "first 1\n"
            self._import([_commit(MAIN, self.tip(), files, "an intruder's push")])
        elif way == "force":
            self._import([_commit(MAIN, dice.choice(known), files, "an intruder's force")])
        elif way == "rewind":
            behind = self.git("rev-list", "--first-parent", "-n", "4", MAIN).splitlines()
            self.git("update-ref", MAIN, dice.choice(behind))
        else:
            self.git("update-ref", MAIN, dice.choice(known))

    def is_red(self, tree: str) -> bool:
        """Tell from the repository alone whether the check fails on a tree."""
        listed = [line.split()[2] for line in self.git("ls-tree", tree, "things/").splitlines()]
        return len(listed) != len(set(listed))

    def cure(self) -> None:
        """Make a red target green, as its people do."""
        for update in reversed(self.updates()):
            if not self.is_red(update.new):
                self.git("update-ref", MAIN, update.new)
                return

    def _import(self, stream: list[str]) -> None:
        self.git("fast-import", "--quiet", "--force", stdin="".join(stream) + "done\n")


def _commit(ref: str, base: str | None, files: dict[str, str], message: str = "first") -> str:
    lines = [f"commit {ref}", "committer intruder <i@localhost> 1790000000 +0000"]
    lines += [f"data {len(message)}", message]
    if base is not None:
        lines.append(f"from {base}")
    for name, content in files.items():
        lines += [f"M 100644 inline {name}", f"data {len(content)}", content]
    return "\n".join(lines) + "\n\n"


def _git(place: Path, *words: str, stdin: str = "") -> str:
    environment = {
        "PATH": os.environ["PATH"], "GIT_CONFIG_GLOBAL": "/dev/null", "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_COMMITTER_NAME": "intruder", "GIT_COMMITTER_EMAIL": "intruder@localhost",
        "GIT_AUTHOR_NAME": "intruder", "GIT_AUTHOR_EMAIL": "intruder@localhost",
    }  # fmt: skip
    done = subprocess.run(
        ["git", *words], cwd=place, env=environment, input=stdin, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, f"git {words}: {done.stdout}{done.stderr}"
    return done.stdout.strip()
