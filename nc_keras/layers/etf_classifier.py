import random
from typing import Any

import keras
from keras import ops

from nc_keras.arguments import require_numbers
from nc_keras.geometry import simplex_etf
from nc_keras.geometry import validate_num_classes


@keras.saving.register_keras_serializable(package="nc_keras")
class ETFClassifier(keras.layers.Layer):
    """A classifier whose weights are a fixed simplex ETF.

    Computes `scale * h E' + b`, where the rows of `E` are the unit vectors of
    a simplex equiangular tight frame: the head that training would arrive at
    by itself (NC2), so that it need not be learned. The frame is a
    non-trainable weight: a checkpoint carries it.

    Args:
        num_classes: Integer, the number of classes `C`, at least 2.
        scale: Float, the length of each class vector. Defaults to `1.0`.
        use_bias: Boolean, whether to add a trainable bias. Defaults to
            `False`.
        seed: Integer or `None`. The same seed gives the same frame. `None`
            draws one that follows `keras.utils.set_random_seed`.
        rotate: Boolean, whether the frame is turned at random. `False` takes
            the canonical one, `sqrt(C / (C - 1)) (I - 11'/C)` in the first `C`
            coordinates. Features after a ReLU can meet it exactly, which they
            cannot where a turned frame has negative entries everywhere.
            Defaults to `True`.
        **kwargs: Base layer keyword arguments, such as `name` and `dtype`.

    Input shape:
        `(batch_size, ..., D)` with `D >= C - 1`, or `D >= C` where the frame
        is not rotated.

    Output shape:
        `(batch_size, ..., C)`.

    Raises:
        ValueError: If `num_classes < 2`, if `scale` is not positive, or, when
            the layer is built, if `D` is too small.

    Example:

    >>> head = nc_keras.layers.ETFClassifier(10, seed=0)
    >>> tuple(head(np.ones((2, 64))).shape)
    (2, 10)
    >>> len(head.trainable_weights)
    0

    Reference:

    - [Zhu et al., 2021](https://arxiv.org/abs/2105.02375), section 4, the
      fixed ETF classifier.
    """

    def __init__(
        self,
        num_classes: int,
        scale: float = 1.0,
        use_bias: bool = False,
        seed: int | None = None,
        rotate: bool = True,
        **kwargs: Any,
    ):
        activation = kwargs.pop("activation", None)
        if keras.activations.get(activation) is not keras.activations.linear:
            raise ValueError(
                "`ETFClassifier` has no activation: the losses take raw "
                "outputs. For probabilities put a `keras.layers.Softmax()` "
                "after it, and compile with a loss of probabilities. "
                f"Received: activation={activation!r}."
            )
        super().__init__(**kwargs)
        require_numbers(scale=scale)
        if not scale > 0:
            raise ValueError(
                f"`scale` must be positive. Received: scale={scale}."
            )
        self.num_classes = validate_num_classes(num_classes)
        self.scale = scale
        self.use_bias = use_bias
        self.seed = seed
        self.rotate = rotate
        self.bias = None

    def build(self, input_shape):
        self.frame = self.add_weight(
            name="frame",
            shape=(input_shape[-1], self.num_classes),
            initializer=self._draw_frame,
            trainable=False,
        )
        if self.use_bias:
            self.bias = self.add_weight(
                name="bias", shape=(self.num_classes,), initializer="zeros"
            )
        self.input_spec = keras.layers.InputSpec(
            min_ndim=2, axes={-1: input_shape[-1]}
        )

    @property
    def kernel(self) -> Any:
        """The class vectors as columns, shape `(D, C)`, as in `Dense`."""
        return ops.multiply(self.scale, self.frame)

    def call(self, inputs):
        outputs = ops.matmul(inputs, self.kernel)
        if self.bias is not None:
            outputs = ops.add(outputs, self.bias)
        return outputs

    def compute_output_shape(self, input_shape):
        return (*input_shape[:-1], self.num_classes)

    def get_config(self):
        config = super().get_config()
        config.update(
            num_classes=self.num_classes,
            scale=self.scale,
            use_bias=self.use_bias,
            seed=self.seed,
            rotate=self.rotate,
        )
        return config

    def _draw_frame(self, shape, dtype=None):
        seed = self.seed
        if seed is None:
            seed = random.getrandbits(32)
        frame = simplex_etf(self.num_classes, shape[0], seed, self.rotate)
        return ops.convert_to_tensor(frame.T, dtype=dtype)
