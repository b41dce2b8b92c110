"""Batches of examples and labels, out of whatever people hand over."""

import collections.abc
import contextlib
import itertools
import operator
from collections.abc import Iterator
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
from keras import ops

from nc_keras.arguments import real_array
from nc_keras.arguments import refuse_masked

_ENDLESS = (itertools.cycle, itertools.count, itertools.repeat)
# Grain says of a dataset that repeats that it is as long as integers are.
_MOST_BATCHES = 2**40


class NoExamplesError(ValueError):
    """There are no data at all: nothing to measure."""


def is_one_shot(x: Any) -> bool:
    """Returns whether data can be iterated over only once.

    Args:
        x: Array, dataset, generator or other data.

    Returns:
        Boolean.

    Example:

    >>> from nc_keras.measuring.batches import is_one_shot
    >>> batches = [(np.zeros((2, 3)), np.arange(2))]
    >>> is_one_shot(batches), is_one_shot(batch for batch in batches)
    (False, True)
    """
    # `iter` of other data may start workers.
    return isinstance(x, collections.abc.Iterator) and iter(x) is x


def batches_of(
    model: keras.Model,
    x: Any,
    y: Any = None,
    batch_size: int = 256,
    mask: Any = None,
    outputs: Sequence[str] = (),
) -> Iterator[tuple[Any, np.ndarray, np.ndarray | None]]:
    """Yields inputs as the model's `call` takes them, labels and weights.

    A task of KerasHub prepares its data in `fit` and `predict`, by the hook
    `preprocess_samples`, and so does this.

    Args:
        model: The `keras.Model`.
        x: As in `nc_keras.FeatureExtractor`; so for the other arguments.
        y: Labels.
        batch_size: Integer.
        mask: Array.
        outputs: Strings, the names of the output whose labels are meant where
            they come as a dictionary, of several outputs.
    """
    prepare = getattr(model, "preprocess_samples", None)
    if y is None:
        raw = _batches(x, mask, outputs)
    else:
        raw = _slices(x, labels_of(y, outputs), batch_size, mask)
    for inputs, labels, weights in raw:
        if prepare is not None:
            inputs, labels, weights = _prepared(
                prepare, inputs, labels, weights
            )
        if y is None:
            _validate_batch(model, inputs, labels)
        # A tf.data or torch tensor is foreign to the other backends.
        yield keras.tree.map_structure(_to_native, inputs), labels, weights


def labels_of(y: Any, outputs: Sequence[str]) -> Any:
    """Returns the labels of one output, of a dictionary with all.

    Args:
        y: Labels, or a dictionary of them.
        outputs: Strings, the names of the output.

    Raises:
        ValueError: If they are those of several outputs and it is none.
    """
    if isinstance(y, dict) and not y.keys().isdisjoint(outputs):
        return _named(y, outputs)
    is_several = isinstance(y, tuple) and any(np.ndim(one) for one in y)
    if isinstance(y, dict) or is_several:
        names = f" for {list(y)}" if isinstance(y, dict) else ""
        raise ValueError(
            "The labels must be one array, those of the head that is "
            f"measured ({list(outputs)}), or a dictionary with them under its "
            f"name. Received: labels of type {type(y).__name__}{names}."
        )
    return y


def _prepared(prepare, x, y, weights):
    result = prepare(_listed(x), y)
    x, labels, others = keras.utils.unpack_x_y_sample_weight(result)
    labels = y if labels is None else _to_numpy(labels)
    if others is None:
        return x, labels, weights
    others = _to_numpy(others)
    if weights is None:
        return x, labels, others
    missing = (1,) * (others.ndim - weights.ndim)
    return x, labels, others * (weights.reshape(weights.shape + missing) != 0)


def _listed(x):
    """Strings as preprocessors take them, a list; all else as it is."""
    if isinstance(x, dict):
        return {key: _listed(value) for key, value in x.items()}
    if isinstance(x, tuple):
        return tuple(map(_listed, x))
    if not isinstance(x, np.ndarray) or x.dtype.kind not in "USOT":
        return x
    return (np.char.decode(x) if x.dtype.kind == "S" else x).tolist()


def _slices(x, y, batch_size, mask):
    """Yields batches of arrays, in order."""
    x = as_arrays(x)
    y = validate_lengths(x, y)
    mask = None if mask is None else _to_numpy(mask)
    if mask is not None and mask.shape[:1] != y.shape[:1]:
        raise ValueError(
            "`mask` must have the shape of the integer labels. Received: a "
            f"mask of shape {mask.shape} and labels of shape {y.shape}."
        )
    if batch_size < 1:
        raise ValueError(
            f"`batch_size` must be positive. Received: batch_size={batch_size}."
        )
    for start in range(0, len(y), batch_size):
        rows = slice(start, start + batch_size)
        inputs = keras.tree.map_structure(operator.itemgetter(rows), x)
        yield inputs, y[rows], None if mask is None else mask[rows]


def as_arrays(x: Any) -> Any:
    """Lists of strings as arrays: to Keras a list is a structure of arrays."""
    if isinstance(x, dict):
        return {key: as_arrays(value) for key, value in x.items()}
    if isinstance(x, list) and x and isinstance(x[0], str | bytes):
        return np.array(x, dtype=object)
    return tuple(map(as_arrays, x)) if isinstance(x, tuple) else x


def validate_lengths(x: Any, y: Any) -> np.ndarray:
    """Returns labels as a NumPy array, if there is one for each example."""
    y = _to_numpy(y)
    for array in (*keras.tree.flatten(as_arrays(x)), y):
        refuse_masked(array, "Examples")
        if not len(np.shape(array)):
            raise ValueError(
                "Examples and labels must be arrays with one row per example. "
                f"Received: {type(array).__name__} without a length."
            )
        if len(array) != len(y) or not len(y):
            error = ValueError if len(array) or len(y) else NoExamplesError
            raise error(
                "Examples and labels must be of equal length, and there must "
                f"be some. Received: {len(array)} examples and {len(y)} labels."
            )
    return y


def _named(values, names):
    """The first of the values that has one of the names, or `None`."""
    return next((values[name] for name in names if name in values), None)


def _batches(dataset, mask, outputs):
    """Yields the batches of a dataset, in order."""
    if mask is not None:
        raise ValueError(
            "`mask` goes with arrays. Let the dataset yield batches "
            "(x, y, sample_weight), with weight zero for what is left out. "
            f"Received: x of type {type(dataset).__name__} and y=None."
        )
    is_pair = isinstance(dataset, tuple) and 2 <= len(dataset) <= 3
    if is_pair and hasattr(dataset[0], "shape"):
        raise ValueError(
            "Examples and labels are two arguments, `measure(model, x, y)`; a "
            "pair of them is what `report` takes. "
            f"Received: x, a tuple of {len(dataset)}, and y=None."
        )
    batches = dataset
    refuse_endless(dataset)
    if isinstance(dataset, keras.utils.PyDataset):
        if dataset.num_batches is None:
            raise ValueError(
                "A dataset to measure must have an end. Received: a "
                "PyDataset with num_batches=None."
            )
        batches = map(dataset.__getitem__, range(dataset.num_batches))
    elif not hasattr(dataset, "__iter__") or hasattr(dataset, "shape"):
        raise ValueError(
            "Without `y`, `x` must be a dataset of (x, y) batches. "
            f"Received: x of type {type(dataset).__name__} and y=None."
        )
    for batch in batches:
        yield _unpacked(batch, outputs)


def refuse_endless(dataset: Any) -> None:
    """Says so of a dataset that is known to have no end.

    Args:
        dataset: Dataset, iterator or other data.

    Raises:
        ValueError: If it has none.
    """
    cardinality = getattr(dataset, "cardinality", None)  # of tf.data
    is_endless = callable(cardinality) and int(cardinality()) == -1
    is_endless |= isinstance(dataset, _ENDLESS)
    if not is_endless and not isinstance(dataset, keras.utils.PyDataset):
        with contextlib.suppress(Exception):  # not every dataset has a length
            is_endless = len(dataset) > _MOST_BATCHES
    if is_endless:
        raise ValueError(
            "A dataset to measure must have an end. Take the "
            "batches to measure, `dataset.take(100)` of tf.data, or "
            "`itertools.islice(batches, 100)` of an iterator, or leave out "
            "`repeat()`. "
            f"Received: an endless {type(dataset).__name__}."
        )


def _validate_batch(model, x, y):
    """Says so if there are no batches, but single examples."""
    if y is None:
        raise ValueError(
            "The dataset must yield (x, y) batches. Received: a batch "
            "without labels."
        )
    arrays = keras.tree.flatten(x)
    expected = getattr(model, "inputs", None) or []
    is_single = not y.ndim or any(not np.ndim(array) for array in arrays)
    if len(arrays) == len(expected) == 1 and not is_single:
        ranks = np.ndim(arrays[0]), len(expected[0].shape)
        is_single = (
            ranks[0] == ranks[1] - 1
            and y.shape[:1] != (np.shape(arrays[0])[:1])
        )
    if is_single:
        raise ValueError(
            "The dataset must yield batches, and seems to yield single "
            "examples. Batch it, `dataset.batch(256)`. Received: inputs of "
            f"shape {[tuple(np.shape(array)) for array in arrays]} and labels "
            f"of shape {tuple(y.shape)}."
        )


def _unpacked(batch, outputs):
    x, y, weights = keras.utils.unpack_x_y_sample_weight(batch)
    y = labels_of(y, outputs)
    if isinstance(weights, dict):
        weights = _named(weights, outputs)
    y = None if y is None else _to_numpy(y)
    return x, y, None if weights is None else _to_numpy(weights)


def _to_native(array):
    refuse_masked(array, "Examples")
    return array if ops.is_tensor(array) else np.asarray(array)


def _to_numpy(array):
    if ops.is_tensor(array):
        return ops.convert_to_numpy(array)
    return real_array(array, "Labels and masks")
