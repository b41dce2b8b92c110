import importlib
from typing import Any

import keras
from keras import ops

from nc_keras.keras_private import in_stateless_scope
from nc_keras.optimizers.decay import validated_decay
from nc_keras.optimizers.decay import with_decay


@keras.saving.register_keras_serializable(package="nc_keras")
class SGD(keras.optimizers.Optimizer):
    """SGD with momentum and coupled weight decay, as in PyTorch.

    The update of the neural-collapse papers. For a variable `w` with gradient
    `g`,

    ```
    d = g + weight_decay * w
    velocity = momentum * velocity + d
    w = w - learning_rate * velocity  # Nesterov: d + momentum * velocity
    ```

    `keras.optimizers.SGD` differs in both regards: its decay is decoupled and
    stays outside the momentum, which at momentum 0.9 makes it ten times
    weaker, and its velocity has the learning rate inside, so that steps taken
    at a higher rate live on after the rate has dropped.

    Every trainable variable decays, biases and normalisation included, unless
    it is left out by `exclude_from_weight_decay()`.

    Args:
        learning_rate: Float, or a learning-rate schedule of Keras. Defaults
            to `0.01`.
        momentum: Float in `[0, 1)`. Defaults to `0.0`.
        weight_decay: Float, not negative. Defaults to `0.0`.
        nesterov: Boolean, whether to apply Nesterov momentum. Defaults to
            `False`.
        name: Optional name of the optimizer.
        **kwargs: As in `keras.optimizers.Optimizer`, for example `clipnorm`.

    Raises:
        ValueError: If `momentum` is outside `[0, 1)` or `weight_decay` is
            negative.

    Example:

    >>> optimizer = nc_keras.optimizers.SGD(0.1, momentum=0.9, weight_decay=0.5)
    >>> w = keras.Variable([1.0])
    >>> optimizer.apply([np.array([1.0], "float32")], [w])
    >>> print(keras.ops.convert_to_numpy(w))
    [0.85]

    Reference:

    - [Papyan, Han & Donoho, 2020](https://arxiv.org/abs/2008.08186):
      momentum 0.9, weight decay 5e-4.
    """

    def __init__(
        self,
        learning_rate: Any = 0.01,
        momentum: float = 0.0,
        weight_decay: float = 0.0,
        nesterov: bool = False,
        name: str = "sgd",
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
        self.momentum = momentum
        self.nesterov = nesterov

    def build(self, variables):
        if self.built:
            return
        super().build(variables)
        self.velocities = []
        if self.momentum:
            self.velocities = [
                self.add_variable_from_reference(variable, "velocity")
                for variable in variables
            ]

    def update_step(self, gradient, variable, learning_rate):
        learning_rate = ops.cast(learning_rate, variable.dtype)
        step = ops.cast(gradient, variable.dtype)
        if self.weight_decay and self._use_weight_decay(variable):
            step = with_decay(step, variable, self.weight_decay)
        if self.momentum:
            velocity = self.velocities[self._get_variable_index(variable)]
            new_velocity = ops.add(ops.multiply(velocity, self.momentum), step)
            self.assign(velocity, new_velocity)
            if self.nesterov:
                step = ops.add(step, ops.multiply(new_velocity, self.momentum))
            else:
                step = new_velocity
        self.assign_sub(variable, ops.multiply(learning_rate, step))

    def _backend_update_step(self, grads, trainable_variables, learning_rate):
        is_own = type(self).update_step is SGD.update_step
        on_torch = keras.backend.backend() == "torch"
        if is_own and on_torch and not in_stateless_scope():
            self._step_together(grads, trainable_variables, learning_rate)
        else:
            super()._backend_update_step(
                grads, trainable_variables, learning_rate
            )

    def _step_together(self, gradients, variables, learning_rate):
        """`update_step` of all variables, in a few calls of PyTorch."""
        torch = importlib.import_module("torch")
        weights = [variable.value for variable in variables]
        rate = ops.convert_to_tensor(learning_rate)
        with torch.no_grad():
            steps = self._decayed(torch, gradients, weights, variables)
            if self.momentum:
                velocities = [
                    self.velocities[self._get_variable_index(variable)].value
                    for variable in variables
                ]
                torch._foreach_mul_(velocities, self.momentum)
                torch._foreach_add_(velocities, steps)
                if self.nesterov:
                    ahead = torch._foreach_mul(velocities, self.momentum)
                    torch._foreach_add_(ahead, steps)
                    steps = ahead
                else:
                    steps = velocities
            # As `alpha` the rate would have to come from the device first.
            torch._foreach_sub_(weights, torch._foreach_mul(steps, rate))

    def _decayed(self, torch, gradients, weights, variables):
        """The gradients, with the decay of those variables that decay."""
        steps = [
            ops.cast(gradient, keras.backend.standardize_dtype(weight.dtype))
            for gradient, weight in zip(gradients, weights, strict=True)
        ]
        decaying = [
            place
            for place, variable in enumerate(variables)
            if self.weight_decay and self._use_weight_decay(variable)
        ]
        if decaying:
            added = torch._foreach_add(
                [steps[place] for place in decaying],
                [weights[place] for place in decaying],
                alpha=self.weight_decay,
            )
            for place, step in zip(decaying, added, strict=True):
                steps[place] = step
        return steps

    def get_config(self):
        config = super().get_config()
        config.update(momentum=self.momentum, nesterov=self.nesterov)
        return config

    def _apply_weight_decay(self, variables):
        # The base class decays here, decoupled; `update_step` does it coupled.
        return
