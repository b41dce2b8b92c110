from collections.abc import Sequence
from typing import Any

import keras

from nc_keras.models.blocks import batch_norm
from nc_keras.models.blocks import conv
from nc_keras.models.blocks import depth_of
from nc_keras.models.blocks import image_input
from nc_keras.models.blocks import max_pool
from nc_keras.models.blocks import relu
from nc_keras.models.blocks import torch_linear
from nc_keras.models.heads import make_head
from nc_keras.models.normalization import renormalized

# Blocks in each of the four stages, and whether they are bottlenecks.
DEPTHS = {
    18: ((2, 2, 2, 2), False),
    34: ((3, 4, 6, 3), False),
    50: ((3, 4, 6, 3), True),
    101: ((3, 4, 23, 3), True),
    152: ((3, 8, 36, 3), True),
}


def ResNet(
    depth: int,
    input_shape: Sequence[int],
    num_classes: int,
    stem: str = "cifar",
    head: str | Any = "linear",
    feature_dim: int | None = None,
    width: int = 64,
    name: str | None = None,
    norm: str = "batch",
) -> keras.Model:
    """A residual network, as torchvision's, which the papers trained.

    With a torchvision network's weights it gives its outputs: each layer is
    named as there, with `_` for `.` (`layer1.0.conv1` is `layer1_0_conv1`),
    but for the last, which is `head` here and `fc` there.

    Args:
        depth: Integer, 18 or 34 (basic blocks), 50, 101 or 152 (bottlenecks).
        input_shape: Tuple `(height, width, channels)`. Images of 28x28 are
            padded with zeros to 32x32.
        num_classes: Integer, the number of classes `C`, at least 2.
        stem: `"cifar"`, a 3x3 convolution, for small images, or `"imagenet"`,
            a 7x7 convolution with stride 2 and max-pooling. Defaults to
            `"cifar"`.
        head: `"linear"`, `"etf"`, `"etf_canonical"`, `"nearest_etf"`,
            `"weight_norm"` or a layer. Defaults to `"linear"`.
        feature_dim: Integer or `None`. If given, the last block ends with so
            many filters instead of 512 or 2048; `num_classes` is the d = C
            variant of Zhu et al.
        width: Integer, the filters of the first stage; the others have 2, 4
            and 8 times as many. Defaults to `64`.
        name: The name of the model. Defaults to `resnet_<depth>`.
        norm: `"batch"`, or `"frn"` or `"none"` for a network without batch
            statistics, see `nc_keras.models.renormalized`.

    Returns:
        A functional model whose last layer is the head. It returns raw
        outputs, no softmax.

    Raises:
        ValueError: If there is no such depth or stem, if the images are too
            small, or if `head`, `num_classes`, `feature_dim` or `width` is
            invalid.

    Example:

    >>> model = nc_keras.models.ResNet(18, (32, 32, 3), 10)
    >>> model.count_params() - 2 * 4800  # without BatchNorm's statistics
    11173962

    Reference:

    - [He et al., 2016](https://arxiv.org/abs/1512.03385), Table 1.
    - [Zhu et al., 2021](https://arxiv.org/abs/2105.02375), for d = C.
    """
    stages, bottleneck = depth_of("ResNet", depth, DEPTHS)
    halvings = 3 if stem == "cifar" else 5
    inputs, x = image_input(
        f"ResNet{depth}", input_shape, stem, halvings, feature_dim
    )
    if stem == "cifar":
        x = conv(x, width, 3, "conv1")
    else:
        x = conv(x, width, 7, "conv1", strides=2)
    x = relu(batch_norm("bn1")(x))
    if stem == "imagenet":
        x = max_pool(x)
    block = _bottleneck_block if bottleneck else _basic_block
    for stage, blocks in enumerate(stages):
        filters = width * 2**stage
        for index in range(blocks):
            last = stage == len(stages) - 1 and index == blocks - 1
            x = block(
                x,
                filters,
                out=feature_dim if last else None,
                strides=2 if stage and not index else 1,
                name=f"layer{stage + 1}_{index}",
            )
    x = keras.layers.GlobalAveragePooling2D(name="avgpool")(x)
    outputs = make_head(head, num_classes, torch_linear)(x)
    model = keras.Model(inputs, outputs, name=name or f"resnet_{depth}")
    return renormalized(model, norm)


def _basic_block(x, filters, out, strides, name):
    out = out or filters
    y = conv(x, filters, 3, f"{name}_conv1", strides)
    y = relu(batch_norm(f"{name}_bn1")(y))
    y = conv(y, out, 3, f"{name}_conv2")
    y = batch_norm(f"{name}_bn2")(y)
    return relu(keras.layers.Add()([y, _shortcut(x, out, strides, name)]))


def _bottleneck_block(x, filters, out, strides, name):
    out = out or 4 * filters
    y = conv(x, filters, 1, f"{name}_conv1")
    y = relu(batch_norm(f"{name}_bn1")(y))
    y = conv(y, filters, 3, f"{name}_conv2", strides)
    y = relu(batch_norm(f"{name}_bn2")(y))
    y = conv(y, out, 1, f"{name}_conv3")
    y = batch_norm(f"{name}_bn3")(y)
    return relu(keras.layers.Add()([y, _shortcut(x, out, strides, name)]))


def _shortcut(x, filters, strides, name):
    if strides == 1 and x.shape[-1] == filters:
        return x
    x = conv(x, filters, 1, f"{name}_downsample_0", strides)
    return batch_norm(f"{name}_downsample_1")(x)
