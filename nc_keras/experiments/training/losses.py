"""The losses of the recipes."""

from __future__ import annotations

from collections.abc import Sequence

import keras

import nc_keras
from nc_keras.experiments.options.own import name_of
from nc_keras.experiments.options.settings import Settings

LOSSES = {
    "ce": lambda counts: nc_keras.losses.CE(),
    "mse": lambda counts: nc_keras.losses.MSE(),
    # Hui & Belkin 2020, as others transcribe it: for 1,000 classes, and below.
    "rescaled_square": lambda counts: (
        nc_keras.losses.RescaledSquare(k=15, M=30)
        if len(counts) >= 1000
        else nc_keras.losses.RescaledSquare(k=1, M=15)
    ),
    "logit_adjusted": nc_keras.losses.LogitAdjusted,
    "vs": nc_keras.losses.VS,
    "ldam": nc_keras.losses.LDAM,
    "dot_regression": lambda counts: nc_keras.losses.DotRegression(),
}


def build_loss(
    settings: Settings, loss: str, counts: Sequence[int]
) -> keras.losses.Loss:
    """Returns a loss of the recipe's.

    Args:
        settings: The settings of the recipe.
        loss: One of its losses.
        counts: Integers, the training examples per class; zeros where they
            are not known.

    Raises:
        ValueError: If the recipe's own one is none.
    """
    own = settings.meant("losses", loss)
    if isinstance(own, str):
        return LOSSES[own](counts)
    made = own
    if isinstance(own, type) and issubclass(own, keras.losses.Loss):
        made = own()
    elif not isinstance(own, keras.losses.Loss):
        made = own(len(counts))
    if not isinstance(made, keras.losses.Loss):
        raise ValueError(
            f"The loss {loss!r} must be a keras.losses.Loss, or a function of "
            "the number of classes that returns one. "
            f"Received: {type(made).__name__} from {name_of(own)}."
        )
    return made
