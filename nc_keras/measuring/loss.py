"""The loss of a model, of the examples of a forward pass."""

import keras
import numpy as np

from nc_keras.processes import Gather


class MeanLoss:
    """The mean of the losses of batches, as `model.evaluate` takes it.

    Args:
        model: The compiled `keras.Model`.

    Raises:
        ValueError: If it is not compiled with a loss, or has several outputs.
    """

    def __init__(self, model: keras.Model):
        outputs = keras.tree.flatten(getattr(model, "outputs", None) or [])
        if getattr(model, "loss", None) is None or len(outputs) > 1:
            raise ValueError(
                "The loss can be measured of a model with one output that is "
                f"compiled with a loss. Received: {len(outputs)} outputs, "
                f"loss={getattr(model, 'loss', None)!r}."
            )
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
