from collections.abc import Sequence
from typing import Any

import keras

from nc_keras.models.blocks import batch_norm
from nc_keras.models.heads import make_head


def MLP(
    input_shape: Sequence[int],
    num_classes: int,
    widths: Sequence[int] = (512, 512, 512),
    head: str | Any = "linear",
    use_batch_norm: bool = True,
    name: str = "mlp",
) -> keras.Model:
    """A multilayer perceptron: Dense, BatchNorm and ReLU, then the head.

    Args:
        input_shape: Tuple of integers, the shape of one example.
        num_classes: Integer, the number of classes, at least 2.
        widths: Tuple of integers, the width of each hidden layer. The last is
            the dimension of the features. Defaults to `(512, 512, 512)`.
        head: `"linear"`, `"etf"`, `"etf_canonical"`, `"weight_norm"` or a
            layer. Defaults to `"linear"`.
        use_batch_norm: Boolean, whether the hidden layers are normalised.
            Defaults to `True`.
        name: The name of the model.

    Returns:
        A functional model whose last layer is the head. It returns raw
        outputs, no softmax.

    Raises:
        ValueError: If `widths` is empty, or `head` or `num_classes` is
            invalid.

    Example:

    >>> model = nc_keras.models.MLP((28, 28, 1), 10, head="etf")
    >>> model.layers[-1].name, model.output_shape
    ('head', (None, 10))
    """
    if not widths:
        raise ValueError(
            f"`widths` must name at least one layer. Received: {widths=}."
        )
    inputs = keras.Input(input_shape)
    x = keras.layers.Flatten()(inputs)
    for width in widths:
        x = keras.layers.Dense(
            width,
            use_bias=not use_batch_norm,
            kernel_initializer="he_normal",
        )(x)
        if use_batch_norm:
            x = batch_norm()(x)
        x = keras.layers.ReLU()(x)
    outputs = make_head(head, num_classes)(x)
    return keras.Model(inputs, outputs, name=name)
