import difflib
from typing import Any

import keras

from nc_keras import geometry
from nc_keras.layers.etf_classifier import ETFClassifier
from nc_keras.layers.weight_norm_dense import WeightNormDense

HEADS = {
    "linear": lambda num_classes: keras.layers.Dense(num_classes, name="head"),
    "etf": lambda num_classes: ETFClassifier(num_classes, name="head"),
    "weight_norm": lambda num_classes: WeightNormDense(
        num_classes, name="head"
    ),
}


def make_head(head: str | keras.layers.Layer, num_classes: int) -> Any:
    """Returns the classifier layer that a model ends with.

    Args:
        head: `"linear"` (a learned `Dense` layer), `"etf"` (a fixed
            `ETFClassifier`), `"weight_norm"` (a `WeightNormDense`), or a
            layer, which is returned as it is.
        num_classes: Integer, the number of classes, at least 2.

    Returns:
        A layer with `num_classes` outputs.

    Raises:
        ValueError: If `head` is no layer and no known name, or if
            `num_classes < 2`.

    Example:

    >>> nc_keras.models.heads.make_head("etf", 10).num_classes
    10
    """
    num_classes = geometry.validate_num_classes(num_classes)
    if isinstance(head, keras.layers.Layer):
        return head
    if not isinstance(head, str) or head not in HEADS:
        close = difflib.get_close_matches(str(head), HEADS, n=1)
        hint = f" Did you mean {close[0]!r}?" if close else ""
        raise ValueError(
            f"`head` must be one of {list(HEADS)} or a layer.{hint} "
            f"Received: head={head!r}."
        )
    return HEADS[head](num_classes)


def batch_norm() -> keras.layers.Layer:
    """Batch normalisation with the constants that the papers trained with.

    They are PyTorch's: it keeps 0.9 of the running statistics at each step,
    and adds 1e-5 to the variance.
    """
    return keras.layers.BatchNormalization(momentum=0.9, epsilon=1e-5)
