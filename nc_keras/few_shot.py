"""Few-shot classification with features that are not trained further."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import numpy as np

from nc_keras.arguments import checked
from nc_keras.labels import class_labels
from nc_keras.measuring.class_statistics import validate_features
from nc_keras.metrics.collapse_metrics import collapse_metrics
from nc_keras.namesakes import stand_for_module

__all__ = ["TRANSFORMS", "FewShot", "few_shot", "prototypes"]

TRANSFORMS = ("none", "l2", "centered_l2")
_MOST = 10**7
_CHUNK = 2**22  # random numbers that are drawn at a time


@dataclasses.dataclass(frozen=True)
class FewShot:
    """Few-shot accuracy, and what of it class means explain.

    Attributes:
        accuracy: Float, the mean over the episodes.
        interval: Float, half of its 95 % interval.
        cdnv: Float, `nc1_cdnv` of the features, as transformed.
        cdnv_directional: Float, `nc1_cdnv_directional` of them.

    Args:
        accuracy: See the attributes; so for the other arguments.
    """

    accuracy: float
    interval: float
    cdnv: float
    cdnv_directional: float

    def __str__(self) -> str:
        return (
            f"{self.accuracy:.2%} ± {self.interval:.2%}, CDNV "
            f"{self.cdnv:.3g}, along the line {self.cdnv_directional:.3g}"
        )


@checked(
    ways="integer",
    shots="integer",
    queries="integer",
    episodes="integer",
    base_mean="array",
    seed="integer",
)
def few_shot(
    features: Any,
    labels: Any,
    ways: int = 5,
    shots: int = 1,
    queries: int = 15,
    episodes: int = 10_000,
    transform: str = "none",
    base_mean: Any = None,
    seed: int = 0,
) -> FewShot:
    """How well nearest class means of few examples tell classes apart.

    An episode draws `ways` classes, and of each `shots` examples, whose means
    decide, and `queries` others, which are decided. Use classes that the
    network was not trained on; of a collapsed network one shot is enough.

    Example:

    >>> frame = nc_keras.geometry.simplex_etf(6, 8, seed=0)
    >>> features, labels = np.repeat(frame, 20, axis=0), np.arange(120) // 20
    >>> found = nc_keras.few_shot(features, labels, episodes=100)
    >>> found.accuracy
    1.0

    Args:
        features: Array of shape `(N, D)`, such as
            `nc_keras.FeatureExtractor(model)(x, y)` returns.
        labels: Integer labels of shape `(N,)`, or one-hot.
        ways: Integer, classes of an episode.
        shots: Integer, examples that a class mean is of.
        queries: Integer, examples of each class that are decided.
        episodes: Integer.
        transform: `"none"`; `"l2"` for features of length 1; `"centered_l2"`
            if `base_mean` is subtracted before. Means of the shots are not
            normalised again.
        base_mean: Array of shape `(D,)`, the mean feature of the classes that
            were trained on.
        seed: Integer, of the draw.

    Returns:
        A `FewShot`.

    Raises:
        ValueError: If there are too few classes or examples of a class, a
            number is not positive, or `transform` is unknown.

    Reference:

    - [Wang et al., 2019](https://arxiv.org/abs/1911.04623), the protocol.
    - [Galanti, György & Hutter, 2021](https://arxiv.org/abs/2112.15121), for
      what CDNV says of it.
    """
    labels, _ = class_labels(labels)
    features = validate_features(features, labels).astype("float64")
    features = _transformed(features, transform, base_mean)
    members = _members(labels, ways, shots, queries, episodes)
    if seed < 0:
        raise ValueError(f"`seed` must not be negative. Received: seed={seed}.")
    rng = np.random.default_rng(seed)
    accuracies = []
    size = max(1, _CHUNK // (ways * members.shape[1]))
    for start in range(0, episodes, size):
        count = min(size, episodes - start)
        drawn = _episodes(rng, members, count, ways, shots + queries)
        accuracies.append(_accuracies(features, drawn, shots))
    found = np.concatenate(accuracies)
    spread = collapse_metrics(
        features,
        labels,
        metrics=["nc1_cdnv", "nc1_cdnv_directional"],
        missing="skip",
    )
    deviation = found.std(ddof=1) if episodes > 1 else math.nan
    return FewShot(
        accuracy=float(found.mean()),
        interval=float(1.96 * deviation / math.sqrt(episodes)),
        cdnv=spread["nc1_cdnv"],
        cdnv_directional=spread["nc1_cdnv_directional"],
    )


def prototypes(features: Any, labels: Any) -> np.ndarray:
    """Class vectors of features: the means of their directions, of length 1.

    The class whose vector has the largest cosine with a feature is the
    decision of a network that was trained without a head.

    Example:

    >>> nc_keras.few_shot.prototypes([[2.0, 0.0], [0.0, 5.0]], [0, 1])
    array([[1., 0.],
           [0., 1.]])

    Args:
        features: Array of shape `(N, D)`.
        labels: Integer labels of shape `(N,)`, or one-hot.

    Returns:
        A float64 array of shape `(C, D)`; NaN for a class without examples.

    Reference:

    - [Koromilas et al., 2026](https://arxiv.org/abs/2605.20302).
    """
    labels, classes = class_labels(labels)
    features = validate_features(features, labels).astype("float64")
    sums = np.zeros((classes, features.shape[1]))
    np.add.at(sums, labels, _unit(features))
    norms = np.linalg.norm(sums, axis=1, keepdims=True)
    return np.divide(sums, norms, np.full_like(sums, np.nan), where=norms > 0)


def _transformed(features, transform, base_mean):
    if not isinstance(transform, str) or transform not in TRANSFORMS:
        raise ValueError(
            f"`transform` must be one of {TRANSFORMS}. "
            f"Received: transform={transform!r}."
        )
    if (base_mean is not None) != (transform == "centered_l2"):
        raise ValueError(
            '`base_mean` belongs to transform="centered_l2". '
            f"Received: transform={transform!r}, base_mean={base_mean!r}."
        )
    if transform == "none":
        return features
    if base_mean is not None:
        mean = np.asarray(base_mean, "float64")
        if mean.shape != features.shape[1:]:
            raise ValueError(
                f"`base_mean` must have the shape {features.shape[1:]}. "
                f"Received: base_mean of shape {mean.shape}."
            )
        features = features - mean
    return _unit(features)


def _unit(features):
    norms = np.linalg.norm(features, axis=1, keepdims=True)
    return features / np.where(norms > 0, norms, 1.0)


def _members(labels, ways, shots, queries, episodes):
    """The examples of each class in a row, -1 where there are no more."""
    numbers = {"ways": ways, "shots": shots, "queries": queries}
    for name, value in (numbers | {"episodes": episodes}).items():
        least = 2 if name == "ways" else 1
        whole = isinstance(value, int | np.integer)
        if not whole or not least <= value <= _MOST:
            raise ValueError(
                f"`{name}` must be an integer of {least} or more, and up to "
                f"{_MOST:,}. Received: {name}={value!r}."
            )
    counts = np.bincount(labels)
    present = np.flatnonzero(counts)
    if len(present) < ways or counts[present].min() < shots + queries:
        raise ValueError(
            f"{ways} classes with {shots} + {queries} examples each are "
            f"needed. Received: {len(present)} classes, of "
            f"{counts[present].min()} examples or more."
        )
    order = np.argsort(labels, kind="stable")
    rows = np.arange(counts.max()) < counts[present][:, None]
    members = np.full(rows.shape, -1)
    members[rows] = order
    return members


def _episodes(rng, members, count, ways, size):
    """Examples without repetition, shape `(count, ways, size)`."""
    keys = rng.random((count, len(members)))
    classes = np.argpartition(keys, ways - 1, axis=1)[:, :ways]
    rows = members[classes]
    keys = np.where(rows < 0, 2.0, rng.random(rows.shape))
    chosen = np.argpartition(keys, size - 1, axis=2)[..., :size]
    # In the order of their keys: that of a partition depends on the rows'.
    order = np.argsort(np.take_along_axis(keys, chosen, axis=2), axis=2)
    chosen = np.take_along_axis(chosen, order, axis=2)
    return np.take_along_axis(rows, chosen, axis=2)


def _accuracies(features, drawn, shots):
    """The share of queries that the nearest mean decides right."""
    means = features[drawn[..., :shots]].mean(axis=2)
    queries = features[drawn[..., shots:]]
    episodes, ways, each, dim = queries.shape
    queries = queries.reshape(episodes, ways * each, dim)
    scores = queries @ means.transpose(0, 2, 1)
    scores -= np.sum(means**2, axis=2)[:, None] / 2
    right = np.argmax(scores, axis=2) == np.repeat(np.arange(ways), each)
    return right.mean(axis=1)


stand_for_module(few_shot)
