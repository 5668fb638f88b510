"""Models of transformers as users have them: saved in a folder, without the head."""


def save_plain(path, builder):
    """Saves what a builder of `tiny_models` returns; gives the folder as text."""
    model, processor = builder()
    model.save_pretrained(path)
    processor.save_pretrained(path)
    return str(path)
