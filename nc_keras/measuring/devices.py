"""A batch that is measured by all devices of this process."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np


class Mirrored:
    """A function of batches under TensorFlow's `MirroredStrategy`.

    Each device computes its share with its own copy of the weights. What is
    not trained, such as the moving statistics of `BatchNormalization`, may
    differ from device to device: all take that of the first, which is saved.

    Args:
        strategy: The strategy, of several devices.
        function: Function of inputs, and of pairs of a variable and its value,
            which returns a list of tensors with a first axis for the examples.
        variables: Those that are not trained.
        eager: Boolean, whether not to compile it.
    """

    def __init__(
        self,
        strategy: Any,
        function: Callable,
        variables: Sequence[Any],
        eager: bool,
    ):
        tf = importlib.import_module("tensorflow")
        self._tf, self._strategy, self._variables = tf, strategy, variables

        def on_device(share, values):
            return function(share, list(zip(variables, values, strict=True)))

        def run(shares, values):
            return strategy.run(on_device, args=(shares, values))

        self._run = run if eager else tf.function(run, reduce_retracing=True)

    @classmethod
    def of(cls, model: keras.Model, function: Callable) -> Mirrored | None:
        """Returns it for a model with several devices, `None` for others."""
        if keras.backend.backend() != "tensorflow":
            return None
        tf = importlib.import_module("tensorflow")
        strategy = model.distribute_strategy
        if not isinstance(strategy, tf.distribute.MirroredStrategy):
            return None
        if strategy.num_replicas_in_sync < 2:
            return None
        # Not those that were frozen: they are the same everywhere.
        variables = [
            variable
            for variable in model.non_trainable_variables
            if not variable.value.trainable
        ]
        return cls(strategy, function, variables, model.run_eagerly)

    def can_share(self, inputs: Any) -> bool:
        """Whether the devices can share a batch evenly."""
        count = self._strategy.num_replicas_in_sync
        return all(
            isinstance(one, np.ndarray | self._tf.Tensor)
            and one.ndim
            and not len(one) % count
            for one in keras.tree.flatten(inputs)
        )

    def __call__(self, inputs: Any) -> list[np.ndarray]:
        """Returns what the function does, for all examples in their order."""
        shares = keras.tree.map_structure(self._share, inputs)
        values = [self._tf.convert_to_tensor(v.value) for v in self._variables]
        local = self._strategy.experimental_local_results
        return [
            np.concatenate([part.numpy() for part in local(parts)])
            for parts in self._run(shares, values)
        ]

    def _share(self, array):
        count = self._strategy.num_replicas_in_sync
        with self._tf.device("CPU"):
            parts = self._tf.split(self._tf.convert_to_tensor(array), count)
        return self._strategy.experimental_distribute_values_from_function(
            lambda context: parts[context.replica_id_in_sync_group]
        )


def shared(inputs: Any, values: Sequence[Any]) -> Any:
    """Gives each device of this process its share of a batch, on JAX.

    Each would compute all of it otherwise. A batch that the devices cannot
    share evenly is left as it is.

    Args:
        inputs: The inputs of a model, with a first axis for the examples.
        values: The values of its variables.
    """
    copies: list[Any] = [getattr(value, "sharding", None) for value in values]
    # Weights that are shared out themselves are a matter of their own.
    if not copies or not all(_is_copied(one) for one in copies):
        return inputs
    jax = importlib.import_module("jax")
    mesh, count = copies[0].mesh, copies[0].num_devices
    spec = jax.sharding.PartitionSpec(mesh.axis_names)
    split = jax.sharding.NamedSharding(mesh, spec)

    def place(array):
        if np.ndim(array) and not len(array) % count:
            return jax.device_put(array, split)
        return array

    return keras.tree.map_structure(place, inputs)


def _is_copied(sharding):
    """Whether each of several devices of this process has a copy."""
    return (
        hasattr(sharding, "mesh")
        and sharding.num_devices > 1
        and sharding.is_fully_addressable
        and sharding.is_fully_replicated
    )
