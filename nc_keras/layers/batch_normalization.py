import functools
import importlib
import math
from typing import Any

import keras
from keras import ops


@keras.saving.register_keras_serializable(package="nc_keras")
class BatchNormalization(keras.layers.BatchNormalization):
    """Batch normalisation as PyTorch does it, with which the papers trained.

    It differs from `keras.layers.BatchNormalization` in what it keeps for
    inference. The running statistics move a tenth of the way at each step
    (`momentum=0.9`), `1e-5` is added to the variance, and the running variance
    is the unbiased one: `n / (n - 1)` times the variance of the `n` values
    that a batch has for a channel: of all replicas with `synchronized=True`, of
    those that a mask leaves. Training outputs are the same, for there the
    variance is the batch's own. With `renorm=True` Keras keeps a moving
    standard deviation, and so does this layer, as Keras does.

    Args:
        momentum: Float, the share of the running statistics that a step
            keeps. Defaults to `0.9`.
        epsilon: Float, what is added to the variance. Defaults to `1e-5`.
        **kwargs: Arguments of `keras.layers.BatchNormalization`.

    Input shape:
        `(batch_size, ..., channels)`.

    Output shape:
        That of the input.

    Example:

    >>> layer = nc_keras.layers.BatchNormalization()
    >>> _ = layer(np.array([[0.0], [2.0]]), training=True)
    >>> keras.ops.convert_to_numpy(layer.moving_variance)  # 0.9 + 0.1 * 2
    array([1.1], dtype=float32)

    Reference:

    - [Ioffe & Szegedy, 2015](https://arxiv.org/abs/1502.03167), Algorithm 2,
      step 10, for the unbiased variance.
    """

    def __init__(
        self, momentum: float = 0.9, epsilon: float = 1e-5, **kwargs: Any
    ):
        super().__init__(momentum=momentum, epsilon=epsilon, **kwargs)

    def call(self, inputs, training=None, mask=None):
        backend = keras.backend.backend()
        # Kernels take statistics in float32 alone.
        plain = self.variable_dtype == "float32" and self._reduces_all_but_last
        has_kernel = plain and self._takes(inputs)
        renorm = getattr(self, "renorm", False)  # Not every Keras has it.
        if renorm or not (training and self.trainable):
            if has_kernel and backend == "torch" and not renorm:
                return self._call_torch(inputs, training=False)
            return super().call(inputs, training=training, mask=mask)
        if plain and mask is None and not self.synchronized:
            if backend == "jax":
                return self._call_flat(inputs)
            if has_kernel and backend == "tensorflow":
                return self._call_kernel(inputs)
            if has_kernel and backend == "torch" and _several(inputs):
                return self._call_torch(inputs, training=True)
        kept = ops.multiply(self.momentum, self.moving_variance)
        outputs = super().call(inputs, training=training, mask=mask)
        # What this batch added, its variance being biased.
        added = self.moving_variance - kept
        others = ops.cast(self._values_a_channel(inputs, mask), added.dtype) - 1
        self.moving_variance.assign_add(added / ops.maximum(others, 1))
        return outputs

    @property
    def _reduces_all_but_last(self):
        return self._reduction_axes == list(range(len(self._reduction_axes)))

    def _takes(self, inputs):
        """Whether a backend's kernel takes them, and gives what Keras does."""
        dtype = keras.backend.standardize_dtype(inputs.dtype)
        return dtype == self.compute_dtype != "float64"

    def _call_kernel(self, inputs):
        """The same by one kernel, where there is one: half the time of a step.

        Its variance is the unbiased one.
        """
        channels = self.moving_mean.shape
        scale = self.gamma if self.scale else ops.ones(channels)
        offset = self.beta if self.center else ops.zeros(channels)
        shape = ops.shape(inputs)
        outputs, mean, variance, *_ = _kernel()(
            x=ops.reshape(inputs, (-1, 1, *shape[-2:]))
            if len(shape) > 2
            else inputs[:, None, None, :],
            scale=ops.convert_to_tensor(scale),
            offset=ops.convert_to_tensor(offset),
            mean=ops.zeros((0,)),
            variance=ops.zeros((0,)),
            epsilon=self.epsilon,
            is_training=True,
        )
        self._move(mean, variance)
        return ops.reshape(outputs, shape)

    def _call_torch(self, inputs, training):
        """The same by PyTorch's kernel, in one pass over memory, not three."""
        last = len(inputs.shape) - 1
        mean, variance = (
            ops.zeros(kept.shape, "float32")
            if training
            else ops.convert_to_tensor(kept)
            for kept in (self.moving_mean, self.moving_variance)
        )
        outputs = _backend().batch_norm(
            ops.transpose(inputs, (0, last, *range(1, last))),
            ops.convert_to_tensor(self.gamma) if self.scale else None,
            ops.convert_to_tensor(self.beta) if self.center else None,
            running_mean=mean,
            running_var=variance,
            training=training,
            momentum=1.0,  # In training they become those of the batch.
            eps=self.epsilon,
            cudnn_enabled=True,
        )
        if training:
            self._move(mean, variance)
        return ops.transpose(outputs, (0, *range(2, last + 1), 1))

    def _call_flat(self, inputs):
        """The same of a matrix: XLA takes half the time on a CPU."""
        shape = ops.shape(inputs)
        x = ops.cast(ops.reshape(inputs, (-1, shape[-1])), "float32")
        count = x.shape[0]
        mean = ops.mean(x, axis=0)
        variance = ops.mean(ops.square(x - mean), axis=0)
        scale = ops.rsqrt(variance + self.epsilon)
        if self.scale:
            scale = scale * self.gamma
        offset = -mean * scale
        if self.center:
            offset = offset + self.beta
        unbiased = variance * (count / max(count - 1, 1))
        self._move(mean, unbiased)
        outputs = ops.reshape(x * scale + offset, shape)
        return ops.cast(outputs, self.compute_dtype)

    def _move(self, mean, variance):
        """Moves the running statistics towards those of a batch."""
        for kept, new in (
            (self.moving_mean, mean),
            (self.moving_variance, variance),
        ):
            kept.assign(kept * self.momentum + new * (1.0 - self.momentum))

    def _values_a_channel(self, inputs, mask):
        if mask is not None:  # Keras does not share those between replicas.
            return ops.sum(ops.cast(mask, "int32"))
        shape = ops.shape(inputs)
        count = 1
        for axis in self._reduction_axes:
            count = count * shape[axis]
        return _of_all_replicas(count) if self.synchronized else count


def _several(inputs):
    """Whether there are several values per channel: one has no variance."""
    return math.prod(inputs.shape[:-1]) > 1


def _of_all_replicas(count):
    """The sum over the replicas of TensorFlow's strategies."""
    distribute = _backend().distribute
    context = distribute.get_replica_context()
    if context is None:
        return count
    count = ops.cast(count, "float32")
    return context.all_reduce(distribute.ReduceOp.SUM, count)


def _backend():
    return importlib.import_module(keras.backend.backend())


@functools.cache
def _kernel():
    return _backend().raw_ops.FusedBatchNormV3
