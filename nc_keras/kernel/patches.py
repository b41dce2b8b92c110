"""What each position of a convolution looks at."""

import itertools
import math
from typing import Any

import keras
from keras import ops

_DEPTHWISE = (keras.layers.DepthwiseConv1D, keras.layers.DepthwiseConv2D)


def patches(layer: keras.Layer, inputs: Any) -> Any:
    """The inputs of a dense layer or a convolution at each output position.

    Args:
        layer: `Dense`, `Conv1D` to `Conv3D`, or a depthwise convolution.
        inputs: Tensor, as the layer gets it.

    Returns:
        Tensor of shape `(N, T, G, F)`: positions, groups of channels, and the
        features of a group in the order of the layer's kernel.

    Example:

    >>> from nc_keras.kernel.patches import patches
    >>> conv = keras.layers.Conv1D(5, 3, strides=2)
    >>> patches(conv, np.zeros((2, 9, 4))).shape == (2, 4, 1, 12)
    True
    """
    size = getattr(layer, "kernel_size", None)
    if size is None:
        positions = _flat(inputs, len(inputs.shape) - 1)
        return positions[:, :, None, :]
    inputs = channels_last(layer, inputs)
    inputs = ops.pad(inputs, _padding(layer, inputs.shape[1:-1]))
    spatial = inputs.shape[1:-1]
    found = []
    for offset in itertools.product(*map(range, size)):
        starts = [
            o * d for o, d in zip(offset, layer.dilation_rate, strict=True)
        ]
        slices = [
            slice(start, start + n - (k - 1) * d, stride)
            for start, n, k, d, stride in zip(
                *(starts, spatial, size, layer.dilation_rate, layer.strides),
                strict=True,
            )
        ]
        found.append(inputs[(slice(None), *slices)])
    stacked = ops.stack(found, axis=-2)
    stacked = _flat(stacked, len(size) + 1)
    batch, positions, taps, channels = stacked.shape
    groups = channels if isinstance(layer, _DEPTHWISE) else layer.groups
    shape = (batch, positions, taps, groups, channels // groups)
    split = ops.moveaxis(ops.reshape(stacked, shape), 3, 2)
    return ops.reshape(split, (*split.shape[:3], taps * shape[-1]))


def channels_last(layer: keras.Layer, tensor: Any) -> Any:
    """What a layer gets or gives, `(N, ..., channels)`."""
    if getattr(layer, "data_format", None) == "channels_first":
        return ops.moveaxis(tensor, 1, -1)
    return tensor


def groups_of(layer: keras.Layer, channels: int) -> int:
    """In how many groups the outputs of a layer are made."""
    if isinstance(layer, _DEPTHWISE):
        return channels // layer.depth_multiplier
    return getattr(layer, "groups", 1)


def _flat(tensor, end):
    """Puts the axes from 1 up to `end` into one."""
    shape = tensor.shape
    return ops.reshape(
        tensor, (shape[0], math.prod(shape[1:end]), *shape[end:])
    )


def _padding(layer, spatial):
    """As TensorFlow pads: what is left over goes to the end."""
    padding = [(0, 0)]
    for n, k, d, stride in zip(
        *(spatial, layer.kernel_size, layer.dilation_rate, layer.strides),
        strict=True,
    ):
        reach = (k - 1) * d
        if layer.padding == "valid":
            padding.append((0, 0))
        elif layer.padding == "causal":
            padding.append((reach, 0))
        else:
            total = max((-(-n // stride) - 1) * stride + reach + 1 - n, 0)
            padding.append((total // 2, total - total // 2))
    return [*padding, (0, 0)]
