"""Rated images as the rest of the package takes them: records, read from files and checked.

`images` opens pictures within the `limits`, `rows` reads and writes tables, `columns` knows what their names mean,
`reading` turns them into `records`, the one form data has; `survey` opens many images, `augment` changes training
images; `check`, `leaks`, `split` and `sheet` look at whole files; `datasets/` converts public data sets.
"""
