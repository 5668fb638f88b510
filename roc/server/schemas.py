"""Requests and answers as pydantic models: what is checked on the way in and shown in the OpenAPI description."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

# A PNG file of one pixel.
PIXEL = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAIAAACQd1PeAAAADElEQVR42mOoCDgBAALUAZHdCdpsAAAAAElFTkSuQmCC"

Name = Annotated[str, StringConstraints(max_length=1024)]


class _Request(BaseModel):
    # Strict: "yes" is not true, and unknown keys are errors.
    model_config = ConfigDict(extra="forbid", strict=True)


class ImageData(_Request):
    """One image inside JSON."""

    name: Name | None = Field(default=None, description="its name in the answer", examples=["a.jpg"])
    data: str = Field(
        description="the bytes of the file in base64, without a `data:` prefix; line breaks, no padding and the "
        "letters of URLs are fine",
        examples=[PIXEL],
        json_schema_extra={"contentEncoding": "base64"},
    )


class _ScoresRequest(_Request):
    images: list[ImageData] = Field(min_length=1)
    attributes: list[Name] | None = Field(default=None, min_length=1, description="which scores; null = all")
    distribution: bool = Field(default=False, description="whether to add the probability of each level")

    model_config = ConfigDict(
        extra="forbid",
        strict=True,
        json_schema_extra={
            "examples": [
                {"images": [{"name": "a.png", "data": PIXEL}], "attributes": ["overall"], "distribution": True}
            ]
        },
    )


DATA_SET = "of a model trained on several data sets, the one on whose scale scores are; null = the shared score"


class ScoreRequest(_ScoresRequest):
    """Body of `/v1/score` as JSON."""

    scale: Name | None = Field(default=None, description=DATA_SET)


MOST_SAMPLES = 16
"""Most answers about one image of a request."""


class DescribeRequest(_ScoresRequest):
    """Body of `/v1/describe` as JSON."""

    samples: int = Field(
        default=1,
        ge=1,
        le=MOST_SAMPLES,
        description="answers of a model that reasons about each image; several are sampled and combined",
    )


class RankRequest(_Request):
    """Body of `/v1/rank` as JSON."""

    images: list[ImageData] = Field(min_length=2, max_length=64)
    attribute: Name | None = Field(default=None, description="the score to rank by; null = the first of the model")
    describe: bool = Field(default=False, description="whether the model says why, in words about each image; slower")
    compare: bool = Field(
        default=False,
        description="whether the model is asked about each image and the one behind it, both at once, and gives its "
        "reasons where it was taught some; slower, and only of models whose `compares` in /v1/models is true",
    )
    scale: Name | None = Field(default=None, description=DATA_SET)

    model_config = ConfigDict(
        extra="forbid",
        strict=True,
        json_schema_extra={
            "examples": [{"images": [{"name": "a.png", "data": PIXEL}, {"name": "b.png", "data": PIXEL}]}]
        },
    )


class RewardRequest(_Request):
    """Body of `/v1/reward`."""

    images: list[Annotated[str, Field(json_schema_extra={"contentEncoding": "base64"})]] = Field(
        min_length=1, description="files in base64"
    )
    attribute: Name | None = Field(default=None, description="which score; null = the first of the model")
    scale: Name = Field(
        default="unit",
        examples=["unit", "native", "percentile", "reference"],
        description="unit: 0..1; native: the range of the attribute; of a model with a reference also percentile: "
        "0..100 of its photos, and reference: 0..1, 0.5 at their median, rising everywhere; of a model that was "
        "trained on several data sets also the name of one: on the scale of that",
    )

    model_config = ConfigDict(
        extra="forbid",
        strict=True,
        json_schema_extra={"examples": [{"images": [PIXEL], "attribute": "overall", "scale": "unit"}]},
    )


class FeatureRequest(_Request):
    """Body of `/v1/features` as JSON."""

    images: list[ImageData] = Field(min_length=1)


class ErrorBody(BaseModel):
    """What went wrong."""

    code: str = Field(description="one word for programs", examples=["unreadable_image"])
    message: str = Field(description="what came, what was expected, what to do")


class RequestError(ErrorBody):
    """Why a request was refused."""

    details: list[dict[str, Any]] = Field(description="more about single parts of the request")


class ErrorAnswer(BaseModel):
    """The form of every error."""

    error: RequestError

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "error": {
                        "code": "unreadable_image",
                        "message": "a.jpg: not an image, or one whose beginning is damaged",
                        "details": [],
                    }
                }
            ]
        }
    )


_OWN_RANGES = Field(
    default_factory=dict,
    description="lowest and highest score of each attribute that is on another range; its levels are spread evenly",
)


class ScoreData(BaseModel):
    """One score, on min_score..max_score, or on the attribute's own range in attribute_ranges."""

    value: float = Field(examples=[7.1])
    std: float = Field(description="standard deviation; meaningful only if `calibrated` is true", examples=[1.2])
    distribution: list[float] | None = Field(default=None, description="probability of each level, if asked for")
    low: float | None = Field(
        default=None,
        description="lower end of the interval that holds people's rating for a share `coverage` of photos",
    )
    high: float | None = Field(default=None, description="its upper end; both are left out if there is no calibration")
    percentile: float | None = Field(
        default=None, description="percent of the photos of `reference` that score lower; left out without a reference"
    )
    reward: float | None = Field(default=None, description="0..1 by `reference`, 0.5 at its median")


class ScoreResult(BaseModel):
    """The scores of one image, or its error."""

    name: str
    scores: dict[str, ScoreData | None] | None = Field(description="by attribute; null where the model gave none")
    error: ErrorBody | None


class AnswerData(BaseModel):
    """One answer of a model that reasons."""

    text: str = Field(description="as it was written, [SCORE] in it")
    kind: str = Field(description="good, or what is wrong: cut, no_answer, two_answers, ...", examples=["good"])
    retried: bool = Field(description="whether it was written in place of one that could not be read")
    first_kind: str | None = Field(description="what was wrong with that one; null for an answer that was kept")
    prediction: float | None = Field(description="the score read in it; null where the answer is not good")
    std: float | None


class VarianceData(BaseModel):
    """The variance of a combined score, in two parts."""

    within: float = Field(description="mean variance of the distributions")
    between: float = Field(description="variance of their means: how far the critiques lead apart")


class DescribeResult(ScoreResult):
    """The scores of one image with the model's description."""

    text: str | None = Field(description="what the model wrote; of several answers the first good one")
    answers: list[AnswerData] | None = Field(description="all answers of a model that reasons; null for others")
    variance: VarianceData | None = Field(description="of a score combined from several answers; else null")


class ReferenceData(BaseModel):
    """The photos that scores are compared with."""

    name: str
    photos: int
    attributes: list[str] = Field(description="scores that have a reference")


class _About(BaseModel):
    scorer: str = Field(
        description="name and version of what scores: NAME@FINGERPRINT roc/VERSION",
        examples=["demo@3f1c9a0e5b7d2468 roc/0.1.0"],
    )
    coverage: float | None = Field(default=None, description="share of ratings inside low..high; left out without them")
    unit: str | None = Field(default=None, description="what a step of the scale is called; left out without a name")
    reference: ReferenceData | None = Field(default=None, description="left out where the model has none")


class _Scale(_About):
    model: str = Field(examples=["demo"])
    min_score: float = Field(examples=[1.0])
    max_score: float = Field(examples=[10.0])
    levels: list[float] = Field(description="value of each level on min_score..max_score, ascending")
    attribute_ranges: dict[str, tuple[float, float]] = _OWN_RANGES
    calibrated: bool = Field(description="whether std and distribution were learned from votes")
    scale: str | None = Field(default=None, description="data set whose scale was asked for; else left out")


class ScoreAnswer(_Scale):
    """Answer of `/v1/score`; results in the order of the images."""

    attributes: list[str]
    results: list[ScoreResult]


class DescribeAnswer(_Scale):
    """Answer of `/v1/describe`."""

    attributes: list[str]
    results: list[DescribeResult]


class RankResult(ScoreResult):
    """The score of one image, and why."""

    text: str | None = Field(default=None, description="what the model wrote about it, where `describe` was asked for")


class ComparisonResult(BaseModel):
    """What the model says of two images next to each other in `order`, seen at once."""

    better: int = Field(description="index of the image that is ahead")
    worse: int = Field(description="index of the image behind it")
    change: float | None = Field(
        description="how much better the one ahead is, on change_range; below 0 where the model, seeing both, finds it "
        "worse; null where its answer cannot be read"
    )
    std: float | None = Field(description="standard deviation of change")
    distribution: list[float] | None = Field(
        description="probability of each level of change; levels are spread evenly over change_range"
    )
    why: str | None = Field(
        description="its reasons, in which the first picture is the one behind; null where it gives none"
    )
    kind: str | None = Field(description="good, or what is wrong with its answer: cut, no_answer, ...")
    error: ErrorBody | None


class RankAnswer(_Scale):
    """Answer of `/v1/rank`."""

    attribute: str
    order: list[int] = Field(description="indices of the images, best first")
    win_probability: list[list[float]] = Field(description="row i, column j: how likely image i beats image j")
    results: list[RankResult]
    change_range: tuple[float, float] | None = Field(default=None, description="range of change, if asked to compare")
    comparisons: list[ComparisonResult] | None = Field(
        default=None, description="of each image and the one behind it, in the order of `order`, if asked for"
    )


class RewardAnswer(_About):
    """Answer of `/v1/reward`."""

    model: str
    attribute: str
    scale: str = Field(description="as it was asked for", examples=["unit"])
    range: tuple[float, float] = Field(description="lowest and highest reward of this scale", examples=[(0, 1)])
    rewards: list[float | None] = Field(description="null where an image has no score")
    errors: list[ErrorBody | None]


class ScaleData(BaseModel):
    """The scale of a data set that a model was trained on together with others."""

    name: str
    range: tuple[float, float]


class ModelLimits(BaseModel):
    """What one request may hold."""

    images: int
    bytes_per_image: int
    bytes_per_request: int
    pixels: int
    pixels_per_request: int


class ModelData(_About):
    """The model of the server."""

    id: str
    min_score: float
    max_score: float
    num_levels: int
    levels: list[float]
    attribute_ranges: dict[str, tuple[float, float]] = _OWN_RANGES
    attributes: list[str]
    calibrated: bool
    scales: list[ScaleData] = Field(description="what `scale` may name; empty where it was trained on one data set")
    limits: ModelLimits
    describe: bool
    reasons: bool = Field(description="whether it writes a critique before its score in `/v1/describe`")
    compares: bool = Field(description="whether `/v1/rank` takes `compare`")
    personal: bool = Field(description="whether `/v1/personalize` makes heads for it")


class ModelEntry(BaseModel):
    """The model as decision clients list it."""

    name: str
    description: str
    release_date: str | None = Field(default=None, description="the day on which this copy of it was written")


class ModelsAnswer(BaseModel):
    """Answer of `/v1/models`."""

    data: list[ModelData]
    models: list[ModelEntry] = Field(description="the same in the form that decision clients read")


class DecisionAnswer(BaseModel):
    """Answer of `/v1/systemone` and `/v1/decisions`; fields that begin with x_ are not of their format."""

    model: str = Field(examples=["demo"])
    answers: dict[str, dict[str, Any]] | list[dict[str, Any]] = Field(
        description="by the names of the questions, or in their order: type, score on 0..n-1, probabilities, "
        "confidence, x_attribute, x_score on the native range x_range, x_std, and x_interval and x_percentile of "
        "models that offer them"
    )
    usage: dict[str, Any] = Field(description="tokens of the prompts, images included")
    x_calibrated: bool = Field(description="whether spreads and probabilities were learned from votes")
    x_scorer: str | None = Field(default=None, description="name and version of what scores")
    x_coverage: float | None = Field(default=None, description="share of ratings inside x_interval")
    x_unit: str | None = Field(default=None, description="what a step of the native scale is called")


class Status(BaseModel):
    """Answer of `/healthz` and `/readyz`."""

    status: str


class FeatureResult(BaseModel):
    """What the model reads of one image."""

    image: str
    feature: str | None = Field(default=None, description="text to send to /v1/personalize as it is")
    error: ErrorBody | None = None


class FeatureAnswer(BaseModel):
    """Answer of `/v1/features`."""

    scorer: str = Field(description="name and version of what reads")
    attribute: str = Field(description="the score that can be personalised")
    results: list[FeatureResult]
