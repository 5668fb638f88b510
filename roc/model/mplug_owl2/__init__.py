"""mPLUG-Owl2 as a model of `transformers`; importing this package registers it with the Auto classes.

`configuration`, `language`, `vision`, `abstractor` and `modeling` are the model, `tokenization` and `processing` its
inputs; `convert` and `published` read and write published ROC4MLLM checkpoints. These keep their key names on disk:
keys are renamed while loading, and back while saving.
"""

from transformers import AutoConfig, AutoModel, AutoModelForImageTextToText, AutoProcessor, AutoTokenizer
from transformers.conversion_mapping import register_checkpoint_conversion_mapping
from transformers.core_model_loading import WeightRenaming
from transformers.models.auto import tokenization_auto

from roc.model.mplug_owl2.configuration import MplugOwl2Config
from roc.model.mplug_owl2.modeling import MplugOwl2ForConditionalGeneration, MplugOwl2Model
from roc.model.mplug_owl2.processing import MplugOwl2Processor
from roc.model.mplug_owl2.tokenization import MplugOwl2Tokenizer

AutoConfig.register("mplug_owl2", MplugOwl2Config)
AutoModel.register(MplugOwl2Config, MplugOwl2Model)
AutoModelForImageTextToText.register(MplugOwl2Config, MplugOwl2ForConditionalGeneration)
AutoTokenizer.register(MplugOwl2Config, MplugOwl2Tokenizer)
AutoProcessor.register(MplugOwl2Config, MplugOwl2Processor)
# The published tokenizer_config.json names LlamaTokenizer, which has changed since.
tokenization_auto.TOKENIZER_MAPPING_NAMES["mplug_owl2"] = MplugOwl2Tokenizer.__name__
tokenization_auto.MODELS_WITH_INCORRECT_HUB_TOKENIZER_CLASS.add("mplug_owl2")
register_checkpoint_conversion_mapping(
    "mplug_owl2",
    [WeightRenaming(r"^model\.(embed_tokens|layers|norm)\.", r"model.language_model.\1.")],
)

__all__ = [
    "MplugOwl2Config",
    "MplugOwl2ForConditionalGeneration",
    "MplugOwl2Model",
    "MplugOwl2Processor",
    "MplugOwl2Tokenizer",
]
