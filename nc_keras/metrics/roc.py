"""How well scores tell examples from those out of distribution."""

import numbers
from typing import Any

import numpy as np

from nc_keras.arguments import real_array

__all__ = ["auroc", "average_precision", "curve", "false_positive_rate"]


def auroc(id_scores: Any, ood_scores: Any) -> float:
    """Area under the ROC curve: how often in-distribution scores are larger.

    The share of pairs with `id > ood`, ties counted by half, exactly.

    Args:
        id_scores: Scores of in-distribution examples.
        ood_scores: Scores of out-of-distribution examples.

    Raises:
        ValueError: If there are none, or a score is NaN.

    Example:

    >>> nc_keras.metrics.roc.auroc([0.9, 0.5], [0.5, 0.1])
    0.875
    """
    id_scores, ood_scores = _sorted(id_scores), _sorted(ood_scores)
    smaller = np.searchsorted(ood_scores, id_scores, side="left").sum()
    at_most = np.searchsorted(ood_scores, id_scores, side="right").sum()
    pairs = len(id_scores) * len(ood_scores)
    return float((smaller + at_most) / (2 * pairs))


def false_positive_rate(
    id_scores: Any, ood_scores: Any, recall: float = 0.95
) -> float:
    """FPR95: the share of out-of-distribution examples that pass.

    The threshold is the largest that passes at least `recall` of the
    in-distribution examples; a score that equals it passes.

    Args:
        id_scores: Scores of in-distribution examples.
        ood_scores: Scores of out-of-distribution examples.
        recall: Float in (0, 1].

    Raises:
        ValueError: If there are none, a score is NaN, or `recall` is invalid.

    Example:

    >>> nc_keras.metrics.roc.false_positive_rate([3, 4, 5, 6], [1, 2, 3, 4])
    0.5
    """
    if not isinstance(recall, numbers.Real) or not 0 < recall <= 1:
        raise ValueError(
            f"`recall` must be in (0, 1]. Received: recall={recall!r}."
        )
    id_scores, ood_scores = _sorted(id_scores), _sorted(ood_scores)
    count = len(id_scores)
    passed = np.searchsorted(np.arange(1, count + 1) / count, recall) + 1
    threshold = id_scores[count - passed]
    return float(np.mean(ood_scores >= threshold))


def average_precision(id_scores: Any, ood_scores: Any) -> float:
    """AUPR: the mean precision at each in-distribution example.

    Examples are taken from the largest score down, equal scores at once; the
    precision is the share of in-distribution ones among those taken.

    Args:
        id_scores: Scores of in-distribution examples, the positives.
        ood_scores: Scores of out-of-distribution examples.

    Raises:
        ValueError: If there are none, or a score is NaN.

    Example:

    >>> nc_keras.metrics.roc.average_precision([0.9, 0.5], [0.6, 0.1])
    0.8333333333333333
    """
    false_rates, recalls = curve(id_scores, ood_scores)
    positives = recalls * np.size(id_scores)
    taken = positives + false_rates * np.size(ood_scores)
    precision = positives[1:] / taken[1:]
    return float(np.sum(np.diff(recalls) * precision))


def curve(id_scores: Any, ood_scores: Any) -> tuple[np.ndarray, np.ndarray]:
    """The ROC curve: both rates at each threshold, from the largest down.

    Args:
        id_scores: Scores of in-distribution examples, the positives.
        ood_scores: Scores of out-of-distribution examples.

    Returns:
        Two arrays, the false and the true positive rates, which begin at 0
        and end at 1.

    Raises:
        ValueError: If there are none, or a score is NaN.

    Example:

    >>> fpr, tpr = nc_keras.metrics.roc.curve([0.9, 0.5], [0.6, 0.1])
    >>> fpr.tolist(), tpr.tolist()
    ([0.0, 0.0, 0.5, 0.5, 1.0], [0.0, 0.5, 0.5, 1.0, 1.0])
    """
    id_scores, ood_scores = _sorted(id_scores), _sorted(ood_scores)
    thresholds = np.unique(np.concatenate([id_scores, ood_scores]))[::-1]
    rates = []
    for scores in (ood_scores, id_scores):
        below = np.searchsorted(scores, thresholds, side="left")
        rates.append(np.append(0.0, 1 - below / len(scores)))
    return rates[0], rates[1]


def _sorted(scores):
    scores = real_array(scores, "Scores").astype("float64")
    scores = np.sort(scores, axis=None)
    if not scores.size or np.isnan(scores).any():
        raise ValueError(
            "Scores must be numbers, and there must be some. Received: "
            f"{np.isnan(scores).sum()} of {scores.size} scores NaN."
        )
    return scores
