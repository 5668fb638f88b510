"""How well predictions agree with people.

`evaluate` and `compare` are the jobs, `options` their options. Rows of human and predicted scores (`evaluated_rows`)
come from a file (`predictions`) or from a checkpoint (`scored_records`, on the scale that `rating_scale` finds among
`scales`). `metrics` are functions of arrays, `ranks` says which values are ties, `estimates` are groups of metrics,
`bootstrap` resamples rows, `summary` gives all metrics with intervals as one dict, whose keys `keys` explains;
`intervals` counts ratings inside the intervals of a calibration, `pairs` asks which of two pictures is better and
`compare_pairs` which of two models knows it better, `reasoned` measures answers with critiques, `critique_effect`
whether scores depend on their words and `image_effect` whether they depend on the image; `caveats` says what must be
known before a number is quoted, `verdict` which of two models is better. `folder` keeps the result; `table`, `plots`,
`curves`, `link_plot` and `theme`, `report`, `pair_page`, `page` and `thumbnail` show it; `benchmarks` holds published
numbers.
"""
