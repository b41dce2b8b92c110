"""Where batches of features and labels come from, pass by pass."""

from __future__ import annotations

import dataclasses
import functools
import numbers
from collections.abc import Iterator
from typing import Any
from typing import Protocol

import numpy as np

from nc_keras.measuring.batches import NoExamplesError
from nc_keras.measuring.batches import is_one_shot
from nc_keras.measuring.extractor import FeatureExtractor
from nc_keras.measuring.loss import MeanLoss

MEMORY = 2**31  # bytes of features that are kept: 2 GiB


class FeatureSource:
    """The features of a dataset, batch by batch, pass by pass.

    Args:
        extractor: The `FeatureExtractor`.
        x: As in `measure`.
        y: As in `measure`.
        batch_size: As in `measure`.
        memory: As in `measure`.
        may_be_empty: Boolean, whether there may be no example.
        loss: What the losses of the first pass are added to, or `None`.
        **choice: `mask` and `ignore_label`, as in `measure`.

    Attributes:
        kept: Boolean, whether all features so far are in memory.
        repeats: Boolean, whether there can be a second forward pass.
    """

    def __init__(
        self,
        extractor: FeatureExtractor,
        x: Any,
        y: Any = None,
        batch_size: int | None = None,
        memory: int = MEMORY,
        may_be_empty: bool = False,
        loss: MeanLoss | None = None,
        **choice: Any,
    ):
        if not isinstance(memory, numbers.Real) or not memory >= 0:
            raise ValueError(
                "`memory` must be a number of bytes. "
                f"Received: memory={memory!r}."
            )
        self._forward = functools.partial(
            extractor.batches, x, y, batch_size, **choice
        )
        self._loss = loss
        self._memory: float = memory
        self._may_be_empty: bool = may_be_empty
        self._batches: list[tuple[np.ndarray, np.ndarray]] = []
        self._complete: bool = False
        self.kept: bool = True
        self.repeats: bool = y is not None or not is_one_shot(x)

    def __iter__(self) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        if self._complete:
            yield from self._batches
            return
        try:
            yield from self._first_pass()
        except NoExamplesError:
            if not self._may_be_empty:
                raise

    def _first_pass(self):
        # Where a second pass is made, a process may need none for its share.
        size, loss, self._loss = 0, self._loss, None
        for features, labels in self._forward(loss=loss):
            size += features.nbytes
            if self.kept:
                self._batches.append((features, labels))
                self.kept = size <= self._memory
            yield features, labels
            if not self.kept:
                self._batches = []
        self._complete = self.kept

    def release(self) -> list[tuple[np.ndarray, np.ndarray]]:
        """Returns, and forgets, the batches that were kept so far."""
        batches, self._batches = self._batches, []
        self.kept = False
        return batches


class ExampleSource(Protocol):
    """Where batches of features and labels come from.

    Attributes:
        kept: Boolean, whether the batches so far are in memory, so that a
            second pass costs little.
        repeats: Boolean, whether there can be a second pass.
    """

    @property
    def kept(self) -> bool: ...

    @property
    def repeats(self) -> bool: ...

    def __iter__(self) -> Iterator[tuple[Any, Any]]: ...

    def release(self) -> list[tuple[Any, Any]]:
        """Returns, and forgets, the batches that were kept so far."""
        ...


@dataclasses.dataclass(frozen=True)
class KeptExamples:
    """Features and labels that are in memory: a source of one batch.

    Args:
        features: Array of shape `(N, D)`.
        labels: Integer array of shape `(N,)`.
    """

    features: np.ndarray
    labels: np.ndarray
    kept: bool = True
    repeats: bool = True

    def __iter__(self) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        yield self.features, self.labels

    def release(self) -> list[tuple[np.ndarray, np.ndarray]]:
        return [(self.features, self.labels)]
