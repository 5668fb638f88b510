"""The tokenizer of mPLUG-Owl2: LLaMA's SentencePiece model, with the ids its checkpoints were trained with.

The `sentencepiece` package splits text. What surrounds it is the LLaMA tokenizer of transformers 4.31, with which these
checkpoints were trained; later ones give other ids around `[SCORE]`. It differs from them in two ways:

* An added word such as `[SCORE]` absorbs the white space on both of its sides: "is [SCORE]." is `is`, `[SCORE]`, `.`.
* Text is cut at added and special tokens, and each part is split by itself, so each begins with the mark of a word.
  With `legacy` the mark stays (`[SCORE]`, lone mark, `.`). Without, all parts but the first lose it, and if the rest of
  the piece is no piece, it becomes `<unk>`.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from transformers import AddedToken
from transformers.tokenization_python import PythonBackend

if TYPE_CHECKING:
    from sentencepiece import SentencePieceProcessor

MARK = "\N{LOWER ONE EIGHTH BLOCK}"
"""A space inside a piece."""

_OPENING, _CLOSING = "([{\"'", ".,;:!?%)]}\"'/"


class MplugOwl2Tokenizer(PythonBackend):
    """Turns text into token ids and back.

    The id of an image stands for no text: the processor writes it, and decoding leaves it out, like any id outside the
    vocabulary.

    Args:
        vocab_file: Path of `tokenizer.model`.
        unk_token, bos_token, eos_token: Special tokens; `bos_token` opens every text.
        pad_token: None = `unk_token`, as in training.
        legacy: Whether the later parts of a text keep their mark, see above. None, which a `tokenizer_config.json`
            without it gives, is True, as it was then.
        add_bos_token, add_eos_token: Whether these open and close a text; saved as `special_tokens_pattern`, which
            takes precedence over the two.
        sp_model_kwargs: Only an empty one is possible: pieces are not sampled.
        **kwargs: Arguments of `PythonBackend`.

    Raises:
        ImportError: If the package `sentencepiece` is missing.
        ValueError: If there is no `tokenizer.model`, or it is no SentencePiece model.
    """

    vocab_files_names = {"vocab_file": "tokenizer.model"}
    model_input_names = ["input_ids", "attention_mask"]
    padding_side = "right"

    def __init__(
        self,
        vocab_file: str | os.PathLike | None = None,
        unk_token: str | AddedToken = "<unk>",
        bos_token: str | AddedToken = "<s>",
        eos_token: str | AddedToken = "</s>",
        pad_token: str | AddedToken | None = None,
        *,
        legacy: bool | None = None,
        add_bos_token: bool = True,
        add_eos_token: bool = False,
        special_tokens_pattern: str | None = None,
        sp_model_kwargs: dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        if vocab_file is None:
            raise ValueError("There is no tokenizer.model beside the checkpoint; copy it from the checkpoint's source.")
        if sp_model_kwargs:
            raise ValueError(
                f"sp_model_kwargs is {sp_model_kwargs}; pieces are not sampled here, so only {{}} is possible."
            )
        self.serialized = Path(vocab_file).read_bytes()
        self.pieces = _piece_model(self.serialized)
        self._piece_ids = {self.pieces.id_to_piece(index): index for index in range(self.pieces.get_piece_size())}
        self.legacy = legacy is None or legacy
        if special_tokens_pattern is None:
            special_tokens_pattern = "_".join(["bos"] * add_bos_token + ["eos"] * add_eos_token) or "none"
        words = {index: _word(token) for index, token in kwargs.pop("added_tokens_decoder", {}).items()}
        super().__init__(
            unk_token=unk_token,
            bos_token=bos_token,
            eos_token=eos_token,
            pad_token=unk_token if pad_token is None else pad_token,
            legacy=self.legacy,
            added_tokens_decoder=words,
            special_tokens_pattern=special_tokens_pattern,
            **kwargs,
        )
        # The base class takes the pattern, but does not save it.
        self.init_kwargs["special_tokens_pattern"] = special_tokens_pattern

    @property
    def vocab_size(self) -> int:
        """Number of pieces, without what was added."""
        return len(self._piece_ids)

    def get_vocab(self) -> dict[str, int]:
        """Piece or added token -> id."""
        return self._piece_ids | self._added_tokens_encoder

    def prepare_for_tokenization(self, text: str, is_split_into_words: bool = False, **kwargs: Any) -> tuple[str, dict]:
        """Puts a mark in front, by which `_tokenize` recognises the first part of a text."""
        return (text if self.legacy else MARK + text.replace(MARK, " ")), kwargs

    def _tokenize(self, text: str, **kwargs: Any) -> list[str]:
        """Splits one part of a text: what stands between two added tokens."""
        if not self.legacy and text.startswith(MARK):
            return self.pieces.encode(text[1:], out_type=str)
        pieces = self.pieces.encode(text, out_type=str)
        if self.legacy:
            return pieces
        if not text.startswith(" "):
            pieces[0] = pieces[0].removeprefix(MARK)
        return [piece for piece in pieces if piece]

    def _convert_token_to_id(self, token: str) -> int:
        return self._piece_ids.get(token, self._piece_ids[str(self.unk_token)])

    def _convert_id_to_token(self, index: int) -> str:
        return self.pieces.id_to_piece(index) if 0 <= index < self.vocab_size else ""

    def _add_tokens(self, new_tokens: Sequence[str | AddedToken], special_tokens: bool = False) -> int:
        if not special_tokens:
            known = self.all_special_tokens
            new_tokens = [token if str(token) in known else _word(token) for token in new_tokens]
        return super()._add_tokens(new_tokens, special_tokens)

    def convert_tokens_to_string(self, tokens: Sequence[str]) -> str:
        """Joins tokens to text, with the spaces around added words that tokenising drops, where they usually stand."""
        text, follows_word, starts = "", False, True
        for added, group in itertools.groupby(tokens, self._added_tokens_encoder.__contains__):
            if not added:
                part = self.pieces.decode([MARK, *group])  # a first mark is dropped; one of the group's must not be
                if starts or self.legacy:
                    part = part.removeprefix(" ")  # the mark that was put in front
                if follows_word and part and not part[0].isspace() and part[0] not in _CLOSING:
                    text += " "
                text, follows_word, starts = text + part, False, False
                continue
            for token in group:
                is_word = self._added_tokens_decoder[self._added_tokens_encoder[token]].lstrip
                if is_word and text and not text[-1].isspace() and text[-1] not in _OPENING:
                    text += " "
                text, follows_word = text + token, is_word
        return text

    def save_vocabulary(self, save_directory: str, filename_prefix: str | None = None) -> tuple[str, ...]:
        """Writes `tokenizer.model` as it was read."""
        path = Path(save_directory, (f"{filename_prefix}-" if filename_prefix else "") + "tokenizer.model")
        path.write_bytes(self.serialized)
        return (str(path),)


def _piece_model(serialized: bytes) -> SentencePieceProcessor:
    """Loads the content of a `tokenizer.model`."""
    try:
        from sentencepiece import SentencePieceProcessor
    except ImportError as error:
        raise ImportError(
            "the tokenizer of mPLUG-Owl2 needs the package sentencepiece: pip install 'roc-mllm[owl2]'"
        ) from error
    model = SentencePieceProcessor()
    try:
        model.LoadFromSerializedProto(serialized)
    except RuntimeError as error:
        raise ValueError(
            f"These {len(serialized)} bytes are no sentencepiece model; a tokenizer.model that is a text of three "
            "lines is a Git LFS pointer, whose content has still to be fetched (git lfs pull)."
        ) from error
    return model


def _word(token: str | AddedToken) -> AddedToken:
    """Makes an added token absorb the white space on both of its sides; a special token stays as it is."""
    if isinstance(token, AddedToken) and token.special:
        return token
    return AddedToken(str(token), lstrip=True, rstrip=True, normalized=False, special=False)
