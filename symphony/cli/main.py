"""The command `symphony`: its exit codes, and the one place where errors become sentences.

Invariant: 0 done, 1 failed, 2 the user's mistake, 3 people are needed (`up --until-idle`); a person's mistake is one
sentence with a place and a cure on standard error, never a traceback.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from functools import cache
from importlib import import_module

import typer
from typer.exceptions import Abort, Exit, TyperException
from typer.main import get_command

from symphony.cli import completion
from symphony.cli.app import app
from symphony.domain.errors import Cancelled, ConfigError, SymphonyError
from symphony.telemetry.redaction import redact
from symphony.workflow.findings import InvalidWorkflow

FAILED, MISTAKE, INTERRUPTED = 1, 2, 130

SERVING = frozenset({"worker", "beat", "flower", "webhooks"})
OTHERS = (
    *("processes", "init", "checking", "plan", "why", "logs", "clean", "database", "inspect", "status", "steer"),
    *("verify", "workflows"),
)
"""The modules whose import adds the verbs."""


def main() -> None:
    """Run the command and exit."""
    sys.exit(run(sys.argv[1:]))


def run(arguments: list[str]) -> int:
    """Run the command and give its exit code."""
    try:
        if arguments and arguments[0].split("=")[0] in completion.OPTIONS:
            return completion.run(arguments)
        arguments = with_default_verb(arguments)
        command = _command(("serving",) if arguments[0] in SERVING else ("serving", *OTHERS))
        code = command(arguments, prog_name="symphony", standalone_mode=False)
    except Exit as exit_:
        return exit_.exit_code
    except TyperException as error:
        return _refused(error)
    except (KeyboardInterrupt, Abort, Cancelled):
        return INTERRUPTED
    except BrokenPipeError:  # the reader has seen enough; what is still buffered has nowhere to go
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except InvalidWorkflow as error:
        for finding in error.findings:
            _say(str(finding))
        return MISTAKE
    except ConfigError as error:
        _say(str(error))
        return MISTAKE
    except SymphonyError as error:
        _say(str(error))
        return FAILED
    return code if isinstance(code, int) else 0


@cache
def _command(modules: tuple[str, ...]) -> Callable[..., object]:
    """Make the command with the verbs of these modules, once: Typer reads every signature for it."""
    for module in modules:
        import_module(f"symphony.cli.{module}")
    return get_command(app)


def with_default_verb(arguments: list[str]) -> list[str]:
    """Read `symphony`, `symphony PATH` and `symphony --OPTION` as `up` (specification 17.7)."""
    if not arguments:
        return ["up"]
    first = arguments[0]
    is_up = first != "--help" if first.startswith("-") else first.endswith(".md") or "/" in first or first.startswith(".")
    return ["up", *arguments] if is_up else arguments


def _refused(error: TyperException) -> int:
    sentence = " ".join(error.format_message().split())
    _say(sentence[:1].lower() + sentence[1:].rstrip(".") + " (`symphony --help` lists what there is)")
    return MISTAKE


def _say(sentence: str) -> None:
    typer.echo(f"symphony: {redact(' '.join(sentence.split()))}", err=True)
