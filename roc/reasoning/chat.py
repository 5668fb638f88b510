"""An author behind any OpenAI-compatible chat endpoint, asked through the `openai` client library.

The library tries again after 429, 5xx, a timeout or a lost connection, and waits as long as the endpoint asks for. The
pace set by `requests_per_minute` counts first tries.
"""

from __future__ import annotations

import base64
import io
import threading
import time
from typing import Any

from PIL import Image

from roc.data.images import open_image
from roc.reasoning.authors import AuthorError, Reply, Request, temperature_of
from roc.reasoning.config import AuthorOptions


class Chat:
    """An `Author` that is a model behind an endpoint.

    Args:
        model: The model's name there.
        url: Address of the endpoint; None for the client library's own.
        key: Key of the endpoint; None where it asks for none.
        options: Limits, temperature, retries and pace.

    Raises:
        ImportError: If the client library is missing.
        ValueError: If neither an address nor a key is given.
    """

    def __init__(self, model: str, url: str | None, *, key: str | None, options: AuthorOptions) -> None:
        self._openai = _library()
        if not key and url is None:
            raise ValueError(
                f"chat:{model} needs a key in the environment variable {options.key_variable}, or --base_url of an "
                "endpoint that asks for none"
            )
        self.name = f"chat:{model}"
        self.at_once = options.requests_at_once
        self._model = model
        self._where = url or "the endpoint"
        self._options = options
        self._pace = Pace(options.requests_per_minute)
        self._client = self._openai.OpenAI(
            api_key=key or "none", base_url=url, timeout=options.timeout, max_retries=options.retries
        )

    def ask(self, request: Request) -> Reply:
        """Answers a request; see `Author.ask`."""
        openai, content = self._openai, [{"type": "text", "text": request.text}]
        if request.photo is not None:
            shown = {"url": data_url(request.photo.path, self._options.image_side)}
            content.insert(0, {"type": "image_url", "image_url": shown})
        settings: dict[str, Any] = {self._options.max_tokens_field: self._options.max_tokens}
        temperature = temperature_of(request, self._options)
        if temperature is not None:
            settings["temperature"] = temperature
        self._pace.wait()
        try:
            answered = self._client.chat.completions.create(
                model=self._model, messages=[{"role": "user", "content": content}], **settings
            )
        except (openai.AuthenticationError, openai.PermissionDeniedError, openai.NotFoundError) as error:
            raise ValueError(
                f"{self._where} refuses {self.name}: {_reason(error)}; check --base_url, the model's name and the "
                f"key in {self._options.key_variable}"
            ) from error
        except (openai.APIError, ValueError) as error:  # ValueError: an answer that is no JSON
            raise AuthorError(f"{self.name}: {_reason(error)}") from error
        return self._read(answered)

    def _read(self, answered: Any) -> Reply:
        choices = getattr(answered, "choices", None)  # the library passes on whatever came with status 200
        message = getattr(choices[0], "message", None) if isinstance(choices, list) and choices else None
        text = getattr(message, "content", None)
        if not isinstance(text, str) or not text.strip():
            why = getattr(message, "refusal", None) or getattr(choices[0], "finish_reason", None) if choices else None
            raise AuthorError(f"{self.name}: the answer holds no text" + (f" ({why})" if why else ""))
        usage = getattr(answered, "usage", None)
        counts = (getattr(usage, "prompt_tokens", None) or 0, getattr(usage, "completion_tokens", None) or 0)
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


def data_url(path: str, side: int) -> str:
    """Makes a JPEG of a picture, its longest side at most `side` pixels, as a `data:` URL.

    Raises:
        ImageError: The picture cannot be opened.
    """
    picture = open_image(path)
    picture.thumbnail((side, side), Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    picture.save(buffer, format="JPEG", quality=90)
    return f"data:image/jpeg;base64,{base64.b64encode(buffer.getvalue()).decode()}"


def _library() -> Any:
    try:
        import openai
    except ImportError as error:
        raise ImportError("chat endpoints need openai; install it with: pip install 'roc-mllm[chat]'") from error
    return openai


def _reason(error: Exception) -> str:
    status = getattr(error, "status_code", None)
    text = " ".join(str(error).split())[:200] or type(error).__name__
    return text if status is None or str(status) in text else f"{status}: {text}"
