from collections.abc import Iterable
from typing import Any

import keras
import numpy as np

from nc_keras.measuring.extractor import FeatureExtractor
from nc_keras.measuring.extractor import extractor_of
from nc_keras.measuring.pairs import validate_sample
from nc_keras.measuring.passes import Measurement
from nc_keras.measuring.passes import mean_feature
from nc_keras.measuring.passes import measured
from nc_keras.measuring.source import MEMORY
from nc_keras.measuring.source import FeatureSource
from nc_keras.measuring.validation import validate_head
from nc_keras.processes import all_gather


def measure(
    model: keras.Model | FeatureExtractor,
    x: Any,
    y: Any = None,
    *,
    batch_size: int = 256,
    head: Any = None,
    features: Any = None,
    pooling: str | None = None,
    mask: Any = None,
    ignore_label: int | None = None,
    num_classes: int | None = None,
    train_means: Any = None,
    missing: str = "raise",
    metrics: str | Iterable[str] | None = None,
    ood: Any = None,
    pairs: int | None = None,
    memory: int = MEMORY,
    across_processes: bool = False,
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
        batch_size: Integer, for arrays. The values do not depend on it.
        head: The classifier layer or its name. Only needed where it is not
            the last layer with weights, or the model is subclassed.
        features: As in `nc_keras.FeatureExtractor`: another layer to measure.
        pooling: As in `nc_keras.FeatureExtractor`.
        mask: Array of the shape of integer labels, true where they count.
        ignore_label: Integer, a label that is left out, or `None`.
        num_classes: Integer, or `None` to take it from the head, or from the
            labels where there is no head.
        train_means: As in `nc_keras.metrics.collapse_metrics`.
        missing: As in `nc_keras.metrics.collapse_metrics`.
        metrics: As in `nc_keras.metrics.collapse_metrics`.
        ood: Out-of-distribution examples: an array, or a dataset of `(x, y)`
            batches whose labels do not matter; all of them in every process.
        pairs: As in `nc_keras.metrics.collapse_metrics`.
        memory: Integer, how many bytes of features may be kept. Defaults to
            2 GiB.
        across_processes: Boolean, whether `x` and `y` are the share of this
            process, and the values those of the examples of all processes. A
            share may be smaller than others, or empty. Defaults to `False`.

    Returns:
        Dictionary from tags to floats, as `collapse_metrics`.

    Raises:
        ValueError: If the model is not built, its head cannot be found, or
            the data are invalid.

    Example:

    >>> model = nc_keras.models.MLP((4,), 3, widths=(8,))
    >>> x, y = np.random.default_rng(0).normal(size=(30, 4)), np.arange(30) % 3
    >>> values = nc_keras.measure(model, x, y)
    >>> values["nc1"] > 0
    True
    """
    validate_sample(pairs)
    extractor = extractor_of(model, head, features, pooling)
    head_weights = extractor.kernel, extractor.bias
    measurement = measurement_of(
        extractor,
        FeatureSource(
            extractor,
            x,
            y,
            batch_size,
            memory,
            mask=mask,
            ignore_label=ignore_label,
            may_be_empty=across_processes,
        ),
        num_classes=num_classes,
        train_means=train_means,
        missing=missing,
        metrics=metrics,
        ood_mean=None if ood is None else ood_mean(extractor, ood, batch_size),
        gather=all_gather if across_processes else None,
        head=head_weights,
    )
    return measurement.values(pairs, progress=True)


def measurement_of(
    extractor: FeatureExtractor, source: FeatureSource, **options: Any
) -> Measurement:
    """Measures what an extractor makes of a source.

    Args:
        extractor: The `FeatureExtractor`, for its head.
        source: The `FeatureSource`.
        **options: Arguments of `nc_keras.measuring.passes.Measurement`.
    """
    # Of a layer's features the width is known after a pass, and so is then
    # whether the head takes them: it must not depend on what was run before.
    head = options.pop("head", None) or (extractor.kernel, extractor.bias)
    kernel, bias = validate_head(*head)
    classes = options.pop("num_classes", None)
    if classes is None and kernel is not None:
        classes = len(kernel)
    means = options.get("train_means")
    if classes is None and means is not None and np.ndim(means) == 2:
        classes = len(means)
    return measured(source, kernel, bias, classes, **options)


def ood_mean(
    extractor: FeatureExtractor, ood: Any, batch_size: int = 256
) -> np.ndarray:
    """Returns the mean feature of out-of-distribution examples.

    Args:
        extractor: The `FeatureExtractor`.
        ood: As in `measure`.
        batch_size: Integer, for arrays.
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
