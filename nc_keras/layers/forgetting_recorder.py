from typing import Any

import keras
import numpy as np
from keras import ops

from nc_keras.labels import class_labels

_RIGHT, LEARNED = 1, 2


@keras.saving.register_keras_serializable(package="nc_keras")
class ForgettingRecorder(keras.layers.Layer):
    """Passes outputs on, and counts how often each example is forgotten.

    While training, it compares the decision on each example with its label,
    before the step that learns from it. An example that was right when it came
    before and is wrong now has been forgotten. The state is on the device,
    five bytes an example. See `nc_keras.forgetting.recorded`, which places it.

    Example:

    >>> recorder = nc_keras.layers.ForgettingRecorder([0, 1])
    >>> right, wrong = np.eye(2), 1 - np.eye(2)
    >>> for outputs in (right, wrong, right):
    ...     outputs = recorder(outputs, np.arange(2), training=True)
    >>> nc_keras.forgetting.result(recorder).events.tolist()
    [1, 1]

    Args:
        labels: Labels of all training examples, integers of shape `(N,)` or
            one-hot.
        **kwargs: Base layer keyword arguments, such as `name`.

    Call arguments:
        outputs: Tensor of shape `(batch_size, C)`.
        index: Integer tensor of shape `(batch_size,)`, which examples of
            `labels` these are.
        training: Boolean: without, nothing is counted.
    """

    passes_first_input = True

    def __init__(self, labels: Any, **kwargs: Any):
        super().__init__(**kwargs)
        self.labels = class_labels(labels)[0]

    def build(self, outputs_shape, index_shape=None):
        size = len(self.labels) + 1  # the last for an index that is none
        for name, dtype in (("flags", "uint8"), ("events", "int32")):
            variable = self.add_weight(
                name=name,
                shape=(size,),
                dtype=dtype,
                initializer="zeros",
                trainable=False,
                autocast=False,
            )
            setattr(self, name, variable)
        self._labels = np.append(self.labels, -1).astype("int32")

    def call(self, outputs, index, training=False):
        if training:
            self._record(ops.stop_gradient(outputs), index)
        return outputs

    def _record(self, outputs, index):
        count = len(self.labels)
        index = ops.cast(ops.reshape(index, (-1,)), "int32")
        index = ops.where((index < 0) | (index >= count), count, index)
        labels = ops.take(ops.convert_to_tensor(self._labels), index)
        decisions = ops.cast(ops.argmax(outputs, axis=-1), "int32")
        is_right = decisions == labels
        flags = ops.convert_to_tensor(self.flags)
        events = ops.convert_to_tensor(self.events)
        before = ops.cast(ops.take(flags, index), "int32")
        was_right, was_learned = before % 2 == _RIGHT, before >= LEARNED
        forgotten = was_right & ops.logical_not(is_right)
        now = ops.cast(is_right, "int32")
        now = now + LEARNED * ops.cast(is_right | was_learned, "int32")
        now = ops.where(index == count, LEARNED, now)
        # A sum would count an index that is none once for each example.
        counted = ops.take(events, index) + ops.cast(forgotten, "int32")
        rows = index[:, None]
        new = ops.cast(now, "uint8")
        self.flags.assign(ops.scatter_update(flags, rows, new))
        self.events.assign(ops.scatter_update(events, rows, counted))

    def compute_output_spec(self, outputs, index, training=False):
        return keras.KerasTensor(outputs.shape, dtype=self.compute_dtype)

    def get_config(self):
        config = super().get_config()
        config.update(labels=self.labels.tolist())
        return config
