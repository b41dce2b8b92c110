from collections.abc import Iterable
from typing import Any

import keras
import numpy as np
from keras import ops


@keras.saving.register_keras_serializable(package="nc_keras")
class SeenClasses(keras.layers.Layer):
    """Passes the outputs of classes that have come, and `-inf` for the others.

    A fixed head can have a row for each class to come. With cross-entropy,
    those that have not come yet are excluded: their probability is 0.

    Example:

    >>> seen = nc_keras.layers.SeenClasses([0, 1])
    >>> print(keras.ops.convert_to_numpy(seen(np.ones((1, 4)))))
    [[  1.   1. -inf -inf]]
    >>> seen.add([3])
    >>> print(keras.ops.convert_to_numpy(seen(np.ones((1, 4)))))
    [[  1.   1. -inf   1.]]

    Args:
        classes: Integers, the classes that have come at first.
        **kwargs: Base layer keyword arguments, such as `name`.

    Input shape:
        `(batch_size, ..., C)`.

    Output shape:
        That of the input.

    Raises:
        ValueError: If a class is not in `0 .. C - 1`.
    """

    def __init__(self, classes: Iterable[int], **kwargs: Any):
        super().__init__(**kwargs)
        self.classes = sorted({int(one) for one in classes})

    def build(self, input_shape):
        self.seen = self.add_weight(
            name="seen",
            shape=(input_shape[-1],),
            initializer="zeros",
            trainable=False,
        )
        self.add(self.classes)

    def add(self, classes: Iterable[int]) -> None:
        """Adds classes that have come.

        Args:
            classes: Integers.
        """
        chosen = sorted({*self.classes, *map(int, classes)})
        if not hasattr(self, "seen"):
            self.classes = chosen
            return
        mask = np.array(ops.convert_to_numpy(self.seen))
        if chosen and not 0 <= chosen[0] <= chosen[-1] < len(mask):
            raise ValueError(
                f"Classes must be in 0 .. {len(mask) - 1}. "
                f"Received: classes={chosen}."
            )
        mask[chosen] = 1
        self.seen.assign(mask)
        self.classes = chosen

    def call(self, inputs):
        seen = ops.convert_to_tensor(self.seen) > 0
        hidden = ops.cast(-float("inf"), inputs.dtype)
        return ops.where(seen, inputs, hidden)

    def compute_output_shape(self, input_shape):
        return input_shape

    def get_config(self):
        config = super().get_config()
        config.update(classes=self.classes)
        return config
