"""`symphony demo` as a user runs it: a process of its own, in a stranger's folder, without a terminal."""

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import wait_until
from tests.integration.up import of_home

LIMIT_S = 200  # 60 s on a machine of its own; the suite shares two cores
ROW = re.compile(r"^(DEMO-\d+) +(\w+) +(\d+) +([\d.]+) +(\d+) +\$([\d.]+) *([0-9a-f]{10})? *$", re.MULTILINE)
NOWHERE = "http://127.0.0.1:9"


@pytest.fixture
def temporary(tmp_path: Path) -> Path:
    """The folder for temporary files; a blank in its name must not matter."""
    folder = tmp_path / "t m p"
    folder.mkdir()
    return folder


@pytest.fixture
def elsewhere(tmp_path: Path) -> Path:
    """A project whose packages are named like ours."""
    folder = tmp_path / "project"
    for name in ("symphony", "workers", "beat"):
        (folder / name).mkdir(parents=True)
        (folder / name / "__init__.py").write_text("raise SystemExit('the wrong package')\n")
    return folder


@pytest.fixture
def demo(temporary: Path, elsewhere: Path) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(
        [sys.executable, "-P", "-m", "symphony", "demo", "--offline"],
        cwd=elsewhere,
        env={
            **{name: value for name, value in os.environ.items() if not name.startswith("SYMPHONY_")},
            "PYTHONPATH": str(Path(__file__).parents[2]),
            "TMPDIR": str(temporary),
            "GIT_DIR": "/nowhere",
            "OPENAI_API_KEY": "sk-nobody-may-see-this",
            "OPENAI_BASE_URL": f"{NOWHERE}/v1",
            **dict.fromkeys(("http_proxy", "HTTP_PROXY", "ALL_PROXY"), NOWHERE),
            "SYMPHONY_DATABASE_URL": "postgresql://nowhere/nothing",
            "SYMPHONY_BROKER_URL": "redis://nowhere/0",
            "SYMPHONY_HOME": str(temporary.parent / "untouched"),
        },
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        encoding="utf-8",
    )
    yield process
    if process.poll() is None:
        process.terminate()
        process.wait(60)


@pytest.mark.timeout(LIMIT_S + 60)
def test_the_story_comes_true_and_leaves_nothing(demo: subprocess.Popen[str], temporary: Path) -> None:
    began = time.monotonic()
    said, _ = demo.communicate(timeout=LIMIT_S)
    assert demo.returncode == 0, said
    assert time.monotonic() - began < LIMIT_S
    rows = {row[0]: row[1:] for row in ROW.findall(said)}
    assert len(rows) == 10, said
    assert all(int(tokens) > 1000 and float(cost) > 0 for _, _, _, tokens, cost, _ in rows.values()), said
    assert {issue: state for issue, (state, *_) in rows.items() if state != "landed"} == {"DEMO-8": "blocked"}
    commits = [commit for issue, (*_, commit) in rows.items() if issue != "DEMO-8"]
    assert len(set(commits)) == 9 and all(commits)
    assert all(int(rows[issue][1]) >= 2 for issue in ("DEMO-3", "DEMO-6", "DEMO-7")), rows
    assert max(int(rows[issue][1]) for issue in ("DEMO-4", "DEMO-5")) >= 2, rows
    assert said.count("  ✓ ") == 11 and "✗" not in said, said
    assert said.count("Model: recorded model, offline.") == 2 and "Nothing was paid" in said, said
    assert "SIGKILL" in said and "scaled" in said and "sk-nobody" not in said
    assert list(temporary.iterdir()) == []
    assert of_home(temporary) == []
    assert not (temporary.parent / "untouched").exists()


@pytest.mark.timeout(120)
def test_ctrl_c_stops_everything_and_leaves_nothing(demo: subprocess.Popen[str], temporary: Path) -> None:
    assert demo.stdout is not None
    for line in demo.stdout:
        if "its agent works" in line:
            break
    demo.send_signal(signal.SIGINT)
    said, _ = demo.communicate(timeout=60)
    assert demo.returncode == 130, said
    assert "Traceback" not in said
    wait_until(lambda: of_home(temporary) == [], what="the end of every process")
    assert list(temporary.iterdir()) == []
