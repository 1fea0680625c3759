"""A worker process that starts while its database is away ends at once: whoever keeps it running starts it again."""

import os
import subprocess
import sys
from pathlib import Path

from symphony.local.ports import any_free_port


def test_a_worker_without_its_database_ends_and_does_not_sit_on_doorbells(broker_url: str, tmp_path: Path) -> None:
    nobody = f"postgresql://nobody@127.0.0.1:{any_free_port()}/nothing"
    environment = {**os.environ, "SYMPHONY_DATABASE_URL": nobody, "SYMPHONY_BROKER_URL": broker_url}
    command = [sys.executable, "-m", "symphony", "worker", "--queues", "control", "--slots", "1"]
    done = subprocess.run(
        command,
        env={**environment, "SYMPHONY_HOME": str(tmp_path)},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 1, done.stdout + done.stderr
    assert "symphony worker: " in done.stderr and "connection" in done.stderr
    assert "Traceback" not in done.stderr
