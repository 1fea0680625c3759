"""What of Linear a guarded agent can reach: a small schema of our own, against which its documents are validated.

Invariant: a document that fits asks for nothing outside the configured project but the outline of issues that people linked
with issues of it, whatever stands in its arguments once the guard has put the project into them. So no way leads from a
team, user, label or state to issues, filters ask for an issue's own properties only, and what is not here is refused.
Names and types are those of Linear's API, for a document that fits is sent to it. Relied on by the guard.
"""

from __future__ import annotations

from functools import lru_cache

from graphql import GraphQLSchema, build_schema

_READ = """
type Query {
  viewer: User!
  "An issue of this project, by id or identifier."
  issue(id: String!): Issue!
  "Issues of this project."
  issues(filter: IssueFilter, first: Int, after: String, last: Int, before: String, includeArchived: Boolean,
    orderBy: PaginationOrderBy): IssueConnection!
  "This project."
  projects(filter: ProjectFilter, first: Int): ProjectConnection!
}
enum PaginationOrderBy { createdAt updatedAt }
type PageInfo { hasNextPage: Boolean! hasPreviousPage: Boolean! startCursor: String endCursor: String }
type User { id: ID! name: String! displayName: String! active: Boolean! app: Boolean! isMe: Boolean! }
type Issue {
  id: ID! identifier: String! number: Float! title: String! description: String url: String! branchName: String!
  priority: Float! priorityLabel: String! estimate: Float dueDate: TimelessDate trashed: Boolean labelIds: [String!]!
  createdAt: DateTime! updatedAt: DateTime! startedAt: DateTime completedAt: DateTime canceledAt: DateTime
  archivedAt: DateTime
  state: WorkflowState! team: Team! project: Project assignee: User delegate: User creator: User
  labels(first: Int, after: String, includeArchived: Boolean): IssueLabelConnection!
  comments(first: Int, after: String, last: Int, before: String, includeArchived: Boolean, orderBy: PaginationOrderBy):
    CommentConnection!
  attachments(first: Int, after: String, includeArchived: Boolean): AttachmentConnection!
  parent: LinkedIssue
  children(first: Int, after: String, includeArchived: Boolean): LinkedIssueConnection!
  relations(first: Int, after: String): IssueRelationConnection!
  inverseRelations(first: Int, after: String): IssueRelationConnection!
}
type IssueConnection { nodes: [Issue!]! pageInfo: PageInfo! }
"An issue that is linked with one of this project, wherever it is: its outline only."
type LinkedIssue { id: ID! identifier: String! title: String! url: String! state: WorkflowState! }
type LinkedIssueConnection { nodes: [LinkedIssue!]! pageInfo: PageInfo! }
type IssueRelation { id: ID! type: String! issue: LinkedIssue! relatedIssue: LinkedIssue! }
type IssueRelationConnection { nodes: [IssueRelation!]! pageInfo: PageInfo! }
type WorkflowState { id: ID! name: String! type: String! position: Float! description: String }
type WorkflowStateConnection { nodes: [WorkflowState!]! pageInfo: PageInfo! }
type IssueLabel { id: ID! name: String! description: String isGroup: Boolean! }
type IssueLabelConnection { nodes: [IssueLabel!]! pageInfo: PageInfo! }
type Team {
  id: ID! key: String! name: String!
  states(first: Int, after: String): WorkflowStateConnection!
  labels(first: Int, after: String): IssueLabelConnection!
}
type TeamConnection { nodes: [Team!]! pageInfo: PageInfo! }
type Project {
  id: ID! name: String! slugId: String! url: String! description: String!
  teams(first: Int, after: String): TeamConnection!
}
type ProjectConnection { nodes: [Project!]! pageInfo: PageInfo! }
type Comment {
  id: ID! body: String! url: String! quotedText: String createdAt: DateTime! updatedAt: DateTime! editedAt: DateTime
  resolvedAt: DateTime user: User parent: Comment
  children(first: Int, after: String): CommentConnection!
}
type CommentConnection { nodes: [Comment!]! pageInfo: PageInfo! }
type Attachment {
  id: ID! title: String! subtitle: String url: String! sourceType: String createdAt: DateTime! updatedAt: DateTime!
}
type AttachmentConnection { nodes: [Attachment!]! pageInfo: PageInfo! }
"""
_FILTERS = """
input IssueFilter {
  and: [IssueFilter!] or: [IssueFilter!] id: IssueIDComparator number: NumberComparator title: StringComparator
  description: NullableStringComparator priority: NullableNumberComparator createdAt: DateComparator
  updatedAt: DateComparator state: WorkflowStateFilter team: TeamFilter project: NullableProjectFilter
  labels: IssueLabelCollectionFilter assignee: NullableUserFilter delegate: NullableUserFilter creator: NullableUserFilter
}
input WorkflowStateFilter { id: IDComparator name: StringComparator type: StringComparator }
input TeamFilter { id: IDComparator key: StringComparator name: StringComparator }
input ProjectFilter { and: [ProjectFilter!] id: IDComparator slugId: StringComparator name: StringComparator }
input NullableProjectFilter { id: IDComparator slugId: StringComparator name: StringComparator }
input IssueLabelCollectionFilter {
  id: IDComparator name: StringComparator some: IssueLabelFilter every: IssueLabelFilter
}
input IssueLabelFilter { id: IDComparator name: StringComparator }
input NullableUserFilter {
  id: IDComparator name: StringComparator displayName: StringComparator isMe: BooleanComparator null: Boolean
}
input IssueIDComparator { eq: ID neq: ID in: [ID!] nin: [ID!] }
input IDComparator { eq: ID neq: ID in: [ID!] nin: [ID!] }
input BooleanComparator { eq: Boolean neq: Boolean }
input NumberComparator {
  eq: Float neq: Float in: [Float!] nin: [Float!] lt: Float lte: Float gt: Float gte: Float
}
input NullableNumberComparator {
  eq: Float neq: Float in: [Float!] nin: [Float!] lt: Float lte: Float gt: Float gte: Float null: Boolean
}
input DateComparator {
  eq: DateTimeOrDuration neq: DateTimeOrDuration lt: DateTimeOrDuration lte: DateTimeOrDuration gt: DateTimeOrDuration
  gte: DateTimeOrDuration
}
input StringComparator {
  eq: String neq: String in: [String!] nin: [String!] eqIgnoreCase: String neqIgnoreCase: String contains: String
  containsIgnoreCase: String notContains: String startsWith: String notStartsWith: String endsWith: String
}
input NullableStringComparator {
  eq: String neq: String in: [String!] nin: [String!] eqIgnoreCase: String neqIgnoreCase: String contains: String
  containsIgnoreCase: String notContains: String startsWith: String notStartsWith: String endsWith: String null: Boolean
}
scalar DateTime
scalar DateTimeOrDuration
scalar TimelessDate
"""
_WRITE = """
type Mutation {
  "On your own issue."
  commentCreate(input: CommentCreateInput!): CommentPayload!
  "Of a comment that this tool made on your own issue."
  commentUpdate(id: String!, input: CommentUpdateInput!): CommentPayload!
  "Of your own issue; its states are moved by Symphony."
  issueUpdate(id: String!, input: IssueUpdateInput!): IssuePayload!
  "In this project, in a state in which nothing is started: by default one of type backlog."
  issueCreate(input: IssueCreateInput!): IssuePayload!
  "On your own issue."
  attachmentCreate(input: AttachmentCreateInput!): AttachmentPayload!
  "On your own issue."
  attachmentLinkURL(issueId: String!, url: String!, title: String): AttachmentPayload!
  "Between your own issue and issues that you created."
  issueRelationCreate(input: IssueRelationCreateInput!): IssueRelationPayload!
}
input CommentCreateInput { issueId: String! body: String! }
input CommentUpdateInput { body: String! }
input IssueUpdateInput {
  title: String description: String priority: Int estimate: Int addedLabelIds: [String!] removedLabelIds: [String!]
}
input IssueCreateInput {
  title: String! description: String priority: Int estimate: Int labelIds: [String!] stateId: String teamId: String
  projectId: String parentId: String
}
input AttachmentCreateInput { issueId: String! title: String! subtitle: String url: String! }
input IssueRelationCreateInput { issueId: String! relatedIssueId: String! type: IssueRelationType! }
enum IssueRelationType { blocks related }
type CommentPayload { success: Boolean! comment: Comment! }
type IssuePayload { success: Boolean! issue: Issue }
type AttachmentPayload { success: Boolean! attachment: Attachment! }
type IssueRelationPayload { success: Boolean! issueRelation: IssueRelation! }
"""


@lru_cache(maxsize=1)
def surface() -> GraphQLSchema:
    """Build the schema."""
    return build_schema(_READ + _FILTERS + _WRITE)
