"""AGREE: photometric attributes that guide the score.

`attributes` names the five, in their order. `batches` holds what maps and perturbations share: images as tensors, the
check of their input, luma, filters. `maps` turns pictures into attribute maps, with `quantiles`; `perturbations` moves
one attribute of a picture up and down. `routing` holds the formulas of sensitivities and weights. `sensitivity` is a
whole `roc agree sensitivity`: `folds` divides the photos, `views` gives each in ten perturbed forms, `scorers` scores
them, `table` is what comes out, and where weights are looked up. `analysis` is a whole `roc agree analyse`, by
`analysis_options`: `runs` reads what was evaluated and trained, `common_errors` are photos that all scorers get wrong,
`marginalisation` says who leans on a rare attribute, `gradients`, `conflicts` and `pull` how attributes pull against
each other; `analysis_plots` and `analysis_page` show it. `anchors` is a whole `roc agree anchors`, by `anchor_options`:
`anchor_text` holds questions and sentences, `anchor_writer` is the frozen model that answers, `anchor_features` the
file of what it said, `anchor_loss` draws branches towards it. `photo_journal` is shared by jobs over photos.
`extension` is the module in a model, with its `branches`, and `hosts` its place there; `train` is a whole `roc agree
train`, by `train_config`, and `held_out` what it tells of validation and test photos; `weights` keeps routing weights
of known photos in a checkpoint, and `known` their anchors beside them. `config` holds the settings of the other
commands, `sheet` draws what it shows.
"""
