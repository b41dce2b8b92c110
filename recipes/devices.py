"""The devices that a recipe trains on."""

import importlib

import keras


def on_processor() -> bool:
    """Whether arrays are in the memory of the processor."""
    backend = keras.backend.backend()
    module = importlib.import_module(backend)
    if backend == "jax":
        return module.default_backend() == "cpu"
    if backend == "torch":
        return not module.cuda.is_available()
    return not module.config.list_physical_devices("GPU")
