"""Attachments on Linear: a link, a pull request, or a text that Linear shall keep; each attached once.

Invariant: the attachment's id is made from its key, so a second try finds the first; a file whose attachment was not made
is seen by nobody. The storage that takes a file gets its own headers only, never our credential.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

import httpx

from symphony.domain.errors import InvariantViolated, Rejected, Transient
from symphony.trackers.linear.answers import required_nodes, required_object, required_text
from symphony.trackers.linear.client import Client
from symphony.trackers.linear.failures import NOT_FOUND, REQUEST, RESPONSE, STATUS
from symphony.trackers.linear.identity import own_uuid
from symphony.trackers.linear.writes import as_refused
from symphony.trackers.linear.writing_documents import (
    ATTACH,
    ATTACH_PULL_REQUEST,
    ATTACHMENT_THERE,
    ATTACHMENTS_OF_URL,
    UPLOAD,
)
from symphony.trackers.protocol import Attachment

_PULL_REQUEST = re.compile(r"https://github\.com/[^/\s]+/[^/\s]+/pull/\d+/?")
_TEXT = "text/markdown"


def attach(client: Client, issue_id: str, *, key: str, attachment: Attachment) -> None:
    """Make the issue have one attachment with this key. Raises: Rejected, Transient, ConfigError."""
    attachment_id = own_uuid(key)
    if attachment.content is not None:
        if not _is_there(client, attachment_id):
            url = _upload(client, attachment.title, attachment.content.encode())
            _attach(client, attachment_id, issue_id, attachment, url)
    elif attachment.url is None:
        raise InvariantViolated("an attachment needs a place or a content")
    elif not _PULL_REQUEST.fullmatch(attachment.url) or not _is_linked(client, attachment_id, issue_id, attachment):
        _attach(client, attachment_id, issue_id, attachment, attachment.url)


def _attach(client: Client, attachment_id: str, issue_id: str, attachment: Attachment, url: str) -> None:
    """Attach a url; Linear keeps one attachment a url and issue, and changes its words where it is there."""
    wanted = {"id": attachment_id, "issueId": issue_id, "title": attachment.title, "url": url}
    if attachment.subtitle:
        wanted["subtitle"] = attachment.subtitle
    try:
        client.ask(ATTACH, {"input": wanted}, operation="SymphonyAttach")
    except Rejected as refusal:
        if refusal.category == NOT_FOUND or not _is_there(client, attachment_id):
            raise as_refused(refusal, issue_id) from None


def _is_linked(client: Client, attachment_id: str, issue_id: str, attachment: Attachment) -> bool:
    """Link a pull request in the way in which Linear shows its state; False where this workspace cannot."""
    asked = {"url": attachment.url}
    for node in required_nodes(
        client.ask(ATTACHMENTS_OF_URL, asked, operation="SymphonyAttachmentsOfUrl"), "attachmentsForURL"
    ):
        if required_object(node, "issue").get("id") == issue_id:
            return True
    wanted = {"id": attachment_id, "issueId": issue_id, "url": attachment.url, "title": attachment.title}
    try:
        client.ask(ATTACH_PULL_REQUEST, wanted, operation="SymphonyAttachPullRequest")
    except Rejected as refusal:
        if refusal.category == NOT_FOUND:
            raise as_refused(refusal, issue_id) from None
        return _is_there(client, attachment_id)
    return True


def _is_there(client: Client, attachment_id: str) -> bool:
    return bool(
        required_nodes(
            client.ask(ATTACHMENT_THERE, {"id": attachment_id}, operation="SymphonyAttachmentThere"), "attachments"
        )
    )


def _upload(client: Client, title: str, content: bytes) -> str:
    """Let Linear keep a text, and give its address. Raises: Rejected, Transient."""
    name = re.sub(r"[^a-z0-9]+", "-", title.lower()).strip("-")[:60] or "text"
    asked = {"filename": f"{name}.md", "contentType": _TEXT, "size": len(content)}
    file = required_object(
        required_object(client.ask(UPLOAD, asked, operation="SymphonyUpload"), "fileUpload"), "uploadFile"
    )
    place, address = required_text(file, "uploadUrl"), required_text(file, "assetUrl")
    if urlsplit(place).scheme != urlsplit(client.endpoint).scheme:
        raise Transient("Linear's answer names no safe place for a file", category=RESPONSE)
    headers = {"Content-Type": _TEXT, "Cache-Control": "public, max-age=31536000", **_headers(file)}
    try:
        answer = client.http.put(place, content=content, headers=headers)
    except httpx.HTTPError as error:
        raise Transient(f"Linear's storage did not take a file: {type(error).__name__}", category=REQUEST) from error
    if not answer.is_success:
        raise Transient(f"Linear's storage answered with status {answer.status_code}", category=STATUS)
    return address


def _headers(file: Mapping[str, Any]) -> dict[str, str]:
    given = file.get("headers")
    pairs = given if isinstance(given, list) else []
    return {required_text(pair, "key"): required_text(pair, "value") for pair in pairs if isinstance(pair, Mapping)}
