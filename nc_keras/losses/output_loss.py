from typing import Any

import keras
from keras import ops

from nc_keras.labels import one_hot_rows


class OutputLoss(keras.losses.Loss):
    """Base class of losses of raw network outputs against class labels.

    A subclass implements `compute(targets, outputs)`, where both have the
    shape `(..., C)` and `targets` has one-hot rows. The base class takes
    integer or one-hot labels and refuses those that do not fit. What cannot
    be refused without waiting for the device, a label outside `0 .. C - 1`, a
    fraction or a row that is not one-hot, makes the loss NaN instead of a
    wrong number.
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
        return self.compute(one_hot_rows(y_true, y_pred), y_pred)
