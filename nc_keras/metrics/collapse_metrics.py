from collections.abc import Iterable
from typing import Any

from nc_keras.arguments import real_array
from nc_keras.labels import class_labels
from nc_keras.measuring.class_statistics import ClassStatistics
from nc_keras.measuring.class_statistics import validate_features
from nc_keras.measuring.class_statistics import validate_statistics
from nc_keras.measuring.evaluation import available
from nc_keras.measuring.evaluation import evaluate
from nc_keras.measuring.evaluation import layer_of
from nc_keras.measuring.pair_means import validate_sample
from nc_keras.measuring.passes import mean_feature
from nc_keras.measuring.passes import measured
from nc_keras.measuring.registry import select
from nc_keras.measuring.source import KeptExamples
from nc_keras.measuring.units import exponent
from nc_keras.measuring.units import refuse_lost
from nc_keras.measuring.units import restored
from nc_keras.measuring.units import scaled
from nc_keras.measuring.units import scaled_bias
from nc_keras.measuring.validation import validate_head
from nc_keras.measuring.validation import validate_shapes


def collapse_metrics(
    features: Any,
    labels: Any,
    kernel: Any = None,
    bias: Any = None,
    num_classes: int | None = None,
    *,
    train_means: Any = None,
    train_counts: Any = None,
    missing: str = "raise",
    metrics: str | Iterable[str] | None = None,
    ood: Any = None,
    pairs: int | None = None,
) -> dict[str, Any]:
    """Measures how far a classifier's last layer has collapsed.

    Every value is computed in float64, with the features centred at their
    class means before anything is squared. `nc_keras.metrics.METRICS` holds
    the formula of each tag.

    No array has an entry for each pair of classes, or for each example and
    class: 50,000 classes are fine. Means over pairs of classes
    (`nc1_cdnv`, `nc2_max_angle_*`) take time quadratic in `C` then, unless
    `pairs` says that a random sample will do.

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
        train_counts: Integers of shape `(C,)`, the training examples of each
            class, when `features` are those of a test set, for metrics of
            classes of unequal size.
        missing: `"raise"`, or `"skip"` to leave classes without examples out
            of what is measured on the features. What is measured on the head
            alone keeps all its classes. Defaults to `"raise"`.
        metrics: Tags of the metrics to measure, `"all"` for every one that
            these arguments allow, or `None` for the default ones.
        ood: Array of shape `(N', D)`, features of out-of-distribution data,
            which `nc5` needs.
        pairs: Integer or `None`: how many random pairs of classes stand for
            all in means over pairs, which then have a standard error beside
            them (`"nc1_cdnv_standard_error"`). It is 0 where `pairs` is no
            less than all, which are taken then.

    Returns:
        Dictionary from tags (`"nc1"`, ...) to floats, or to arrays of shape
        `(C,)` for tags that begin with `per_class_`. A value is NaN or
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
    validate_sample(pairs)
    kernel, bias = validate_head(kernel, bias)
    if num_classes is None and kernel is not None:
        num_classes = len(kernel)
    labels, num_classes = class_labels(labels, num_classes)
    features = validate_features(features, labels)
    ood_mean = None if ood is None else mean_feature(ood)
    if train_means is not None:
        train_means = real_array(train_means, "`train_means`")
    # Squares of numbers beyond 1e154 or below 1e-154 are no float64.
    size, head_size = exponent(features), exponent(kernel)
    measurement = measured(
        KeptExamples(scaled(features, -size), labels),
        scaled(kernel, -head_size),
        scaled_bias(bias, -size - head_size),
        num_classes,
        train_means=scaled(train_means, -size),
        train_counts=train_counts,
        missing=missing,
        metrics=metrics,
        ood_mean=scaled(ood_mean, -size),
    )
    values = measurement.values(pairs, progress=True)
    return restored(values, size, head_size)


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
    validate_statistics(statistics, scatter=True)
    kernel, _ = validate_head(kernel, None)
    validate_shapes(statistics.means, len(statistics.counts), kernel, None)
    refuse_lost(statistics.means)
    head_size = exponent(kernel)
    layer = layer_of(statistics, scaled(kernel, -head_size), missing=missing)
    values = evaluate(layer, select(None, available(layer)))
    return restored(values, 0, head_size)


def tags_from_statistics(has_kernel: bool = True) -> list[str]:
    """Returns the tags of `metrics_from_statistics`.

    Args:
        has_kernel: Boolean, whether the head is there.

    Example:

    >>> from nc_keras.metrics.collapse_metrics import tags_from_statistics
    >>> tags_from_statistics()[:2]
    ['nc1', 'nc1_trace_ratio']
    """
    have = ["scatter", "principal_variances", *["kernel"] * has_kernel]
    return [m.tag for m in select(None, have) if m.over != "examples"]
