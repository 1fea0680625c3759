"""Every GraphQL document that Symphony reads Linear with.

Invariant: each costs less than Linear's 10,000 points at its largest variables, and is valid by Linear's schema; a test
computes the one and asks the other. A property costs 0.1, an object 1, a page its size times what is asked of each record.
"""

from __future__ import annotations

from functools import lru_cache

ISSUE_PAGE = 50
MOST_CHANGES = 75
LIGHT_PAGE = 250
COMMENT_PAGE = 100

ISSUE = """
fragment IssueParts on Issue {
  id identifier title description priority branchName url createdAt updatedAt archivedAt trashed
  state { id name type }
  team { id key }
  project { id slugId name }
  assignee { id }
  delegate { id }
  creator { id email app }
  parent { id identifier }
  labels(first: 10) { nodes { name } pageInfo { hasNextPage endCursor } }
  inverseRelations(first: 5) {
    nodes { id type issue { id identifier state { name } } } pageInfo { hasNextPage endCursor }
  }
  children(first: 5) { nodes { id identifier } }
  attachments(first: 5) { nodes { title url } }
}
"""
"""An issue as records.py reads it: 53.5 points."""

ISSUES_BY_STATES = (
    """
query SymphonyIssuesByStates($slugId: String!, $states: [WorkflowStateFilter!]!, $after: String) {
  issues(filter: {project: {slugId: {eq: $slugId}}, state: {or: $states}}, first: 50, after: $after) {
    nodes { ...IssueParts } pageInfo { hasNextPage endCursor }
  }
}
"""
    + ISSUE
)  # 2,676 points

ISSUES_BY_IDS = (
    """
query SymphonyIssuesByIds($slugId: String!, $ids: [ID!]!, $first: Int!) {
  issues(filter: {id: {in: $ids}, project: {slugId: {eq: $slugId}}}, first: $first) { nodes { ...IssueParts } }
}
"""
    + ISSUE
)  # 2,675 points for 50

WHEREABOUTS = """
query SymphonyWhereabouts($watched: [ID!]!, $watchedFirst: Int!) {
  issues(filter: {id: {in: $watched}}, includeArchived: true, first: $watchedFirst) {
    nodes { id updatedAt archivedAt trashed project { slugId } }
  }
}
"""  # 625 points for 250

MORE_LABELS = """
query SymphonyMoreLabels($id: String!, $after: String!) {
  issue(id: $id) { labels(first: 250, after: $after) { nodes { name } pageInfo { hasNextPage endCursor } } }
}
"""  # 277 points

MORE_RELATIONS = """
query SymphonyMoreRelations($id: String!, $after: String!) {
  issue(id: $id) {
    inverseRelations(first: 250, after: $after) {
      nodes { id type issue { id identifier state { name } } } pageInfo { hasNextPage endCursor }
    }
  }
}
"""  # 877 points

VIEWER = "query SymphonyViewer { viewer { id name } }"  # 1.2 points

COMMENT = """
fragment CommentParts on Comment {
  id body createdAt
  user { id email app displayName name }
  externalUser { displayName name }
  botActor { name }
}
"""
"""A comment as records.py reads it: 4.1 points."""

COMMENTS = (
    """
query SymphonyComments($id: String!, $filter: CommentFilter, $after: String) {
  issue(id: $id) {
    id identifier title archivedAt trashed
    state { name }
    project { slugId }
    comments(first: 100, filter: $filter, after: $after) {
      nodes { ...CommentParts } pageInfo { hasNextPage endCursor }
    }
  }
}
"""
    + COMMENT
)  # 515 points

NEW_COMMENTS = (
    """
query SymphonyNewComments($slugId: String!, $ids: [ID!]!, $first: Int!, $since: DateTimeOrDuration!, $after: String) {
  issues(filter: {id: {in: $ids}, project: {slugId: {eq: $slugId}}}, first: $first) { nodes { id } }
  comments(filter: {issue: {id: {in: $ids}}, createdAt: {gte: $since}}, first: 100, after: $after) {
    nodes { ...CommentParts updatedAt issue { id } } pageInfo { hasNextPage endCursor }
  }
}
"""
    + COMMENT
)  # 906 points for 250 issues

CHANGES = """
  changes: issues(
    filter: {project: {slugId: {eq: $slugId}}, updatedAt: {gte: $since}}
    includeArchived: true, first: $first, after: $after
  ) { nodes { ...IssueParts } pageInfo { hasNextPage endCursor } }
"""  # 4,014 points for 75
WATCHED = """
  watched: issues(filter: {id: {in: $watched}, project: {slugId: {eq: $slugId}}}, first: $watchedFirst) {
    nodes { id updatedAt state { name } comments(first: 3, orderBy: updatedAt) { nodes { id createdAt updatedAt } } }
  }
"""  # 1,550 points for 250
BLOCKERS = """
  blockers: issues(filter: {id: {in: $blockers}}, includeArchived: true, first: $blockersFirst) {
    nodes { id state { name } }
  }
"""  # 550 points for 250
SWEEP = """
  sweep: issues(
    filter: {project: {slugId: {eq: $slugId}}, state: {or: $states}}, first: $sweepFirst, after: $sweepAfter
  ) {
    nodes { id updatedAt inverseRelations(first: 5) { nodes { id } } }
    pageInfo { hasNextPage endCursor }
  }
"""  # 1,676 points for 250

_VARIABLES = {
    CHANGES: "$since: DateTimeOrDuration!, $first: Int!, $after: String",
    WATCHED: "$watched: [ID!]!, $watchedFirst: Int!",
    BLOCKERS: "$blockers: [ID!]!, $blockersFirst: Int!",
    SWEEP: "$states: [WorkflowStateFilter!]!, $sweepFirst: Int!, $sweepAfter: String",
}


@lru_cache(maxsize=16)
def board(*parts: str) -> str:
    """Build the document that asks for these parts of a board at once: 7,790 points for all of them."""
    variables = ", ".join(("$slugId: String!", *(_VARIABLES[part] for part in parts)))
    needed = ISSUE if CHANGES in parts else ""
    return f"query SymphonyBoard({variables}) {{{''.join(parts)}}}{needed}"
