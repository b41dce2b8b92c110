import difflib
import functools
from collections.abc import Callable
from typing import Any

import keras

from nc_keras.geometry import validate_num_classes
from nc_keras.layers.etf_classifier import ETFClassifier
from nc_keras.layers.nearest_etf_classifier import NearestETFClassifier
from nc_keras.layers.weight_norm_dense import WeightNormDense

HEADS = {
    "linear": keras.layers.Dense,
    "etf": ETFClassifier,
    "etf_canonical": functools.partial(ETFClassifier, rotate=False),
    "nearest_etf": NearestETFClassifier,
    "weight_norm": WeightNormDense,
}


def make_head(
    head: str | keras.layers.Layer,
    num_classes: int,
    initializer: Callable | None = None,
) -> Any:
    """Returns the classifier layer that a model ends with.

    Args:
        head: `"linear"` (a learned `Dense` layer), `"etf"` (a fixed
            `ETFClassifier`), `"etf_canonical"` (one that is not rotated),
            `"nearest_etf"` (a `NearestETFClassifier`), `"weight_norm"` (a
            `WeightNormDense`), or a layer, which is returned as it is.
        num_classes: Integer, the number of classes, at least 2.
        initializer: Callable or `None`, makes the initializer of a learned
            head's kernel. Defaults to that of `Dense`.

    Returns:
        A layer with `num_classes` outputs.

    Raises:
        ValueError: If `head` is no layer and no known name, or if
            `num_classes < 2`.

    Example:

    >>> nc_keras.models.heads.make_head("etf", 10).num_classes
    10
    """
    num_classes = validate_num_classes(num_classes)
    if isinstance(head, keras.layers.Layer):
        return head
    if not isinstance(head, str) or head not in HEADS:
        close = difflib.get_close_matches(str(head), HEADS, n=1)
        hint = f" Did you mean {close[0]!r}?" if close else ""
        raise ValueError(
            f"`head` must be one of {list(HEADS)} or a layer.{hint} "
            f"Received: head={head!r}."
        )
    options = {}
    if initializer is not None and head in ("linear", "weight_norm"):
        options["kernel_initializer"] = initializer()
    return HEADS[head](num_classes, name="head", **options)
