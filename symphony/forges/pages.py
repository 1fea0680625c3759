"""Where people see a commit in their browser, as far as a repository's address tells."""

from __future__ import annotations

import re

_HOSTS = {
    "github.com": "https://github.com/{path}/commit/{sha}",
    "gitlab.com": "https://gitlab.com/{path}/-/commit/{sha}",
    "bitbucket.org": "https://bitbucket.org/{path}/commits/{sha}",
}
_ADDRESS = re.compile(
    r"^(?:(?:https?|ssh)://)?(?:[^@/]+@)?(?P<host>[A-Za-z0-9.-]+)(?::\d+(?=/))?[:/](?P<path>[^?#]+?)(?:\.git)?/?$"
)


def commit_page(repository_url: str, sha: str) -> str | None:
    """Give the page of a commit; None where the host is not one whose pages are known."""
    found = _ADDRESS.match(repository_url)
    page = _HOSTS.get(found["host"].lower()) if found else None
    return page.format(path=found["path"], sha=sha) if page and found and found["path"].count("/") >= 1 else None
