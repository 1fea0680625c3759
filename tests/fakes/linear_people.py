"""A person's hands on a workspace: what somebody does in Linear's own app while a client looks on, and what Linear does itself.

Invariant: hands go the same way as the API, so clients see them as they see each other's writes, with no API key in the
journal. An issue may be given by the record, its identifier or its id; what comes back is the record as it then is.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from tests.fakes import linear_agents as agents
from tests.fakes import linear_changes as changes
from tests.fakes.linear_queries import found_issue
from tests.fakes.linear_records import (
    Activity,
    Attachment,
    Comment,
    Issue,
    Label,
    Organization,
    Project,
    Relation,
    Session,
    State,
    Team,
    User,
)
from tests.fakes.linear_time import Clock
from tests.fakes.linear_world import Actor, World

STATES = (
    ("Triage", "triage"),
    ("Backlog", "backlog"),
    ("Todo", "unstarted"),
    ("In Progress", "started"),
    ("In Review", "started"),
    ("Done", "completed"),
    ("Canceled", "canceled"),
    ("Duplicate", "canceled"),
)
AnIssue = Issue | str


class People:
    """A workspace with a team, a project, people and an application, and hands to change it.

    `viewer` is whom the API key belongs to, `person` somebody else, `app` the application of the OAuth token.
    """

    def __init__(self, *, team: str, states: Sequence[tuple[str, str]], skew_ms: int) -> None:
        clock = Clock(skew_ms=skew_ms)
        times = {"id": str(uuid.uuid4()), "created_at": clock.now(), "updated_at": clock.now()}
        self.world = World(Organization(**times, name="Acme", url_key="acme"), clock)
        self.viewer = self.add_user("Vera Viewer")
        self.person = self.add_user("Pat Person")
        self.app = self.add_user("Symphony", app=True, supports_agent_sessions=True)
        self.team = self.add_team(team, states)
        self.project = self.add_project("Alpha")

    def add_user(self, name: str, **values: Any) -> User:
        """Invite somebody."""
        short = name.split(maxsplit=1)[0].lower()
        place = {"email": f"{short}@acme.test", "url": f"https://linear.app/acme/profiles/{short}"}
        return self._save(User(**{**self.world.fresh(), "name": name, "display_name": short, **place, **values}))

    def add_team(self, key: str, states: Sequence[tuple[str, str]] = STATES) -> Team:
        """Found a team with states of names and types."""
        team = self._save(Team(**self.world.fresh(), key=key, name=f"Team {key}"))
        for position, (name, kind) in enumerate(states):
            self._save(State(**self.world.fresh(), team_id=team.id, name=name, type=kind, position=float(position)))
        return team

    def add_project(self, name: str, *teams: Team) -> Project:
        """Begin a project of some teams (of the first one)."""
        fresh = self.world.fresh()
        slug = fresh["id"].replace("-", "")[:12]
        url = f"https://linear.app/acme/project/{name.lower()}-{slug}"
        team_ids = tuple(team.id for team in teams or (self.team,))
        return self._save(Project(**fresh, name=name, slug_id=slug, url=url, team_ids=team_ids))

    def issue(self, issue: AnIssue) -> Issue:
        """Give an issue as it is now."""
        with self.world.lock:
            return found_issue(self.world.board, issue if isinstance(issue, str) else issue.id)

    def comments(self, issue: AnIssue) -> list[Comment]:
        """Give an issue's comments, the oldest first."""
        with self.world.lock:
            return self.world.board.group(Comment, "issue_id", self.issue(issue).id)

    def attachments(self, issue: AnIssue) -> list[Attachment]:
        """Give an issue's links, the oldest first."""
        with self.world.lock:
            return self.world.board.group(Attachment, "issue_id", self.issue(issue).id)

    def sessions(self, issue: AnIssue) -> list[Session]:
        """Give the agents' sessions on an issue, the oldest first."""
        with self.world.lock:
            return self.world.board.group(Session, "issue_id", self.issue(issue).id)

    def activities(self, session: Session) -> list[Activity]:
        """Give what was said in a session, the oldest first."""
        with self.world.lock:
            return self.world.board.group(Activity, "agent_session_id", session.id)

    def status(self, session: Session) -> str:
        """Give a session's state as it is now."""
        with self.world.lock:
            return agents.status_of(self.world.need(Session, session.id), now=self.world.clock.now())

    def state(self, name: str, team: Team | None = None) -> State:
        """Find a state of a team by its name."""
        with self.world.lock:
            states = self.world.board.group(State, "team_id", (team or self.team).id)
            return next(state for state in states if state.name == name)

    def state_of(self, issue: AnIssue) -> str:
        """Give the name of the state in which an issue is."""
        with self.world.lock:
            return self.world.need(State, self.issue(issue).state_id).name

    def rename_project(self, project: Project, slug_id: str) -> Project:
        """Give a project another slug."""
        return self._save(replace(project, slug_id=slug_id))

    def add_label(self, name: str, team: Team | None = None) -> Label:
        """Give the label of a name, made if there is none: of a team, or of the whole workspace."""
        with self.world.lock:
            for label in self.world.board.all(Label):
                if label.name == name and label.team_id in (None, team.id if team else None):
                    return label
            return changes.create_label(self.world, {"name": name, "team_id": team.id if team else None}, by=self._hand())

    def create_issue(
        self,
        title: str = "An issue",
        *,
        state: str = "Todo",
        team: Team | None = None,
        labels: Sequence[str] = (),
        by: User | None = None,
        **values: Any,
    ) -> Issue:
        """Create an issue; `values` are attributes. It is in the project unless its project_id says otherwise."""
        with self.world.lock:
            team = team or self.team
            project_id = self.project.id if team.id in self.project.team_ids else None
            given = {
                "team_id": team.id,
                "title": title,
                "state_id": self.state(state, team).id,
                "project_id": project_id,
                "label_ids": tuple(self.add_label(name).id for name in labels),
                **values,
            }
            return changes.create_issue(self.world, given, by=self._hand(by))

    def create_issues(self, count: int, **values: Any) -> list[Issue]:
        """Create many issues of one kind."""
        return [self.create_issue(f"Issue {number}", **values) for number in range(count)]

    def edit(self, issue: AnIssue, *, by: User | None = None, **values: Any) -> Issue:
        """Change attributes of an issue."""
        with self.world.lock:
            return changes.update_issue(self.world, self.issue(issue), values, by=self._hand(by))

    def move(self, issue: AnIssue, state: str, *, by: User | None = None) -> Issue:
        """Move an issue into a state of its team."""
        with self.world.lock:
            team = self.world.need(Team, self.issue(issue).team_id)
            return self.edit(issue, by=by, state_id=self.state(state, team).id)

    def assign(self, issue: AnIssue, user: User | None) -> Issue:
        """Assign an issue to somebody, or to nobody."""
        return self.edit(issue, assignee_id=user.id if user else None)

    def delegate(self, issue: AnIssue, app: User | None) -> Issue:
        """Delegate an issue to an application, which opens its session, or to none."""
        return self.edit(issue, delegate_id=app.id if app else None)

    def label(self, issue: AnIssue, *names: str) -> Issue:
        """Give an issue exactly these labels."""
        with self.world.lock:
            return self.edit(issue, label_ids=tuple(self.add_label(name).id for name in names))

    def set_parent(self, issue: AnIssue, parent: AnIssue | None) -> Issue:
        """Put an issue under another one, or under none."""
        return self.edit(issue, parent_id=self.issue(parent).id if parent is not None else None)

    def change_project(self, issue: AnIssue, project: Project | None) -> Issue:
        """Move an issue to another project, or to none."""
        return self.edit(issue, project_id=project.id if project else None)

    def block(self, issue: AnIssue, *, by: AnIssue) -> Relation:
        """Let an issue be blocked by another one."""
        with self.world.lock:
            values = {"issue_id": self.issue(by).id, "related_issue_id": self.issue(issue).id, "type": "blocks"}
            return changes.relate(self.world, values, by=self._hand())

    def unblock(self, issue: AnIssue, *, by: AnIssue) -> None:
        """Take a blocker away."""
        with self.world.lock:
            for relation in self.world.board.group(Relation, "related_issue_id", self.issue(issue).id):
                if relation.type == "blocks" and relation.issue_id == self.issue(by).id:
                    self.world.remove(relation, by=self._hand())

    def comment(self, issue: AnIssue, body: str, *, by: User | None = None, **values: Any) -> Comment:
        """Comment on an issue; with `external_name` or `bot_name` from outside, as no user of the workspace."""
        with self.world.lock:
            outside = {"user_id": None} if {"external_name", "bot_name"} & set(values) else {}
            given = {"issue_id": self.issue(issue).id, "body": body, **outside, **values}
            return changes.create_comment(self.world, given, by=self._hand(by))

    def reply(self, comment: Comment, body: str, *, by: User | None = None) -> Comment:
        """Answer a comment."""
        with self.world.lock:
            return changes.create_comment(self.world, {"parent_id": comment.id, "body": body}, by=self._hand(by))

    def mention(self, issue: AnIssue, body: str, *, by: User | None = None) -> Session:
        """Mention the application in a comment, which opens its session there."""
        with self.world.lock:
            comment = self.comment(issue, f"@{self.app.display_name} {body}", by=by)
            there = self.issue(issue)
            return agents.open_session(self.world, there, self.app.id, by=self._hand(by), values={"comment_id": comment.id})

    def edit_comment(self, comment: Comment, body: str) -> Comment:
        """Change the words of a comment."""
        with self.world.lock:
            there = self.world.need(Comment, comment.id)
            return changes.edit_comment(self.world, there, body, by=Actor(there.user_id))

    def delete_comment(self, comment: Comment) -> None:
        """Delete a comment and the answers to it."""
        with self.world.lock:
            changes.remove_comment(self.world, self.world.need(Comment, comment.id), by=self._hand())

    def prompt(
        self, session: Session, body: str, *, signal: str | None = None, by: User | None = None, aloud: bool = False
    ) -> Activity:
        """Say something to an agent in its session, `aloud` in the issue's thread; the signal `stop` tells it to stop."""
        with self.world.lock:
            there = self.world.need(Session, session.id)
            return agents.prompt(self.world, there, body, by=self._hand(by), signal=signal, aloud=aloud)

    def archive(self, issue: AnIssue) -> Issue:
        """Archive an issue: lists leave it out unless asked."""
        return self.edit(issue, archived_at=self.world.clock.now())

    def delete(self, issue: AnIssue) -> Issue:
        """Put an issue into the trash, where its id still finds it."""
        return self.edit(issue, archived_at=self.world.clock.now(), trashed=True)

    def restore(self, issue: AnIssue) -> Issue:
        """Take an issue out of the archive or the trash."""
        return self.edit(issue, archived_at=None, trashed=None)

    def vanish(self, issue: AnIssue) -> None:
        """Take an issue out for good, with its relations: as if it had never been, or in a team that nobody sees."""
        with self.world.lock:
            gone = self.issue(issue)
            for field in ("issue_id", "related_issue_id"):
                for relation in self.world.board.group(Relation, field, gone.id):
                    self.world.remove(relation, by=self._hand())
            for child in self.world.board.group(Issue, "parent_id", gone.id):
                self.world.save(replace(child, parent_id=None), by=self._hand())
            self.world.remove(gone, by=self._hand())

    def break_record(self, record: AnIssue | Comment, **raw: Any) -> None:
        """Show values of the API's names instead of a record's own, whatever the schema says; with none, mend it."""
        with self.world.lock:
            kind = Comment if isinstance(record, Comment) else Issue
            there = self.world.need(kind, record.id) if not isinstance(record, str) else self.issue(record)
            self.world.save(replace(there, raw=raw or None), by=self._hand())

    def automate(self, **states: str) -> None:
        """Let Linear's git automation move the team's issues, by event: start, draft, review, mergeable, merge."""
        with self.world.lock:
            automation = {event: self.state(name).id for event, name in states.items()}
            self.team = self._save(replace(self.team, automation=automation))

    def automation_moves(self, issue: AnIssue, event: str) -> Issue:
        """Let an event of a pull request move an issue as the team's automation says; nobody is the actor."""
        with self.world.lock:
            team = self.world.need(Team, self.issue(issue).team_id)
            if event not in team.automation:
                return self.issue(issue)
            values: Mapping[str, Any] = {"state_id": team.automation[event]}
            return changes.update_issue(self.world, self.issue(issue), values, by=Actor(None))

    def _hand(self, user: User | None = None) -> Actor:
        return Actor((user or self.person).id)

    def _save(self, record: Any) -> Any:
        with self.world.lock:
            return self.world.save(record, by=Actor(None))
