from collections.abc import Sequence
from typing import Any

import keras

from nc_keras.models.blocks import he_fan_in
from nc_keras.models.heads import make_head


def HomogeneousNet(
    input_shape: Sequence[int],
    num_classes: int,
    filters: Sequence[int] = (),
    widths: Sequence[int] = (),
    kernel_size: int = 3,
    strides: int = 2,
    head: str | Any = "linear",
    name: str = "homogeneous_net",
) -> keras.Model:
    """A ReLU network without biases and without normalisation.

    Convolutions with stride, then dense layers, each with a ReLU, then the
    head. Twice the weights of any layer give twice the outputs: what the
    theory of the square loss, of low rank and of norm-based bounds is about.

    Args:
        input_shape: Tuple of integers, the shape of one example.
        num_classes: Integer, the number of classes, at least 2.
        filters: Tuple of integers, the filters of each convolution.
        widths: Tuple of integers, the width of each dense layer after them.
        kernel_size: Integer, height and width of each filter. Defaults to
            `3`.
        strides: Integer, the stride of each convolution. Defaults to `2`.
        head: `"linear"` (here without a bias), `"etf"`, `"etf_canonical"` or
            a layer. Defaults to `"linear"`.
        name: The name of the model.

    Returns:
        A functional model whose last layer is the head. It returns raw
        outputs, no softmax.

    Raises:
        ValueError: If there is no hidden layer, a number is not positive, or
            `head` or `num_classes` is invalid.

    Example:

    >>> model = nc_keras.models.HomogeneousNet((28, 28, 1), 10, (8, 16), (32,))
    >>> x = np.random.default_rng(0).normal(size=(1, 28, 28, 1))
    >>> before = model.predict(x, verbose=0)
    >>> _ = model.layers[1].kernel.assign(2 * model.layers[1].kernel)
    >>> after = model.predict(x, verbose=0)
    >>> print(np.allclose(after, 2 * before, rtol=1e-5))
    True
    """
    sizes = (*filters, *widths, kernel_size, strides)
    if not (filters or widths) or min(sizes) < 1:
        raise ValueError(
            "`filters` and `widths` must name at least one hidden layer, and "
            f"all sizes must be positive. Received: {filters=}, {widths=}, "
            f"{kernel_size=}, {strides=}."
        )
    inputs = x = keras.Input(input_shape)
    for index, count in enumerate(filters, 1):
        x = keras.layers.Conv2D(
            count,
            kernel_size,
            strides,
            padding="same",
            use_bias=False,
            kernel_initializer=he_fan_in(),
            name=f"conv_{index}",
        )(x)
        x = keras.layers.ReLU(name=f"relu_{index}")(x)
    if len(x.shape) > 2:
        x = keras.layers.Flatten()(x)
    for index, count in enumerate(widths, len(filters) + 1):
        x = keras.layers.Dense(
            count,
            use_bias=False,
            kernel_initializer=he_fan_in(),
            name=f"dense_{index}",
        )(x)
        x = keras.layers.ReLU(name=f"relu_{index}")(x)
    if head == "linear":
        make_head(head, num_classes)
        head = keras.layers.Dense(num_classes, use_bias=False, name="head")
    outputs = make_head(head, num_classes)(x)
    return keras.Model(inputs, outputs, name=name)
