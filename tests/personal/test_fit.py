"""The fit by arithmetic: tilted scores, the prior, the direction that is stored, and the honest comparison."""

import numpy as np
import pytest
from scipy.special import expit

from roc.personal.asking import least_sure
from roc.personal.features import Features
from roc.personal.fit import Basis, Flat, fit, fitted_path, folds
from roc.personal.opinions import Pairs, Ratings
from roc.personal.validation import dyadic_error, validate

LEVELS = np.linspace(1.0, 5.0, 5)


def features(count, seed=0, width=6):
    """Random photos; the general score follows the first hidden value, and all have a mean far from 0."""
    draw = np.random.default_rng(seed)
    hidden = draw.normal(size=(count, width)) + 3.0
    steps = np.linspace(-1, 1, 5)
    logits = np.outer(0.8 * (hidden[:, 0] - 3), steps) - 2 * steps**2
    return Features(logits, hidden, LEVELS)


def test_a_tilt_moves_a_distribution_towards_one_end():
    two = Features(np.zeros((2, 2)), np.ones((2, 3)), np.array([0.0, 1.0]))
    scores, speeds = two.moved(np.array([0.0, 1.5]))
    assert scores == pytest.approx([0.5, expit(3.0)])  # the steps are -1 and 1
    assert speeds == pytest.approx([0.5, 2 * expit(3.0) * expit(-3.0)])


def test_the_derivative_is_that_of_the_scores():
    photos = features(4)
    tilts = np.array([-1.0, 0.0, 0.3, 2.0])
    above, below = (photos.scores(tilts + shift) for shift in (1e-6, -1e-6))
    assert photos.moved(tilts)[1] == pytest.approx((above - below) / 2e-6, rel=1e-5)


def test_without_opinions_it_is_the_general_score_and_tilts_are_those_of_the_stored_direction():
    photos = features(30)
    ratings = Ratings(photos.hidden[:, 1])
    basis = Basis.of(photos)
    general, *_, personal = fitted_path(photos, basis, ratings.loss(photos, np.arange(30)))
    assert not general.any() and personal.any()
    tilts = basis.tilts(photos, personal)
    # One vector for all photos, without a bias: the mean photo is not moved.
    assert tilts == pytest.approx(photos.hidden @ basis.direction(personal))
    assert photos.hidden.mean(axis=0) @ basis.direction(personal) == pytest.approx(0, abs=1e-9)


def twice(photos, other):
    """Joins what was read of photos with what was read of their mirror images."""
    parts = ((photos.logits, other.logits), (photos.hidden, other.hidden))
    return Features(*(np.stack(part, axis=1) for part in parts), LEVELS)


def test_two_equal_readings_are_one():
    one, ratings = features(24), Ratings(np.random.default_rng(2).normal(size=24))
    two = twice(one, one)
    found = [fit(photos, ratings) for photos in (one, two)]
    assert found[0].penalty == found[1].penalty
    assert found[1].scores(two) == pytest.approx(found[0].scores(one), abs=1e-6)
    asked = [least_sure(photos, ratings, head, [], 3) for photos, head in zip((one, two), found, strict=True)]
    assert [one[:2] for one in asked[0]] == [one[:2] for one in asked[1]]


@pytest.mark.parametrize("kind", ["ratings", "pairs", "two readings"])
def test_the_weights_are_a_minimum(kind):
    photos, everything = features(24), np.arange(24)
    hidden = photos.hidden
    opinions = Ratings(hidden[:, 1] + hidden[:, 0])
    if kind == "pairs":
        ends = np.array([(i, (i + 7) % 24) for i in everything])
        opinions = Pairs(ends, (hidden[ends[:, 1], 1] > hidden[ends[:, 0], 1]).astype(float))
    if kind == "two readings":
        photos = twice(photos, features(24, seed=1))
    basis, loss = Basis.of(photos), opinions.loss(photos, everything)

    def value(weights):
        numbers = loss.read(photos.scores(basis.tilts(photos, weights)))
        return loss.terms(numbers)[0].sum() + 3 / 2 * weights @ weights

    found = list(fitted_path(photos, basis, loss, (float("inf"), 3.0)))[-1]
    for place in range(len(found)):
        for shift in (-1e-2, 1e-2):
            assert value(found + shift * np.eye(len(found))[place]) > value(found)


def test_a_taste_beside_the_general_score_is_learnt_and_shown_on_held_out_photos():
    photos, new = features(60), features(200, seed=1)
    stars = Ratings(np.clip(np.round(photos.hidden[:, 1]), 1, 5))
    verdict = validate(photos, stars)
    assert verdict.helps and verdict.personal > 0.8 > 0.4 > verdict.general
    assert np.corrcoef(fit(photos, stars).scores(new), new.hidden[:, 1])[0, 1] > 0.9


@pytest.mark.slow
def test_pairs_alone_teach_it_too():
    photos, draw = features(40), np.random.default_rng(5)
    ends = np.array([draw.choice(40, 2, replace=False) for _ in range(50)])
    better = photos.hidden[ends[:, 1], 1] - photos.hidden[ends[:, 0], 1]
    verdict = validate(photos, Pairs(ends, np.where(np.abs(better) < 0.1, 0.5, better > 0)))
    assert verdict.metric == "accuracy" and verdict.held_out < 50 and verdict.helps


@pytest.mark.parametrize("seed", [1])
def test_random_ratings_help_nobody(seed):
    ratings = np.random.default_rng(seed).integers(1, 6, 40).astype(float)
    assert not validate(features(40), Ratings(ratings)).helps


def test_ratings_that_the_general_score_gives_leave_nothing_to_gain():
    photos = features(40)
    assert not validate(photos, Ratings(photos.scores())).helps


def test_stars_need_no_scale_of_their_own():
    photos = features(40)
    stars = np.clip(np.round(photos.hidden[:, 1]), 1, 5)
    one, other = (fit(photos, Ratings(values)).direction for values in (stars, 20 * stars - 7))
    assert one == pytest.approx(other)


def test_a_held_out_pair_shares_no_photo_with_those_fitted_on():
    pairs = Pairs(np.array([(0, 1), (1, 2), (3, 4), (4, 5)]), np.ones(4))
    assert pairs.apart_from(np.array([0])).tolist() == [2, 3]
    assert pairs.photos(np.array([0, 1])).tolist() == [0, 1, 2]


def test_the_error_of_pairs_that_share_photos():
    values = np.array([1.0, 0.0, 1.0, 0.0])
    apart = np.arange(8).reshape(4, 2)
    assert dyadic_error(values, apart) == pytest.approx(0.5 / 2)  # standard deviation over the root of 4
    # The first and third share photo 0, whose sum of errors is 1: (4 * 0.25 + 2 * 0.25) / 16.
    shared = np.array([(0, 1), (2, 3), (0, 4), (5, 6)])
    assert dyadic_error(values, shared) == pytest.approx(np.sqrt(1.5) / 4)


def test_equal_scores_are_refused():
    with pytest.raises(Flat, match="the same for all 12 photos"):
        Basis.of(Features(np.zeros((12, 5)), np.random.default_rng(0).normal(size=(12, 3)), LEVELS))


def test_every_unit_is_held_out_once():
    parts = folds(23, 10)
    assert sorted(np.concatenate(parts).tolist()) == list(range(23)) and len(parts) == 10
    assert len(folds(4, 10)) == 4
