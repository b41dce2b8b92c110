"""What the papers' networks are made of, as torchvision makes it."""

import functools
from collections.abc import Callable
from collections.abc import Mapping
from collections.abc import Sequence
from typing import Any

import keras

from nc_keras.layers.batch_normalization import BatchNormalization
from nc_keras.layers.max_pooling import MaxPooling2D

STEMS = ("cifar", "imagenet")

# Makers, not initializers: one that is used twice draws the same numbers.
he_fan_in = functools.partial(
    keras.initializers.VarianceScaling, 2.0, "fan_in", "untruncated_normal"
)
he_fan_out = functools.partial(
    keras.initializers.VarianceScaling, 2.0, "fan_out", "untruncated_normal"
)
# Uniform within 1 / sqrt(inputs), PyTorch's default for a linear layer.
torch_linear = functools.partial(
    keras.initializers.VarianceScaling, 1 / 3, "fan_in", "uniform"
)


def batch_norm(name: str | None = None) -> keras.layers.Layer:
    """Batch normalisation with the papers' constants, which are PyTorch's."""
    return BatchNormalization(name=name)


def relu(x: Any) -> Any:
    """The rectifier as a layer, so that saved models need no code."""
    return keras.layers.ReLU()(x)


def conv(
    x: Any,
    filters: int,
    size: int,
    name: str,
    strides: int = 1,
    initializer: Callable = he_fan_out,
    use_bias: bool = False,
) -> Any:
    """A convolution with `size // 2` zeros on every side.

    Where it strides, `padding="same"` would put one more below and right.
    """
    if strides > 1 and size == 1:
        # The same as a stride of the convolution, in whose gradient oneDNN
        # (TensorFlow 2.21 on a CPU) writes out of bounds for few filters.
        x = MaxPooling2D(1, strides=strides)(x)
        strides = 1
    elif strides > 1:
        x = keras.layers.ZeroPadding2D(size // 2)(x)
    return keras.layers.Conv2D(
        filters,
        size,
        strides,
        padding="same" if strides == 1 else "valid",
        use_bias=use_bias,
        kernel_initializer=initializer(),
        name=name,
    )(x)


def max_pool(x: Any) -> Any:
    """3x3 max-pooling with stride 2, after a ReLU: so zeros pad harmlessly."""
    x = keras.layers.ZeroPadding2D(1)(x)
    return MaxPooling2D(3, strides=2)(x)


def image_input(
    network: str,
    input_shape: Sequence[int],
    stem: str,
    halvings: int,
    feature_dim: int | None = None,
) -> tuple[Any, Any]:
    """Returns the input of a network and the image that its stem sees.

    Images of 28x28 pixels are padded with zeros to 32x32: for standardised
    images a border of mean grey. The authors' notebook pads the raw pixels of
    MNIST, in black; give images of 32x32 to do the same.

    Args:
        network: The name to use in errors.
        input_shape: Tuple `(height, width, channels)`.
        stem: `"cifar"` or `"imagenet"`.
        halvings: Integer, how often the network halves the image.
        feature_dim: Integer or `None`, checked here for all networks.

    Raises:
        ValueError: If the image is no image or is gone after all the halvings,
            if `stem` is unknown, if `feature_dim` is below 1, or if Keras is
            set to channels first.
    """
    if feature_dim is not None and feature_dim < 1:
        raise ValueError(
            "`feature_dim` must be a positive integer or None. "
            f"Received: feature_dim={feature_dim}."
        )
    if stem not in STEMS:
        raise ValueError(
            f"`stem` must be one of {STEMS}. Received: stem={stem!r}."
        )
    if keras.config.image_data_format() != "channels_last":
        raise ValueError(
            "The networks need images with the channels last. Call "
            "`keras.config.set_image_data_format('channels_last')`. Received: "
            f"{keras.config.image_data_format()!r}."
        )
    shape = tuple(input_shape)
    if len(shape) != 3 or any(not size or size < 1 for size in shape):
        raise ValueError(
            "`input_shape` must be (height, width, channels), each known. "
            f"Received: input_shape={shape}."
        )
    inputs = x = keras.Input(shape)
    if shape[:2] == (28, 28):
        x = keras.layers.ZeroPadding2D(2)(x)
    if min(x.shape[1:3]) < 2**halvings:
        raise ValueError(
            f"{network} with the {stem} stem halves the image {halvings} "
            f"times, so it needs {2**halvings}x{2**halvings} pixels or more. "
            "Pad or enlarge the images, or take another stem or a shallower "
            f"network. Received: input_shape={shape}."
        )
    return inputs, x


def depth_of(network: str, depth: int, depths: Mapping[int, Any]) -> Any:
    """Returns what a network of this depth is made of.

    Raises:
        ValueError: If there is no network of this depth.
    """
    if isinstance(depth, bool) or depth not in depths:
        nearest = (
            min(depths, key=lambda known: abs(known - depth))
            if isinstance(depth, int | float)
            else min(depths)
        )
        raise ValueError(
            f"{network} comes in the depths {list(depths)}; the nearest is "
            f"{nearest}. Received: depth={depth!r}."
        )
    return depths[depth]
