from typing import Any

import keras
from keras import ops

from nc_keras.labels import one_hot


class OutputLoss(keras.losses.Loss):
    """Base class of losses of raw network outputs against class labels.

    A subclass implements `compute(targets, outputs)`, where both have the
    shape `(..., C)` and `targets` has one-hot rows. The base class takes
    integer or one-hot labels and refuses those that do not fit. What cannot
    be refused without waiting for the device, an integer outside `0 .. C - 1`
    or a fraction, makes the loss NaN instead of a wrong number.
    """

    def compute(self, targets: Any, outputs: Any) -> Any:
        """Returns the losses, shape `(...)`."""
        raise NotImplementedError(
            f"{type(self).__name__} must implement `compute()`."
        )

    def call(self, y_true, y_pred):
        # Nested lists arrive as nested lists of scalars.
        y_true = ops.convert_to_tensor(y_true)
        y_pred = ops.convert_to_tensor(y_pred)
        return self.compute(self._targets(y_true, y_pred), y_pred)

    def _targets(self, y_true, y_pred):
        labels, outputs = tuple(y_true.shape), tuple(y_pred.shape)
        received = f"Received: y_true.shape={labels}, y_pred.shape={outputs}."
        if len(outputs) < 2 or outputs[-1] == 1:
            raise ValueError(
                f"{type(self).__name__} compares the outputs of at least two "
                "classes, one column a class. For two classes use a head with "
                f"two outputs. {received}"
            )
        if len(labels) == len(outputs) and labels[-1] == outputs[-1]:
            return y_true
        if len(labels) == len(outputs) and labels[-1] == 1:
            y_true = ops.squeeze(y_true, axis=-1)
        elif len(labels) != len(outputs) - 1:
            raise ValueError(
                f"{type(self).__name__} takes integer labels of shape "
                f"{outputs[:-1]} or one-hot labels of shape {outputs}. "
                f"{received}"
            )
        return one_hot(y_true, outputs[-1], y_pred.dtype)
