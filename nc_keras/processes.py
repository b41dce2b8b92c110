"""The processes that train or measure one model together."""

import importlib
import os
from collections.abc import Callable

import keras
import numpy as np

Gather = Callable[[np.ndarray], list[np.ndarray]]


def is_first_process() -> bool:
    """Whether this process is the one that writes files.

    Several processes can train one model, with a
    `keras.distribution.DataParallel` over the devices of all.
    """
    distribution = keras.distribution.distribution()
    if hasattr(distribution, "data_shard_id"):
        return distribution.data_shard_id == 0
    if distribution is not None and keras.backend.backend() == "jax":
        # Keras before 3.15 does not say: the process counts its devices.
        return importlib.import_module("jax").process_index() == 0
    return int(os.environ.get("KERAS_DISTRIBUTION_PROCESS_ID", 0)) == 0


def all_gather(array: np.ndarray) -> list[np.ndarray]:
    """Returns the arrays of all processes, in their order, in each of them.

    Args:
        array: Array of the same shape and dtype in every process.

    Raises:
        ValueError: If the backend cannot tell what other processes have.
    """
    backend = keras.backend.backend()
    if backend == "jax":
        module = importlib.import_module("jax.experimental.multihost_utils")
        # JAX would make float32 of float64: the bytes are left alone.
        data = np.frombuffer(np.ascontiguousarray(array).tobytes(), "uint8")
        parts = np.asarray(module.process_allgather(data))
        parts = parts.reshape(-1, data.size)
        return [
            np.frombuffer(part.tobytes(), array.dtype).reshape(array.shape)
            for part in parts
        ]
    if backend == "torch":
        distributed = importlib.import_module("torch.distributed")
        if distributed.is_available() and distributed.is_initialized():
            found: list = [None] * distributed.get_world_size()
            distributed.all_gather_object(found, array)
            return found
    raise ValueError(
        "Processes can share a measurement on JAX, and on torch once "
        "`torch.distributed` is initialised. "
        f"Received: KERAS_BACKEND={backend}."
    )
