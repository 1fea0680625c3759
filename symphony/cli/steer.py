"""The verbs by which people steer runs: retry, cancel, approve, rework, answer, pause, resume."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated

import typer

from symphony.cli import completion
from symphony.cli.app import app
from symphony.cli.connection import InWorkflow, ask
from symphony.cli.formatting import line
from symphony.domain.errors import ConfigError
from symphony.engine import lookup, steer
from symphony.engine.lookup import Target
from symphony.ledger.database import Transaction

Name = Annotated[
    str, typer.Argument(metavar="ISSUE|RUN", help="DEMO-1, DEMO-1#2, or a run's id.", autocompletion=completion.issues)
]
Message = Annotated[str | None, typer.Option("-m", "--message", help="What to say with it.")]
WorkflowName = Annotated[
    str | None, typer.Argument(metavar="[WORKFLOW]", help="Its name; left out: all.", autocompletion=completion.workflows)
]


@app.command()
def retry(issue: Name, message: Message = None, workflow: InWorkflow = None) -> None:
    """Begin a new run of an issue whose run has ended, or the next attempt of one that waits."""
    _steer(issue, workflow, lambda transaction, target: steer.retry(transaction, target, message))


@app.command()
def cancel(issue: Name, message: Message = None, workflow: InWorkflow = None) -> None:
    """Stop an issue's live run for good."""
    _steer(issue, workflow, lambda transaction, target: steer.cancel(transaction, target, message))


@app.command()
def approve(issue: Name, message: Message = None, workflow: InWorkflow = None) -> None:
    """Let a change land that waits for a person."""
    _steer(issue, workflow, lambda transaction, target: steer.approve(transaction, target, message))


@app.command()
def rework(issue: Name, message: Message = None, workflow: InWorkflow = None) -> None:
    """Send a change back to its agent with what should be better."""
    _steer(issue, workflow, lambda transaction, target: steer.rework(transaction, target, message))


@app.command()
def answer(
    issue: Name, text: Annotated[list[str], typer.Argument(help="The answer.")], workflow: InWorkflow = None
) -> None:
    """Answer the question of a blocked run."""
    said = " ".join(text).strip()
    if not said:
        raise ConfigError("the answer is empty", place="answer", cure="write it after the issue")
    _steer(issue, workflow, lambda transaction, target: steer.answer(transaction, target, said))


@app.command()
def pause(workflow: WorkflowName = None) -> None:
    """Start no new runs; those that live go on."""
    line(ask(lambda transaction: steer.set_paused(transaction, workflow, paused=True)))


@app.command()
def resume(workflow: WorkflowName = None) -> None:
    """Start new runs again."""
    line(ask(lambda transaction: steer.set_paused(transaction, workflow, paused=False)))


def _steer(word: str, workflow: str | None, act: Callable[[Transaction, Target], str]) -> None:
    line(ask(lambda transaction: act(transaction, lookup.find(transaction, word, workflow=workflow))))
