"""The devices that share each batch of a training.

One process and several devices: `--devices 2`, on TensorFlow by
`MirroredStrategy`, on JAX by `keras.distribution.DataParallel`. Several
processes, on JAX: one command a process, with Keras' variables
`KERAS_DISTRIBUTION_JOB_ADDRESSES`, `_NUM_PROCESSES` and `_PROCESS_ID`, or by
`srun`, whose variables JAX reads.

The batch that the settings name is the global one. The last batch of an epoch
may be one that the devices cannot share. On JAX each device then computes all
of it; on TensorFlow their shares differ by one image, and are weighted so that
the gradient is that of the whole batch.

Batch normalisation: on JAX its statistics are those of the global batch, so
that any number of devices computes the same; on TensorFlow each device has
those of its share, as with `MirroredStrategy` everywhere.
"""

from __future__ import annotations

import contextlib
import importlib
import os
from collections.abc import Iterator
from contextlib import AbstractContextManager
from typing import Any

import keras
import numpy as np

_SLURM = ("SLURM_JOB_ID", "SLURM_NTASKS", "SLURM_PROCID", "SLURM_STEP_NODELIST")
_PROCESSES = "KERAS_DISTRIBUTION_NUM_PROCESSES"
_PROCESS_ID = "KERAS_DISTRIBUTION_PROCESS_ID"


class Devices:
    """One device, on any backend."""

    count = 1

    def scope(self) -> AbstractContextManager:
        """Returns a context in which a model is made for the devices."""
        return contextlib.nullcontext()


class MirroredDevices(Devices):
    """Several devices of one host, on TensorFlow.

    Args:
        count: Integer, how many.
    """

    def __init__(self, count: int):
        tf = importlib.import_module("tensorflow")
        kind = "GPU" if tf.config.list_logical_devices("GPU") else "CPU"
        names = [d.name for d in tf.config.list_logical_devices(kind)]
        _refuse_more(count, names)
        self.count = count
        self.strategy = tf.distribute.MirroredStrategy(names[:count])

    def scope(self) -> AbstractContextManager:
        return self.strategy.scope()


class ShardedDevices(Devices):
    """Several devices of one host or of many, on JAX.

    Args:
        count: Integer, how many; of several processes, those of all.
    """

    def __init__(self, count: int):
        jax = importlib.import_module("jax")
        names = keras.distribution.list_devices()
        _refuse_more(count, names)
        self.count = count
        self._distribution = keras.distribution.DataParallel(
            devices=names[:count], auto_shard_dataset=False
        )
        mesh = self._distribution.device_mesh.backend_mesh
        axes = jax.sharding.PartitionSpec(*mesh.axis_names)
        self._shared = jax.sharding.NamedSharding(mesh, axes)
        self._copied = jax.sharding.NamedSharding(
            mesh, jax.sharding.PartitionSpec()
        )
        self._place = jax.make_array_from_callback

    def scope(self) -> AbstractContextManager:
        return self._distribution.scope()

    def share(self, array: np.ndarray) -> Any:
        """Gives each device its part, or all of it if it cannot be shared.

        Args:
            array: The global batch, the same in every process.
        """
        even = len(array) % self.count == 0
        sharding = self._shared if even else self._copied
        return self._place(array.shape, sharding, lambda part: array[part])


def connect() -> None:
    """Joins the processes of one training, if there are several.

    Must come before anything is computed.

    Raises:
        ValueError: If the backend cannot do that.
    """
    by_slurm = all(name in os.environ for name in _SLURM)
    if _PROCESSES in os.environ:
        several = int(os.environ[_PROCESSES]) > 1
    else:
        several = by_slurm and int(os.environ["SLURM_NTASKS"]) > 1
    if not several:
        return
    if keras.backend.backend() != "jax":
        raise ValueError(
            "Several processes can train one model on the JAX backend only: "
            "set KERAS_BACKEND=jax. Received: KERAS_BACKEND="
            f"{keras.backend.backend()}."
        )
    keras.distribution.initialize()
    jax = importlib.import_module("jax")
    # nc_keras asks which process writes, also where SLURM counted them.
    os.environ[_PROCESS_ID] = str(jax.process_index())
    os.environ[_PROCESSES] = str(jax.process_count())


def several_processes() -> bool:
    """Whether this is one of several processes that train one model."""
    return int(os.environ.get(_PROCESSES, 1)) > 1


def share_of_process(x: Any, y: Any) -> tuple[Any, Any]:
    """Returns the examples that this process measures for all.

    Args:
        x: Array of examples, the same in every process.
        y: Array of labels.
    """
    count = int(os.environ[_PROCESSES])
    share = np.array_split(np.arange(len(y)), count)
    rows = share[int(os.environ[_PROCESS_ID])]
    return x[rows], y[rows]


def all_devices() -> int:
    """Returns how many devices all processes have together."""
    jax = importlib.import_module("jax")
    return jax.device_count()


def claim(count: int, batch_size: int) -> Devices:
    """Returns the devices that a training runs on.

    Args:
        count: How many. In one of several processes, all of them are meant.
        batch_size: The global batch, which they must be able to share.

    Raises:
        ValueError: If there are fewer, the batch cannot be shared, or the
            backend has no data parallelism.
    """
    backend = keras.backend.backend()
    if backend == "jax" and importlib.import_module("jax").process_count() > 1:
        count = all_devices()
    if count == 1:
        return Devices()
    if batch_size % count:
        raise ValueError(
            f"{count} devices cannot share a batch of {batch_size} images "
            f"evenly. Choose a multiple of {count}. "
            f"Received: batch_size={batch_size}, devices={count}."
        )
    if backend == "tensorflow":
        return MirroredDevices(count)
    if backend == "jax":
        return ShardedDevices(count)
    raise ValueError(
        "Several devices can share a batch on TensorFlow and JAX. Received: "
        f"devices={count} with KERAS_BACKEND={backend}."
    )


def shares(
    batches: Iterator[np.ndarray], count: int
) -> Iterator[tuple[np.ndarray, float]]:
    """Splits batches of rows into a share for each replica in turn.

    Args:
        batches: The rows of each batch, `[batch]`.
        count: The number of replicas.

    Yields:
        Rows of a share, and the weight that makes the mean of the replicas'
        mean losses the mean over the batch. A replica without any gets a row
        of weight zero.
    """
    for rows in batches:
        for share in np.array_split(rows, count):
            weight = count * len(share) / len(rows)
            yield (share if len(share) else rows[:1]), weight


def on_processor() -> bool:
    """Whether arrays are in the memory of the processor."""
    backend = keras.backend.backend()
    module = importlib.import_module(backend)
    if backend == "jax":
        return module.default_backend() == "cpu"
    if backend == "torch":
        return not module.cuda.is_available()
    return not module.config.list_physical_devices("GPU")


def _refuse_more(count, names):
    if count > len(names):
        raise ValueError(
            f"There are {len(names)} devices: {', '.join(names)}. Choose as "
            f"many or fewer. Received: devices={count}."
        )
