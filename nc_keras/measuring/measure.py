"""Measures the neural collapse of a model, by one call."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
from typing_extensions import Unpack

from nc_keras.measuring.extractor import FeatureExtractor
from nc_keras.measuring.options import Options
from nc_keras.measuring.options import Plan
from nc_keras.measuring.passes import mean_feature


def measure(
    model: keras.Model | FeatureExtractor,
    x: Any,
    y: Any = None,
    *,
    mask: Any = None,
    train_means: Any = None,
    train_counts: Any = None,
    ood: Any = None,
    **options: Unpack[Options],
) -> dict[str, Any]:
    """Measures the neural collapse of a model's last layer.

    Makes one forward pass in inference mode, and keeps the features in host
    memory where they fit into `memory`. Where they do not, it takes constant
    memory, `O(C D + D^2)`; then only metrics that compare each example with
    the final class means need another forward pass: `nc4` where
    `train_means` is not given, and those that say so in their docstring.

    The model, its random numbers and the state of a training are left as
    they were, also by a measurement that is interrupted.

    To measure again and again, pass a `nc_keras.FeatureExtractor` in place of
    the model, which compiles the forward pass once; in training, use
    `nc_keras.callbacks.NeuralCollapse`.

    Args:
        model: A built `keras.Model` of any kind, or a `FeatureExtractor`.
        x: Array (or structure of arrays) of examples; or, when `y` is `None`,
            a `tf.data.Dataset`, `keras.utils.PyDataset`, torch `DataLoader`
            or other finite iterable of `(x, y)` or `(x, y, weight)` batches.
            Examples of weight zero are left out.
        y: Integer or one-hot labels; integers of shape `(N, T)` for the
            tokens of sequences.
        mask: Array of the shape of integer labels, true where they count.
        train_means: As in `nc_keras.metrics.collapse_metrics`.
        train_counts: As in `nc_keras.metrics.collapse_metrics`.
        ood: Out-of-distribution examples: an array, or a dataset of `(x, y)`
            batches whose labels do not matter; all of them in every process.
        **options: The options that all measurements share:
            `batch_size`: Integer, for arrays. The values do not depend on it.
            By default one that suits the model, from 256 to 2,048.
            `head`: The classifier layer or its name. Only needed where it is
            not the last layer with weights, or the model is subclassed.
            `features`: As in `nc_keras.FeatureExtractor`: another layer to
            measure.
            `pooling`: As in `nc_keras.FeatureExtractor`.
            `ignore_label`: Integer, a label that is left out.
            `num_classes`: Integer. Taken from the head otherwise, or from the
            labels where there is no head.
            `missing`, `metrics`, `pairs`: As in
            `nc_keras.metrics.collapse_metrics`.
            `memory`: Integer, how many bytes of features may be kept.
            Defaults to 2 GiB.
            `across_processes`: Boolean, whether the examples are the share of
            this process, and the values those of the examples of all
            processes. A share may be smaller than others, or empty. Defaults
            to `False`.

    Returns:
        Dictionary from tags to floats, as `collapse_metrics`.

    Raises:
        TypeError: If an option is not known.
        ValueError: If the model is not built, its head cannot be found, or
            the data are invalid.

    Example:

    >>> model = nc_keras.models.MLP((4,), 3, widths=(8,))
    >>> x, y = np.random.default_rng(0).normal(size=(30, 4)), np.arange(30) % 3
    >>> values = nc_keras.measure(model, x, y)
    >>> values["nc1"] > 0
    True
    """
    plan = Plan.of(options)
    extractor = plan.extractor(model)
    measurement = plan.measured(
        extractor,
        plan.source(extractor, x, y, mask),
        (extractor.kernel, extractor.bias),
        train_means=train_means,
        train_counts=train_counts,
        ood_mean=(
            None if ood is None else ood_mean(extractor, ood, plan.batch_size)
        ),
    )
    return measurement.values(plan.pairs, progress=True)


def ood_mean(
    extractor: FeatureExtractor, ood: Any, batch_size: int | None = None
) -> np.ndarray:
    """Returns the mean feature of out-of-distribution examples.

    Args:
        extractor: The `FeatureExtractor`.
        ood: As in `measure`.
        batch_size: As in `measure`.
    """
    labels = None
    if hasattr(ood, "shape"):
        labels = np.zeros(len(ood), "int64")
    sums: Any = 0.0
    count = 0
    for features, _ in extractor.batches(ood, labels, batch_size):
        sums = sums + mean_feature(features) * len(features)
        count += len(features)
    return sums / count
