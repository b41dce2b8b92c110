from typing import Any

import keras
from keras import ops

from nc_keras.arguments import require_numbers
from nc_keras.geometry import validate_num_classes
from nc_keras.layers.lengths import lengths


@keras.saving.register_keras_serializable(package="nc_keras")
class CosineClassifier(keras.layers.Layer):
    """A classifier whose class vectors are learned, and all equally long.

    Computes `scale * h v_c / ||v_c||`. After a
    `nc_keras.layers.UnitNormalization` these are cosines, times the scale:
    what `nc_keras.losses.LDAM` takes, or, with a scale, cross-entropy.

    Args:
        num_classes: Integer, the number of classes `C`, at least 2.
        scale: Float, the length of each class vector. Defaults to `1.0`.
        kernel_initializer: Initializer of the directions `v`.
        **kwargs: Base layer keyword arguments, such as `name` and `dtype`.

    Input shape:
        `(batch_size, ..., D)`.

    Output shape:
        `(batch_size, ..., C)`.

    Raises:
        ValueError: If `num_classes < 2`, or if `scale` is not positive.

    Example:

    >>> head = nc_keras.layers.CosineClassifier(10, scale=16.0)
    >>> tuple(head(np.ones((2, 64))).shape)
    (2, 10)
    >>> norms = np.linalg.norm(keras.ops.convert_to_numpy(head.kernel), axis=0)
    >>> print(np.allclose(norms, 16))
    True
    """

    def __init__(
        self,
        num_classes: int,
        scale: float = 1.0,
        kernel_initializer: Any = "glorot_uniform",
        **kwargs: Any,
    ):
        super().__init__(**kwargs)
        require_numbers(scale=scale)
        if not scale > 0:
            raise ValueError(
                f"`scale` must be positive. Received: scale={scale}."
            )
        self.num_classes = validate_num_classes(num_classes)
        self.scale = scale
        self.kernel_initializer = keras.initializers.get(kernel_initializer)

    def build(self, input_shape):
        # Norms are taken at full precision, hence no autocast.
        self.v = self.add_weight(
            name="v",
            shape=(input_shape[-1], self.num_classes),
            initializer=self.kernel_initializer,
            autocast=False,
        )
        self.input_spec = keras.layers.InputSpec(
            min_ndim=2, axes={-1: input_shape[-1]}
        )

    @property
    def kernel(self) -> Any:
        """`scale v / ||v||`, shape `(D, C)`, at full precision."""
        return ops.multiply(self.v, self.scale / lengths(self.v, axis=0))

    def call(self, inputs):
        return ops.matmul(inputs, ops.cast(self.kernel, self.compute_dtype))

    def compute_output_shape(self, input_shape):
        return (*input_shape[:-1], self.num_classes)

    def get_config(self):
        config = super().get_config()
        config.update(
            num_classes=self.num_classes,
            scale=self.scale,
            kernel_initializer=keras.initializers.serialize(
                self.kernel_initializer
            ),
        )
        return config
