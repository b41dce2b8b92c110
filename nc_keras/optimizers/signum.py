from typing import Any

import keras
from keras import ops

from nc_keras.optimizers.decay import validated_decay
from nc_keras.optimizers.decay import with_decay


@keras.saving.register_keras_serializable(package="nc_keras")
class Signum(keras.optimizers.Optimizer):
    """Steps by the sign of the momentum.

    ```
    velocity = momentum * velocity + (1 - momentum) * g
    w = w - learning_rate * sign(velocity)
    ```

    where `g` has `weight_decay * w` in it; or, `decoupled`, `w` loses
    `learning_rate * weight_decay * w` beside. What Adam is without its second
    moments: a case of which theory can speak.

    Example:

    >>> optimizer = nc_keras.optimizers.Signum(0.1)
    >>> w = keras.Variable([1.0, 1.0])
    >>> optimizer.apply([np.array([3.0, -0.1], "float32")], [w])
    >>> print(keras.ops.convert_to_numpy(w))
    [0.9 1.1]

    Args:
        learning_rate: Float, or a learning-rate schedule of Keras.
        momentum: Float in `[0, 1)`. Defaults to `0.9`.
        weight_decay: Float, not negative. Defaults to `0.0`.
        decoupled: Boolean. Defaults to `False`.
        name: Optional name of the optimizer.
        **kwargs: As in `keras.optimizers.Optimizer`.

    Raises:
        ValueError: If `momentum` is outside `[0, 1)`, or `weight_decay` is
            negative.

    Reference:

    - [Bernstein et al., 2018](https://arxiv.org/abs/1802.04434).
    """

    def __init__(
        self,
        learning_rate: Any = 0.001,
        momentum: float = 0.9,
        weight_decay: float = 0.0,
        decoupled: bool = False,
        name: str = "signum",
        **kwargs: Any,
    ):
        super().__init__(
            learning_rate=learning_rate,
            weight_decay=validated_decay(weight_decay),
            name=name,
            **kwargs,
        )
        if not 0 <= momentum < 1:
            raise ValueError(
                f"`momentum` must be in [0, 1). Received: momentum={momentum}."
            )
        self.momentum, self.decoupled = momentum, decoupled

    def build(self, variables):
        if self.built:
            return
        super().build(variables)
        self.velocities = [
            self.add_variable_from_reference(variable, "velocity")
            for variable in variables
        ]

    def update_step(self, gradient, variable, learning_rate):
        rate = ops.cast(learning_rate, variable.dtype)
        if (
            not self.decoupled
            and self.weight_decay
            and self._use_weight_decay(variable)
        ):
            gradient = with_decay(gradient, variable, self.weight_decay)
        velocity = self.velocities[self._get_variable_index(variable)]
        moved = ops.multiply(velocity, self.momentum) + ops.multiply(
            ops.cast(gradient, variable.dtype), 1 - self.momentum
        )
        self.assign(velocity, moved)
        self.assign_sub(variable, ops.multiply(rate, ops.sign(moved)))

    def get_config(self):
        config = super().get_config()
        config.update(momentum=self.momentum, decoupled=self.decoupled)
        return config

    def _apply_weight_decay(self, variables):
        if self.decoupled:
            super()._apply_weight_decay(variables)
