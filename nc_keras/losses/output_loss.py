from typing import Any

import keras
from keras import ops

from nc_keras.arguments import refuse_masked
from nc_keras.keras_private import get_keras_mask
from nc_keras.labels import one_hot_rows
from nc_keras.labels import without_ignored
from nc_keras.losses.raw_outputs import warn_of_probabilities


class OutputLoss(keras.losses.Loss):
    """Base class of losses of raw network outputs against class labels.

    A subclass implements `compute(targets, outputs)`, where both have the
    shape `(..., C)` and `targets` has one-hot rows. The base class takes
    integer or one-hot labels and refuses those that do not fit. What cannot
    be refused without waiting for the device, a label outside `0 .. C - 1`, a
    fraction or a row that is not one-hot, makes the loss NaN instead of a
    wrong number. A label of an example that does not count, whose sample
    weight is 0 or which is masked, may be anything.

    Attributes:
        targets: `"labels"`; or `"soft"`, if a row may hold any probabilities
            of the classes, where one that does not add up to 1 is NaN all the
            same; or `"multi_hot"`, if it may hold any zeros and ones.
    """

    targets = "labels"

    def compute(self, targets: Any, outputs: Any) -> Any:
        """Returns the losses, shape `(...)`."""
        raise NotImplementedError(
            f"{type(self).__name__} must implement `compute()`."
        )

    def __call__(self, y_true, y_pred, sample_weight=None):
        refuse_masked(y_true, "Labels")
        warn_of_probabilities(self, y_pred)
        # Zero times NaN is NaN, in the gradient too.
        for counted in (sample_weight, get_keras_mask(y_pred)):
            if counted is not None:
                y_true = without_ignored(
                    ops.convert_to_tensor(y_true, dtype=self.dtype),
                    ops.convert_to_tensor(y_pred, dtype=self.dtype),
                    counted,
                )
        return super().__call__(y_true, y_pred, sample_weight)

    def call(self, y_true, y_pred):
        # Nested lists arrive as nested lists of scalars.
        y_true = ops.convert_to_tensor(y_true)
        y_pred = ops.convert_to_tensor(y_pred)
        return self.compute(one_hot_rows(y_true, y_pred, self.targets), y_pred)


def validated_targets(targets: str, *others: str) -> str:
    """Returns `targets` of a loss.

    Args:
        targets: String.
        *others: Strings, what it may be beside `"labels"`.

    Raises:
        ValueError: If it is none of these.
    """
    known = ("labels", *others)
    if not isinstance(targets, str) or targets not in known:
        allowed = " or ".join(f'"{one}"' for one in known)
        raise ValueError(
            f"`targets` must be {allowed}. Received: targets={targets!r}."
        )
    return targets
