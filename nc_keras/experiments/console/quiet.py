"""What the libraries below write that nobody asked for."""

import contextlib
import importlib
import os
import sys
from collections.abc import Iterator


@contextlib.contextmanager
def silenced(*descriptors: int) -> Iterator[None]:
    """Drops what is written to file descriptors: 1 is output, 2 is errors.

    TensorFlow's C++ code writes past `sys.stderr`, and no setting of its own
    keeps it from announcing itself when it is imported.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    kept = {descriptor: os.dup(descriptor) for descriptor in descriptors}
    with open(os.devnull, "wb") as null:
        for descriptor in kept:
            os.dup2(null.fileno(), descriptor)
    try:
        yield
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        for descriptor, copy in kept.items():
            os.dup2(copy, descriptor)
            os.close(copy)


def import_keras(seed: int | None = None) -> None:
    """Imports Keras and `nc_keras` as a whole, quietly.

    Commands call it once they know what to do: it takes seconds, and what
    they print before, such as `--help`, does not need it.

    Args:
        seed: Integer, for the random numbers of Keras, NumPy and Python; or
            `None`, and they are left as they are.
    """
    with silenced(2):
        importlib.import_module("nc_keras.public")
        if seed is not None:
            # Imports TensorFlow, if it is there, on every backend.
            importlib.import_module("keras").utils.set_random_seed(seed)
