"""The learning rate of every recipe and study: it drops by ten in steps."""

import math
from collections.abc import Sequence


def stepped_rate(
    rate: float, epoch: int, epochs: int, drops: Sequence[float]
) -> float:
    """Returns the learning rate of an epoch.

    As in the authors' notebook, a share of the epochs is rounded down: a
    training of 350 epochs makes 116 of them before the drop at 1/3.

    Args:
        rate: The rate before its drops.
        epoch: The epoch, counted from 0.
        epochs: How many there are.
        drops: At which shares of the epochs the rate drops by ten.

    Example:

    >>> from nc_keras.experiments.options.schedule import stepped_rate
    >>> [stepped_rate(1.0, epoch, 350, (1 / 3,)) for epoch in (115, 116)]
    [1.0, 0.1]
    """
    return rate * 0.1 ** sum(
        epoch >= math.floor(share * epochs) for share in drops
    )
