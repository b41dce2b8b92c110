import dataclasses
from typing import Any

import numpy as np

from nc_keras.labels import class_labels
from nc_keras.metrics.class_statistics import ClassStatistics
from nc_keras.metrics.class_statistics import NonFiniteError
from nc_keras.metrics.class_statistics import blocks
from nc_keras.metrics.class_statistics import validate_features
from nc_keras.metrics.last_layer import Examples
from nc_keras.metrics.last_layer import LastLayer
from nc_keras.metrics.registry import evaluate


def collapse_metrics(
    features: Any,
    labels: Any,
    kernel: Any = None,
    bias: Any = None,
    num_classes: int | None = None,
    *,
    train_means: Any = None,
    missing: str = "raise",
) -> dict[str, float]:
    """Measures how far a classifier's last layer has collapsed.

    Every value is computed in float64, with the features centred at their
    class means before anything is squared. `nc_keras.metrics.METRICS` holds
    the formula of each tag.

    Args:
        features: Array of shape `(N, D)`, the inputs of the head.
        labels: Integer array of shape `(N,)` or one-hot array of shape
            `(N, C)`.
        kernel: Array of shape `(D, C)`, the head's weights as in `Dense`, or
            `None` to measure the features alone.
        bias: Array of shape `(C,)` or `None`.
        num_classes: Integer or `None`. `None` takes it from `kernel`, from
            the width of one-hot labels, or from the largest label.
        train_means: Array of shape `(C, D)`, the class means of the training
            set, when `features` are those of a test set. `nc4` then refers
            to them, and `ncc_accuracy` is added.
        missing: `"raise"`, or `"skip"` to leave classes without examples out
            of what is measured on the features. What is measured on the head
            alone keeps all its classes. Defaults to `"raise"`.

    Returns:
        Dictionary from tags (`"nc1"`, ...) to floats. A value is NaN or
        infinite where its formula is, for example when all class means
        coincide.

    Raises:
        NonFiniteError: If a feature or weight is NaN or infinite (a
            `ValueError`).
        ValueError: If shapes do not fit, if labels are invalid, or if a class
            has no example.

    Example:

    >>> frame = nc_keras.geometry.simplex_etf(3, 8, seed=0)
    >>> values = nc_keras.metrics.collapse_metrics(
    ...     np.repeat(frame, 5, axis=0), np.repeat([0, 1, 2], 5), frame.T
    ... )
    >>> values["nc1"] < 1e-12, values["nc4"], values["accuracy"]
    (True, 0.0, 1.0)

    Reference:

    - [Papyan, Han & Donoho, 2020](https://arxiv.org/abs/2008.08186),
      Figures 2 to 7.
    """
    layer = last_layer(
        features,
        labels,
        kernel,
        bias,
        num_classes,
        train_means=train_means,
        missing=missing,
    )
    return evaluate_in_float64(layer)


def last_layer(
    features: Any,
    labels: Any,
    kernel: Any = None,
    bias: Any = None,
    num_classes: int | None = None,
    *,
    train_means: Any = None,
    missing: str = "raise",
) -> LastLayer:
    """Validates the arguments of `collapse_metrics` and gathers statistics.

    Args:
        features: As in `collapse_metrics`.
        labels: As in `collapse_metrics`.
        kernel: As in `collapse_metrics`.
        bias: As in `collapse_metrics`.
        num_classes: As in `collapse_metrics`.
        train_means: As in `collapse_metrics`. Rows of NaN are classes that
            the training set lacks.
        missing: As in `collapse_metrics`.

    Returns:
        The `LastLayer` that the metrics are functions of.
    """
    kernel, bias = _validate_head(kernel, bias)
    if num_classes is None and kernel is not None:
        num_classes = len(kernel)
    labels, num_classes = class_labels(labels, num_classes)
    features = validate_features(features, labels)
    _validate_shapes(features, num_classes, kernel, train_means)
    statistics = ClassStatistics.from_features(
        features, labels, num_classes, scatter=False
    )
    present = present_classes(statistics.counts, missing)
    means = train_means
    if train_means is None:
        means = np.full_like(statistics.means, np.nan)
        means[present] = statistics.means[present]

    def within_variance(directions):
        total = np.zeros(len(directions))
        for rows, block in blocks(features):
            residuals = block - statistics.means[labels[rows]]
            total += np.sum((residuals @ directions.T) ** 2, axis=0)
        return total / len(features)

    examples = Examples(
        features,
        labels,
        np.asarray(means, "float64"),
        kernel,
        0.0 if bias is None else bias,
    )
    layer = _of_present(statistics, present, kernel, within_variance)
    return dataclasses.replace(
        layer, examples=examples, train_means=train_means
    )


def metrics_from_statistics(
    statistics: ClassStatistics, kernel: Any = None, missing: str = "raise"
) -> dict[str, float]:
    """The metrics that class statistics determine without the examples.

    Args:
        statistics: `ClassStatistics` with its scatter.
        kernel: Array of shape `(D, C)` or `None`.
        missing: `"raise"` or `"skip"`, as in `collapse_metrics`.

    Returns:
        As `collapse_metrics`, without `nc4` and the accuracies.

    Raises:
        ValueError: If shapes do not fit, if a class has no example, or if
            the statistics carry no scatter.

    Example:

    >>> h, y = [[0.0, 1.0], [2.0, 1.0], [5.0, 5.0]], [0, 0, 1]
    >>> statistics = nc_keras.metrics.ClassStatistics.from_features(h, y)
    >>> values = nc_keras.metrics.metrics_from_statistics(statistics)
    >>> print(round(values["nc1_cdnv"], 6))
    0.015625
    """
    if statistics.scatter is None:
        raise ValueError(
            "The statistics carry no scatter matrix. Make them with "
            "`ClassStatistics.from_features(..., scatter=True)`. "
            "Received: statistics.scatter=None."
        )
    kernel, _ = _validate_head(kernel, None)
    present = present_classes(statistics.counts, missing)
    _validate_shapes(statistics.means, len(statistics.counts), kernel, None)
    return evaluate_in_float64(
        _of_present(statistics, present, kernel, statistics.within_variance)
    )


def evaluate_in_float64(layer: LastLayer) -> dict[str, float]:
    """Evaluates every metric on NumPy arrays; 0 / 0 is NaN, not a warning."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return {tag: float(value) for tag, value in evaluate(layer).items()}


def present_classes(counts: np.ndarray, missing: str = "raise") -> np.ndarray:
    """Indices of the classes with examples; raises if that is not all.

    Args:
        counts: Integer array of shape `(C,)`.
        missing: `"raise"` or `"skip"`.
    """
    if missing not in ("raise", "skip"):
        raise ValueError(
            f'`missing` must be "raise" or "skip". Received: {missing=}.'
        )
    present = np.flatnonzero(counts)
    if len(present) == len(counts) or (missing == "skip" and len(present) > 1):
        return present
    absent = np.flatnonzero(counts == 0)
    names = ", ".join(map(str, absent[:10])) + ", ..." * (len(absent) > 10)
    hint = (
        "" if missing == "skip" else ' Pass `missing="skip"` to leave them out.'
    )
    raise ValueError(
        "Every class needs an example, and at least two are needed."
        f"{hint} Received: no example of {len(absent)} of {len(counts)} "
        f"classes: {names}."
    )


def _of_present(statistics, present, kernel, within_variance):
    """The last layer with the classes that have examples."""
    counts = statistics.counts[present]
    return LastLayer(
        means=statistics.means[present],
        variances=statistics.squares[present] / counts,
        counts=counts,
        within_variance=within_variance,
        kernel=kernel,
        classes=None if len(present) == len(statistics.counts) else present,
    )


def _validate_head(kernel, bias):
    if kernel is None:
        return None, None
    kernel = np.asarray(kernel).astype("float64")
    if kernel.ndim != 2:
        raise ValueError(
            "`kernel` must have the shape (D, C). "
            f"Received: kernel of shape {kernel.shape}."
        )
    if bias is not None:
        bias = np.asarray(bias).astype("float64")
        if bias.shape != kernel.shape[1:]:
            raise ValueError(
                "`bias` must have one entry a class. Received: bias of shape "
                f"{bias.shape} and kernel of shape {kernel.shape}."
            )
    for name, values in (("kernel", kernel), ("bias", bias)):
        if values is not None and not np.isfinite(values).all():
            raise NonFiniteError(
                f"The head's {name} must be finite. Received: NaN or infinity "
                f"in {(~np.isfinite(values)).sum()} of {values.size} entries."
            )
    return kernel.T, bias


def _validate_shapes(features, num_classes, kernel, train_means):
    dim = features.shape[1]
    if kernel is not None and kernel.shape != (num_classes, dim):
        raise ValueError(
            f"`kernel` must have the shape (D, C) = ({dim}, {num_classes}), "
            "as in `keras.layers.Dense`; pass the transpose of a (C, D) "
            f"matrix. Received: kernel of shape {kernel.T.shape}."
        )
    if train_means is None:
        return
    train_means = np.asarray(train_means, "float64")
    if train_means.shape != (num_classes, dim):
        raise ValueError(
            f"`train_means` must have the shape (C, D) = ({num_classes}, "
            f"{dim}). Received: shape {train_means.shape}."
        )
    whole = np.isfinite(train_means).all(axis=1)
    if whole.sum() < 2 or not np.isnan(train_means[~whole]).all():
        raise NonFiniteError(
            "`train_means` must be finite, but for rows of NaN of classes "
            "that the training set lacks, and at least two must be left. "
            f"Received: {(~whole).sum()} rows that are not finite."
        )
