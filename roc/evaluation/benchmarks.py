"""Public test sets: which images belong to each, and what others have published on it.

A published number can be compared with one's own only if both were measured on the same rows in the same way. That is
rarer than it looks: at least five different sets of images are called "the AVA test set", the splits of KADID-10k in
three papers hardly overlap, and a PLCC may be raw or follow a curve that was fitted on the test labels. So an entry of
`TEST_SETS` is one set of images, not one data set; it holds the number of rows, and every published number holds its
source and the reasons against comparing it. `comparable` judges both for a given evaluation.

A size is None where the publication does not state it. "Quoted" numbers were read in a survey, not at their source. The
name of a model says what it was trained on where that was not this data set alone: the number of an untrained model is
as comparable as any other, but means something else.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from roc.evaluation.keys import range_text

_ROC4MLLM = "ROC4MLLM (AAAI 2026)"
_AGREE = "AGREE, project page"
_AES_R1 = "Aes-R1, arXiv v1, Table 1"
_SURVEY = "quoted by a survey of the field"
_RETRAINED = "trained again by the authors of ROC4MLLM"
_Q_BENCH = "Q-Bench A3, published outputs; the three decimals were recomputed from them"
_PYIQA = "IQA-PyTorch, tests/IAA_benchmark_results.csv"
_NINE_TO_ONE = "measured on its own 9:1 split, drawn with a fixed seed"
_SELECTED = "the training script selects the model on the test rows"


@dataclass(frozen=True)
class Published:
    """Numbers published on a test set.

    Attributes:
        model: Name of the model.
        srcc: None where not given, as the next two.
        plcc: Taken as raw unless `against` says otherwise.
        mae: On the native scale of the set.
        source: Where the numbers were read.
        against: The reason not to compare them with any other number on this set; None where none is known.
    """

    model: str
    srcc: float | None
    plcc: float | None
    mae: float | None = None
    source: str = ""
    against: str | None = None


@dataclass(frozen=True)
class TestSet:
    """One set of images that models are tested on. Higher scores are better in all sets.

    Attributes:
        name: The value of `--test_set`.
        title: Its name in a report.
        dataset: The data set that it is part of.
        rows: Number of images; None where it is not stated.
        min_score: Lowest score of the native scale.
        max_score: Highest score of the native scale.
        layout: What its files hold and which rows belong to it.
        caution: What to know before comparing numbers on it; None if nothing.
        published: In the order in which a report shows them.
    """

    __test__ = False  # pytest takes classes named like this for tests

    name: str
    title: str
    dataset: str
    rows: int | None
    min_score: float
    max_score: float
    layout: str
    caution: str | None = None
    published: tuple[Published, ...] = field(default=(), repr=False)


def comparable(
    published: Published, test_set: TestSet, *, n: int, unscored: int, scale: tuple[float, float] | None
) -> tuple[str, str]:
    """Judges whether a published number may be compared with an evaluation.

    Args:
        published: The number.
        test_set: The set that it was published on, and that the evaluation was declared to be on.
        n: Rows of the evaluation that have a predicted score.
        unscored: Rows without one.
        scale: Lowest and highest score of the evaluation; None where the scale is not known.

    Returns:
        "yes", "no" or "unknown", and the reason.
    """
    if published.against is not None:
        return "no", published.against
    evaluated = n + unscored
    if test_set.rows is not None and evaluated != test_set.rows:
        return "no", f"other rows: {evaluated:,} were evaluated, this set has {test_set.rows:,}"
    if unscored:
        return "no", f"{unscored:,} rows without a score are left out here"
    if _SURVEY in published.source:
        return "unknown", "quoted: neither its rows nor its kind of PLCC were checked at the source"
    if test_set.rows is None:
        return "unknown", "the publication does not state how many rows it was measured on"
    if published.mae is not None and scale is not None and scale != (test_set.min_score, test_set.max_score):
        native = range_text((test_set.min_score, test_set.max_score))
        return "yes", f"same number of rows; but its MAE is on {native}, here scores are on {range_text(scale)}"
    return "yes", "same number of rows"


_AVA_FILES = "AVA.txt: ids and votes for each of 1..10; the score is their mean. "
_FITTED = "its PLCC follows a 4-parameter logistic fitted on the test labels"
_OTHER_SPLIT = "measured on a split of its own"

_SETS = (
    TestSet(
        "ava",
        "AVA, official test split",
        "AVA",
        19_930,
        1,
        10,
        _AVA_FILES + "The 19,930 rows that Q-Align, ArtiMuse, UniPercept and IQA-PyTorch test on.",
        "At least four other sets of images go under this name: 25,551 rows (idealo), 12,776 (TANet), 12,818 (a NIMA "
        "re-implementation), 19,805 (AGREE). Only the number of rows tells them apart.",
        (
            Published("ROC4MLLM", 0.833, 0.832, 0.319, f"{_ROC4MLLM}, Table 1"),
            Published("Q-Align", 0.822, 0.817, 0.934, f"{_ROC4MLLM}, Table 1, {_RETRAINED}"),
            Published("Q-Align", 0.8223, 0.8192, None, f"{_PYIQA}, measured"),
            Published("ROC4MLLM without decoupled losses", 0.825, 0.824, None, f"{_ROC4MLLM}, ablation"),
            Published("mPLUG-Owl2, score as digits", 0.788, 0.786, 0.361, f"{_ROC4MLLM}, Table 1"),
            Published("LLaVA-1.5, score as digits", 0.781, 0.777, 0.371, f"{_ROC4MLLM}, Table 1"),
            Published("Qwen2-VL, score as digits", 0.778, 0.780, 0.429, f"{_ROC4MLLM}, Table 1"),
            Published("CALM", 0.815, 0.829, None, f"{_ROC4MLLM}, Table 1"),
            Published("EAT", 0.759, 0.770, 0.372, f"{_ROC4MLLM}, Table 1"),
            Published("ArtiMuse", 0.827, 0.826, None, _SURVEY),
            Published("RvTC (mPLUG-Owl2)", 0.833, 0.831, None, _SURVEY),
            Published("RvTC (Qwen2-VL-2B)", 0.843, 0.842, None, _SURVEY),
            Published("UNIAA-LLaVA, regression on the MOS", 0.840, 0.838, None, _SURVEY),
            Published("VILA-R", 0.774, 0.774, None, _SURVEY),
            Published("MUSIQ", 0.726, 0.738, None, _SURVEY),
            Published("TOPIQ-IAA", 0.7910, 0.7902, None, f"{_PYIQA}, measured"),
            Published("LAION aesthetic predictor", 0.665, 0.666, None, f"{_PYIQA}, measured"),
            Published("NIMA", 0.713, 0.717, None, f"{_PYIQA}, measured"),
            Published("NIMA", 0.612, 0.636, None, _SURVEY),
            Published("Q-ReAlign Pro", 0.832, 0.828, None, "Q-ReAlign, its authors' README"),
            Published("Q-ReAlign Lite", 0.814, 0.804, None, "Q-ReAlign, its authors' README"),
            Published("Q-ReAlign Mini", 0.797, 0.794, None, "Q-ReAlign, its authors' README"),
            Published("Aes-R1, trained on AVA alone", 0.8134, 0.8103, None, "Aes-R1, arXiv v1, Table 4"),
            Published("Aes-R1, mixed training", 0.6619, 0.6702, None, _AES_R1),
            Published("Aes-R1 on RED-20k, a swap of the data", 0.7381, 0.7506, None, _SURVEY),
            Published("TANet", 0.758, 0.765, 0.414, f"{_ROC4MLLM}, Table 1", "measured on its own 12,776 rows"),
        ),
    ),
    TestSet(
        "ava_captions",
        "AVA-Captions, its own test split",
        "AVA",
        None,
        1,
        10,
        _AVA_FILES + "Comments from AVA-Captions, one for each image, and its own split.",
        "Not the official AVA split: the same baselines score otherwise here (mPLUG-Owl2 .761 against .788, Qwen2-VL "
        ".784 against .778).",
        (
            Published("ROC4MLLM (mPLUG-Owl2), with comments", 0.835, 0.834, 0.317, f"{_ROC4MLLM}, Table 5"),
            Published("ROC4MLLM (mPLUG-Owl2)", 0.831, 0.830, 0.322, f"{_ROC4MLLM}, Table 5"),
            Published("mPLUG-Owl2, score as digits, with comments", 0.758, 0.758, 0.382, f"{_ROC4MLLM}, Table 5"),
            Published("mPLUG-Owl2, score as digits", 0.761, 0.762, 0.379, f"{_ROC4MLLM}, Table 5"),
            Published("ROC4MLLM (LLaVA-1.5), with comments", 0.794, 0.795, 0.353, f"{_ROC4MLLM}, Table 5"),
            Published("ROC4MLLM (LLaVA-1.5)", 0.793, 0.794, 0.354, f"{_ROC4MLLM}, Table 5"),
            Published("LLaVA-1.5, score as digits, with comments", 0.767, 0.767, 0.377, f"{_ROC4MLLM}, Table 5"),
            Published("LLaVA-1.5, score as digits", 0.775, 0.773, 0.372, f"{_ROC4MLLM}, Table 5"),
            Published("ROC4MLLM (Qwen2-VL), with comments", 0.831, 0.830, 0.325, f"{_ROC4MLLM}, Table 5"),
            Published("ROC4MLLM (Qwen2-VL)", 0.831, 0.829, 0.327, f"{_ROC4MLLM}, Table 5"),
            Published("Qwen2-VL, score as digits, with comments", 0.780, 0.781, 0.415, f"{_ROC4MLLM}, Table 5"),
            Published("Qwen2-VL, score as digits", 0.784, 0.785, 0.405, f"{_ROC4MLLM}, Table 5"),
        ),
    ),
    TestSet(
        "ava_agree",
        "AVA, the split of AGREE",
        "AVA",
        19_805,
        1,
        10,
        _AVA_FILES + "222,383 rows to train on, 11,707 to validate, 19,805 to test.",
        "Not the 19,930 rows of the official split.",
        (
            Published("AGREE with EAT", 0.789, 0.791, None, _AGREE),
            Published("AGREE with HKD-IAA", 0.761, 0.759, None, _AGREE, _SELECTED),
            Published("HKD-IAA", 0.753, 0.754, None, _AGREE),
            Published("EAT", 0.752, 0.755, None, _AGREE),
            Published("AesPrompt", 0.724, 0.719, None, _AGREE),
            Published("EAMB-Net", 0.702, 0.707, 0.420, _AGREE),
            Published("ELTA", 0.698, 0.704, None, _AGREE),
            Published("TANet", 0.684, 0.675, None, _AGREE),
        ),
    ),
    TestSet(
        "ava_tanet",
        "AVA, the split of TANet",
        "AVA",
        12_776,
        1,
        10,
        _AVA_FILES + "The rows that TANet's code tests on.",
        "Not the official split.",
        (
            Published("TANet", 0.758, 0.765, None, _SURVEY),
        ),
    ),
    TestSet(
        "ava_idealo",
        "AVA, the split of idealo's NIMA",
        "AVA",
        25_551,
        1,
        10,
        _AVA_FILES + "The rows that idealo's image-quality-assessment tests on.",
        "Not the official split.",
    ),
    TestSet(
        "ava_nima_yx",
        "AVA, the split of yunxiaoshi's NIMA",
        "AVA",
        12_818,
        1,
        10,
        _AVA_FILES + "The rows that this re-implementation of NIMA tests on.",
        "Not the official split.",
    ),
    TestSet(
        "tad66k",
        "TAD66K, official test split",
        "TAD66K",
        None,
        0,
        10,
        "Label files with the mean score of each image.",
        "AGREE tests on 9,950 rows of its own (see tad66k_agree).",
        (
            Published("ROC4MLLM", 0.518, 0.550, None, f"{_ROC4MLLM}, Tables 1-3"),
            Published("Q-Align", 0.506, 0.536, None, f"{_ROC4MLLM}, {_RETRAINED}; {_SURVEY}"),
            Published("ArtiMuse", 0.510, 0.543, None, f"ArtiMuse, Table 3, {_SURVEY}"),
            Published("Aes-R1, mixed training", 0.4248, 0.4513, None, _AES_R1),
            Published("Q-Insight, mixed training", 0.3886, 0.3980, None, _AES_R1),
            Published("DeQA-Score, mixed training", 0.3885, 0.3985, None, _AES_R1),
            Published("Q-Align, mixed training", 0.3627, 0.3498, None, _AES_R1),
            Published("Qwen2.5-VL-7B, untrained", 0.2242, 0.2282, None, _AES_R1),
            Published("Aes-R1 on RED-20k, a swap of the data", 0.5032, 0.5107, None, _SURVEY),
        ),
    ),
    TestSet(
        "tad66k_agree",
        "TAD66K, the split of AGREE",
        "TAD66K",
        9_950,
        0,
        10,
        "46,428 rows to train on, 9,949 to validate, 9,950 to test, drawn with seed 42.",
        "Not the official split.",
        (
            Published("AGREE with EAT", 0.488, 0.511, None, _AGREE),
            Published("AGREE with HKD-IAA", 0.432, 0.458, None, _AGREE),
            Published("EAT", 0.476, 0.503, None, _AGREE),
            Published("AesPrompt", 0.452, 0.475, None, _AGREE),
            Published("EAMB-Net", 0.427, 0.428, None, _AGREE),
            Published("TANet", 0.425, 0.457, None, _AGREE),
            Published("ELTA", 0.413, 0.430, None, _AGREE),
            Published("HKD-IAA", 0.395, 0.377, None, _AGREE),
        ),
    ),
    TestSet(
        "para",
        "PARA, official test split",
        "PARA",
        None,
        1,
        5,
        "Mean scores and attributes of each image, and the single raters' files.",
        "AGREE tests on 4,683 rows of its own (see para_agree). MAE depends on whether 1..5 is kept.",
        (
            Published("ROC4MLLM", 0.934, 0.956, None, f"{_ROC4MLLM}, Tables 1-3"),
            Published("Q-Align", 0.923, 0.940, None, f"{_ROC4MLLM}, {_RETRAINED}; {_SURVEY}"),
            Published("ArtiMuse", 0.936, 0.958, None, f"ArtiMuse, Table 3, {_SURVEY}"),
            Published("Aes-R1, not trained on PARA", 0.7666, 0.7842, None, _AES_R1),
            Published("Q-Insight, not trained on PARA", 0.7428, 0.7745, None, _AES_R1),
            Published("Qwen2.5-VL-7B, untrained", 0.6252, 0.5966, None, _AES_R1),
        ),
    ),
    TestSet(
        "para_agree",
        "PARA, the split of AGREE",
        "PARA",
        4_683,
        1,
        5,
        "21,854 rows to train on, 4,683 to validate, 4,683 to test, drawn with seed 42.",
        "Not the official split.",
        (
            Published("AGREE with EAT", 0.911, 0.940, None, _AGREE),
            Published("AGREE with HKD-IAA", 0.879, 0.916, None, _AGREE),
            Published("EAT", 0.891, 0.924, None, _AGREE),
            Published("AesPrompt", 0.875, 0.896, None, _AGREE),
            Published("HKD-IAA", 0.867, 0.899, None, _AGREE),
            Published("EAMB-Net", 0.853, 0.876, None, _AGREE),
            Published("ELTA", 0.826, 0.851, None, _AGREE),
            Published("TANet", 0.815, 0.853, None, _AGREE),
        ),
    ),
    TestSet(
        "aadb",
        "AADB, official test split",
        "AADB",
        None,
        0,
        1,
        "Lists of file names with the mean score, and one list for each of 11 attributes on -1..1.",
        "AGREE tests on 1,420 rows of its own (see aadb_agree).",
        (
            Published("ROC4MLLM", 0.783, 0.789, None, f"{_ROC4MLLM}, Tables 1-3"),
            Published("Q-Align", 0.762, 0.770, None, f"{_ROC4MLLM}, {_RETRAINED}; {_SURVEY}"),
            Published("Aes-R1, not trained on AADB", 0.5423, 0.5386, None, _AES_R1, _NINE_TO_ONE),
            Published("Q-Insight, not trained on AADB", 0.5184, 0.5069, None, _AES_R1, _NINE_TO_ONE),
            Published("Qwen2.5-VL-7B, untrained", 0.5076, 0.4480, None, _AES_R1, _NINE_TO_ONE),
        ),
    ),
    TestSet(
        "aadb_agree",
        "AADB, the split of AGREE",
        "AADB",
        1_420,
        0,
        1,
        "6,620 rows to train on, 1,418 to validate, 1,420 to test, drawn with seed 42.",
        "Not the official split. Two of the released training scripts select the model on the test rows.",
        (
            Published("AGREE with HKD-IAA", 0.682, 0.689, None, _AGREE, _SELECTED),
            Published("AGREE with EAT", 0.669, 0.678, None, _AGREE),
            Published("HKD-IAA", 0.671, 0.672, None, _AGREE),
            Published("EAMB-Net", 0.638, 0.640, None, _AGREE),
            Published("EAT", 0.601, 0.611, None, _AGREE),
            Published("ELTA", 0.592, 0.583, None, _AGREE),
            Published("TANet", 0.564, 0.575, None, _AGREE),
            Published("AesPrompt", 0.562, 0.577, None, _AGREE),
        ),
    ),
    TestSet(
        "icaa17k",
        "ICAA17K, official test split",
        "ICAA17K",
        None,
        0,
        10,
        "Two mean ratings of each image, of its colour and of the whole.",
        "The paper does not say which of the two ratings it reports.",
        (
            Published("ROC4MLLM", 0.894, 0.903, None, f"{_ROC4MLLM}, Tables 1-3"),
            Published("the same without decoupled losses", 0.873, 0.880, None, f"{_ROC4MLLM}, ablation"),
            Published("the same, score as digits", 0.688, 0.707, None, f"{_ROC4MLLM}, ablation"),
            Published("Q-Align", 0.761, 0.781, None, f"{_ROC4MLLM}, {_RETRAINED}; {_SURVEY}"),
        ),
    ),
    TestSet(
        "lapis_agree",
        "LAPIS, the split of AGREE",
        "LAPIS",
        2_345,
        0,
        10,
        "8,205 rows to train on, 1,173 to validate, 2,345 to test; scaled mean responses to works of art.",
        "The one released file of predictions (HKD-IAA) has 586 rows and gives SRCC .895, not the .859 of the table.",
        (
            Published("AGREE with HKD-IAA", 0.859, 0.860, None, _AGREE),
            Published("AGREE with EAT", 0.853, 0.853, None, _AGREE),
            Published("EAMB-Net", 0.823, 0.825, None, _AGREE),
            Published("EAT", 0.802, 0.809, None, _AGREE),
            Published("AesPrompt", 0.792, 0.812, None, _AGREE),
            Published("HKD-IAA", 0.781, 0.760, None, _AGREE),
            Published("TANet", 0.694, 0.706, None, _AGREE),
            Published("ELTA", 0.686, 0.696, None, _AGREE),
        ),
    ),
    TestSet(
        "flickr_aes",
        "FLICKR-AES",
        "FLICKR-AES",
        None,
        1,
        5,
        "Mean score of each image, and the scores of single workers.",
        "Its own paper divides by 5, so that scores lie on 0.2..1.",
        (
            Published("ArtiMuse", 0.814, 0.837, None, f"ArtiMuse, Table 3, {_SURVEY}"),
            Published("Aes-R1, mixed training", 0.6973, 0.7243, None, _AES_R1, _NINE_TO_ONE),
            Published("Q-Insight, mixed training", 0.6769, 0.7012, None, _AES_R1, _NINE_TO_ONE),
            Published("Qwen2.5-VL-7B, untrained", 0.5696, 0.5179, None, _AES_R1, _NINE_TO_ONE),
        ),
    ),
    TestSet(
        "koniq_all",
        "KonIQ-10k, all images",
        "KonIQ-10k",
        10_073,
        1,
        5,
        "Votes for each of 1..5 and their mean. All 10,073 images, for models that were not trained on any.",
        None,
        (
            Published("InternLM-XComposer-VL, untrained", 0.568, 0.616, None, _Q_BENCH),
            Published("Qwen-VL, untrained", 0.470, 0.546, None, _Q_BENCH),
            Published("LLaVA-1.5, untrained", 0.448, 0.460, None, _Q_BENCH),
        ),
    ),
    TestSet(
        "koniq",
        "KonIQ-10k, test split",
        "KonIQ-10k",
        None,
        1,
        5,
        "Votes for each of 1..5 and their mean.",
        "DeQA-Score fits a 4-parameter logistic on the test labels before its PLCC.",
        (
            Published("DeQA-Score, mixed training", 0.944, 0.957, None, _SURVEY, _FITTED),
            Published("Q-Align, mixed training", 0.938, 0.945, None, _SURVEY),
            Published("Q-Insight", 0.916, 0.933, None, _SURVEY),
            Published("VisualQuality-R1, trained on KADID", 0.830, 0.840, None, _SURVEY),
        ),
    ),
    TestSet(
        "spaq_all",
        "SPAQ, all images",
        "SPAQ",
        11_125,
        0,
        100,
        "Mean scores and attributes. All 11,125 images, for models that were not trained on any.",
        None,
        (
            Published("InternLM-XComposer-VL, untrained", 0.731, 0.751, None, _Q_BENCH),
            Published("Qwen-VL, untrained", 0.676, 0.669, None, _Q_BENCH),
            Published("LLaVA-1.5, untrained", 0.563, 0.584, None, _Q_BENCH),
        ),
    ),
    TestSet(
        "spaq",
        "SPAQ, test split",
        "SPAQ",
        None,
        0,
        100,
        "Mean scores and attributes.",
        "DeQA-Score fits a 4-parameter logistic on the test labels before its PLCC.",
        (
            Published("DeQA-Score, mixed training", 0.934, 0.938, None, _SURVEY, _FITTED),
            Published("Q-Align, mixed training", 0.931, 0.933, None, _SURVEY),
        ),
    ),
    TestSet(
        "kadid",
        "KADID-10k, test split",
        "KADID-10k",
        None,
        1,
        5,
        "Distorted versions of 81 images with difference scores.",
        "There is no common split: the test sets of Q-Align, UniPercept and VisualQuality-R1 share only 125, 875 and "
        "375 images pairwise, and 1,873 of UniPercept's 2,000 test images are in Q-Align's training file.",
        (
            Published("DeQA-Score, mixed training", 0.953, 0.955, None, _SURVEY, f"{_OTHER_SPLIT}, and {_FITTED}"),
            Published("Q-Align, mixed training", 0.934, 0.935, None, _SURVEY, _OTHER_SPLIT),
        ),
    ),
    TestSet(
        "livec",
        "LIVE in the Wild",
        "LIVE-W",
        1_169,
        0,
        100,
        "Mean scores of 1,169 images; all of them, for models that were not trained on any.",
        "How many of them DeQA-Score and Q-Align tested on is not stated in what we read.",
        (
            Published("DeQA-Score, mixed training", 0.887, 0.900, None, _SURVEY, _FITTED),
            Published("Q-Align, mixed training", 0.883, 0.887, None, _SURVEY),
            Published("InternLM-XComposer-VL, untrained", 0.619, 0.678, None, _Q_BENCH),
            Published("Qwen-VL, untrained", 0.504, 0.532, None, _Q_BENCH),
            Published("LLaVA-1.5, untrained", 0.445, 0.481, None, _Q_BENCH),
        ),
    ),
    TestSet(
        "agiqa",
        "AGIQA-3K",
        "AGIQA-3K",
        2_982,
        0,
        5,
        "Mean scores of 2,982 generated images; all of them, for models that were not trained on any.",
        None,
        (
            Published("DeQA-Score, mixed training", 0.745, 0.808, None, _SURVEY, _FITTED),
            Published("Q-Align, mixed training", 0.733, 0.788, None, _SURVEY),
            Published("InternLM-XComposer-VL, untrained", 0.734, 0.777, None, _Q_BENCH),
            Published("Qwen-VL, untrained", 0.617, 0.686, None, _Q_BENCH),
            Published("LLaVA-1.5, untrained", 0.664, 0.754, None, _Q_BENCH),
        ),
    ),
)  # fmt: skip

TEST_SETS: dict[str, TestSet] = {one.name: one for one in _SETS}
"""Name -> test set."""
