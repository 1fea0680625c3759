"""Every GraphQL document that Symphony sends to Linear.

Invariant: each costs less than Linear's 10,000 points at its largest variables, and is valid by Linear's schema; a test
computes the one and asks the other. A property costs 0.1, an object 1, a page its size times what is asked of each.
"""

from __future__ import annotations

ISSUE = """
fragment IssueParts on Issue {
  id identifier title description priority branchName url createdAt updatedAt archivedAt trashed
  state { id name type }
  team { id key }
  project { id slugId name }
  assignee { id }
  delegate { id }
  creator { id email }
  parent { id identifier }
  labels(first: 20) { nodes { name } pageInfo { hasNextPage endCursor } }
  inverseRelations(first: 10) {
    nodes { id type issue { id identifier state { name } } } pageInfo { hasNextPage endCursor }
  }
  children(first: 10) { nodes { id identifier } }
  attachments(first: 10) { nodes { title url } }
}
"""
"""An issue as records.py reads it: about 92 points."""
