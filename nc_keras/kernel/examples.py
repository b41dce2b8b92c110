"""The examples of a tangent kernel, in batches of one size."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import keras
import numpy as np
from keras import ops

from nc_keras.arguments import refuse_masked
from nc_keras.measuring.batches import as_arrays


def examples_of(x: Any) -> Any:
    """Returns arrays of examples, two at least.

    Args:
        x: Array, or structure of arrays, examples at the first axis.

    Raises:
        TypeError: If it is a dataset.
        ValueError: If there are no two examples.
    """
    arrays = keras.tree.flatten(as_arrays(x))
    if not arrays or any(not hasattr(a, "shape") for a in arrays):
        raise TypeError(
            "`x` must be an array of examples, or a structure of arrays: a "
            "tangent kernel looks at all pairs of them. "
            f"Received: x of type {type(x).__name__}."
        )
    x = keras.tree.map_structure(_to_numpy, as_arrays(x))
    lengths = {len(a) if a.ndim else 0 for a in keras.tree.flatten(x)}
    if len(lengths) > 1 or min(lengths) < 2:
        raise ValueError(
            "A tangent kernel needs two examples or more. Received: arrays "
            f"of {sorted(lengths)} examples."
        )
    return x


def batches(x: Any, batch_size: int) -> Iterator[tuple[Any, int]]:
    """Yields arrays of examples, and how many of them count.

    The last batch repeats an example, so that all have the shape for which
    the model was compiled.

    Args:
        x: Array or structure of arrays.
        batch_size: Integer.
    """
    count = len(keras.tree.flatten(x)[0])
    for start in range(0, count, batch_size):
        rows = np.arange(start, start + batch_size)
        length = min(batch_size, count - start)
        rows[length:] = start
        yield (
            keras.tree.map_structure(lambda array, rows=rows: array[rows], x),
            length,
        )


def _to_numpy(array):
    refuse_masked(array, "Examples")
    is_tensor = ops.is_tensor(array)
    return ops.convert_to_numpy(array) if is_tensor else np.asarray(array)
