"""The loss of a model, of the examples of a forward pass."""

from typing import Any

import keras
import numpy as np

from nc_keras.graph import compiled_loss
from nc_keras.processes import Gather


class MeanLoss:
    """The mean of the losses of batches, as `model.evaluate` takes it.

    Args:
        model: The compiled `keras.Model`.

    Raises:
        ValueError: If it is not compiled with a loss, or has several outputs.
    """

    def __init__(self, model: keras.Model):
        is_own = type(model).compute_loss is not keras.Model.compute_loss
        if compiled_loss(model) is None and not is_own:
            raise ValueError(
                "The loss can be measured of a model that is compiled with "
                f"one. Received: model {model.name!r} without a loss."
            )
        refuse_several(getattr(model, "outputs", None) or [])
        self._sum, self._examples = 0.0, 0

    def add(self, losses: np.ndarray, examples: int) -> None:
        """Adds a batch.

        Args:
            losses: Array with its loss, or those of equal shares of it.
            examples: Integer, how many it has.
        """
        self._sum += float(np.mean(losses, dtype="float64")) * examples
        self._examples += examples

    def result(self, gather: Gather | None = None) -> float:
        """Returns the mean over all examples.

        Args:
            gather: What brings together the shares of several processes.
        """
        both = np.array([self._sum, self._examples])
        total, examples = np.sum(gather(both), axis=0) if gather else both
        return float(total / examples)


def refuse_several(outputs: Any) -> None:
    """Says so of a model with several outputs: labels are known of one.

    Args:
        outputs: What the model gives, or a list of its outputs.

    Raises:
        ValueError: If there is more than one.
    """
    count = len(keras.tree.flatten(outputs))
    if count > 1:
        raise ValueError(
            "The loss can be measured of a model with one output. "
            f"Received: {count} outputs."
        )
