"""NECO's scores of examples, while their features pass by."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from nc_keras.measuring.class_statistics import ClassStatistics
from nc_keras.measuring.source import FeatureSource
from nc_keras.metrics.neco import auroc
from nc_keras.metrics.neco import false_positive_rate
from nc_keras.metrics.neco import neco_scores
from nc_keras.processes import Gather

CHUNK = 2**26  # bytes of features that are scored at a time


class Scores:
    """NECO's scores of features that come batch by batch.

    Attributes:
        count: Integer, how many features there were.
    """

    def __init__(self, statistics: ClassStatistics, dim: int | None):
        self._statistics = statistics
        self._dim = dim
        self._waiting: list[np.ndarray] = []
        self._scores: list[np.ndarray] = []
        self._size = 0
        self.count = 0

    def update(self, features: np.ndarray) -> None:
        """Adds a batch; the principal space is found once for many."""
        self.count += len(features)
        self._waiting.append(features)
        self._size += features.nbytes
        if self._size >= CHUNK:
            self._score()

    def result(self) -> np.ndarray:
        """The scores of all examples so far."""
        if self._waiting:
            self._score()
        return np.concatenate(self._scores)

    def _score(self):
        features = np.concatenate(self._waiting)
        self._waiting, self._size = [], 0
        self._scores.append(neco_scores(features, self._statistics, self._dim))


class Scored:
    """A source of examples that are scored in its first pass."""

    def __init__(self, source: FeatureSource, scores: Scores | None):
        self._source = source
        self._scores = scores

    @property
    def kept(self) -> bool:
        return self._source.kept

    @property
    def repeats(self) -> bool:
        return self._source.repeats

    def release(self) -> list[tuple[np.ndarray, np.ndarray]]:
        return self._source.release()

    def __iter__(self) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        scores, self._scores = self._scores, None
        for features, labels in self._source:
            if scores is not None:
                scores.update(features)
            yield features, labels


def detection(
    id_scores: np.ndarray, ood_scores: np.ndarray
) -> dict[str, float]:
    """How well scores tell examples from those out of distribution."""
    return {
        "neco_auroc": auroc(id_scores, ood_scores),
        "neco_fpr95": false_positive_rate(id_scores, ood_scores),
    }


def of_all(scores: np.ndarray, gather: Gather | None) -> np.ndarray:
    """The scores of all processes, whose shares differ in size."""
    if gather is None:
        return scores
    counts = [int(count[0]) for count in gather(np.array([len(scores)]))]
    padded = np.zeros(max(counts))
    padded[: len(scores)] = scores
    parts = zip(gather(padded), counts, strict=True)
    return np.concatenate([part[:count] for part, count in parts])
