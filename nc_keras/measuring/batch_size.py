"""How many examples a measurement takes at a time, where nobody says."""

import math
from typing import Any

import keras

from nc_keras.graph import all_layers

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
        model: A model. Where the shapes of its layers are not known, as in
            one that is subclassed, it is 256.

    Example:

    >>> from nc_keras.measuring.batch_size import suitable_batch_size
    >>> suitable_batch_size(nc_keras.models.MLP((784,), 10, widths=(512,)))
    2048
    >>> suitable_batch_size(nc_keras.models.ConvNet((32, 32, 3), 10))
    256
    """
    layers = all_layers(model)
    outputs: list[Any] = [getattr(layer, "output", None) for layer in layers]
    shapes = [tuple(o.shape[1:]) for o in outputs if hasattr(o, "shape")]
    if not shapes or any(None in shape for shape in shapes):
        return LEAST
    fitting = _BYTES // (4 * max(map(math.prod, shapes))) or 1
    return max(LEAST, min(MOST, 2 ** int(math.log2(fitting))))
