"""Heads: the layers that make a model's outputs of its features."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np

from nc_keras.graph import all_layers
from nc_keras.graph import back_from
from nc_keras.graph import bare
from nc_keras.graph import passes_on
from nc_keras.graph import resolve_layer
from nc_keras.layers.rho import Rho
from nc_keras.measuring.kernels import inner_of
from nc_keras.measuring.kernels import is_head
from nc_keras.measuring.kernels import quantization
from nc_keras.measuring.kernels import shape_of
from nc_keras.measuring.kernels import to_float_numpy
from nc_keras.measuring.kernels import weights_of_head

# What may follow a head, and makes no class of another: its outputs are still
# those of `W h + b`. What else has no weights of its own, such as a `Lambda`,
# may have some that Keras does not know of.
_HARMLESS = (
    Rho,
    keras.layers.InputLayer,
    keras.layers.Activation,
    keras.layers.Softmax,
    keras.layers.ReLU,
    keras.layers.LeakyReLU,
    keras.layers.ELU,
    keras.layers.Identity,
    keras.layers.Dropout,
    keras.layers.Flatten,
    keras.layers.Reshape,
    keras.layers.Permute,
    keras.layers.Masking,
    *(getattr(keras.layers, f"GlobalAveragePooling{d}D") for d in (1, 2, 3)),
    *(getattr(keras.layers, f"GlobalMaxPooling{d}D") for d in (1, 2, 3)),
)
_BINARY_LOSSES = (
    keras.losses.BinaryCrossentropy,
    keras.losses.BinaryFocalCrossentropy,
    keras.losses.binary_crossentropy,
    keras.losses.binary_focal_crossentropy,
)


class Head:
    """The layer that computes a model's outputs from its features.

    The one output of a binary classifier, `z = w h + b` with a sigmoid, stands
    for two: `sigmoid(z)` is the softmax of `(-z / 2, z / 2)`.

    Args:
        model: A built `keras.Model`.
        layer: The layer or its name, or `None` to find it.

    Attributes:
        layer: The layer.
        unknown: List of strings, what comes after it without being known to
            leave its classes alone.
        names: List of strings, under which its labels may come: its own, and
            that of the output that it makes.

    Raises:
        ValueError: If it cannot be found, is quantised, or is that of a
            regression.
    """

    def __init__(self, model: keras.Model, layer: Any = None):
        if layer is None:
            self.layer, after = _found(model)
            _refuse_quantized(model, self.layer)
        else:
            self.layer = _given(model, layer)
            after = _after(model, self.layer)
        self.unknown = [one.name for one in after if not _is_harmless(one)]
        self.names = [self.layer.name, *(one.name for one in after[-1:])]
        self.is_binary = shape_of(self.layer)[1] == 1
        if self.is_binary and not _has_sigmoid(model, self.layer, after):
            raise ValueError(
                f"The head {self.layer.name!r} of model {model.name!r} has one "
                "output without a sigmoid, as a regression has: there are no "
                "classes to collapse. A classifier has one output per class, "
                'or, for two classes, one with `activation="sigmoid"` or '
                "compiled with `keras.losses.BinaryCrossentropy"
                "(from_logits=True)`. The features alone can be measured with "
                "`features`."
            )

    @property
    def width(self) -> int:
        """`D`, the size of the features that it takes."""
        return shape_of(self.layer)[0]

    @property
    def num_classes(self) -> int:
        """`C`."""
        return 2 if self.is_binary else shape_of(self.layer)[1]

    @property
    def kernel(self) -> np.ndarray:
        """The weights, shape `(D, C)`."""
        weights, is_transposed = weights_of_head(self.layer)
        kernel = to_float_numpy(weights)
        kernel = kernel.reshape(kernel.shape[-2:])
        return self._for_two(kernel.T if is_transposed else kernel)

    @property
    def bias(self) -> np.ndarray | None:
        """The bias, shape `(C,)`, or `None`."""
        bias = getattr(inner_of(self.layer), "bias", None)
        return None if bias is None else self._for_two(to_float_numpy(bias))

    def _for_two(self, array):
        if not self.is_binary:
            return array
        return np.concatenate([-array / 2, array / 2], axis=-1)

    def validate_outputs(self, features: np.ndarray, outputs: Any) -> None:
        """Says so if what is not known makes other outputs than the head.

        Args:
            features: Array of shape `(..., D)`.
            outputs: The outputs of the model for them.

        Raises:
            ValueError: If they are none of `W h + b`, up to a positive factor,
                softmax, sigmoid and the like.
        """
        kernel, bias = self.kernel, self.bias
        logits = features.astype("float64") @ kernel.astype("float64")
        logits = logits if bias is None else logits + bias
        if self.is_binary:
            logits = 2 * logits[..., 1:]
        outputs = _rows(outputs)
        logits = logits.reshape(-1, logits.shape[-1])
        if outputs is not None and outputs.shape == logits.shape:
            if _is_made_of(outputs, logits):
                return
        self.refuse_unknown()

    def refuse_unknown(self) -> None:
        """Says that what comes after the head makes other outputs than it.

        Raises:
            ValueError: Always.
        """
        raise ValueError(
            f"The outputs are not known to be those of the last layer with "
            f"weights, {self.layer.name!r}: after it comes "
            f"{', '.join(self.unknown)}, which may compute others, perhaps "
            "with weights that Keras does not know of. Make it a layer, such "
            "as `keras.layers.Dense`, or pass the classifier as `head`; to "
            "measure the features alone, pass a layer as `features`."
        )


def find_head_or_none(model: keras.Model) -> Head | None:
    """Returns the head of a model, or `None` if there is none to be found."""
    try:
        return Head(model)
    except ValueError:
        return None


def last_layer(model: keras.Model, layer: Any = None) -> keras.Layer | None:
    """The layer at which features end, though it may be no head to measure.

    Args:
        model: A built `keras.Model`.
        layer: The layer or its name, or `None` to find it.

    Returns:
        The layer: a head, that of a regression, or one that is quantised; or
        `None` if there is none to be found.

    Raises:
        ValueError: If `layer` is none of the model.
    """
    if layer is not None:
        return resolve_layer(model, layer, "head")
    try:
        return _found(model)[0]
    except ValueError:
        return None


def loss_of_output(model: keras.Model, name: str) -> Any:
    """The loss that a model was compiled with for one of its outputs.

    Args:
        model: The model.
        name: String, the output; of a model with one, any.

    Returns:
        A loss or function, or `None` where it is not known.
    """
    loss = getattr(model, "loss", None)
    if isinstance(loss, list | tuple):
        names = getattr(model, "output_names", None) or []
        loss = dict(zip(names, loss, strict=False))
    if isinstance(loss, dict):
        only = next(iter(loss.values())) if len(loss) == 1 else None
        loss = loss.get(name, only)
    try:
        return keras.losses.get(loss)
    except (ValueError, TypeError):
        return None


def _given(model, layer):
    layer = resolve_layer(model, layer, "head")
    _refuse_quantized(model, layer)
    if not is_head(layer):
        raise ValueError(
            "`head` must have a `kernel` of shape (D, C). "
            f"Received: layer {layer.name!r} of type {type(layer).__name__}."
        )
    return layer


def _refuse_quantized(model, layer):
    mode = quantization(layer)
    if mode is not None:
        raise ValueError(
            f"The head {layer.name!r} of model {model.name!r} is quantised "
            f"({mode}): its weights are codes. Measure before "
            "`model.quantize`, or the features alone, with `features`. "
            f"Received: a head with quantization_mode={mode!r}."
        )


def _found(model):
    """The last layer with weights, and what comes after it."""
    if not getattr(model, "inputs", None):
        raise ValueError(
            f"The head of model {model.name!r} cannot be found: it is a "
            "subclassed model, whose layers have no known order. Pass its "
            "classifier layer, `head=model.my_layer`, or the layer's name. "
            f"Its layers: {[layer.name for layer in model.layers]}."
        )
    if len(model.outputs) != 1:
        raise ValueError(
            f"Model {model.name!r} has {len(model.outputs)} outputs: "
            f"{list(model.output_names)}. Pass the layer that makes the one "
            "to measure, or its name, as `head`."
        )
    after = []
    for layer in back_from(model.outputs[0]):
        weights = getattr(layer, "weights", [])
        if isinstance(layer, keras.Model) and weights:
            layer, inner = _found(layer)
            return layer, inner + after
        if is_head(layer):
            return layer, after
        if weights and not (isinstance(layer, Rho) or passes_on(layer)):
            break
        after.insert(0, layer)
    raise ValueError(
        f"The head of model {model.name!r} cannot be found: before its "
        f"outputs comes {layer.name!r} of type {type(layer).__name__}, which "
        "has no kernel of shape (D, C). Pass the classifier layer or its name "
        "as `head`."
    )


def _after(model, head):
    """What comes after a head, up to the output of a model that it makes."""
    for tensor in getattr(model, "outputs", None) or []:
        after = []
        for layer in back_from(tensor):
            if layer is head:
                return after
            if isinstance(layer, keras.Model) and head in all_layers(layer):
                return _after(layer, head) + after
            after.insert(0, layer)
    return []


def _is_harmless(layer):
    """Whether what follows a head leaves its classes alone, as is known."""
    activation = getattr(layer, "activation", None)
    module = getattr(activation, "__module__", "keras.")
    is_known = isinstance(layer, _HARMLESS) and module.startswith("keras.")
    return is_known or passes_on(layer)


def _has_sigmoid(model, layer, after):
    """Whether the one output of a model tells two classes apart."""
    last = [bare(layer), *after]
    activations = [getattr(one, "activation", None) for one in last]
    if keras.activations.sigmoid in activations:
        return True
    if any(type(one).__name__.lower() == "sigmoid" for one in after):
        return True  # of keras.ops
    loss = loss_of_output(model, last[-1].name)
    kinds = tuple(kind for kind in _BINARY_LOSSES if isinstance(kind, type))
    return isinstance(loss, kinds) or loss in _BINARY_LOSSES


def _rows(outputs):
    if not hasattr(outputs, "shape") or len(outputs.shape) < 2:
        return None
    outputs = to_float_numpy(outputs).astype("float64")
    return outputs.reshape(-1, outputs.shape[-1])


def _is_made_of(outputs, logits):
    """Whether outputs are logits, or a known function of them."""
    size = np.abs(logits).max() if logits.size else 0.0
    # Products of so many terms, rounded as the model computes.
    close = {"rtol": 1e-2, "atol": 1e-3 * max(size, 1e-3)}
    shifted = logits - logits.max(axis=-1, keepdims=True)
    normalizer = np.log(np.exp(shifted).sum(axis=-1, keepdims=True))
    with np.errstate(over="ignore"):
        sigmoid = 1 / (1 + np.exp(-logits))
    candidates = [
        logits,
        np.exp(shifted - normalizer),
        shifted - normalizer,
        sigmoid,
        np.logaddexp(logits, 0),
        np.maximum(logits, 0),
        np.where(logits > 0, logits, np.expm1(np.minimum(logits, 0))),
        np.tanh(logits),
    ]
    square = np.sum(logits**2)
    factor = np.sum(logits * outputs) / square if square else 0.0
    if factor > 0:
        candidates.append(factor * logits)
    return any(np.allclose(outputs, one, **close) for one in candidates)
