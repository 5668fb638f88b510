"""A vision backbone as a host of the score head; importing this package registers it with the Auto classes.

The backbone is followed by the smallest language model there is: one layer that turns the picture into a hidden state
at each place of the answer, and an answer that is nothing but `[SCORE]`, once for each attribute. So the head is
attached, trained, saved, loaded and read as on any other model, and nothing else in roc knows of it.

`encoder` finds the vision encoder in a model of `transformers` and brings its output to one form, `configuration` and
`modeling` are the whole model, `inputs` its tokenizer and processor, `assembly` puts all of it together.
"""

from transformers import AutoConfig, AutoModelForImageTextToText

from roc.model.backbone.configuration import BackboneConfig
from roc.model.backbone.modeling import BackboneForScoring

AutoConfig.register(BackboneConfig.model_type, BackboneConfig)
AutoModelForImageTextToText.register(BackboneConfig, BackboneForScoring)

__all__ = ["BackboneConfig", "BackboneForScoring"]
