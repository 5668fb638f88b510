"""A tiny model that declares that it reasons, and a script that says in its place what it is told to."""

import torch
from heads import SPACE, fill_head
from tiny_models import BUILDERS

from roc.model.attachment import attach
from roc.model.collator import RocCollator
from roc.model.modeling import ScoredGeneration
from roc.model.reasoned import reasoned_answer

QUESTION = "Think about the light first, then rate the image."
GOOD_TEXT = reasoned_answer("Soft light.")


def reasoning_model(family="llava"):
    model, processor = BUILDERS[family]()
    attach(model, processor, SPACE, reasoning=QUESTION)
    fill_head(model)
    return model, processor, RocCollator(processor, model.declaration)


class Script:
    """Stands in for `generate_with_scores`: each row gets the next text; "..." at its end means that it was cut.

    Attributes:
        asked: The settings of each call, with the number of its rows under `rows`.
    """

    def __init__(self, model, processor, texts):
        self.model, self.processor, self.texts, self.asked = model, processor, iter(texts), []

    def __call__(self, **inputs):
        rows = inputs["input_ids"].shape[0]
        self.asked.append({"rows": rows, **{name: inputs.get(name) for name in ("do_sample", "temperature")}})
        tokenizer, token = self.processor.tokenizer, self.model.declaration.token_id
        written = []
        for _ in range(rows):
            text = next(self.texts)
            ids = tokenizer(text.removesuffix("..."), add_special_tokens=False)["input_ids"]
            written.append(ids if text.endswith("...") else [*ids, tokenizer.eos_token_id])
        width = max(map(len, written))
        ids = torch.tensor([[*row, *[tokenizer.pad_token_id] * (width - len(row))] for row in written])
        for place, row in enumerate(written):
            if row[-1] != tokenizer.eos_token_id:
                ids[place, len(row) :] = row[-1]  # a row that was cut is as long as the longest
        logits = [torch.eye(10)[: row.count(token)] * (5.0 + i) for i, row in enumerate(written)]
        return ScoredGeneration(ids, logits)
