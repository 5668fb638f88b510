"""Words on a laptop: a pretrained language model is taught to score and comment on scenes whose truth is known.

    bash scripts/teach_words.sh

`parts.py` builds the model to start from, `judge.py` compares what the taught model writes with what is true of the
scenes, `report.py` writes the tables, and `__main__.py` is the command.
"""
