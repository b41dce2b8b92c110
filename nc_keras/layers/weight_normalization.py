from typing import Any

import keras
from keras import ops

from nc_keras.layers.lengths import lengths

# Axes of the kernel that are summed over for one output.
_INPUT_AXES = {
    keras.layers.Dense: (0,),
    keras.layers.Conv1D: (0, 1),
    keras.layers.Conv2D: (0, 1, 2),
    keras.layers.Conv3D: (0, 1, 2, 3),
    keras.layers.Conv1DTranspose: (0, 2),
    keras.layers.Conv2DTranspose: (0, 1, 3),
    keras.layers.Conv3DTranspose: (0, 1, 2, 4),
    keras.layers.DepthwiseConv1D: (0,),
    keras.layers.DepthwiseConv2D: (0, 1),
}


@keras.saving.register_keras_serializable(package="nc_keras")
class WeightNormalization(keras.layers.Wrapper):
    """Re-parametrises the kernel of a layer by length and direction.

    The kernel becomes `g v / ||v||`, with one norm for each output unit or
    filter, or one for the whole kernel. The wrapped layer's own kernel
    variable is `v`, and `g` starts as `||v||`: right after wrapping, the
    layer computes what it computed before. The gradient with respect to each
    `v` is orthogonal to it. With LoRA on the wrapped layer `v` is its kernel
    with what LoRA adds; `model.quantize` quantises `g v / ||v||`, after which
    `g` has no effect.

    Args:
        layer: A `Dense` layer or a convolution (1D to 3D, transposed or
            depthwise) of Keras. It may be built already.
        per: `"unit"` for one norm for each output unit or filter, `"kernel"`
            for the Frobenius norm of the whole kernel. Defaults to `"unit"`.
        length: Float, a `g` that is not trained; or `None` to train it.
            Defaults to `None`.
        **kwargs: Base layer keyword arguments, such as `name`.

    Input shape:
        That of `layer`.

    Output shape:
        That of `layer`.

    Raises:
        ValueError: If `layer` is of another kind, `per` is unknown, or
            `length` is not positive.

    Example:

    >>> conv = nc_keras.layers.WeightNormalization(keras.layers.Conv2D(8, 3))
    >>> tuple(conv(np.ones((2, 28, 28, 1))).shape)
    (2, 26, 26, 8)

    Reference:

    - [Salimans & Kingma, 2016](https://arxiv.org/abs/1602.07868), equation 2.
    - [Xu et al., 2023](https://doi.org/10.34133/research.0024), where whole
      kernels are normalised; `nc_keras.models.Normalized` does it to a model.
    """

    def __init__(
        self,
        layer: keras.layers.Layer,
        per: str = "unit",
        length: float | None = None,
        **kwargs: Any,
    ):
        super().__init__(layer, **kwargs)
        if per not in ("unit", "kernel"):
            raise ValueError(
                f"`per` must be 'unit' or 'kernel'. Received: per={per!r}."
            )
        if length is not None and not length > 0:
            raise ValueError(
                f"`length` must be positive or `None`. Received: {length=}."
            )
        self.per = per
        self.length = length
        # Keras quantises the layer itself, which does not know of `g`.
        self._quantize_layer = layer.quantize
        layer.quantize = self._quantize
        self._axes = next(
            (
                axes
                for kind, axes in _INPUT_AXES.items()
                if isinstance(layer, kind)
            ),
            None,
        )
        if self._axes is None:
            supported = ", ".join(kind.__name__ for kind in _INPUT_AXES)
            raise ValueError(
                "`WeightNormalization` needs a layer with one kernel: "
                f"{supported}. Received: layer={layer!r} of type "
                f"{type(layer).__name__}."
            )

    def build(self, input_shape=None):
        super().build(input_shape)
        shape = self.layer.kernel.shape
        if self.per == "kernel":
            self._axes = tuple(range(len(shape)))
        self.g = self.add_weight(
            name="g",
            shape=[
                1 if axis in self._axes else size
                for axis, size in enumerate(shape)
            ],
            initializer=self._initial_lengths,
            trainable=self.length is None,
            autocast=False,
        )

    @property
    def kernel(self) -> Any:
        """`g v / ||v||`, in the shape of the wrapped layer's kernel."""
        if self._has_codes:
            return self.layer.kernel
        v = ops.cast(self.layer.kernel, self.g.dtype)
        return ops.multiply(v, self.g / self._lengths(v))

    @property
    def bias(self) -> Any:
        """The wrapped layer's bias."""
        return self.layer.bias

    def call(self, inputs, **kwargs):
        # The scope gives the layer another kernel without assigning to it, so
        # that gradients flow through to v and g on every backend.
        if self._has_codes:
            return self.layer(inputs, **kwargs)
        variables = [(v, v.value) for v in self.layer.variables]
        kernel = (self._variable, self._kernel_of_variable())
        scope = keras.StatelessScope([*variables, kernel], collect_losses=True)
        with scope:
            outputs = self.layer(inputs, **kwargs)
        for loss in scope.losses:
            self.add_loss(loss)
        return outputs

    def compute_output_shape(self, input_shape):
        return self.layer.compute_output_shape(input_shape)

    def get_config(self):
        config = super().get_config()
        config.update(per=self.per, length=self.length)
        return config

    @property
    def _has_codes(self):
        mode = getattr(self.layer, "quantization_mode", None)
        return mode not in (None, "float8")

    @property
    def _variable(self):
        """The kernel without what LoRA adds to it."""
        kernel = getattr(self.layer, "_kernel", None)
        return self.layer.kernel if kernel is None else kernel

    def _kernel_of_variable(self):
        """What the variable must be for the layer to have this kernel."""
        if not getattr(self.layer, "lora_enabled", False):
            return self.kernel
        added = ops.subtract(self.layer.kernel, self._variable)
        return ops.subtract(self.kernel, ops.cast(added, self.g.dtype))

    def _quantize(self, mode=None, *args, **kwargs):
        """Quantises the normalised kernel, which the layer has from then on."""
        if mode == "float8":
            raise NotImplementedError(
                "A weight-normalised layer cannot be trained in float8: its "
                "kernel is made at each step. Received: mode='float8'."
            )
        if self.built and not self._has_codes:
            self._variable.assign(self._kernel_of_variable())
        return self._quantize_layer(mode, *args, **kwargs)

    def _initial_lengths(self, shape, dtype=None):
        if self.length is None:
            return self._lengths(self.layer.kernel)
        return ops.full(shape, self.length, dtype=dtype)

    def _lengths(self, v):
        return lengths(v, axis=self._axes, keepdims=True)
