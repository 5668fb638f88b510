"""A model behind any OpenAI-compatible chat endpoint, asked through the `openai` client library.

The library tries again after 429, 5xx, a timeout or a lost connection, and waits as long as the endpoint asks for. The
pace set by `requests_per_minute` counts first tries.
"""

from __future__ import annotations

import base64
import io
import threading
import time
from dataclasses import dataclass
from typing import Any

from PIL import Image

from roc.data.images import open_image
from roc.endpoints.options import EndpointOptions


@dataclass(frozen=True)
class Question:
    """What a model is asked.

    Attributes:
        text: The words.
        pictures: Files, or what stands in them, that are shown before the words, in this order.
        temperature: Randomness of the answer; None leaves it to the model.
    """

    text: str
    pictures: tuple[str | bytes, ...] = ()
    temperature: float | None = None


@dataclass(frozen=True)
class Reply:
    """What a model answered.

    Attributes:
        text: The words.
        tokens_in: Tokens that were read, as the endpoint counts them; 0 where nobody counts.
        tokens_out: Tokens that were written.
        cut: Whether the answer ended at the limit of tokens.
    """

    text: str
    tokens_in: int = 0
    tokens_out: int = 0
    cut: bool = False


class EndpointError(RuntimeError):
    """One question that got no usable answer; others may still get one.

    Attributes:
        tokens_in, tokens_out: What the answer cost all the same, as in a `Reply`.
    """

    def __init__(self, message: str, tokens_in: int = 0, tokens_out: int = 0) -> None:
        super().__init__(message)
        self.tokens_in, self.tokens_out = tokens_in, tokens_out


class EndpointDown(EndpointError):
    """A question that nobody answered, as the endpoint is busy, broken or gone; later it may.

    Attributes:
        status: HTTP status; None for a timeout or a lost connection.
        timed_out: Whether the question reached the endpoint and no answer came in time.
    """

    def __init__(self, message: str, status: int | None = None, *, timed_out: bool = False) -> None:
        super().__init__(message)
        self.status, self.timed_out = status, timed_out


class Chat:
    """One model behind an endpoint; it may be asked from several threads.

    Args:
        model: The model's name there.
        url: Address of the endpoint; None for the client library's own.
        key: Key of the endpoint; None where it asks for none.
        options: Limits, retries and pace.

    Attributes:
        name: What it is, in journals and messages.
        shown_as: Size of pictures and length of answers, in words: what an answer depends on beside the question.

    Raises:
        ImportError: If the client library is missing.
        ValueError: If neither an address nor a key is given.
    """

    def __init__(self, model: str, url: str | None, *, key: str | None, options: EndpointOptions) -> None:
        self._openai = client_library()
        self.name = f"chat:{model}"
        self.shown_as = f"{options.image_side} pixels, {options.max_tokens} tokens"
        self._model = model
        self._where = url or "the endpoint"
        self._options = options
        self._pace = Pace(options.requests_per_minute)
        self._client = make_client(self._openai, self.name, url, key, options)

    def ask(self, question: Question) -> Reply:
        """Asks the model.

        Raises:
            EndpointError: This question got no usable answer.
            EndpointDown: Nobody answered it.
            ImageError: A picture cannot be opened.
            ValueError: No question will get an answer: a wrong key, an unknown model.
        """
        content: list[dict[str, Any]] = [
            {"type": "image_url", "image_url": {"url": data_url(picture, self._options.image_side)}}
            for picture in question.pictures
        ]
        content.append({"type": "text", "text": question.text})
        settings: dict[str, Any] = {self._options.max_tokens_field: self._options.max_tokens}
        if question.temperature is not None:
            settings["temperature"] = question.temperature
        self._pace.wait()
        try:
            answered = self._client.chat.completions.create(
                model=self._model, messages=[{"role": "user", "content": content}], **settings
            )
        except Exception as error:
            raise told_error(self._openai, error, self.name, self._where, self._options.key_variable) from error
        return self._read(answered)

    def _read(self, answered: Any) -> Reply:
        choices = getattr(answered, "choices", None)  # the library passes on whatever came with status 200
        message = getattr(choices[0], "message", None) if isinstance(choices, list) and choices else None
        text = getattr(message, "content", None)
        usage = getattr(answered, "usage", None)
        counts = (getattr(usage, "prompt_tokens", None) or 0, getattr(usage, "completion_tokens", None) or 0)
        if not isinstance(text, str) or not text.strip():
            why = getattr(message, "refusal", None) or getattr(choices[0], "finish_reason", None) if choices else None
            raise EndpointError(f"{self.name}: the answer holds no text" + (f" ({why})" if why else ""), *counts)
        return Reply(text.strip(), *counts, cut=choices[0].finish_reason == "length")


class Pace:
    """Spaces requests evenly, over all threads.

    Args:
        per_minute: Most requests a minute; None for no limit.
    """

    def __init__(self, per_minute: float | None) -> None:
        self._gap = 0.0 if per_minute is None else 60.0 / per_minute
        self._next = 0.0
        self._lock = threading.Lock()

    def wait(self) -> None:
        """Returns when the next request may go out."""
        with self._lock:
            now = time.monotonic()
            start = max(now, self._next)
            self._next = start + self._gap
        if start > now:
            time.sleep(start - now)


def data_url(path: str | bytes, side: int) -> str:
    """Makes a JPEG of a picture, its longest side at most `side` pixels, as a `data:` URL.

    Raises:
        ImageError: The picture cannot be opened.
    """
    picture = open_image(path)
    picture.thumbnail((side, side), Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    picture.save(buffer, format="JPEG", quality=90)
    return f"data:image/jpeg;base64,{base64.b64encode(buffer.getvalue()).decode()}"


def client_library() -> Any:
    """Imports the client library.

    Raises:
        ImportError: With the command that installs it.
    """
    try:
        import openai
    except ImportError as error:
        raise ImportError("chat endpoints need openai; install it with: pip install 'roc-mllm[chat]'") from error
    return openai


def make_client(openai: Any, name: str, url: str | None, key: str | None, options: EndpointOptions) -> Any:
    """Makes the client of an endpoint.

    Raises:
        ValueError: If neither an address nor a key is given.
    """
    if not key and url is None:
        raise ValueError(
            f"{name} needs a key in the environment variable {options.key_variable}, or --base_url of an endpoint "
            "that asks for none"
        )
    return openai.OpenAI(api_key=key or "none", base_url=url, timeout=options.timeout, max_retries=options.retries)


def told_error(openai: Any, error: Exception, name: str, where: str, key_variable: str) -> Exception:
    """Turns an error of the client library into `ValueError`, `EndpointDown` or `EndpointError`; gives others back."""
    if isinstance(error, openai.AuthenticationError | openai.PermissionDeniedError | openai.NotFoundError):
        return ValueError(
            f"{where} refuses {name}: {_reason(error)}; check --base_url, the model's name and the key in "
            f"{key_variable}"
        )
    status = getattr(error, "status_code", None)
    if isinstance(error, openai.APIConnectionError) or status == 429 or (status or 0) >= 500:
        # By name: the library below the client is httpx or httpx2, and the other one need not be there.
        unconnected = type(error.__cause__).__name__ == "ConnectTimeout"
        late = isinstance(error, openai.APITimeoutError) and not unconnected
        return EndpointDown(f"{name}: {_reason(error)}", status, timed_out=late or status == 504)
    if isinstance(error, openai.APIError | ValueError):  # ValueError: an answer that is no JSON
        return EndpointError(f"{name}: {_reason(error)}")
    return error


def _reason(error: Exception) -> str:
    status = getattr(error, "status_code", None)
    text = " ".join(str(error).split())[:200] or type(error).__name__
    return text if status is None or str(status) in text else f"{status}: {text}"
