"""Whether a loss of raw outputs is given probabilities."""

import sys
import warnings
from typing import Any

import keras

from nc_keras.graph import back_from
from nc_keras.graph import is_graph

_PROBABILITIES = (keras.activations.softmax, keras.activations.sigmoid)
_FRAMES = 20  # from a loss to the model that computes it


def warn_of_probabilities(loss: keras.losses.Loss, outputs: Any) -> None:
    """Warns where outputs come of a softmax or sigmoid, as Keras does.

    Keras marks tensors with what they were before, where the backend lets
    it; on the others the model tells that is computing the loss.

    Args:
        loss: The loss, for its name.
        outputs: Tensor that it is given.
    """
    model = _computing()
    layer = None if model is None else _last_layer(model)
    if hasattr(outputs, "_keras_logits") or _ends_in_probabilities(layer):
        where = "" if layer is None else f", of layer {layer.name!r}"
        warnings.warn(
            f"`{type(loss).__name__}` is a loss of raw outputs: take the "
            "softmax or sigmoid out of the model. "
            f"Received: outputs that are probabilities{where}.",
            stacklevel=3,
        )


def _computing():
    """The model whose `compute_loss` is under way."""
    frame = sys._getframe(2)
    for _ in range(_FRAMES):
        if frame is None:
            return None
        if frame.f_code.co_name == "compute_loss":
            model = frame.f_locals.get("self")
            if isinstance(model, keras.Model):
                return model
        frame = frame.f_back
    return None


def _last_layer(model):
    """The layer that makes the only output, but for what passes it on."""
    outputs = model.outputs if is_graph(model) else ()
    layer = model
    for layer in back_from(outputs[0]) if len(outputs) == 1 else ():
        if isinstance(layer, keras.Model):
            return _last_layer(layer)
        is_linear = isinstance(layer, keras.layers.Activation) and (
            layer.activation is keras.activations.linear
        )
        if not is_linear and not isinstance(layer, keras.layers.Identity):
            break
    return layer


def _ends_in_probabilities(layer):
    inner = getattr(layer, "layer", layer)  # that of a wrapper
    if isinstance(inner, keras.layers.Softmax):
        return True
    return getattr(inner, "activation", None) in _PROBABILITIES
