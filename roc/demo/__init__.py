"""The embedded demo: procedural scenes with simulated raters, and the tiny model that is trained on them."""
