"""An author behind any OpenAI-compatible chat endpoint."""

from __future__ import annotations

from roc.endpoints.chat import Chat as Endpoint
from roc.endpoints.chat import EndpointDown, EndpointError, Question, Reply
from roc.reasoning.authors import AuthorDown, AuthorError, Request, temperature_of
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
        self._endpoint = Endpoint(model, url, key=key, options=options)
        self.name = self._endpoint.name
        self.at_once = options.requests_at_once
        self._options = options

    def ask(self, request: Request) -> Reply:
        """Answers a request; see `Author.ask`."""
        pictures = () if request.photo is None else (request.photo.path,)
        try:
            return self._endpoint.ask(Question(request.text, pictures, temperature_of(request, self._options)))
        except EndpointDown as error:
            raise AuthorDown(str(error)) from error
        except EndpointError as error:
            raise AuthorError(str(error), error.tokens_in, error.tokens_out) from error
