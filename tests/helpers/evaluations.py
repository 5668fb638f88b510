"""Evaluations made by hand: rows, metrics and folders for the tests of everything that reads them."""

import numpy as np

from roc.evaluation.evaluated_rows import EvaluatedRow
from roc.evaluation.folder import write_evaluation
from roc.evaluation.summary import evaluate_predictions
from roc.score_space import ScoreSpace

SPACE = ScoreSpace(1, 4, num_levels=4)
LEVELS = np.array(SPACE.levels)


def make_rows(n=24, seed=0):
    """Rows with histograms, two attributes, two subsets and one unscored row in ten."""
    generator = np.random.default_rng(seed)
    rows = []
    for number in range(n):
        h = generator.dirichlet([1, 2, 2, 1])
        p = 0.7 * h + 0.3 * generator.dirichlet([1, 1, 1, 1])
        score, prediction = float(h @ LEVELS), float(p @ LEVELS)
        rows.append(
            EvaluatedRow(
                id=f"photo{number}",
                scores={"overall": score, "light": score + 0.1 * generator.normal()},
                predictions={"overall": None if number % 10 == 3 else prediction, "light": prediction},
                std=float(np.sqrt(p @ LEVELS**2 - prediction**2)),
                p_n=p.tolist(),
                h_n=h.tolist(),
                subset="day" if number % 2 else "night",
            )
        )
    return rows


def make_metrics(rows, **options):
    given = {"space": SPACE, "attributes": ("overall", "light"), "n_resamples": 20} | options
    return evaluate_predictions(rows, **given)


def make_folder(tmp_path, name, rows, **changes):
    """The folder of an evaluation of these rows without intervals; `changes` replace some of its metrics."""
    write_evaluation(tmp_path / name, rows, make_metrics(rows, n_resamples=0) | changes)
    return str(tmp_path / name)


def noisy_scores(n, noise=0.7, seed=0):
    """Predictions and scores with ties among the scores, as rounded human ratings have."""
    generator = np.random.default_rng(seed)
    scores = np.round(5.5 + generator.normal(size=n), 1)
    return scores + noise * generator.normal(size=n), scores
