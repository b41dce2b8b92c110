from collections.abc import Sequence
from typing import Any

import keras

from nc_keras.layers.max_pooling import MaxPooling2D
from nc_keras.models.blocks import batch_norm
from nc_keras.models.blocks import conv
from nc_keras.models.blocks import depth_of
from nc_keras.models.blocks import image_input
from nc_keras.models.blocks import relu
from nc_keras.models.heads import make_head
from nc_keras.models.normalization import renormalized

# Convolutions in each of the five blocks.
DEPTHS = {
    11: (1, 1, 2, 2, 2),
    13: (2, 2, 2, 2, 2),
    16: (2, 2, 3, 3, 3),
    19: (2, 2, 4, 4, 4),
}


def VGG(
    depth: int,
    input_shape: Sequence[int],
    num_classes: int,
    stem: str = "cifar",
    head: str | Any = "linear",
    feature_dim: int | None = None,
    hidden: Sequence[int] = (4096, 4096),
    width: int = 64,
    name: str | None = None,
    norm: str = "batch",
) -> keras.Model:
    """A VGG network with BatchNorm, and BatchNorm for dropout, as the papers'.

    Five blocks of 3x3 convolutions with BatchNorm and ReLU, each ended by 2x2
    max-pooling; then what is left of the image, flattened; then dense layers
    with BatchNorm and ReLU. The convolutions are torchvision's `vgg*_bn` and
    are named as there, with `_` for `.`.

    Args:
        depth: Integer, 11, 13, 16 or 19.
        input_shape: Tuple `(height, width, channels)`, at least 32x32. Images
            of 28x28 are padded with zeros to that.
        num_classes: Integer, the number of classes `C`, at least 2.
        stem: `"cifar"` or `"imagenet"`. VGG begins with a 3x3 convolution
            either way; the argument is there so that the papers' networks are
            called alike.
        head: `"linear"`, `"etf"`, `"etf_canonical"`, `"nearest_etf"`,
            `"weight_norm"` or a layer. Defaults to `"linear"`.
        feature_dim: Integer or `None`. If given, the width of the last hidden
            layer, or of the last convolution where `hidden` is empty;
            `num_classes` is the d = C variant of Zhu et al.
        hidden: Tuple of integers, the widths of the hidden dense layers; `()`
            for none. Defaults to `(4096, 4096)`.
        width: Integer, the filters of the first block; the others have 2, 4, 8
            and 8 times as many. Defaults to `64`.
        name: The name of the model. Defaults to `vgg_<depth>`.
        norm: `"batch"`, or `"frn"` or `"none"` for a network without batch
            statistics, see `nc_keras.models.renormalized`.

    Returns:
        A functional model whose last layer is the head. It returns raw
        outputs, no softmax.

    Raises:
        ValueError: If there is no such depth or stem, if the images are too
            small, or if `head`, `num_classes` or `feature_dim` is invalid.

    Example:

    >>> model = nc_keras.models.VGG(11, (32, 32, 3), 10, hidden=())
    >>> model.layers[-1].input.shape
    (None, 512)

    Reference:

    - [Simonyan & Zisserman, 2015](https://arxiv.org/abs/1409.1556), Table 1.
    - [Fang et al., 2021](https://arxiv.org/abs/2101.12699), whose code has the
      same dense layers.
    """
    blocks = depth_of("VGG", depth, DEPTHS)
    inputs, x = image_input(
        f"VGG{depth}", input_shape, stem, len(blocks), feature_dim
    )
    hidden = list(hidden)
    if hidden:
        hidden[-1] = feature_dim or hidden[-1]
        x = _convolutions(x, blocks, width)
    else:
        x = _convolutions(x, blocks, width, last=feature_dim)
    x = keras.layers.Flatten()(x)
    for layer, units in enumerate(hidden):
        x = keras.layers.Dense(
            units,
            kernel_initializer=_normal(),
            name=f"classifier_{3 * layer}",
        )(x)
        x = relu(batch_norm(f"classifier_{3 * layer + 1}")(x))
    outputs = make_head(head, num_classes, _normal)(x)
    model = keras.Model(inputs, outputs, name=name or f"vgg_{depth}")
    return renormalized(model, norm)


def _convolutions(x, blocks, width, last=None):
    # torchvision numbers ReLU and pooling too.
    index = 0
    for block, convolutions in enumerate(blocks):
        for layer in range(1, convolutions + 1):
            filters = width * min(2**block, 8)
            if last and block == len(blocks) - 1 and layer == convolutions:
                filters = last
            x = conv(x, filters, 3, f"features_{index}", use_bias=True)
            x = relu(batch_norm(f"features_{index + 1}")(x))
            index += 3
        x = MaxPooling2D(2)(x)
        index += 1
    return x


def _normal():
    # torchvision's draw for the dense layers.
    return keras.initializers.RandomNormal(stddev=0.01)
