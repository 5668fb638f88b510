"""Marks of a model inside users' text: `</s>`, `<image>`, `<|im_end|>`, ... are text there, not tokens of their own.

A tokenizer turns such letters into the token, and a processor puts an image there. To prevent it, users' text is cut
inside each mark, and the pieces are tokenised one after the other; text without marks is not touched.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from transformers import ProcessorMixin

CUT = "\ufdd0"
"""Stands in a text where it is cut; a code point that Unicode keeps out of texts."""

# Added tokens that are no special tokens are ordinary words or runs of white space, unless they look like these.
_LOOKS_LIKE_A_MARK = re.compile(r"<\S+>|\[\S+\]")


class Marks:
    """The marks of one processor.

    Args:
        processor: The model's processor.
        kept: A token that users' text may hold: `[SCORE]`.
    """

    def __init__(self, processor: ProcessorMixin, kept: str) -> None:
        added = processor.tokenizer.added_tokens_decoder
        texts = {str(t) for t in added.values() if t.special or _LOOKS_LIKE_A_MARK.fullmatch(str(t))}
        texts |= {v for name, v in vars(processor).items() if name.endswith(("_token", "_tag")) and isinstance(v, str)}
        texts = {text for text in texts if len(text.strip()) > 1} - {kept}
        self._pattern = re.compile("|".join(map(re.escape, sorted(texts, key=len, reverse=True))) or r"(?!)")
        unknown = processor.tokenizer.unk_token_id
        self._ids = {index for index, token in added.items() if str(token) in texts and index != unknown}

    def cut(self, text: str) -> str:
        """Puts `CUT` behind the first character of every mark, so that no piece between two cuts holds one.

        Raises:
            ValueError: If the text holds that code point.
        """
        if CUT in text:
            raise ValueError(f"the text holds the code point U+{ord(CUT):04X}, which is no character; remove it")
        found = self._pattern.search(text)
        while found:
            text = f"{text[: found.start() + 1]}{CUT}{text[found.start() + 1 :]}"
            found = self._pattern.search(text, found.start() + 2)
        return text

    def check(self, ids: Iterable[int], text: str) -> None:
        """Makes sure that no mark became a token.

        Raises:
            ValueError: If one did, as where a tokenizer rewrites letters before it looks for marks.
        """
        if not self._ids.isdisjoint(ids):
            raise ValueError(
                f"the tokenizer reads a mark of the model in the text {text.replace(CUT, '')[:80]!r}; remove it"
            )
