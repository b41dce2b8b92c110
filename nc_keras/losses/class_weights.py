from collections.abc import Sequence

import numpy as np

from nc_keras.arguments import checked
from nc_keras.class_counts import checked_counts


@checked(beta="number")
def class_balanced_weights(
    counts: Sequence[int], beta: float = 0.9999
) -> dict[int, float]:
    """Weights of classes by the effective number of their examples.

    `(1 - beta) / (1 - beta^n)` for a class of `n` examples, scaled so that
    they sum up to the number of classes. `beta=0` weighs all the same, and
    `beta` near 1 by `1 / n`.

    Example:

    >>> weights = nc_keras.losses.class_balanced_weights([900, 100], beta=0.99)
    >>> print({k: round(v, 3) for k, v in weights.items()})
    {0: 0.776, 1: 1.224}

    They are for `fit`; deferred, after some epochs without them:

    ```python
    model.fit(x, y, epochs=160)
    model.fit(x, y, initial_epoch=160, epochs=200, class_weight=weights)
    ```

    Args:
        counts: Sequence of positive integers, the training examples per
            class.
        beta: Float in [0, 1). Defaults to `0.9999`.

    Returns:
        Dictionary from classes to weights, as `class_weight` takes it.

    Raises:
        ValueError: If the counts are not positive integers, or `beta` is out
            of its range.

    Reference:

    - [Cui et al., 2019](https://arxiv.org/abs/1901.05555).
    - [Cao et al., 2019](https://arxiv.org/abs/1906.07413), deferred
      re-weighting.
    """
    sizes = checked_counts(counts)
    if not 0 <= beta < 1:
        raise ValueError(f"`beta` must be in [0, 1). Received: beta={beta}.")
    if beta == 0:
        weights = np.ones(len(sizes))
    else:
        weights = (1 - beta) / -np.expm1(sizes * np.log(beta))
    weights *= len(sizes) / weights.sum()
    return dict(enumerate(weights.tolist()))
