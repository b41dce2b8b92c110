"""How many examples a measurement takes at a time, where nobody says."""

import math
from typing import Any

import keras

from nc_keras.graph import children
from nc_keras.graph import is_graph

LEAST, MOST = 256, 2_048
# Larger blocks come from the system anew each time, as pages of zeros, which
# takes longer than many a layer.
_BYTES = 2**25


def suitable_batch_size(model: keras.Model) -> int:
    """Returns a batch size at which a forward pass is fast.

    The largest power of two from 256 to 2,048 at which no output of a layer
    takes more than 32 MB: dense layers are the faster the more examples come
    at a time, on a CPU too.

    Args:
        model: A model. Where a shape is not known, as in a subclassed model
            or in a layer made of others, it is 256.

    Example:

    >>> from nc_keras.measuring.batch_size import suitable_batch_size
    >>> suitable_batch_size(nc_keras.models.MLP((784,), 10, widths=(512,)))
    2048
    >>> suitable_batch_size(nc_keras.models.ConvNet((32, 32, 3), 10))
    256
    """
    shapes: list[Any] = [
        getattr(output, "shape", None) for output in _outputs(model)
    ]
    if any(shape is None or None in shape[1:] for shape in shapes):
        return LEAST
    largest = max(1, *(math.prod(shape[1:]) for shape in shapes))
    fitting = max(1, _BYTES // (4 * largest))
    return max(LEAST, min(MOST, 2 ** int(math.log2(fitting))))


def _outputs(model):
    """What each operation of a graph gives; `None` where that is not known."""
    if not is_graph(model):
        return [None]
    outputs: list[Any] = list(model.outputs)
    for operation in getattr(model, "operations", model.layers):
        if isinstance(operation, keras.Model):
            outputs += _outputs(operation)
        elif isinstance(operation, keras.Layer) and children(operation):
            outputs.append(None)
        else:
            outputs.append(getattr(operation, "output", None))
    return outputs
