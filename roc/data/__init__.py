"""Rated images as the rest of the package takes them: records, read from files and checked.

`images` opens pictures, `raw` files by their previews, within the `limits` and after a look at their `workload`. `rows`
reads and writes tables, by `headed` (CSV), `spreadsheet` (.xlsx), `parquet` and `hub` (data sets of `datasets`);
`cells` says what a cell means, `pictures` keeps those inside a table, `faults` collects what is wrong, `digest` hashes
what a file holds, `counts` says how many. `reading` turns `columns` and `conversations` into `records`, `pairs` reads
which of two is better; `image_paths` resolves their paths, `nearby` finds what a wrong one meant, `usual_ranges` which
scale scores are on; `augment` changes training images. `folders` searches folders; `stars` are
ratings of other programs, in `xmp` packets and their `sidecars`. `survey` opens many images, for `check` (and
`good_rows`), `leaks` (by names, and by `lookalikes`), `split` and `sheet`; `datasets/` converts public data sets.
"""
