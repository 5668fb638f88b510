"""The settings of whoever asks an endpoint; they need neither torch nor numpy."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal
from urllib.parse import urlsplit

from roc.settings import Settings, option


@dataclass(frozen=True, kw_only=True)
class EndpointOptions(Settings):
    """How an endpoint is asked."""

    base_url: str | None = option(
        None, "address of the chat endpoint, such as http://127.0.0.1:8000/v1", unset="that of the client library"
    )
    key_variable: str = option("OPENAI_API_KEY", "environment variable that holds the key of the endpoint")
    max_tokens: int = option(1024, "most tokens of one answer; a text that is cut there is rejected", low=16)
    max_tokens_field: Literal["max_tokens", "max_completion_tokens"] = option(
        "max_tokens", "what the endpoint calls that limit", matters=False
    )
    image_side: int = option(768, "longest side of a picture as it is shown to a model, in pixels", low=28)
    requests_at_once: int = option(4, "requests to chat endpoints in flight", low=1, matters=False)
    requests_per_minute: float | None = option(
        None, "most requests a minute to each chat endpoint", above=0, unset="no limit", matters=False
    )
    retries: int = option(
        6, "how often a request is tried again after 429, 5xx, a timeout or a lost connection", low=0, matters=False
    )
    timeout: float = option(120.0, "seconds until a request is given up", above=0, matters=False)


def host_of(url: str | None) -> str | None:
    """Names the host of an endpoint, which alone may see its key; None for that of the client library."""
    return None if url is None else urlsplit(url).hostname
