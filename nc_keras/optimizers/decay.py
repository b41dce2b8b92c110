"""Weight decay that is added to the gradient."""

from typing import Any

from keras import ops


def with_decay(gradient: Any, variable: Any, decay: float) -> Any:
    """The gradient with that of `decay / 2 |w|^2` added."""
    gradient = ops.cast(gradient, variable.dtype)
    return ops.add(gradient, ops.multiply(variable, decay))


def validated_decay(weight_decay: float) -> float:
    """Returns a weight decay.

    Raises:
        ValueError: If it is not a number that is not negative.
    """
    if weight_decay is None or not weight_decay >= 0:
        raise ValueError(
            "`weight_decay` must be a number that is not negative. "
            f"Received: weight_decay={weight_decay}."
        )
    return weight_decay
