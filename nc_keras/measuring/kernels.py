"""The layers that can be heads, and their weights."""

from __future__ import annotations

import math
from typing import Any

import keras
import numpy as np
from keras import ops

from nc_keras.graph import bare
from nc_keras.graph import is_reversible

CONVOLUTIONS = (keras.layers.Conv1D, keras.layers.Conv2D, keras.layers.Conv3D)


def quantization(layer: keras.Layer) -> str | None:
    """How the weights of a layer are coded: `"int8"` and the like."""
    mode = getattr(bare(layer), "quantization_mode", None)
    return None if mode == "float8" else mode


def to_float_numpy(variable: Any) -> np.ndarray:
    """Returns an array of a dtype that NumPy knows."""
    if keras.backend.standardize_dtype(variable.dtype) == "bfloat16":
        variable = ops.cast(variable, "float32")
    return ops.convert_to_numpy(variable)


def is_head(layer: Any) -> bool:
    """Whether a layer has a kernel of shape `(D, C)`, or does as if."""
    layer = bare(layer)
    if not isinstance(layer, keras.Layer):
        return False
    if is_reversible(layer):
        return True
    kernel = getattr(layer, "kernel", None)
    if kernel is None:
        return False
    if isinstance(layer, CONVOLUTIONS):
        return math.prod(kernel.shape[:-2]) == 1 == layer.groups
    if isinstance(layer, keras.layers.EinsumDense):
        bias = getattr(layer, "bias", None)
        has_vector = bias is None or len(bias.shape) == 1
        return has_vector and _einsum_order(layer.equation) is not None
    return len(kernel.shape) == 2


def inner_of(head: keras.Layer) -> keras.Layer:
    """The layer that a head does at every position, or itself."""
    is_wrapper = isinstance(head, keras.layers.TimeDistributed)
    return head.layer if is_wrapper else head


def _einsum_order(equation):
    """Returns "DC" or "CD", the axes of a kernel, or `None` for others."""
    operands, outputs = equation.replace(" ", "").split("->")
    inputs, kernel = operands.split(",")
    if inputs[:-1] != outputs[:-1]:
        return None
    orders = {inputs[-1] + outputs[-1]: "DC", outputs[-1] + inputs[-1]: "CD"}
    return orders.get(kernel)


def weights_of_head(head: keras.Layer) -> tuple[Any, bool]:
    """Returns the variable of a head, and whether it is transposed."""
    layer = inner_of(head)
    if not is_reversible(layer):
        is_einsum = isinstance(layer, keras.layers.EinsumDense)
        return layer.kernel, (
            is_einsum and _einsum_order(layer.equation) == "CD"
        )
    if getattr(layer, "tie_weights", True):
        return layer.embeddings, True
    return layer.reverse_embeddings, False


def shape_of(head: keras.Layer) -> tuple[int, ...]:
    """`(D, C)`."""
    weights, is_transposed = weights_of_head(head)
    shape = tuple(weights.shape)[-2:]
    return shape[::-1] if is_transposed else shape
