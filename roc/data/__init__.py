"""Rated images as the rest of the package takes them: records, read from files and checked.

`images` opens pictures within the `limits`, `rows` reads and writes tables, `records` is the one form data has,
`survey` counts a file's faults, `augment` changes training images; `check`, `leaks`, `split` and `sheet` look at whole
files; `datasets/` holds one converter for each public data set.
"""
