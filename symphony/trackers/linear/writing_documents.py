"""The documents by which Symphony writes to Linear, and looks before it does.

Invariant: as in `documents`: each is valid by Linear's schema and costs less than its 10,000 points; a test holds them to
it. Relied on by `writes`, `probe` and the agent's tool.
"""

from __future__ import annotations

from symphony.trackers.linear.documents import ISSUE

ISSUE_TO_MOVE = f"""
query SymphonyIssueToMove($id: String!) {{
  issue(id: $id) {{ ...IssueParts stateHistory(last: 20) {{ nodes {{ startedAt state {{ name }} }} }} }}
}} {ISSUE}
"""
"""137 points."""

MOVE = f"""
mutation SymphonyMove($id: String!, $stateId: String!) {{
  issueUpdate(id: $id, input: {{stateId: $stateId}}) {{ success issue {{ ...IssueParts }} }}
}} {ISSUE}
"""
"""94 points."""

STATES_OF_TEAM = """
query SymphonyStatesOfTeam($id: String!) { team(id: $id) { states(first: 100) { nodes { id name } } } }
"""
"""121 points."""

COMMENT = "mutation SymphonyComment($input: CommentCreateInput!) { commentCreate(input: $input) { success } }"

EDIT_COMMENT = """
mutation SymphonyEditComment($id: String!, $body: String!) { commentUpdate(id: $id, input: {body: $body}) { success } }
"""

COMMENT_THERE = """
query SymphonyCommentThere($id: ID!) {
  comments(first: 1, includeArchived: true, filter: {id: {eq: $id}}) { nodes { id body issue { id } } }
}
"""
"""2 points."""

ATTACHMENT_THERE = """
query SymphonyAttachmentThere($id: ID!) { attachments(first: 1, filter: {id: {eq: $id}}) { nodes { id title subtitle } } }
"""
"""1 point."""

ATTACHMENTS_OF_URL = """
query SymphonyAttachmentsOfUrl($url: String!) { attachmentsForURL(first: 50, url: $url) { nodes { id issue { id } } } }
"""
"""60 points."""

ATTACH = "mutation SymphonyAttach($input: AttachmentCreateInput!) { attachmentCreate(input: $input) { success } }"

ATTACH_PULL_REQUEST = """
mutation SymphonyAttachPullRequest($id: String!, $issueId: String!, $url: String!, $title: String!) {
  attachmentLinkGitHubPR(id: $id, issueId: $issueId, url: $url, title: $title) { success }
}
"""

UPLOAD = """
mutation SymphonyUpload($filename: String!, $contentType: String!, $size: Int!) {
  fileUpload(filename: $filename, contentType: $contentType, size: $size) {
    success uploadFile { uploadUrl assetUrl headers { key value } }
  }
}
"""

LABELS_OF_ISSUE = """
query SymphonyLabelsOfIssue($id: String!) {
  issue(id: $id) { id archivedAt trashed team { id } labels(first: 100) { nodes { id name } } }
}
"""
"""123 points."""

LABEL_THERE = """
query SymphonyLabelThere($name: String!, $team: ID!) {
  issueLabels(first: 20, filter: {and: [{name: {eqIgnoreCase: $name}},
    {or: [{team: {null: true}}, {team: {id: {eq: $team}}}]}]}) { nodes { id isGroup team { id } } }
}
"""
"""47 points."""

CREATE_LABEL = """
mutation SymphonyCreateLabel($input: IssueLabelCreateInput!) { issueLabelCreate(input: $input) { issueLabel { id } } }
"""

MARK = """
mutation SymphonyMark($id: String!, $added: [String!]!, $removed: [String!]!) {
  issueUpdate(id: $id, input: {addedLabelIds: $added, removedLabelIds: $removed}) { success }
}
"""

SET_UP = """
query SymphonySetUp($slug: String!) {
  viewer { id name email }
  projects(first: 1, filter: {slugId: {eq: $slug}}) {
    nodes {
      name
      teams(first: 25) { nodes { id key states(first: 100) { nodes { name position } } } pageInfo { hasNextPage } }
    }
  }
}
"""
"""3,034 points."""

PROJECTS = "query SymphonyProjects { projects(first: 20, orderBy: updatedAt) { nodes { name slugId } } }"
"""24 points."""

USER = "query SymphonyUserThere($id: ID!) { users(first: 1, filter: {id: {eq: $id}}) { nodes { id active } } }"

CREATE_STATE = (
    "mutation SymphonyCreateState($input: WorkflowStateCreateInput!) { workflowStateCreate(input: $input) { success } }"
)

COMMENTS_THERE = """
query SymphonyCommentsThere($ids: [ID!]!) {
  comments(first: 100, includeArchived: true, filter: {id: {in: $ids}}) { nodes { id } }
}
"""
"""For the agent's tool: which of its comments there are. 110 points."""

ISSUES_THERE = """
query SymphonyIssuesThere($id: String!, $ids: [ID!]!) {
  issue(id: $id) { team { id states(first: 100) { nodes { id name type position } } } project { id slugId } }
  issues(first: 10, includeArchived: true, filter: {id: {in: $ids}}) { nodes { id } }
}
"""
"""For the agent's tool: where an issue goes, and which of its issues there are. 155 points."""

LABELS_THERE = (
    "query SymphonyLabelsThere($ids: [ID!]!) { issueLabels(first: 50, filter: {id: {in: $ids}}) { nodes { id name } } }"
)
"""For the agent's tool: what labels are called. 60 points."""

LINKS_THERE = """
query SymphonyLinksThere($id: String!, $url: String!) {
  issue(id: $id) { attachments(first: 1, includeArchived: true, filter: {url: {eqIgnoreCase: $url}}) { nodes { title } } }
}
"""
"""For the agent's tool: whether an issue has a link already. 2.1 points."""
