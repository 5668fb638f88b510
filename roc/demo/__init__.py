"""Everything to try the library on, made here: `scenes` draws rated pictures, `tiny_model` builds a small model."""
