"""The rows that drawings are of: a head's, class means, or a matrix."""

from __future__ import annotations

import dataclasses
from typing import Any

import keras
import numpy as np

from nc_keras.arguments import real_array
from nc_keras.measuring.class_statistics import ClassStatistics
from nc_keras.measuring.extractor import FeatureExtractor
from nc_keras.measuring.extractor import extractor_of
from nc_keras.measuring.kernels import to_float_numpy
from nc_keras.weights import Weights


@dataclasses.dataclass(frozen=True, eq=False)
class Measured:
    """Features of a model's last layer, what they average to, and the head.

    Attributes:
        features: `(N, D)`, float64.
        labels: `(N,)`, integers.
        means: `(C, D)`, NaN where a class has no example.
        head: `(C, D)`, or `None` without a head.
    """

    features: np.ndarray
    labels: np.ndarray
    means: np.ndarray
    head: np.ndarray | None

    @property
    def center(self) -> np.ndarray:
        """`(D,)`, the mean of the class means."""
        return np.nanmean(self.means, axis=0)

    @property
    def centered_means(self) -> np.ndarray:
        """`(C, D)`, the class means minus their mean."""
        return self.means - self.center


def measured(
    model: keras.Model | FeatureExtractor,
    x: Any,
    y: Any = None,
    *,
    head: Any = None,
    features: Any = None,
    batch_size: int | None = None,
) -> Measured:
    """Makes a forward pass, and keeps all features.

    Args:
        model: As in `nc_keras.measure`; so for the other arguments.
        x: Examples, or a dataset.
        y: Labels.
        head: Layer or name.
        features: Layer or function.
        batch_size: Integer; by default one that suits the model.
    """
    extractor = extractor_of(model, head, features)
    rows, labels = extractor(x, y, batch_size)
    return of_features(rows, labels, extractor)


def of_features(
    rows: Any, labels: Any, extractor: FeatureExtractor
) -> Measured:
    """What an extractor has seen of some examples.

    Args:
        rows: Array of features, `(N, D)`.
        labels: Array of labels.
        extractor: The `FeatureExtractor`, for its head.
    """
    kernel = extractor.kernel
    classes = None if kernel is None else kernel.shape[1]
    statistics = ClassStatistics.from_features(
        rows, labels, classes, scatter=False
    )
    labels = np.asarray(labels)
    if labels.ndim > 1:
        labels = labels.argmax(axis=1)
    return Measured(
        np.asarray(rows, "float64"),
        labels,
        statistics.present_means,
        None if kernel is None else np.asarray(kernel, "float64").T,
    )


def rows_of(
    what: Any, head: Any = None, least: int = 2
) -> tuple[np.ndarray, str]:
    """The rows of a head or of a matrix, and what they are.

    Args:
        what: A built model, of which the head is found; a layer with a
            kernel; or an array of shape `(C, D)`.
        head: As in `nc_keras.measure`, for a model.
        least: Integer, how many rows there must be.

    Raises:
        ValueError: If it is none of these.
    """
    if isinstance(what, keras.Model | FeatureExtractor):
        kernel = extractor_of(what, head).kernel
        if kernel is None:
            raise ValueError(
                "The extractor has no head. Pass a layer or a matrix, or data "
                f"for the class means. Received: {what!r}."
            )
        return np.asarray(kernel, "float64").T, "head's rows"
    if isinstance(what, keras.Layer):
        kernel = getattr(what, "kernel", None)
        if kernel is None:
            raise ValueError(
                "A layer must be built, and have a `kernel`. Received: layer "
                f"{what.name!r} of type {type(what).__name__}."
            )
        weights = Weights(what.name, what, to_float_numpy(kernel))
        return weights.matrix, f"rows of {what.name}"
    rows = real_array(what, "Rows").astype("float64")
    if rows.ndim != 2 or len(rows) < least:
        raise ValueError(
            "Pass a built model, a layer with a kernel, or an array of shape "
            f"(C, D) with {least} rows at least. Received: shape {rows.shape}."
        )
    return rows, "rows"
