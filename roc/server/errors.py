"""What a request is refused with: a status, a code for programs and a message for people."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

STATUS_CODES = {
    400: "bad_request",
    401: "unauthorized",
    404: "not_found",
    405: "method_not_allowed",
    408: "too_slow",
    413: "too_large",
    415: "unsupported_media_type",
    422: "invalid_request",
    500: "internal_error",
    503: "unavailable",
    504: "timeout",
}
"""The code of an error that has none of its own."""


class Refusal(Exception):
    """A request that is answered with an error.

    Args:
        status: of HTTP.
        code: one word for programs.
        message: what came, what was expected, what to do.
        details: more about single parts of the request.
        retry_after: seconds after which another try makes sense.
    """

    def __init__(
        self,
        status: int,
        code: str,
        message: str,
        details: Sequence[Mapping[str, Any]] = (),
        *,
        retry_after: int | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message
        self.details = [dict(detail) for detail in details]
        self.retry_after = retry_after

    @property
    def headers(self) -> dict[str, str]:
        """That go with the answer."""
        headers = {} if self.retry_after is None else {"Retry-After": str(self.retry_after)}
        return headers | ({"WWW-Authenticate": "Bearer"} if self.status == 401 else {})

    @property
    def body(self) -> dict[str, Any]:
        """The answer."""
        return error_body(self.code, self.message, self.details)


def error_body(code: str, message: str, details: Sequence[Mapping[str, Any]] = ()) -> dict[str, Any]:
    """The one form every error has."""
    return {"error": {"code": code, "message": message, "details": list(details)}}


def unavailable(message: str, *, code: str = "unavailable", retry_after: int = 1) -> Refusal:
    """503: the request was fine, another try will do."""
    return Refusal(503, code, f"{message}; try again in {retry_after} s", retry_after=retry_after)
