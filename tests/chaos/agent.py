"""The scripted agent of a fleet: changes one file, and keeps a log of its own outside the workspace.

Invariant: the log alone tells when an agent lived, whatever the ledger says: one line at the start, one every tenth of
a second, one at the end, each with the instant, the issue, the stage's attempt and the process. Standard library only.

    agent.py LOG SECONDS [daemon | deaf | exit=N | asks=ISSUE,…]...

`daemon` leaves a process behind that has left the session; `deaf` ignores SIGTERM; `asks` lets the agent of these issues
ask once and go on when its prompt has what somebody wrote.
"""

import os
import signal
import subprocess
import sys
import time

EVERY_S = 0.1


def main(log: str, seconds: str, *ways: str) -> int:
    """Work for so long, then write the issue's file."""
    issue = os.environ["SYMPHONY_ISSUE"]
    told = sys.stdin.read()
    asking = {name for way in ways if way.startswith("asks=") for name in way.removeprefix("asks=").split(",")}
    if "daemon" in ways:
        subprocess.Popen([sys.executable, "-SE", __file__, log, "600", "left"], start_new_session=True)
    if "deaf" in ways:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    with open(log, "ab", buffering=0) as lines:  # noqa: PTH123 - pathlib costs half the start of this process

        def say(word: str) -> None:
            attempt = f"{os.environ['SYMPHONY_RUN']}.{os.environ['SYMPHONY_ATTEMPT']}"
            lines.write(f"{time.time():.3f} {issue} {attempt} {os.getpid()} {word}\n".encode())

        say("start")
        print("working", flush=True)
        until = time.monotonic() + float(seconds)
        while time.monotonic() < until:
            time.sleep(min(EVERY_S, max(until - time.monotonic(), 0)))
            say("alive")
        if issue in asking and " wrote:" not in told:
            say("end")
            print("Which colour shall it have?", flush=True)
            return 75
        with open(f"{issue}.txt", "w", encoding="utf-8") as file:  # noqa: PTH123
            file.write(f"done by {issue}\n")
        say("end")
    return next((int(way.removeprefix("exit=")) for way in ways if way.startswith("exit=")), 0)


if __name__ == "__main__":
    if sys.argv[3:] == ["left"]:
        time.sleep(float(sys.argv[2]))
    else:
        sys.exit(main(*sys.argv[1:]))
