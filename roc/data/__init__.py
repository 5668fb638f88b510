"""Rated images as the rest of the package takes them: records, read from files and checked.

`images` opens pictures within the `limits` and after a look at their `workload`, `rows` reads and writes tables;
`reading` turns their `columns` and `conversations` into `records`; `augment` changes training images; `survey` opens
many images, for `check`, `leaks` (by names, and by `lookalikes`), `split` and `sheet`, which look at whole files;
`datasets/` converts public data sets.
"""
