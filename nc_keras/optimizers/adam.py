from typing import Any

import keras

from nc_keras.optimizers.decay import validated_decay
from nc_keras.optimizers.decay import with_decay


@keras.saving.register_keras_serializable(package="nc_keras")
class Adam(keras.optimizers.Adam):
    """Adam with coupled weight decay, as `torch.optim.Adam` has it.

    The decay is added to the gradient, before its moments are taken.
    `keras.optimizers.Adam(weight_decay=)` and `AdamW` decay outside of them,
    which is another rule, under which the rows of the head do not come to add
    up to zero (NC0).

    Example:

    >>> optimizer = nc_keras.optimizers.Adam(0.1, weight_decay=0.5)
    >>> w = keras.Variable([1.0])
    >>> optimizer.apply([np.zeros(1, "float32")], [w])
    >>> print(keras.ops.convert_to_numpy(w).round(3))
    [0.9]

    Args:
        learning_rate: As in `keras.optimizers.Adam`; so for the other
            arguments.
        beta_1: Float.
        beta_2: Float.
        epsilon: Float. Defaults to PyTorch's `1e-8`.
        weight_decay: Float, not negative, coupled. Defaults to `0.0`.
        name: Optional name of the optimizer.
        **kwargs: As in `keras.optimizers.Adam`.

    Raises:
        ValueError: If `weight_decay` is negative.

    Reference:

    - [Zhao et al., 2026](https://arxiv.org/abs/2602.16642), for what decay
      does to NC0.
    """

    def __init__(
        self,
        learning_rate: Any = 0.001,
        beta_1: float = 0.9,
        beta_2: float = 0.999,
        epsilon: float = 1e-8,
        weight_decay: float = 0.0,
        name: str = "adam",
        **kwargs: Any,
    ):
        super().__init__(
            learning_rate,
            beta_1,
            beta_2,
            epsilon,
            weight_decay=validated_decay(weight_decay),
            name=name,
            **kwargs,
        )

    def update_step(self, gradient, variable, learning_rate):
        if self.weight_decay and self._use_weight_decay(variable):
            gradient = with_decay(gradient, variable, self.weight_decay)
        super().update_step(gradient, variable, learning_rate)

    def _apply_weight_decay(self, variables):
        # The base class decays here, decoupled.
        return
