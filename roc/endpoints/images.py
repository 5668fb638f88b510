"""A model that edits pictures behind an OpenAI-compatible endpoint (`/images/edits`)."""

from __future__ import annotations

import base64
import binascii
import io
from typing import Any

from PIL import Image

from roc.data.images import ImageError, open_image
from roc.endpoints.chat import EndpointError, Pace, client_library, make_client, told_error
from roc.endpoints.options import EndpointOptions


class ImageEdits:
    """One model behind an endpoint; it may be asked from several threads.

    Args:
        model: The model's name there.
        url: Address of the endpoint; None for the client library's own.
        key: Key of the endpoint; None where it asks for none.
        options: Retries, timeout and pace.

    Attributes:
        name: What it is, in journals and messages.

    Raises:
        ImportError: If the client library is missing.
        ValueError: If neither an address nor a key is given.
    """

    def __init__(self, model: str, url: str | None, *, key: str | None, options: EndpointOptions) -> None:
        self._openai = client_library()
        self.name = f"images:{model}"
        self._model, self._where, self._options = model, url or "the endpoint", options
        self._pace = Pace(options.requests_per_minute)
        self._client = make_client(self._openai, self.name, url, key, options)

    def edit(self, picture: Image.Image, instruction: str, seed: int | None = None) -> Image.Image:
        """Has a picture edited.

        Args:
            picture: RGB.
            instruction: What to do, in words.
            seed: For endpoints that take one; None sends none.

        Returns:
            The edited picture, RGB, of whatever size the endpoint gives.

        Raises:
            EndpointError: This picture was not edited.
            EndpointDown: Nobody answered.
            ValueError: No picture will be edited: a wrong key, an unknown model.
        """
        buffer = io.BytesIO()
        picture.save(buffer, "PNG")
        more: dict[str, Any] = {} if seed is None else {"extra_body": {"seed": seed}}
        self._pace.wait()
        try:
            answered = self._client.images.edit(
                model=self._model, image=("photo.png", buffer.getvalue(), "image/png"), prompt=instruction, n=1, **more
            )
        except Exception as error:
            raise told_error(self._openai, error, self.name, self._where, self._options.key_variable) from error
        found = getattr(answered, "data", None)
        encoded = getattr(found[0], "b64_json", None) if isinstance(found, list) and found else None
        if not isinstance(encoded, str):
            place = getattr(found[0], "url", None) if isinstance(found, list) and found else None
            what = f"gave the address {place[:60]}" if isinstance(place, str) else "holds no picture"
            raise EndpointError(f"{self.name}: the answer {what}; expected the picture itself as b64_json")
        try:
            return open_image(base64.b64decode(encoded, validate=True))
        except (binascii.Error, ImageError) as error:
            raise EndpointError(f"{self.name}: the answer is no picture: {error}") from error
