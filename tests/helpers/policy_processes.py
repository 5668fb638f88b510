"""One process of several that reinforce: what tests/policy/test_processes.py starts through `accelerate launch`.

    accelerate launch ... tests/helpers/policy_processes.py CHECKPOINT DATA CRITIQUES FOLDER REWARD ...

The texts are prescribed, since sampling differs with the number of processes; everything else is the room's own. The
same function gives the single process to compare with.
"""

import os
import sys

import torch
from policy_runs import WORDS, build, settings

from roc.model.reasoned import reasoned_answer

PICTURES = 3
"""Of four answers each: with two processes, those about the second picture lie on both."""


def step(checkpoint, data, folder, processes, **more):
    """Takes one step; returns the rewards of all rows, and the gradient of every parameter."""
    size = 4 * PICTURES // processes
    config = settings(checkpoint, data, folder, per_device_train_batch_size=size, max_steps=1, head_weight=0.5, **more)
    trainer = build(config)
    prescribe(trainer)
    seen, compute = {}, trainer._calculate_rewards

    def note(*args):
        seen["rewards"] = compute(*args)
        return seen["rewards"]

    trainer._calculate_rewards = note
    trainer.train()
    moments = trainer.optimizer.state
    gradient = {name: 10 * moments[p]["exp_avg"] for name, p in trainer.model.named_parameters() if p in moments}
    return {"rewards": seen["rewards"], "gradient": gradient, "pictures": len(trainer.rows._opened)}


def prescribe(trainer):
    """Has the model write what stands in a list, by the number of the row among all processes."""
    tokenize, end = trainer.collator.tokenize_answer, trainer.eos_token_ids[0]
    texts = [reasoned_answer(WORDS[row % 3]) for row in range(trainer.args.generation_batch_size)]
    texts[5] = "<think>dark</think>"
    rows = [[*tokenize(text), end] for text in texts]
    model, stock = trainer.model, trainer.model.generate

    def generate(**inputs):
        first = trainer.accelerator.process_index * len(inputs["input_ids"])
        begin = inputs["input_ids"].shape[1]

        def allowed(row, ids):
            own, place = rows[first + row], len(ids) - begin
            return [own[place] if place < len(own) else end]

        return stock(**inputs, prefix_allowed_tokens_fn=allowed)

    model.generate = generate


def main(checkpoint, data, critiques, folder, *rewards):
    torch.set_num_threads(1)
    found = step(checkpoint, data, folder, 2, rewards=rewards, critiques_path=critiques)
    if os.environ["RANK"] == "0":
        torch.save(found, f"{folder}/found.pt")
    torch.distributed.barrier()
    os._exit(0)  # together and at once: threads of the process group may abort while the interpreter shuts down


if __name__ == "__main__":
    main(*sys.argv[1:])
