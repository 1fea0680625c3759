"""`symphony init`: a commented WORKFLOW.md that fits a repository, its commands tried before they are written.

Invariant: an existing file is never written over, and nothing but that one file is written.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Annotated

import typer

from symphony.cli.app import app
from symphony.cli.formatting import line, seconds
from symphony.domain.errors import ConfigError
from symphony.local.harness import contract
from symphony.local.harness.bench import Bench, Ran, bench_for
from symphony.local.harness.folder import Folder
from symphony.local.harness.guards import protected
from symphony.local.harness.kinds import Layout, layout_of
from symphony.workflow.loader import FILE_NAME, parse
from symphony.workflow.source_name import name_from_folder

_MOST_WORDS = 200
_PROJECT = re.compile(r"(?:https://linear\.app/[^/]+/project/)?(?P<slug>[A-Za-z0-9][A-Za-z0-9-]*)(?:/.*)?")


@app.command()
def init(
    folder: Annotated[Path, typer.Argument(metavar="[DIR]", help="The repository's top folder.")] = Path(),
    timeout: Annotated[float, typer.Option(min=1, help="Seconds for the setup, and for each test command.")] = 600,
    *,
    linear: Annotated[
        str | None, typer.Option(metavar="PROJECT", help="Issues are in this Linear project: its slug, or its address.")
    ] = None,
    no_run: Annotated[bool, typer.Option("--no-run", help="Write the commands without trying them.")] = False,
) -> None:
    """Write a commented WORKFLOW.md that fits the repository, after trying what it found."""
    file, project = folder / FILE_NAME, _project(linear)
    _refuse_existing(file)
    with bench_for(folder) as bench:
        checkout = bench.checkout()
        view = Folder(checkout)
        layout = layout_of(view)
        name = name_from_folder(bench.top)
        line(f"{name}: {layout.described}")
        if not no_run:
            _try(bench, checkout, layout, timeout)
        facts = contract.Facts(
            name, bench.remote(), layout, protected(view, layout), view.has("AGENTS.md") is not None, linear_project=project
        )
    text = contract.text_of(facts)
    parse(text, place=str(file))
    _write(file, text)
    _say_what_is_next(file, facts)


def _project(word: str | None) -> str | None:
    """Take a project's slug out of what a person copies: the address of one of its pages, or the slug itself."""
    if word is None:
        return None
    found = _PROJECT.fullmatch(word.strip())
    if found is None:
        raise ConfigError(
            "is no slug of a Linear project",
            place="--linear",
            cure="copy the address of the project's page, such as https://linear.app/acme/project/shop-0c79b11b75ea",
        )
    return found["slug"]


def _try(bench: Bench, checkout: Path, layout: Layout, timeout_s: float) -> None:
    """Run the setup and the checks in the clean checkout and say what came out; a red one is written all the same."""
    if layout.setup is not None and not _tried(bench, checkout, "setup", layout.setup, timeout_s):
        return
    for check in layout.checks:
        _tried(bench, checkout, check.name, check.run, timeout_s)


def _tried(bench: Bench, checkout: Path, name: str, command: str, timeout_s: float) -> bool:
    typer.echo(f"running `{command}` in a clean checkout, at most {seconds(timeout_s)} ...", err=True)
    ran = bench.run(command, checkout, timeout_s=timeout_s)
    line(f"{name}: `{command}` {outcome(ran, timeout_s)}")
    return ran.passed


def outcome(ran: Ran, timeout_s: float) -> str:
    """Say how a command ended, and what to do about it, in one sentence."""
    if ran.passed:
        return f"passed in {seconds(ran.seconds)}"
    if ran.timed_out:
        return f"did not end within {seconds(timeout_s)}; give it longer with --timeout, and in the file with timeout_ms"
    if ran.is_missing:
        return f"did not start: {ran.last_words[:_MOST_WORDS]}; install that program here and on every node"
    how = f"failed with exit code {ran.code} in {seconds(ran.seconds)}"
    return f"{how}: {ran.last_words[:_MOST_WORDS]}; mend it before agents start"


def _refuse_existing(file: Path) -> None:
    if os.path.lexists(file):
        raise ConfigError("exists already and stays as it is", place=str(file), cure="`symphony check` explains it")


def _write(file: Path, text: str) -> None:
    try:
        with file.open("x", encoding="utf-8") as new:
            new.write(text)
    except FileExistsError:
        _refuse_existing(file)
    except OSError as error:
        raise ConfigError(
            f"cannot be written: {error.strerror}", place=str(file), cure="make the folder writable for this user"
        ) from error


def _say_what_is_next(file: Path, facts: contract.Facts) -> None:
    if facts.protect:
        line(f"protected, since they decide what a check says: {', '.join(facts.protect)}")
    if not facts.layout.checks:
        line(f"no test command was found, so nothing lands: name one in {file} under proof.checks")
    where = "this repository itself" if facts.remote.url is None else f"the remote {facts.remote.name}"
    line(f"wrote {file}: changes land on {facts.remote.branch} of {where}, once a person has approved them")
    if facts.linear_project is not None:
        line("next: set LINEAR_API_KEY and OPENAI_API_KEY, run `symphony check --create-states`, then `symphony up`")
    elif not (file.parent / "issues").is_dir():
        line(f"next: make the folder {file.parent / 'issues'} with a first issue, set OPENAI_API_KEY, run `symphony check`")
    else:
        line("next: set OPENAI_API_KEY, run `symphony check`, then `symphony up`")
