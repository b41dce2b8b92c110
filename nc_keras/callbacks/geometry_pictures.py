"""The pictures of class means, head and outputs that TensorBoard shows."""

from __future__ import annotations

import numpy as np

from nc_keras.callbacks.class_picture import cosine_picture
from nc_keras.callbacks.class_picture import logit_picture
from nc_keras.measuring.last_layer import LastLayer

_MEANS = "cosines of the centred class means"
_WEIGHTS = "cosines of the head's rows"
_LOGITS = "outputs at the class means, by size"
# From this ratio on, of the largest to the smallest class, sizes matter.
_UNEQUAL = 2


def matrices(layer: LastLayer, with_head: bool) -> dict[str, np.ndarray]:
    """The rows whose cosines and singular values are drawn.

    Args:
        layer: The `LastLayer`.
        with_head: Boolean. The head is the same, whatever the data; and there
            may be none.
    """
    found = {"means": layer.centered_means}
    if with_head and layer.kernel is not None:
        found["weights"] = layer.kernel
    return found


def pictures(
    layer: LastLayer, names: np.ndarray, with_head: bool
) -> dict[str, np.ndarray]:
    """Draws each matrix of a layer.

    Where the largest class has twice as many training examples as the
    smallest, or more, the classes come by their size, the largest first, and
    the outputs at the class means are drawn too.

    Args:
        layer: The `LastLayer`.
        names: Strings of shape `(C,)`, the names of all classes.
        with_head: As in `matrices`.

    Returns:
        Dictionary from tags to images.
    """
    sizes = layer.class_sizes
    is_unequal = sizes is not None and sizes.max() >= _UNEQUAL * sizes.min()
    everyone = np.arange(len(names))
    present = everyone if layer.classes is None else np.array(layer.classes)
    if is_unequal:
        everyone = np.argsort(-sizes, kind="stable")
        present = present[np.argsort(-sizes[present], kind="stable")]
    suffix = ", by size" if is_unequal else ""
    own = layer.centered_means[_places(layer, present)]
    found = {
        "cosines/means": cosine_picture(own, names[present], _MEANS + suffix)
    }
    if layer.kernel is None:
        return found
    if with_head:
        found["cosines/weights"] = cosine_picture(
            layer.kernel[everyone], names[everyone], _WEIGHTS + suffix
        )
    if is_unequal:
        means = layer.means[_places(layer, present)]
        bias = np.broadcast_to(layer.bias, len(names))[present]
        found["logits/means"] = logit_picture(
            means @ layer.kernel[present].T + bias, names[present], _LOGITS
        )
    return found


def _places(layer, classes):
    """The rows of the means of classes."""
    if layer.classes is None:
        return classes
    return np.searchsorted(layer.classes, classes)
