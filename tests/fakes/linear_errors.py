"""The errors of Linear's API, in its words and shapes.

Known from the public record: "Entity not found: Issue" and "conflict on insert of Comment" with code INPUT_ERROR, type
"invalid input", statusCode 400 in the extensions, `data: null`, and HTTP 200, but 400 for an issue's taken id; "Argument
Validation Error" with code INVALID_INPUT; RATELIMITED and a too complex query with HTTP 400; 401 with AUTHENTICATION_ERROR.
Where the words are ours, the function says so. Clients must go by the codes and must bear either HTTP status.
"""

from __future__ import annotations

from typing import Any

from graphql import GraphQLError

Extensions = dict[str, Any]


def extensions(code: str, kind: str, shown: str, *, status: int = 400) -> Extensions:
    """Give an error's extensions as the API writes them."""
    return {"type": kind, "code": code, "statusCode": status, "userError": status < 500, "userPresentableMessage": shown}


def not_found(entity: str) -> GraphQLError:
    """Say that what an id names is not there, or not for this client."""
    shown = f"Could not find referenced {entity}."
    return GraphQLError(f"Entity not found: {entity}", extensions=extensions("INPUT_ERROR", "invalid input", shown))


def conflict(entity: str, record_id: str) -> GraphQLError:
    """Say that the id that a client made is taken."""
    shown = f"Entity {entity} with id {record_id} already exists."
    return GraphQLError(f"conflict on insert of {entity}", extensions=extensions("INPUT_ERROR", "invalid input", shown))


def invalid(shown: str) -> GraphQLError:
    """Say that an argument has a value that cannot be; the words shown are assumed."""
    return GraphQLError("Argument Validation Error", extensions=extensions("INVALID_INPUT", "invalid input", shown))


def forbidden(shown: str) -> GraphQLError:
    """Say that this client may not; the words are assumed."""
    return GraphQLError("Forbidden", extensions=extensions("FORBIDDEN", "forbidden", shown, status=403))


def failed(message: str = "Internal server error") -> GraphQLError:
    """Say that the server has failed."""
    words = extensions("INTERNAL_SERVER_ERROR", "internal error", "Something went wrong.", status=500)
    return GraphQLError(message, extensions=words)


def body(message: str, code: str, kind: str, shown: str, *, status: int = 400) -> dict[str, Any]:
    """Give a whole answer that is one error and no data."""
    return {"errors": [{"message": message, "extensions": extensions(code, kind, shown, status=status)}]}


def unauthenticated(shown: str) -> dict[str, Any]:
    """Give the answer to a client without a good credential; the words shown are assumed."""
    message = "Authentication required, not authenticated"
    return body(message, "AUTHENTICATION_ERROR", "authentication error", shown, status=401)


def rate_limited(shown: str) -> dict[str, Any]:
    """Give the answer to a client whose budget is spent; the words shown are assumed."""
    return body("Rate limit exceeded", "RATELIMITED", "ratelimited", shown)


def too_complex(points: float, most: float) -> dict[str, Any]:
    """Give the answer to a query that costs too much; the words shown are assumed."""
    shown = f"Query complexity {points:g} exceeds the maximum of {most:g}."
    return body("Query too complex", "INPUT_ERROR", "invalid input", shown)
