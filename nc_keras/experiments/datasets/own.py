"""Data of a recipe's own: arrays, folders of images, and sources of batches."""

from __future__ import annotations

import pathlib
from typing import Any

import numpy as np

from nc_keras.experiments.datasets.arrays import Dataset
from nc_keras.experiments.datasets.folders import image_folder
from nc_keras.experiments.datasets.labels import labels_of
from nc_keras.experiments.datasets.labels import num_classes
from nc_keras.experiments.datasets.source_batches import SourceStream
from nc_keras.experiments.datasets.streams import ImageStream

_FORMS = (
    "arrays ((x, y), (x_test, y_test)), the path of a folder of images, two "
    "sources of batches (train, test), or a function that returns one of these"
)


def own_dataset(name: str, data: Any) -> Dataset | ImageStream | SourceStream:
    """Returns data of a recipe's own in the form that recipes take.

    Args:
        name: What it is called.
        data: Arrays `((x, y), (x_test, y_test))`; the path of a folder, see
            `image_folder`; a pair of sources, see `SourceStream`; a dataset
            of ours; or a function without arguments that returns one.

    Raises:
        ValueError: If it is something else, or labels or shapes do not fit.

    Example:

    >>> from nc_keras.experiments.datasets.own import own_dataset
    >>> x, y = np.zeros((6, 2)), np.arange(6) % 3
    >>> own_dataset("zeros", ((x, y), (x, y))).num_classes
    3
    """
    if callable(data):
        data = data()
    if isinstance(data, Dataset | ImageStream | SourceStream):
        return data
    if isinstance(data, str | pathlib.Path):
        return image_folder(data, name=name)
    is_pair = isinstance(data, tuple | list) and len(data) == 2
    # An array beside its labels is a pair as well.
    if not is_pair or any(isinstance(part, np.ndarray) for part in data):
        kinds = [type(part).__name__ for part in data] if is_pair else ""
        raise ValueError(
            f"The data of {name!r} must be {_FORMS}. "
            f"Received: {type(data).__name__}{f' of {kinds}' if kinds else ''}."
        )
    train, test = data
    if isinstance(train, tuple | list):
        return from_arrays(name, train, test)
    return SourceStream(name, train, test)


def from_arrays(name: str, train: Any, test: Any) -> Dataset:
    """Returns a dataset of arrays.

    Images of uint8 stay so; other numbers become float32. An image without an
    axis for its channels gets one, a column of labels becomes a vector.

    Args:
        name: What it is called.
        train: Pair of examples `[N, ...]` and labels `[N]`.
        test: The same, of other examples.

    Raises:
        ValueError: If labels or shapes do not fit.
    """
    pairs = {}
    for split, pair in (("training", train), ("test", test)):
        if not isinstance(pair, tuple | list) or len(pair) != 2:
            raise ValueError(
                f"The {split} data of {name!r} must be a pair of examples and "
                f"labels. Received: {type(pair).__name__}."
            )
        where = f"the {split} data of {name!r}"
        pairs[split] = _examples(where, pair[0]), labels_of(where, pair[1])
        if len(pairs[split][0]) != len(pairs[split][1]):
            raise ValueError(
                f"There must be as many labels as examples in {where}. "
                f"Received: {len(pairs[split][0])} examples and "
                f"{len(pairs[split][1])} labels."
            )
    (x, y), (x_test, y_test) = pairs["training"], pairs["test"]
    if x.shape[1:] != x_test.shape[1:] or x.dtype != x_test.dtype:
        raise ValueError(
            f"Training and test examples of {name!r} must be alike. Received: "
            f"{x.shape[1:]} {x.dtype} and {x_test.shape[1:]} {x_test.dtype}."
        )
    count = num_classes(name, np.bincount(y), np.bincount(y_test))
    return Dataset(name, count, x, y, x_test, y_test)


def _examples(where, x):
    x = np.asarray(x)
    if x.dtype.kind not in "buif" or x.ndim < 2 or not len(x):
        raise ValueError(
            f"Examples must be numbers [N, ...], one or more, in {where}. "
            f"Received: shape {x.shape}, {x.dtype}."
        )
    is_vectors = x.ndim == 2
    if x.dtype != np.uint8 or is_vectors:
        x = x.astype("float32")
        if not np.isfinite(x).all():
            raise ValueError(f"Not all numbers are finite in {where}.")
    return x[..., np.newaxis] if x.ndim == 3 else x
