"""The tokenizer of mPLUG-Owl2: LLaMA's pieces, with the ids its checkpoints were trained with.

Those were made by the LLaMA tokenizer of transformers 4.31, and later ones give other ids around `[SCORE]`. What was
peculiar to it and is kept:

* An added word such as `[SCORE]` takes the white space on both of its sides: "is [SCORE]." is `is`, `[SCORE]`, `.`.
* Text is cut at added and special tokens, and each part is split by itself, so each starts with the mark of a word.
  With `legacy` it stays there (`[SCORE]`, lone mark, `.`). Without, all parts but the first lose it, and what is left
  of the piece need not be a piece: it is `<unk>` then.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from transformers import AddedToken
from transformers.tokenization_python import PythonBackend

from roc.model.mplug_owl2.pieces import MARK, PieceModel

_OPENING, _CLOSING = "([{\"'", ".,;:!?%)]}\"'/"


class MplugOwl2Tokenizer(PythonBackend):
    """Text to token ids and back; needs no sentencepiece.

    The id of an image stands for no text: it is the processor that writes it, and decoding leaves it out, like any id
    beyond the vocabulary.

    Args:
        vocab_file: path of `tokenizer.model`.
        unk_token, bos_token, eos_token: special tokens; `bos_token` opens every text.
        pad_token: None = `unk_token`, as in training.
        legacy: what becomes of the mark at the beginning of a text's later parts, see above. None, where a
            `tokenizer_config.json` does not say, is True, as it was then.
        add_bos_token, add_eos_token: whether these open and close a text; saved as `special_tokens_pattern`, which
            wins over the two.
        **kwargs: of `PythonBackend`.

    Raises:
        ValueError: where there is no `tokenizer.model`, or none of LLaMA's kind.
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
        self.piece_model = PieceModel(Path(vocab_file).read_bytes())
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
        return len(self.piece_model.pieces)

    def get_vocab(self) -> dict[str, int]:
        """Piece or added token -> id."""
        return self.piece_model.ids | self._added_tokens_encoder

    def prepare_for_tokenization(self, text: str, is_split_into_words: bool = False, **kwargs: Any) -> tuple[str, dict]:
        """Puts a mark in front by which `_tokenize` knows the first part of a text."""
        return (text if self.legacy else MARK + text.replace(MARK, " ")), kwargs

    def _tokenize(self, text: str, **kwargs: Any) -> list[str]:
        """The pieces of one part of a text: what stands between two added tokens."""
        if self.legacy:
            return self.piece_model.split(text)
        if text.startswith(MARK):
            return self.piece_model.split(text[1:])
        pieces = self.piece_model.split(text)
        if not text.startswith(" "):
            pieces[0] = pieces[0].removeprefix(MARK)
        return [piece for piece in pieces if piece]

    def _convert_token_to_id(self, token: str) -> int:
        return self.piece_model.ids.get(token, self.piece_model.ids[str(self.unk_token)])

    def _convert_id_to_token(self, index: int) -> str:
        return self.piece_model.pieces[index] if 0 <= index < self.vocab_size else ""

    def _add_tokens(self, new_tokens: Sequence[str | AddedToken], special_tokens: bool = False) -> int:
        if not special_tokens:
            known = self.all_special_tokens
            new_tokens = [token if str(token) in known else _word(token) for token in new_tokens]
        return super()._add_tokens(new_tokens, special_tokens)

    def convert_tokens_to_string(self, tokens: Sequence[str]) -> str:
        """The text of tokens, with spaces around added words where they usually stand: tokenising takes them away."""
        text, follows_word, starts = "", False, True
        for added, group in itertools.groupby(tokens, self._added_tokens_encoder.__contains__):
            if not added:
                part = self.piece_model.text(group)
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
        path.write_bytes(self.piece_model.serialized)
        return (str(path),)


def _word(token: str | AddedToken) -> AddedToken:
    """An added token that takes the white space on both of its sides; a special token stays as it is."""
    if isinstance(token, AddedToken) and token.special:
        return token
    return AddedToken(str(token), lstrip=True, rstrip=True, normalized=False, special=False)
