"""The page for people at `/` (specification 13.7.1): the state as one table, made anew with each load.

What an issue contains is data: everything is escaped, and the page has no script.
"""

from __future__ import annotations

from html import escape
from typing import Any

_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; margin: 2rem; color: #1b1b1b; background: #fff; }
table { border-collapse: collapse; width: 100%; } th, td { text-align: left; padding: .3rem .8rem .3rem 0; }
th { border-bottom: 1px solid #999; } td { border-bottom: 1px solid #e4e4e4; vertical-align: top; }
.error { color: #a40000; } .quiet { color: #666; }
@media (prefers-color-scheme: dark) { body { color: #e8e8e8; background: #181818; } .error { color: #ff8a80; }
.quiet { color: #a0a0a0; } td { border-color: #333; } }
"""
_GROUPS = ("running", "queued", "retrying", "blocked", "reviewing")
_COLUMNS = ("Run", "Title", "State", "Stage", "Attempt", "Node", "Turns", "Tokens", "Last")


def page(state: dict[str, Any]) -> str:
    """Write the page for one state."""
    counts = " · ".join(f"{state['counts'][name]} {name}" for name in _GROUPS)
    totals = state["codex_totals"]
    rows = "".join(_row(run) for name in _GROUPS for run in state[name])
    head = "".join(f"<th scope=col>{name}</th>" for name in _COLUMNS)
    return (
        "<!doctype html><html lang=en><head><meta charset=utf-8><title>Symphony</title>"
        f'<meta http-equiv=refresh content=3><meta name=viewport content="width=device-width"><style>{_STYLE}</style>'
        f"</head><body><h1>Symphony</h1><p>{counts}</p>{_warnings(state)}"
        f"<table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>"
        f"<p class=quiet>{totals['total_tokens']} tokens · {totals['seconds_running']:.0f} s of agents · "
        f"{escape(state['generated_at'])} · <a href=/api/v1/state>JSON</a></p></body></html>"
    )


def _row(run: dict[str, Any]) -> str:
    name = escape(run["run"])
    link = f'<a href="/api/v1/{escape(run["run_id"], quote=True)}">{name}</a>'
    last = run["last_message"] or run["last_event"] or ""
    values = [run["title"], run["run_state"], run["stage"], run["attempt"], run["node"], run["turn_count"]]
    cells = [link, *(escape(str(value if value is not None else "")) for value in values)]
    cells += [
        str(run["tokens"]["total_tokens"]),
        f"<span class={'error' if run['error'] == last else 'quiet'}>{escape(last)}</span>",
    ]
    return "<tr>" + "".join(f"<td>{cell}</td>" for cell in cells) + "</tr>"


def _warnings(state: dict[str, Any]) -> str:
    said = [f"{w['name']}: {w[key]}" for w in state["workflows"] for key in ("poll_error", "load_error") if w[key]]
    said += [f"{w['name']} is paused" for w in state["workflows"] if w["paused"]]
    if state["effects"]["error"]:
        said.append(f"{state['effects']['pending']} writes wait for the tracker: {state['effects']['error']}")
    return "".join(f"<p class=error>{escape(line)}</p>" for line in said)
