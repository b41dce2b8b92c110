from collections.abc import Sequence
from typing import Any

import keras

from nc_keras.layers.max_pooling import MaxPooling2D
from nc_keras.models.blocks import batch_norm
from nc_keras.models.heads import make_head
from nc_keras.models.normalization import renormalized


def ConvNet(
    input_shape: Sequence[int],
    num_classes: int,
    filters: Sequence[int] = (32, 64, 128),
    head: str | Any = "linear",
    name: str = "conv_net",
    norm: str = "batch",
) -> keras.Model:
    """A small convolutional network with global average pooling.

    Each block is a 3x3 convolution, BatchNorm and ReLU. All blocks but the
    last end with 2x2 max-pooling.

    Args:
        input_shape: Tuple `(height, width, channels)`.
        num_classes: Integer, the number of classes, at least 2.
        filters: Tuple of integers, the filters of each block. The last is the
            dimension of the features. Defaults to `(32, 64, 128)`.
        head: `"linear"`, `"etf"`, `"etf_canonical"`, `"nearest_etf"`,
            `"weight_norm"` or a layer. Defaults to `"linear"`.
        name: The name of the model.
        norm: `"batch"`, or `"frn"` or `"none"` for a network without batch
            statistics, see `nc_keras.models.renormalized`.

    Returns:
        A functional model whose last layer is the head. It returns raw
        outputs, no softmax.

    Raises:
        ValueError: If `filters` is empty, if the images are too small for so
            many blocks, or if `head` or `num_classes` is invalid.

    Example:

    >>> model = nc_keras.models.ConvNet((28, 28, 1), 10)
    >>> tuple(model.layers[-1].input.shape), model.output_shape
    ((None, 128), (None, 10))
    """
    smallest = 2 ** (len(filters) - 1) if filters else 0
    if not filters or min(input_shape[:2]) < smallest:
        raise ValueError(
            "`filters` must name at least one block, and each block but the "
            "last halves the image. "
            f"Received: {filters=}, {input_shape=}."
        )
    inputs = keras.Input(input_shape)
    x = inputs
    for block, count in enumerate(filters):
        if block:
            x = MaxPooling2D()(x)
        x = keras.layers.Conv2D(
            count,
            3,
            padding="same",
            use_bias=False,
            kernel_initializer="he_normal",
        )(x)
        x = batch_norm()(x)
        x = keras.layers.ReLU()(x)
    x = keras.layers.GlobalAveragePooling2D()(x)
    outputs = make_head(head, num_classes)(x)
    model = keras.Model(inputs, outputs, name=name)
    return renormalized(model, norm)
