"""Scores of examples by which others are told apart, as features pass by."""

from __future__ import annotations

from collections.abc import Iterable
from collections.abc import Iterator
from collections.abc import Mapping

import numpy as np

from nc_keras.measuring.class_statistics import ClassStatistics
from nc_keras.measuring.source import FeatureSource
from nc_keras.metrics import ood_scores
from nc_keras.metrics.neco import neco_scores
from nc_keras.metrics.roc import auroc
from nc_keras.metrics.roc import average_precision
from nc_keras.metrics.roc import false_positive_rate
from nc_keras.processes import Gather

CHUNK = 2**26  # bytes of features that are scored at a time
# Ends of tags, with what is said of them.
MEASURES = {
    "auroc": (auroc, "1: OOD told apart, 0.5 chance"),
    "fpr95": (false_positive_rate, "0: OOD that pass at 95 % recall"),
    "aupr": (average_precision, "1: precision over all recalls"),
}


class Detector:
    """All scores of features, by name: more is more like the training set.

    Args:
        statistics: `ClassStatistics` of the training features, with scatter.
        head: The head's weights `(D, C)` and bias `(C,)`, either of them
            `None` where there is none.
        neco_dim: Integer, the dimension of NECO's principal space, or `None`.
    """

    def __init__(
        self,
        statistics: ClassStatistics,
        head: tuple[np.ndarray | None, np.ndarray | None],
        neco_dim: int | None,
    ):
        self._statistics = statistics
        self._kernel, self._bias = head
        self._neco_dim = neco_dim
        self._mahalanobis = ood_scores.Mahalanobis(statistics)
        counts = statistics.counts
        self._mean = counts @ statistics.means / counts.sum()
        self._vim: ood_scores.ViM | None = None

    def calibrate(
        self, batches: Iterable[np.ndarray], gather: Gather | None
    ) -> None:
        """Finds the scale of ViM, from all training features."""
        if self._kernel is None:
            return
        vim = ood_scores.ViM(self._statistics, self._kernel, self._bias)
        for features in batches:
            features = np.asarray(features, "float64")
            vim.calibrate(features, self._logits(features))
        if gather is not None:
            vim.sums = np.sum(gather(vim.sums), axis=0)
        self._vim = vim

    def __call__(self, features: np.ndarray) -> dict[str, np.ndarray]:
        """Returns the scores of a batch."""
        features = np.asarray(features, "float64")
        statistics = self._statistics
        found = {"neco": neco_scores(features, statistics, self._neco_dim)}
        found["mahalanobis"] = self._mahalanobis(features)
        if self._kernel is None:
            return found
        logits = self._logits(features)
        found |= {
            "msp": ood_scores.msp(logits),
            "max_logit": ood_scores.max_logit(logits),
            "energy": ood_scores.energy(logits),
            "nci": ood_scores.nci(
                features, self._kernel, self._bias, mean=self._mean
            ),
        }
        if self._vim is not None:
            found["vim"] = self._vim(features, logits)
        return found

    def _logits(self, features):
        logits = features @ self._kernel
        return logits if self._bias is None else logits + self._bias


class Scores:
    """Scores of features that come batch by batch.

    Attributes:
        count: Integer, how many features there were.
    """

    def __init__(self, detector: Detector):
        self._detector = detector
        self._waiting: list[np.ndarray] = []
        self._scores: list[dict[str, np.ndarray]] = []
        self._size = 0
        self.count = 0

    def update(self, features: np.ndarray) -> None:
        """Adds a batch; what serves many is found once for them."""
        self.count += len(features)
        self._waiting.append(features)
        self._size += features.nbytes
        if self._size >= CHUNK:
            self._score()

    def result(self) -> dict[str, np.ndarray]:
        """The scores of all examples so far."""
        if self._waiting:
            self._score()
        return {
            name: np.concatenate([part[name] for part in self._scores])
            for name in self._scores[0]
        }

    def _score(self):
        features = np.concatenate(self._waiting)
        self._waiting, self._size = [], 0
        self._scores.append(self._detector(features))


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
    scores: Mapping[str, tuple[np.ndarray, np.ndarray]],
) -> dict[str, float]:
    """How well scores tell examples from those out of distribution.

    A score that is not a number for some example is NaN.
    """
    return {
        f"{name}_{end}": (
            measure(*pair)
            if all(np.isfinite(part).all() for part in pair)
            else float("nan")
        )
        for name, pair in scores.items()
        for end, (measure, _) in MEASURES.items()
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
