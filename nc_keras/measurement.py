from typing import Any

import keras

from nc_keras.features import FeatureExtractor
from nc_keras.metrics.collapse_metrics import collapse_metrics


def measure(
    model: keras.Model,
    x: Any,
    y: Any = None,
    *,
    batch_size: int = 256,
    head: Any = None,
    train_means: Any = None,
    missing: str = "raise",
) -> dict[str, float]:
    """Measures the neural collapse of a model's last layer.

    Makes one forward pass in inference mode, and keeps the features in host
    memory (`4 N D` bytes for float32). To measure again and again, use
    `nc_keras.callbacks.NeuralCollapse`, or a `FeatureExtractor`, which
    compiles its function once.

    Args:
        model: A built `keras.Model` of any kind.
        x: Array (or structure of arrays) of examples; or, when `y` is `None`,
            a `tf.data.Dataset`, `keras.utils.PyDataset`, torch `DataLoader`
            or other finite iterable of `(x, y)` batches.
        y: Integer or one-hot labels.
        batch_size: Integer, for arrays. The values do not depend on it.
        head: The classifier layer or its name. Only needed where it is not
            the last layer with weights, or the model is subclassed.
        train_means: As in `nc_keras.metrics.collapse_metrics`.
        missing: As in `nc_keras.metrics.collapse_metrics`.

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
    extractor = FeatureExtractor(model, head)
    features, labels = extractor(x, y, batch_size)
    return collapse_metrics(
        features,
        labels,
        extractor.kernel,
        extractor.bias,
        train_means=train_means,
        missing=missing,
    )
