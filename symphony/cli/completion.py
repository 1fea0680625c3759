"""Shell completion for bash, zsh and fish: the scripts, where they go, and what only the ledger can complete.

Invariant: completing never fails, waits no longer than a moment for the ledger, and writes nothing but candidates: a
ledger that is away, slow or of another build completes nothing.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from pathlib import Path

import psutil
import typer

from symphony.domain.errors import ConfigError, SymphonyError

OPTIONS = frozenset({"--install-completion", "--show-completion"})
_PATIENCE_S = 1.0
_MOST = 200

_BASH = """\
_symphony_completion() {
    local IFS=$'\\n'
    COMPREPLY=( $(env COMP_WORDS="${COMP_WORDS[*]}" COMP_CWORD="$COMP_CWORD" \\
                      _SYMPHONY_COMPLETE=complete_bash "$1" 2>/dev/null) )
    return 0
}
complete -o default -F _symphony_completion symphony
"""
_ZSH = """\
#compdef symphony
_symphony_completion() {
    eval "$(env _TYPER_COMPLETE_ARGS="${words[1,$CURRENT]}" _SYMPHONY_COMPLETE=complete_zsh symphony 2>/dev/null)"
}
if [ "$funcstack[1]" = "_symphony" ]; then
    _symphony_completion "$@"
else
    compdef _symphony_completion symphony
fi
"""
_ASK_FISH = (
    "env _SYMPHONY_COMPLETE=complete_fish _TYPER_COMPLETE_FISH_ACTION={action}"
    " _TYPER_COMPLETE_ARGS=(commandline -cp) symphony 2>/dev/null"
)
_FISH = (
    f'complete --command symphony --no-files --arguments "({_ASK_FISH.format(action="get-args")})"'
    f' --condition "{_ASK_FISH.format(action="is-args")}"\n'
)
SCRIPTS = {"bash": _BASH, "zsh": _ZSH, "fish": _FISH}
_ZSH_LINE = "fpath+=~/.zfunc; autoload -Uz compinit; compinit"


def run(arguments: list[str]) -> int:
    """Do `--show-completion [SHELL]` or `--install-completion [SHELL]`.

    Raises:
        ConfigError: the shell is none of those that are known, or its files cannot be written.
    """
    option, _, named = arguments[0].partition("=")
    shell = _shell(named or next(iter(arguments[1:]), ""), option)
    if option == "--show-completion":
        typer.echo(SCRIPTS[shell], nl=False)
        return 0
    path = _install(shell)
    typer.echo(f"completion for {shell} is in {path}; it works in every new shell")
    return 0


def _shell(named: str, option: str) -> str:
    shell = named or _present_shell()
    if shell not in SCRIPTS:
        what = f"{shell} is no shell that this completes" if shell else "the present shell cannot be told"
        raise ConfigError(what, place=option, cure=f"name one: `symphony {option} {'|'.join(SCRIPTS)}`")
    return shell


def _present_shell() -> str:
    """Name the shell that this was called from, else the user's own."""
    try:
        above = [process.name().lstrip("-") for process in psutil.Process().parents()]
    except psutil.Error:
        above = []
    return next((name for name in above if name in SCRIPTS), Path(os.environ.get("SHELL", "")).name)


def _install(shell: str) -> Path:
    home = Path.home()
    places = {
        "bash": (home / ".bash_completions" / "symphony.sh", home / ".bashrc"),
        "zsh": (home / ".zfunc" / "_symphony", home / ".zshrc"),
        "fish": (Path(os.environ.get("XDG_CONFIG_HOME") or home / ".config") / "fish/completions/symphony.fish", None),
    }
    script, start_up = places[shell]
    try:
        script.parent.mkdir(parents=True, exist_ok=True)
        script.write_text(SCRIPTS[shell], encoding="utf-8")
        if start_up is not None:
            _ensure_line(start_up, f"source '{script}'" if shell == "bash" else _ZSH_LINE)
    except OSError as error:
        raise ConfigError(
            f"cannot be written: {error.strerror}",
            place=str(error.filename),
            cure=f"make it writable, or source the output of `symphony --show-completion {shell}` yourself",
        ) from error
    return script


def _ensure_line(file: Path, line: str) -> None:
    """Append a line to a start-up file that does not have it."""
    text = file.read_text(encoding="utf-8", errors="surrogateescape") if file.exists() else ""
    if line in text.splitlines():
        return
    separator = "" if not text or text.endswith("\n") else "\n"
    with file.open("a", encoding="utf-8", errors="surrogateescape") as start_up:
        start_up.write(f"{separator}{line}\n")


def issues(incomplete: str) -> list[str]:
    """Complete what people call an issue."""
    return _begun(incomplete, lambda: _ask_ledger("issues"))


def workflows(incomplete: str) -> list[str]:
    """Complete the name of a workflow."""
    return _begun(incomplete, lambda: _ask_ledger("workflows"))


def _begun(incomplete: str, ask: Callable[[], list[str]]) -> list[str]:
    """Give the answers that begin with what was typed; none when they do not come within a moment."""
    found: list[str] = []

    def fetch() -> None:
        try:
            found.extend(ask())
        except (SymphonyError, OSError):
            return

    asking = threading.Thread(target=fetch, name="completion", daemon=True)
    asking.start()
    asking.join(_PATIENCE_S)
    typed = incomplete.casefold()
    return [name for name in list(found) if name.casefold().startswith(typed)][:_MOST]


def _ask_ledger(what: str) -> list[str]:
    from symphony.cli import connection
    from symphony.ledger import views

    if what == "issues":
        return connection.ask(views.identifiers)
    return [str(row["name"]) for row in connection.ask(views.workflows_now)]
