"""AGREE: photometric attributes that guide the score.

`attributes` names the five, in their order. `batches` holds what maps and perturbations share: the check of their
input, luma, filters. `maps` turns pictures into attribute maps, with `quantiles`; `perturbations` moves one attribute
of a picture up and down. `config` holds the settings of `roc agree`, `sheet` draws what it shows.
"""
