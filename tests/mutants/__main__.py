"""Plant each fault of `table.MUTANTS` in a copy of the tree and demand that its test finds it.

    python -m tests.mutants [NAME…]

Invariant: the work tree itself is never touched, and a test counts only when it passes in the same copy without the
fault and fails with it for the reason that the table names. Exit code 0: every fault was found.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from queue import SimpleQueue

from tests.mutants.table import MUTANTS, Mutant

ROOT = Path(__file__).parents[2]
PATCHES = Path(__file__).parent
LANES = 2
_TEST_S = 40
_RUN_S = 240


class Lane:
    """One copy of the tree, in which one fault at a time is planted."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        listed = subprocess.run(
            ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"],
            cwd=ROOT,
            check=True,
            capture_output=True,
        )
        for name in filter(None, os.fsdecode(listed.stdout).split("\0")):
            if (ROOT / name).is_file():
                (folder / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(ROOT / name, folder / name)
        # PYTHONPATH comes before the installed package, and no byte code outlives the text that it was made from.
        self.environment = {
            **os.environ, "PYTHONPATH": str(folder), "PYTHONDONTWRITEBYTECODE": "1",
            "GIT_CEILING_DIRECTORIES": str(folder.parent),
        }  # fmt: skip

    def refusal(self, mutant: Mutant) -> str | None:
        """Give git's reason why a patch does not apply, or None."""
        done = self._apply(mutant, "--check")
        return done.stderr.strip() if done.returncode else None

    @contextmanager
    def planted(self, mutant: Mutant) -> Iterator[None]:
        """Plant a fault, and take it out again."""
        self._apply(mutant).check_returncode()
        try:
            yield
        finally:
            self._apply(mutant, "--reverse").check_returncode()

    def test(self, tests: Sequence[str]) -> tuple[int, str]:
        """Run tests in the copy and give pytest's exit code and words."""
        options = ["-q", "-x", "-p", "no:xdist", "--timeout", str(_TEST_S), "--show-capture=no"]
        with tempfile.TemporaryDirectory() as scratch:
            done = subprocess.run(
                [sys.executable, "-m", "pytest", *options, "--basetemp", f"{scratch}/tests", *tests],
                cwd=self.folder, env=self.environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT, text=True, errors="replace", timeout=_RUN_S, check=False,
            )  # fmt: skip
        return done.returncode, done.stdout

    def origin(self) -> Path:
        """Tell which `symphony` the copy's tests import."""
        command = [sys.executable, "-c", "import symphony; print(symphony.__file__)"]
        said = subprocess.run(command, cwd=self.folder, env=self.environment, check=True, capture_output=True, text=True)
        return Path(said.stdout.strip())

    def _apply(self, mutant: Mutant, *options: str) -> subprocess.CompletedProcess[str]:
        patch = PATCHES / f"{mutant.name}.patch"
        command = ["git", "apply", *options, str(patch)]
        return subprocess.run(command, cwd=self.folder, env=self.environment, capture_output=True, text=True, check=False)


def judge(lane: Lane, mutant: Mutant) -> str | None:
    """Plant a fault and run its test; None when the fault was found as the table says, else what is wrong."""
    began = time.monotonic()
    with lane.planted(mutant):
        code, said = lane.test([mutant.test])
    took = f"{time.monotonic() - began:.0f} s"
    if code == 0:
        return f"{mutant.name} lives: {mutant.test} passes with it ({took})"
    told = "\n".join(line for line in said.splitlines() if line[:2] in {"E ", "> ", "+ "} or line.startswith("FAILED"))
    if code != 1 or mutant.words not in told:
        return f"{mutant.name} breaks {mutant.test} otherwise than by {mutant.words!r} ({took}):\n{said[-3000:]}"
    print(f"found in {took}: {mutant.name} by {mutant.test}", flush=True)
    return None


def main(names: Sequence[str]) -> int:
    """Judge the named faults, or all."""
    unknown = set(names) - {mutant.name for mutant in MUTANTS}
    stray = {path.stem for path in PATCHES.glob("*.patch")} ^ {mutant.name for mutant in MUTANTS}
    if unknown or stray:
        print(f"no such mutant, or no line of the table for a patch: {', '.join(sorted(unknown | stray))}")
        return 2
    chosen = [mutant for mutant in MUTANTS if not names or mutant.name in names]
    with tempfile.TemporaryDirectory(prefix="mutants-") as folder:
        lanes = [Lane(Path(folder) / str(number)) for number in range(LANES)]
        assert lanes[0].origin().is_relative_to(lanes[0].folder), "the tests would import another symphony than the copy's"
        refused = {mutant.name: reason for mutant in chosen if (reason := lanes[0].refusal(mutant))}
        for name, reason in refused.items():
            print(f"tests/mutants/{name}.patch no longer applies; plant the same fault in today's code anew:\n{reason}")
        if refused:
            return 1
        tests = sorted({mutant.test for mutant in chosen})
        with ThreadPoolExecutor(LANES) as pool:
            halves = [half for half in (tests[0::2], tests[1::2]) if half]
            clean = list(pool.map(lambda work: work[0].test(work[1]), zip(lanes, halves, strict=False)))
            for code, said in clean:
                if code != 0:
                    print(f"a test fails without any fault, so it proves nothing:\n{said[-5000:]}")
                    return 1
            print(f"{len(tests)} tests pass without a fault", flush=True)
            free: SimpleQueue[Lane] = SimpleQueue()
            for lane in lanes:
                free.put(lane)

            def work(mutant: Mutant) -> str | None:
                lane = free.get()
                try:
                    return judge(lane, mutant)
                finally:
                    free.put(lane)

            wrong = [reason for reason in pool.map(work, chosen) if reason is not None]
    for reason in wrong:
        print(reason)
    print(f"{len(chosen) - len(wrong)} of {len(chosen)} planted faults were found")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
