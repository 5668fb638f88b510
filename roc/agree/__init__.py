"""AGREE: photometric attributes that guide the score.

`attributes` names the five, in their order. `batches` holds what maps and perturbations share: images as tensors, the
check of their input, luma, filters. `maps` turns pictures into attribute maps, with `quantiles`; `perturbations` moves
one attribute of a picture up and down. `routing` holds the formulas of sensitivities and weights. `sensitivity` is a
whole `roc agree sensitivity`: `folds` divides the photos, `views` gives each in ten perturbed forms, `scorers` scores
them, `table` is what comes out, and where weights are looked up. `config` holds the settings of `roc agree`, `sheet`
draws what it shows.
"""
