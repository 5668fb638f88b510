"""Refusals of requests: an HTTP status, a code for programs and a message for people."""

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
    421: "unknown_host",
    422: "invalid_request",
    500: "internal_error",
    503: "unavailable",
    504: "timeout",
}
"""Default error code of each HTTP status."""


class Refusal(Exception):
    """A request that is answered with an error.

    Args:
        status: HTTP status.
        code: One word for programs.
        message: What came, what was expected, what to do.
        details: More about single parts of the request.
        retry_after: Seconds after which to try again.
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
        """Headers of the answer."""
        headers = {} if self.retry_after is None else {"Retry-After": str(self.retry_after)}
        return headers | ({"WWW-Authenticate": "Bearer"} if self.status == 401 else {})

    @property
    def body(self) -> dict[str, Any]:
        """Body of the answer."""
        return error_body(self.code, self.message, self.details)


def error_body(code: str, message: str, details: Sequence[Mapping[str, Any]] = ()) -> dict[str, Any]:
    """Builds the body that every error has."""
    return {"error": {"code": code, "message": message, "details": list(details)}}


def unavailable(message: str, *, code: str = "unavailable", retry_after: int = 1) -> Refusal:
    """Builds a 503: the request was fine, and trying again will help."""
    return Refusal(503, code, f"{message}; try again in {retry_after} s", retry_after=retry_after)
