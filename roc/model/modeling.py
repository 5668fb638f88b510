"""The class of a model that carries the score head: a dynamic subclass of the model's own class.

`roc_class(Base)` is a subclass of `Base` with the same name, module and config class, plus one child module,
`score_head`. The name must not change: `transformers` looks up weight conversion, losses and recorders by it, and a
stock `AutoModel` must still load the checkpoint as a plain vision-language model.

The head reads the *input of the language-model head*, which a forward pre-hook on `get_output_embeddings()` takes.
Every family therefore runs its own forward, with its own logit scaling, and no family needs a branch here. The same
hook passes only the supervised positions on to the language-model head, so that a vocabulary of 150k costs nothing at
the thousand positions of an image.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import inspect
import threading
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import nn
from transformers import PreTrainedModel

from roc.model.declaration import Declaration, declaration_of
from roc.model.extensions import begin_pass, build_extensions, extensions_of
from roc.model.head import ScoreHead, read_levels
from roc.model.links import ScaleLinks
from roc.model.losses import IGNORE_INDEX, batch_emd, emd, frank, smooth_l1, soft_cross_entropy, text_cross_entropy
from roc.model.mirror import mean_logits, mirrored
from roc.model.positions import check_columns, check_length, rows_and_columns, score_positions
from roc.score_space import ScoreSpace

# Fields that a roc forward adds to the model's own output.
_OUTPUT_FIELDS = (
    *("text_loss", "l1_loss", "ce_loss", "emd_loss", "delta_loss", "rank_loss"),
    *("scores", "score_logits"),
)

# Names under which configurations keep the tokens that stand for pictures.
_PICTURE_MARKS = ("image_token_id", "image_token_index", "video_token_id", "video_token_index")

_HALVES = {torch.bfloat16, torch.float16}

# The paper states its losses on 1..10; "unit" scales every range to that width, so that beta 1 means the same.
_PAPER_WIDTH = 9.0

# Difference of two scores on the unit scale up to which the loss on a known difference is quadratic.
_DELTA_BETA = 0.05


@dataclasses.dataclass(frozen=True)
class ScoredGeneration:
    """Generated token ids, with the scores read while they were generated.

    Attributes:
        sequences: (B, S) generated ids, without the prompt.
        score_logits: For each row (k, N) level logits, one for each `[SCORE]` it generated, in order.
    """

    sequences: torch.Tensor
    score_logits: list[torch.Tensor]


class RocMixin:
    """The methods that `roc_class` adds to a model class; never instantiated alone."""

    score_head: ScoreHead
    scale_links: ScaleLinks  # only while a model learns from several data sets together
    accepts_loss_kwargs = True  # the Trainer then passes the counts over which each loss is averaged
    picture_dtype: torch.dtype | None = None  # dtype of a vision tower that is kept in float32, if there is one
    _score_log: list[torch.Tensor] | None = None

    def __init__(self, config: Any, *args: Any, **kwargs: Any) -> None:
        super().__init__(config, *args, **kwargs)
        declaration = declaration_of(config)
        self.score_head = ScoreHead(hidden_size(self), declaration.num_levels)
        self.score_head.temperature = declaration.temperature
        build_extensions(self)

    def _init_weights(self, module: nn.Module) -> None:
        if isinstance(module, ScoreHead):
            nn.init.zeros_(module.weight)
        else:
            super()._init_weights(module)

    def __reduce__(self) -> tuple:
        # The class has the name of its base, so pickle cannot find it by name.
        return _rebuild, (self.roc_base_class,), self.__dict__

    def train(self, mode: bool = True) -> Any:
        """Sets the mode of all modules, but keeps frozen batch normalisation in eval mode, or its statistics change."""
        super().train(mode)
        for module in self.modules():
            if isinstance(module, nn.modules.batchnorm._BatchNorm) and not any(
                parameter.requires_grad for parameter in module.parameters()
            ):
                module.eval()
        return self

    def enable_input_require_grads(self) -> None:
        """Makes the embedded tokens require a gradient, which reentrant gradient checkpointing needs.

        Unlike the base's method, leaves the embeddings of the vision tower alone: through a frozen tower a gradient
        would run back for nothing.
        """
        self._require_grads_hooks = [self.get_input_embeddings().register_forward_hook(_require_grad)]

    @property
    def dtype(self) -> torch.dtype:
        """Dtype of the language model; a vision tower that is kept in float32 does not count."""
        return super().dtype if self.picture_dtype is None else self.get_decoder().dtype

    @property
    def declaration(self) -> Declaration:
        """The meaning of the head and how it was trained, from `config.roc`; change it with `declare`."""
        return declaration_of(self.config)

    @property
    def score_space(self) -> ScoreSpace:
        """Range and levels of the first attribute, with the ranges of those that have one of their own."""
        return self.declaration.space

    def score_levels(self, device: torch.device | None = None) -> torch.Tensor:
        """Returns the (N,) float32 score value of each level of the first attribute; shared, so never write to it.

        It is no buffer, because `transformers` builds models on `meta` and does not restore buffers that no file holds.
        """
        levels = _level_values(self.score_space.of(self.declaration.attributes[0]))
        return levels if device is None else levels.to(device)

    def levels_at(self, columns: Sequence[int] | torch.Tensor, device: torch.device | None = None) -> torch.Tensor:
        """Returns the float32 score value of each level for scores at certain places in their answers.

        Args:
            columns: (M,) places, 0 for the first attribute; a score past the last attribute is on the common range.
            device: Of the result; None = the CPU.

        Returns:
            (M, N), or the (N,) of `score_levels` where all attributes share one range; `read_levels` takes both.
        """
        declaration = self.declaration
        if not declaration.space.attribute_ranges:
            return self.score_levels(device)
        table = torch.stack([_level_values(space) for space in (*declaration.spaces, declaration.spaces[0])])
        columns = torch.as_tensor(columns, dtype=torch.long, device=device).clamp(max=len(table) - 1)
        return table.to(columns.device)[columns]

    def generate_with_scores(self, **inputs: Any) -> ScoredGeneration:
        """Generates as `generate` does and reads the score at every `[SCORE]` it writes, without a second forward.

        Marks of images and videos are never sampled: a model that wrote one could not read its own answer again.

        Args:
            **inputs: Arguments of `generate`; `input_ids` (B, T) must be padded on the left.

        Raises:
            ValueError: For beam search, which reorders the rows between steps.
        """
        config = inputs.get("generation_config") or self.generation_config
        marks = sorted({*(inputs.get("suppress_tokens") or config.suppress_tokens or ()), *_picture_marks(self)})
        inputs["suppress_tokens"] = marks or None
        if (inputs.get("num_beams") or config.num_beams or 1) > 1:
            raise ValueError("generate_with_scores reads one sequence per row; set num_beams=1 (got beam search).")
        # Some processors give token types that their model takes only in a forward pass, or not at all.
        if "mm_token_type_ids" not in inspect.signature(self.roc_base_class.forward).parameters:
            inputs.pop("mm_token_type_ids", None)
        with self._logging_scores() as log:
            sequences = self.generate(**inputs)
        generated = sequences[:, inputs["input_ids"].shape[1] :]  # (B, S)
        steps = torch.stack(log[-generated.shape[1] :], dim=1)  # (B, S, N); prefill may have run in several chunks
        mask = generated == self.declaration.token_id
        return ScoredGeneration(
            sequences=generated,
            score_logits=[row[hits] for row, hits in zip(steps, mask, strict=True)],
        )

    @contextlib.contextmanager
    def _logging_scores(self) -> Iterator[list[torch.Tensor]]:
        # Not in the forward pass of this class: some models generate with the language model inside them.
        self._score_log = log = []

        def read(module: nn.Module, args: tuple) -> None:
            if self._score_log is not None:
                self._score_log.append(self.score_head(args[0][:, -1]))

        handle = self.get_output_embeddings().register_forward_pre_hook(read)
        try:
            yield log
        finally:
            handle.remove()
            self._score_log = None

    def _cast_pictures(self, inputs: dict[str, Any]) -> dict[str, Any]:
        """Brings pixels in half precision to the format of the vision tower; some processors round them unasked."""
        dtype = self.picture_dtype or self.dtype
        return {
            name: value.to(dtype)
            if name.startswith("pixel_values") and torch.is_tensor(value) and value.dtype in _HALVES
            else value
            for name, value in inputs.items()
        }

    def _run_base(
        self, keep: torch.Tensor | None, args: tuple, kwargs: dict, *, with_vocabulary: bool = True
    ) -> tuple[Any, torch.Tensor]:
        """Runs the base forward with only the `keep` positions passed on to the language-model head.

        Args:
            keep: (B, T) mask of positions; None = all that the model itself would pass on.
            with_vocabulary: False passes on no position at all, so that `logits` are (1, 0, V).

        Returns:
            The base output and the hidden states kept: (n_kept, H), or (B, T', H) if `keep` is None.
        """
        seen: list[torch.Tensor] = []

        def tap(module: nn.Module, head_args: tuple) -> tuple | None:
            hidden_states = head_args[0]  # (B, T, H)
            if keep is None:
                seen.append(hidden_states)
                return None
            check_length(hidden_states, keep)
            kept = hidden_states[keep]
            seen.append(kept)
            return ((kept if with_vocabulary else kept[:0]).unsqueeze(0), *head_args[1:])

        handle = self.get_output_embeddings().register_forward_pre_hook(tap)
        try:
            outputs = self.roc_base_class.forward(self, *args, **begin_pass(self, kwargs))
        finally:
            handle.remove()
        if len(seen) != 1:
            raise RuntimeError(
                f"{type(self).__name__} called its output embeddings {len(seen)} times in one forward; the score head "
                "needs exactly one call to read from."
            )
        return outputs, seen[0]

    def level_logits(self, score_mask: torch.Tensor, *, with_mirror: bool | None = None, **inputs: Any) -> torch.Tensor:
        """Computes the `score_logits` of `forward(score_mask=...)`, but stops before the language-model head.

        Where the model declares `score_flip`, they are those of the mean distribution over the pictures and their
        mirror images (roc/model/mirror.py), which takes a second pass; all fast scoring comes through here.

        Args:
            score_mask: (B, T) True where the next token is `[SCORE]`. If it is on the CPU, its positions are found
                without waiting for a GPU that is still computing.
            with_mirror: Whether to read the mirror images too; None = as declared.
            **inputs: The model's own inputs.

        Returns:
            (B, K, N) level logits, NaN where a row has fewer than K scores.

        Raises:
            ValueError: If `score_mask` does not fit the input of the language-model head, or pictures that have to be
                mirrored cannot be.
        """
        declaration = self.declaration
        flips = declaration.score_flip if with_mirror is None else with_mirror
        other = mirrored(inputs) if flips else None
        logits = self._logits_at(score_mask, inputs)  # (M, N)
        if other is not None:
            logits = mean_logits(logits, self._logits_at(score_mask, other), declaration.temperature)
        if len(score_mask) == 1:
            return logits.unsqueeze(0)
        counts = score_mask.sum(dim=1).tolist()
        batch_size, width = len(counts), max(counts)
        if len(logits) == batch_size * width:
            return logits.view(batch_size, width, -1)
        blank = logits.new_full((batch_size, width, logits.shape[1]), float("nan"))
        rows, columns = (part.to(logits.device) for part in rows_and_columns(score_mask))
        return blank.index_put((rows, columns), logits)

    def _logits_at(self, score_mask: torch.Tensor, inputs: dict[str, Any]) -> torch.Tensor:
        """Computes the level logits (M, N) of the M positions in `score_mask`, in one pass."""
        head = self.get_output_embeddings()
        if _stop_for_levels not in head._forward_pre_hooks.values():
            # Left registered: registering and removing it takes 2% of each pass of a tiny model.
            head.register_forward_pre_hook(_stop_for_levels)
        _THREAD.reads_levels = True
        try:
            self.roc_base_class.forward(self, **begin_pass(self, inputs))
        except _HeadReached as reached:
            hidden_states = reached.hidden_states  # (B, T, H)
        else:
            raise RuntimeError(f"{type(self).__name__} never called its output embeddings; there is nothing to read.")
        finally:
            _THREAD.reads_levels = False
        check_length(hidden_states, score_mask)
        places = score_mask.flatten().nonzero().flatten().to(hidden_states.device, non_blocking=True)
        return self.score_head(hidden_states.flatten(0, 1).index_select(0, places))

    def _forward(
        self,
        *args: Any,
        labels: torch.Tensor | None = None,
        score_labels: torch.Tensor | None = None,
        score_distributions: torch.Tensor | None = None,
        score_mask: torch.Tensor | None = None,
        score_weights: torch.Tensor | None = None,
        score_sets: torch.Tensor | None = None,
        pairs: torch.Tensor | None = None,
        pair_deltas: torch.Tensor | None = None,
        pair_wins: torch.Tensor | None = None,
        num_items_in_batch: torch.Tensor | int | None = None,
        num_scores_in_batch: torch.Tensor | int | None = None,
        num_distributions_in_batch: torch.Tensor | int | None = None,
        num_pairs_in_batch: torch.Tensor | int | None = None,
        num_deltas_in_batch: torch.Tensor | int | None = None,
        **kwargs: Any,
    ) -> Any:
        """Runs the model's own forward; reads scores and computes their losses.

        Args:
            *args, **kwargs: The model's own inputs.
            labels: (B, T) token ids, -100 where unsupervised; a score stands at each `[SCORE]`.
            score_labels: (B, K) scores on the native scale, NaN where absent; column k belongs to the k-th `[SCORE]` of
                the row.
            score_distributions: (B, K, N) histograms that sum to 1, NaN where absent.
            score_mask: (B, T) True where the next token is `[SCORE]`; these positions are read, the language-model head
                is skipped and no loss is computed. Not together with `labels`.
            score_weights: (B,) importance of each row in the losses on scores and histograms; None: all 1.
            score_sets: (B,) number of each row's data set, whose scale its scores and histograms are on, in a model
                that learns `scale_links`; None: all are on the declared scale.
            pairs: (P, 2) rows of the pictures that were compared by their first score; None: none were.
            pair_deltas: (P,) how much better the second is on the unit scale, NaN where it is not known.
            pair_wins: (P,) 1 where the second is better, 0 where the first is, 0.5 for a tie.
            num_items_in_batch, num_scores_in_batch, num_distributions_in_batch, num_pairs_in_batch,
                num_deltas_in_batch: Numbers of supervised tokens, scores, histograms, pairs and known differences in
                the whole accumulated batch of all processes; None = those of this batch.

        Returns:
            The model's output class with `loss, text_loss, l1_loss, ce_loss, emd_loss, scores (B, K), score_logits
            (B, K, N)` (NaN where absent), with pairs `delta_loss, rank_loss`, and with labels `logits (n_supervised,
            V)`. Where `text_weight` is 0 the language-model head is skipped: `text_loss` is None and `logits` are
            (0, V). Without labels and score_mask the model's own output, unchanged.

        Raises:
            ValueError: If scores and `[SCORE]` tokens do not match, or positions do not fit.
        """
        if labels is None and score_mask is None:
            return self._run_base(None, args, self._cast_pictures(kwargs))[0]
        kwargs = self._cast_pictures(kwargs)
        if labels is not None and score_mask is not None:
            raise ValueError("Give labels (training) or score_mask (scoring), not both.")
        # A cache would hold the keys and values of every layer for a generation that does not follow.
        kwargs.setdefault("use_cache", False)

        if labels is None:
            outputs, score_hidden = self._run_base(score_mask, args, kwargs, with_vocabulary=False)
            rows, columns = rows_and_columns(score_mask)
            return self._with_scores(outputs, self.score_head(score_hidden), rows, columns, score_mask.shape[0], None)

        declaration = self.declaration
        at_score = score_positions(labels, declaration.token_id)
        teaches_words = declaration.text_weight > 0
        keep = at_score
        if teaches_words:
            keep = torch.zeros_like(at_score)
            keep[:, :-1] = labels[:, 1:] != IGNORE_INDEX
        outputs, kept_hidden = self._run_base(keep, args, kwargs, with_vocabulary=teaches_words)
        rows, columns = rows_and_columns(at_score)
        num_columns = None if score_labels is None else score_labels.shape[1]
        check_columns(rows, score_labels, labels.shape[0])
        level_logits = self.score_head(kept_hidden[at_score[keep]])  # (M, N)
        outputs = self._with_scores(outputs, level_logits, rows, columns, labels.shape[0], num_columns)

        losses = self._score_losses(
            level_logits,
            None if score_labels is None else score_labels[rows, columns],
            None if score_distributions is None else score_distributions[rows, columns],
            num_scores_in_batch,
            num_distributions_in_batch,
            None if score_weights is None else score_weights[rows],
            columns=columns,
            sets=None if score_sets is None else score_sets[rows],
        )
        if pairs is not None:
            losses |= self._pair_losses(
                outputs.score_logits, pairs, pair_deltas, pair_wins, num_pairs_in_batch, num_deltas_in_batch
            )
        if teaches_words:
            logits = outputs.logits
            if declaration.published_losses:
                # The published text loss normalises over the vocabulary and the level rows together.
                logits = torch.cat([logits.float(), self.score_head(kept_hidden)], dim=-1)
            targets = labels[:, 1:][keep[:, :-1]]  # (n_supervised,)
            losses = {"text": text_cross_entropy(logits, targets, num_items=num_items_in_batch), **losses}
        for name, loss in losses.items():
            outputs[f"{name}_loss"] = loss
        outputs.loss = sum(getattr(declaration, f"{name}_weight") * loss for name, loss in losses.items())
        for extension in extensions_of(self).values():
            if (added := extension.loss()) is not None:
                # Of the scores that the step is the mean of, these are the share of this batch.
                given = score_labels is not None and num_scores_in_batch is not None
                share = (~score_labels.isnan()).sum() / num_scores_in_batch if given else 1.0
                outputs.loss = outputs.loss + share * added
        return outputs

    def _score_losses(
        self,
        level_logits: torch.Tensor,
        score_labels: torch.Tensor | None,
        distributions: torch.Tensor | None,
        num_scores: torch.Tensor | int | None,
        num_distributions: torch.Tensor | int | None,
        weights: torch.Tensor | None = None,
        *,
        columns: torch.Tensor,
        sets: torch.Tensor | None = None,
    ) -> dict[str, torch.Tensor]:
        """Computes smooth L1 on the expectation, soft cross-entropy and EMD on the distribution, each where labelled.

        Args:
            level_logits: (M, N) for the M `[SCORE]` of the batch.
            score_labels: (M,) scores on the native scale, NaN where absent, or None.
            distributions: (M, N), NaN where absent, or None.
            num_scores, num_distributions: Their numbers in the whole batch; None = those here.
            weights: (M,) importance of each; None: all 1.
            columns: (M,) place of each in its answer, which tells its attribute.
            sets: (M,) data set of each, where the model learns links; None: all are on the declared scale.

        Raises:
            ValueError: For weights with the published losses, of which one is no mean over rows.
        """
        declaration = self.declaration
        nothing = torch.zeros(len(level_logits), dtype=torch.bool, device=level_logits.device)
        rated = nothing if score_labels is None else ~score_labels.isnan()
        voted = nothing if distributions is None else ~distributions.isnan().any(dim=-1)
        scores = score_labels[rated] if score_labels is not None else level_logits.new_zeros(0)
        votes = distributions[voted] if distributions is not None else level_logits.new_zeros(0, level_logits.shape[1])
        levels = self.levels_at(columns[rated], level_logits.device)  # (N,) or (R, N)
        scale: torch.Tensor | float = 1.0
        if declaration.l1_scale != "native":
            widths = declaration.space.width if levels.ndim == 1 else levels[:, -1] - levels[:, 0]
            scale = _PAPER_WIDTH / widths
        voted_logits = level_logits[voted]
        if sets is not None:
            votes = self.scale_links.moved_votes(votes, sets[voted], columns[voted])
        of_scores, of_votes = (None, None) if weights is None else (weights[rated], weights[voted])
        if declaration.published_losses:
            if weights is not None:
                raise ValueError("score_weights were given, but the published losses weigh no rows; drop one of them.")
            share = 1.0 if num_distributions is None else len(votes) / num_distributions
            emd_loss = share * batch_emd(voted_logits.softmax(-1), votes)
        else:
            emd_loss = emd(voted_logits.softmax(-1), votes, weights=of_votes, num_items=num_distributions)
        read = read_levels(level_logits[rated], levels).scores
        if sets is not None:
            lowest = levels[..., 0]
            units = (read - lowest) / (levels[..., -1] - lowest)
            read = self.scale_links(units, sets[rated], columns[rated])
            scale = _PAPER_WIDTH / self.scale_links.widths[sets[rated]]
        return {
            "l1": smooth_l1(read, scores, scale=scale, weights=of_scores, num_items=num_scores),
            "ce": soft_cross_entropy(voted_logits, votes, weights=of_votes, num_items=num_distributions),
            "emd": emd_loss,
        }

    def _pair_losses(
        self,
        score_logits: torch.Tensor,
        pairs: torch.Tensor,
        deltas: torch.Tensor,
        wins: torch.Tensor,
        num_pairs: torch.Tensor | int | None,
        num_deltas: torch.Tensor | int | None,
    ) -> dict[str, torch.Tensor]:
        """Computes smooth L1 on the difference of two first scores, where it is known, and FRank on which is higher.

        Args:
            score_logits: (B, K, N).
            pairs, deltas, wins, num_pairs, num_deltas: As for the forward pass.
        """
        space, levels = self.score_space, self.score_levels(score_logits.device)
        # A batch of words alone has no column; summing over none keeps it in the autograd graph.
        firsts = score_logits[:, 0] if score_logits.shape[1] else score_logits.sum(dim=1)  # (B, N)
        reading = read_levels(firsts[pairs], levels)  # (P, 2)
        # Not from the standard deviation, whose root has an infinite slope at 0.
        gaps = (levels - reading.scores.unsqueeze(-1)).square()
        variances = (reading.probabilities * gaps).sum(dim=-1) / space.unit_width**2
        means = reading.scores / space.unit_width
        known = ~deltas.isnan()
        apart = (means[:, 1] - means[:, 0])[known]
        return {
            "delta": smooth_l1(apart, deltas[known], beta=_DELTA_BETA, num_items=num_deltas),
            "rank": frank(means, variances, wins, num_items=num_pairs),
        }

    def _with_scores(
        self,
        outputs: Any,
        level_logits: torch.Tensor,
        rows: torch.Tensor,
        columns: torch.Tensor,
        batch_size: int,
        num_columns: int | None,
    ) -> Any:
        """Adds `scores` (B, K) and `score_logits` (B, K, N), NaN where absent, to the base output."""
        if num_columns is None:
            num_columns = int(columns.max()) + 1 if len(columns) else 0
        scores = read_levels(level_logits, self.levels_at(columns, level_logits.device)).scores
        blank = level_logits.new_full((batch_size, num_columns, level_logits.shape[1]), float("nan"))
        fields = {**outputs, "logits": outputs.logits.squeeze(0)}
        fields["scores"] = blank[..., 0].clone().index_put((rows, columns), scores)
        fields["score_logits"] = blank.index_put((rows, columns), level_logits)
        return _output_class(type(outputs))(**fields)


def _picture_marks(model: PreTrainedModel) -> set[int]:
    """Finds the rows of the vocabulary that stand for pictures in a prompt."""
    found = (getattr(model.config, name, None) for name in _PICTURE_MARKS)
    head = model.get_output_embeddings()
    size = getattr(head, "out_features", None) or head.weight.shape[0]
    return {row for row in found if isinstance(row, int) and 0 <= row < size}


@functools.cache
def _level_values(space: ScoreSpace) -> torch.Tensor:
    with torch.inference_mode(False):  # it may be made while scoring and used in training
        return torch.tensor(space.levels, dtype=torch.float32, device="cpu")


def _require_grad(module: nn.Module, args: tuple, output: torch.Tensor) -> None:
    output.requires_grad_(True)


def hidden_size(model: PreTrainedModel) -> int:
    """Reads the width H of the language-model head's input."""
    head = model.get_output_embeddings()
    return getattr(head, "in_features", None) or head.weight.shape[1]


@functools.cache
def roc_class(base: type[PreTrainedModel]) -> type[PreTrainedModel]:
    """Makes the subclass of `base` that carries a score head; the same object for the same base.

    The signature of its `forward` has the base's parameters and ours: `generate`, the Trainer and PEFT read it.
    """
    if issubclass(base, RocMixin):
        raise ValueError(f"{base.__name__} already carries a score head; use the model as it is.")

    def forward(self: Any, *args: Any, **kwargs: Any) -> Any:
        return self._forward(*args, **kwargs)

    forward.__doc__ = RocMixin._forward.__doc__
    forward.__signature__ = _merged_signature(base.forward, RocMixin._forward)
    namespace = {
        "__module__": base.__module__,
        "__qualname__": base.__qualname__,
        "__doc__": base.__doc__,
        "forward": forward,
        "roc_base_class": base,
        "_keep_in_fp32_modules_strict": {*(base._keep_in_fp32_modules_strict or ()), "score_head"},
    }
    return type(base.__name__, (RocMixin, base), namespace)


def _merged_signature(base_forward: Any, roc_forward: Any) -> inspect.Signature:
    base = inspect.signature(base_forward).parameters
    ours = inspect.signature(roc_forward).parameters
    added = [p for n, p in ours.items() if n not in base and p.kind is inspect.Parameter.KEYWORD_ONLY]
    named = [p for p in base.values() if p.kind is not inspect.Parameter.VAR_KEYWORD]
    return inspect.Signature([*named, *added, inspect.Parameter("kwargs", inspect.Parameter.VAR_KEYWORD)])


@functools.cache
def _output_class(base: type) -> type:
    """Extends an output class by our fields; declared ones, because `ModelOutput` rebuilds itself from those."""
    fields = [(name, torch.Tensor | None, dataclasses.field(default=None)) for name in _OUTPUT_FIELDS]
    return dataclasses.make_dataclass(f"Roc{base.__name__}", fields, bases=(base,))


def _rebuild(base: type[PreTrainedModel]) -> PreTrainedModel:
    cls = roc_class(base)
    return cls.__new__(cls)


class _HeadReached(Exception):
    """Raised to end a forward pass at the language-model head."""

    def __init__(self, hidden_states: torch.Tensor) -> None:
        super().__init__()
        self.hidden_states = hidden_states


_THREAD = threading.local()


def _stop_for_levels(module: nn.Module, args: tuple) -> None:
    if getattr(_THREAD, "reads_levels", False):
        raise _HeadReached(args[0])
