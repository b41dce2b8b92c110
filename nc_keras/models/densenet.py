from collections.abc import Sequence
from typing import Any

import keras

from nc_keras.models.blocks import batch_norm
from nc_keras.models.blocks import conv
from nc_keras.models.blocks import depth_of
from nc_keras.models.blocks import he_fan_in
from nc_keras.models.blocks import image_input
from nc_keras.models.blocks import max_pool
from nc_keras.models.blocks import relu
from nc_keras.models.blocks import torch_linear
from nc_keras.models.heads import make_head
from nc_keras.models.normalization import renormalized

# Layers in each block, growth rate, filters of the stem, and whether the
# layers are bottlenecks and the transitions halve the features (DenseNet-BC).
DEPTHS = {
    40: ((12, 12, 12), 12, 16, False),
    100: ((16, 16, 16), 12, 24, True),
    250: ((41, 41, 41), 24, 48, True),
    121: ((6, 12, 24, 16), 32, 64, True),
    169: ((6, 12, 32, 32), 32, 64, True),
    201: ((6, 12, 48, 32), 32, 64, True),
}


def DenseNet(
    depth: int,
    input_shape: Sequence[int],
    num_classes: int,
    stem: str = "cifar",
    head: str | Any = "linear",
    feature_dim: int | None = None,
    name: str | None = None,
    norm: str = "batch",
) -> keras.Model:
    """A densely connected network without dropout, as the papers trained.

    Depths 40, 100 and 250 have three blocks, for small images: the plain
    DenseNet with growth rate 12, DenseNet-BC with 12 and with 24. Depths 121,
    169 and 201 have four, growth rate 32, and are torchvision's. The layers
    are named as there, with `_` for `.`, but for the last, which is `head`
    here and `classifier` there.

    Args:
        depth: Integer, 40, 100, 250, 121, 169 or 201.
        input_shape: Tuple `(height, width, channels)`. Images of 28x28 are
            padded with zeros to 32x32.
        num_classes: Integer, the number of classes `C`, at least 2.
        stem: `"cifar"`, a 3x3 convolution, for small images, or `"imagenet"`,
            a 7x7 convolution with stride 2, BatchNorm, ReLU and max-pooling.
            Defaults to `"cifar"`.
        head: `"linear"`, `"etf"`, `"etf_canonical"`, `"nearest_etf"`,
            `"weight_norm"` or a layer. Defaults to `"linear"`.
        feature_dim: Integer or `None`. If given, a 1x1 convolution before the
            last BatchNorm makes this many features of all those that the
            network has gathered. `num_classes` carries the d = C variant of
            Zhu et al., who had no DenseNet, over to this one.
        name: The name of the model. Defaults to `densenet_<depth>`.
        norm: `"batch"`, or `"frn"` or `"none"` for a network without batch
            statistics, see `nc_keras.models.renormalized`.

    Returns:
        A functional model whose last layer is the head. It returns raw
        outputs, no softmax.

    Raises:
        ValueError: If there is no such depth or stem, if the images are too
            small, or if `head`, `num_classes` or `feature_dim` is invalid.

    Example:

    >>> model = nc_keras.models.DenseNet(40, (32, 32, 3), 10)
    >>> model.layers[-1].input.shape
    (None, 448)

    Reference:

    - [Huang et al., 2017](https://arxiv.org/abs/1608.06993), Tables 1 and 2.
    """
    blocks, growth, filters, compact = depth_of("DenseNet", depth, DEPTHS)
    halvings = len(blocks) - 1 + (2 if stem == "imagenet" else 0)
    inputs, x = image_input(
        f"DenseNet{depth}", input_shape, stem, halvings, feature_dim
    )
    if stem == "cifar":
        x = _conv(x, filters, 3, "features_conv0")
    else:
        x = _conv(x, filters, 7, "features_conv0", strides=2)
        x = max_pool(relu(batch_norm("features_norm0")(x)))
    for block, layers in enumerate(blocks, start=1):
        if block > 1:
            kept = x.shape[-1] // 2 if compact else x.shape[-1]
            x = _norm_relu_conv(
                x, kept, 1, f"features_transition{block - 1}_{{}}"
            )
            x = keras.layers.AveragePooling2D(2)(x)
        for layer in range(1, layers + 1):
            name_of = f"features_denseblock{block}_denselayer{layer}_{{}}"
            x = _dense_layer(x, growth, compact, name_of)
    if feature_dim:
        x = _norm_relu_conv(x, feature_dim, 1, "features_reduction_{}")
    x = relu(batch_norm("features_norm5")(x))
    x = keras.layers.GlobalAveragePooling2D()(x)
    outputs = make_head(head, num_classes, torch_linear)(x)
    model = keras.Model(inputs, outputs, name=name or f"densenet_{depth}")
    return renormalized(model, norm)


def _dense_layer(x, growth, bottleneck, name_of):
    y = x
    if bottleneck:
        y = _norm_relu_conv(y, 4 * growth, 1, name_of, index="1")
        y = _norm_relu_conv(y, growth, 3, name_of, index="2")
    else:
        y = _norm_relu_conv(y, growth, 3, name_of, index="1")
    return keras.layers.Concatenate()([x, y])


def _norm_relu_conv(x, filters, size, name_of, index=""):
    x = relu(batch_norm(name_of.format(f"norm{index}"))(x))
    return _conv(x, filters, size, name_of.format(f"conv{index}"))


def _conv(x, filters, size, name, strides=1):
    return conv(x, filters, size, name, strides, initializer=he_fan_in)
