"""An agent that writes into its workspace all the time, from two processes, and keeps the fleet's log of its life.

    writing_agent.py LOG GO

Its first attempt never ends by itself; later ones end when the file GO exists. One writer has left the session and its
parent, as a daemon does. Standard library only.
"""

import os
import sys
import time
from pathlib import Path

EVERY_S = 0.05


def main(log: str, go: str) -> None:
    """Write until it may end."""
    sys.stdin.read()
    issue, number = os.environ["SYMPHONY_ISSUE"], os.environ["SYMPHONY_ATTEMPT"]
    pid = os.getpid()  # the daemon signs with it, too: they are one agent
    lines = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)

    def say(word: str) -> None:
        attempt = f"{os.environ['SYMPHONY_RUN']}.{number}"
        os.write(lines, f"{time.time():.3f} {issue} {attempt} {pid} {word}\n".encode())

    def write(name: str) -> None:
        Path(name).write_text(f"{number} {time.time()}\n", encoding="utf-8")
        say("alive")

    say("start")
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            while True:
                write("daemon.txt")
                time.sleep(EVERY_S)
        os._exit(0)
    while number == "1" or not Path(go).exists():
        write("agent.txt")
        print("working", flush=True)
        time.sleep(EVERY_S)
    Path("agent.txt").unlink(missing_ok=True)
    Path(f"{issue}.txt").write_text(f"done by {issue}\n", encoding="utf-8")
    say("end")


if __name__ == "__main__":
    main(*sys.argv[1:3])
