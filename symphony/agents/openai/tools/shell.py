"""The tool `shell`: a command line in the workspace, which may run on after the call and be asked again.

Invariant: a call ends when its command has, when its time or its step's is over (frozen time does not count), or when the
turn must end; a command lives no longer than its tree. Its exit code stands in the text, it is no error of the tool.
"""

from __future__ import annotations

import contextlib
import signal
from dataclasses import dataclass

from pydantic import Field

from symphony.agents.openai.tools.desk import Arguments, Desk, Raw, Result, Text, Tool
from symphony.agents.openai.tools.sessions import HEAD, MOST_COMMANDS, TAIL, Command
from symphony.processes.tree import refusal
from symphony.processes.wire import now

DEFAULT_WAIT_MS = 30_000
MOST_WAIT_MS = 600_000
_LOOK_EVERY_S = 1.0
_INTERRUPT, _END, _KILL = "\x03", "\x04", "\x1c"
_ARTIFACTS = "SYMPHONY_ARTIFACTS"


class _Arguments(Arguments):
    command: Text | None = Field(default=None, description="A bash command line. Null when you go on with a session.")
    wait_ms: int | None = Field(
        default=None,
        description=f"How long to wait for its end: {DEFAULT_WAIT_MS} when null, at most {MOST_WAIT_MS}.",
    )
    session: Text | None = Field(default=None, description="The session to go on with, as an earlier call named it.")
    input: Raw | None = Field(
        default=None,
        description=(
            "Text for its standard input, which is empty and closed when this is null at the start. At its end the "
            "characters \\u0003 (interrupt), \\u0004 (end of input) and \\u001c (kill) act as in a terminal."
        ),
    )


def _shell(arguments: _Arguments, desk: Desk) -> Result:
    if arguments.session is not None:
        if arguments.command is not None:
            return Result("Nothing was done: give either a command to start or a session to go on with, not both.")
        return _go_on(arguments, arguments.session, desk)
    if arguments.command is None or not arguments.command.strip():
        return Result("Nothing was done: give a command to start, or the session to go on with.")
    return _start(arguments, arguments.command, desk)


def _start(arguments: _Arguments, line: str, desk: Desk) -> Result:
    if not desk.sessions.has_room():
        return Result(
            f"Nothing was started: {MOST_COMMANDS} commands run already, in the sessions {_named(desk)}. End one of them: "
            'its session with the input "\\u001c".'
        )
    try:
        process = desk.tree.start(
            ["bash", "-c", line],
            cwd=desk.workspace,
            env={_ARTIFACTS: str(desk.artifacts), **desk.environment},
            stdin=b"" if arguments.input is None else None,
            merge_stderr=True,
        )
    except OSError as error:
        where = f": {error.filename}" if error.filename else ""
        return Result(f"The command was not started: {error.strerror}{where}.")
    try:
        command = desk.sessions.serve(process)
    except RuntimeError as error:
        process.signal(signal.SIGKILL)
        process.close()
        return Result(f"The command was not started: {error}.")
    told = "" if arguments.input is None else _send(command, arguments.input)
    return _wait(_Call(desk, command, None), arguments.wait_ms, told)


def _go_on(arguments: _Arguments, name: str, desk: Desk) -> Result:
    command = desk.sessions.get(name)
    if command is None:
        there = f"There are: {_named(desk)}." if desk.sessions.names() else "No command runs."
        return Result(
            f"There is no session {name!r}. {there} A session is gone when its end was told, or when the work was taken up "
            "again after an interruption: start the command again if it is still needed."
        )
    told = "" if arguments.input is None else _send(command, arguments.input)
    return _wait(_Call(desk, command, name), arguments.wait_ms, told)


def _send(command: Command, text: str) -> str:
    """Put `text` in line, act on the control character at its end, and say what did not work."""
    act = text[-1:] if text[-1:] in {_INTERRUPT, _END, _KILL} else ""
    data = text.removesuffix(act).encode() if act else text.encode()
    told = ""
    if data and not command.takes_input:
        told = 'The input was not sent: the command\'s standard input is closed. (Start it with an input, "" will do.)\n'
    elif data and not command.send(data):
        told = "The input was not sent: more than 1 MiB would wait for the command to read it.\n"
    if act == _END:
        command.end_input()
    elif act:
        command.signal(signal.SIGINT if act == _INTERRUPT else signal.SIGKILL)
    return told


@dataclass(frozen=True, slots=True)
class _Call:
    """A call that waits for a command; `name` is that of its session, None for a new one."""

    desk: Desk
    command: Command
    name: str | None


def _wait(call: _Call, wait_ms: int | None, told: str) -> Result:
    desk, command = call.desk, call.command
    wanted_ms = DEFAULT_WAIT_MS if wait_ms is None else max(wait_ms, 0)
    wait_s = min(min(wanted_ms, MOST_WAIT_MS) / 1000, desk.step.left_s)
    began, frozen = now(), desk.tree.frozen_s
    taken, heard = 0.0, command.received
    stop = None
    while not command.finished.wait(min(max(wait_s - taken, 0.0), _LOOK_EVERY_S)):
        desk.heard("output" if command.received != heard else "waiting")
        heard = command.received
        taken = now() - began - (desk.tree.frozen_s - frozen)
        stop = desk.stop_reason()
        if taken >= wait_s or stop is not None:
            break
    if command.finished.is_set() and desk.tree.ended is not None:
        raise refusal(desk.tree.name, {"ended": desk.tree.ended})
    return Result(told + _status(call, taken, stop) + _written(command))


def _status(call: _Call, taken_s: float, stop: str | None) -> str:
    sessions, command = call.desk.sessions, call.command
    if command.exit_code is not None:
        if call.name is not None:
            sessions.forget(call.name)
        return f"{_ending(command.exit_code)}\n"
    name = call.name or sessions.keep(command)
    if stop is not None:
        return f"Still running; the work is being stopped: {stop}.\n"
    # Its age makes each answer another one: who waits for a long and silent command does not go round in circles.
    since = f" ({now() - command.began:.0f} s since its start)" if call.name is not None else ""
    return f'Still running after {taken_s:.1f} s{since} as process {command.pid}. Ask again with the session "{name}".\n'


def _ending(code: int) -> str:
    if code >= 0:
        return f"Exit code {code}"
    with contextlib.suppress(ValueError):
        return f"Killed by signal {-code} ({signal.Signals(-code).name})"
    return f"Killed by signal {-code}"


def _written(command: Command) -> str:
    text = command.take().text()
    return f"Output:\n{text}" if text else "No output."


def _named(desk: Desk) -> str:
    return ", ".join(desk.sessions.names())


TOOL = Tool(
    name="shell",
    description=(
        "Run a bash command line in the workspace. Each command begins in the workspace's folder with a fresh shell; there "
        "is no terminal. A command that takes longer than wait_ms runs on as a session: call again with its name to wait "
        "for it, to read what it wrote since, or to send it input. Give long test suites a long wait_ms. Of a long output "
        f"the first {HEAD // 1024} and the last {TAIL // 1024} KiB are shown: write it to a file when you need all of it. "
        "Every command ends with your work."
    ),
    arguments=_Arguments,
    work=_shell,
    changes=True,
)
