"""How many steps of SGD the weights remember, and what rank that leaves.

With the penalty `(w/2) ||W||^2` a step is
`W_{t+1} = (1 - eta w) W_t - eta G_t`, so that

`W_T = (1 - eta w)^n W_{T-n} - eta sum_j (1 - eta w)^{j-1} G_{T-j}`.

For a dense layer the gradient of one example has rank one, and that of a
batch at most the batch size: up to what has decayed to the share `epsilon`,
the weights have at most the rank of the last `n` batches.
"""

from __future__ import annotations

import math

from nc_keras.arguments import checked


@checked(
    learning_rate="number",
    weight_decay="number",
    epsilon="number",
    momentum="number",
)
def memory(
    learning_rate: float,
    weight_decay: float,
    epsilon: float = 1e-3,
    momentum: float = 0.0,
) -> float:
    """Steps after which only the share `epsilon` of old weights is left.

    The smallest `n` with `z^n <= epsilon`. Without momentum
    `z = 1 - eta w`; with it, the larger root, in modulus, of
    `z^2 - (1 + beta - eta w) z + beta = 0`, by which the weights of
    `nc_keras.optimizers.SGD` shrink where gradients vanish.

    Args:
        learning_rate: Float, not negative, `eta`.
        weight_decay: Float, not negative, `w`: the optimizer's, or twice the
            `lambda` of a penalty `lambda ||W||^2`.
        epsilon: Float in `(0, 1)`.
        momentum: Float in `[0, 1)`, `beta`.

    Returns:
        A whole number as float; infinity without decay or at rate 0.

    Raises:
        ValueError: If a number is out of its range, or `eta w` is so large
            that the decay alone makes the weights oscillate or diverge.

    Example:

    >>> from nc_keras.theory import low_rank
    >>> low_rank.memory(0.1, 0.01, epsilon=1e-3)
    6905.0

    Reference:

    - [Galanti et al., 2022](https://arxiv.org/abs/2206.05794); the unrolled
      update as in the first author's own account of it.
    """
    if not learning_rate >= 0 or not 0 < epsilon < 1 or not 0 <= momentum < 1:
        raise ValueError(
            "`learning_rate` must not be negative, `epsilon` must be in "
            "(0, 1) and `momentum` in [0, 1). Received: "
            f"learning_rate={learning_rate}, "
            f"epsilon={epsilon}, momentum={momentum}."
        )
    if not weight_decay >= 0:
        raise ValueError(
            "`weight_decay` must not be negative. "
            f"Received: weight_decay={weight_decay}."
        )
    product = learning_rate * weight_decay
    if momentum == 0 and product >= 1:
        raise ValueError(
            "The decay takes more than all of a weight in one step: "
            "`learning_rate * weight_decay` must be below 1. Received: "
            f"learning_rate={learning_rate}, weight_decay={weight_decay}."
        )
    if product >= 2 * (1 + momentum):
        raise ValueError(
            "With this decay the weights diverge: `learning_rate * "
            "weight_decay` must be below 2 (1 + momentum). Received: "
            f"learning_rate={learning_rate}, weight_decay={weight_decay}, "
            f"momentum={momentum}."
        )
    if product == 0:
        return math.inf
    return float(math.ceil(math.log(epsilon) / _log_root(product, momentum)))


@checked(
    batch_size="integer",
    learning_rate="number",
    weight_decay="number",
    epsilon="number",
    momentum="number",
    positions="integer",
)
def rank_bound(
    batch_size: int,
    learning_rate: float,
    weight_decay: float,
    epsilon: float = 1e-3,
    momentum: float = 0.0,
    positions: int = 1,
) -> float:
    """The rank that the batches of the memory can make: `B R n`.

    `n` is the `memory`, `R` the number of positions at which a convolution
    is applied: its gradient of one example has at most that rank. A heuristic
    of the structure of the update, not a guarantee, and often more than the
    matrix can have; how it moves with batch size, rate and decay is what it
    says.

    Args:
        batch_size: Integer, positive, `B`.
        learning_rate: As in `memory`.
        weight_decay: As in `memory`.
        epsilon: As in `memory`.
        momentum: As in `memory`.
        positions: Integer, positive, `R`; 1 for a dense layer.

    Returns:
        Float; infinity without decay.

    Raises:
        ValueError: As `memory`.

    Example:

    >>> from nc_keras.theory import low_rank
    >>> low_rank.rank_bound(4, 0.1, 0.1) < low_rank.rank_bound(32, 0.1, 0.1)
    True

    Reference:

    - [Galanti et al., 2022](https://arxiv.org/abs/2206.05794), as the first
      author sums it up, `B log(1/epsilon) / (eta lambda)` up to a constant.
    """
    if batch_size < 1 or positions < 1:
        raise ValueError(
            "`batch_size` and `positions` must be positive. "
            f"Received: batch_size={batch_size}, positions={positions}."
        )
    steps = memory(learning_rate, weight_decay, epsilon, momentum)
    return batch_size * positions * steps


def _log_root(product, momentum):
    """The logarithm of the share of the weights that a step leaves."""
    total = 1 + momentum - product
    discriminant = total**2 - 4 * momentum
    if discriminant < 0:
        return math.log(momentum) / 2
    root = (abs(total) + math.sqrt(discriminant)) / 2
    if momentum == 0:
        return math.log1p(-product)
    return math.log(root)
